import assert from "node:assert/strict";
import type { Action, CtAction } from "../actions/actions.ts";
import { FIELDS } from "../fields/field_table.ts";
import type { Dialect } from "../fields/field_types.ts";
import { KEY_WORDS } from "../key.ts";
import { ACTION_TYPES, randomAction, randomActions, randomSetOf } from "../testing/actions.ts";
import { seededRandom } from "../testing/flows.ts";
import { bytesOf, tlv } from "../testing/tlv.ts";
import { parseFlow } from "../text/flow_text.ts";
import { decodeActions, encodeActions } from "./action_codec.ts";
import { NetlinkCodecError, toHex } from "./attributes.ts";
import { cases } from "../testing/cases.ts";

const NO_CT: Omit<CtAction, "type"> = {
  commit: false,
  forceCommit: false,
  zone: undefined,
  mark: undefined,
  label: undefined,
  helper: undefined,
  nat: undefined,
  eventMask: undefined,
  timeout: undefined,
};

const NO_NAT = {
  direction: undefined,
  addressMin: undefined,
  addressMax: undefined,
  portMin: undefined,
  portMax: undefined,
  persistent: false,
  hash: false,
  random: false,
} as const;

/** A set action of what a flow matches: value and mask. */
function set(attribute: string, text: string): Action {
  const { key, mask } = parseFlow(text);
  const { fields } = FIELDS.byName(attribute)!;
  const value = new Int32Array(KEY_WORDS);
  const setMask = new Int32Array(KEY_WORDS);
  for (const { at, size } of fields) {
    for (let byte = at; byte < at + size; byte++) {
      const bits = new Uint8Array(mask.buffer)[byte]!;
      new Uint8Array(value.buffer)[byte] = new Uint8Array(key.buffer)[byte]! & bits;
      new Uint8Array(setMask.buffer)[byte] = bits;
    }
  }
  return { type: "set", attribute, value, mask: setMask };
}

interface Vector {
  readonly name: string;
  readonly actions: readonly Action[];
  /** By the layouts of linux/openvswitch.h. */
  readonly bytes: string;
  /** Default: both. */
  readonly dialect?: Dialect;
}

const VECTORS: readonly Vector[] = [
  { name: "none", actions: [], bytes: "" },
  {
    name: "those without payload",
    actions: [
      { type: "pop_vlan" },
      { type: "pop_eth" },
      { type: "ct_clear" },
      { type: "pop_nsh" },
    ],
    bytes: tlv(5) + tlv(15) + tlv(16) + tlv(18),
  },
  {
    name: "those with a number",
    actions: [
      { type: "output", port: 0x1234 },
      { type: "recirc", id: 0xfedcba98 },
      { type: "pop_mpls", ethType: 0x0800 },
      { type: "trunc", sizeMax: 100 },
      { type: "meter", id: 7 },
      { type: "drop", reason: 3 },
    ],
    bytes: tlv(1, "34120000") + tlv(7, "98badcfe") + tlv(10, "0800") + tlv(13, "64000000") +
      tlv(19, "07000000") + tlv(24, "03000000"),
  },
  {
    name: "those with a struct",
    actions: [
      { type: "push_vlan", tpid: 0x88a8, tci: 0x7005 },
      { type: "hash", algorithm: "sym_l4", basis: 5 },
      { type: "push_mpls", lse: 0x00064140, ethType: 0x8847 },
      { type: "push_eth", src: "020000000001", dst: "020000000002" },
      { type: "add_mpls", lse: 0x00064140, ethType: 0x8848, flags: 1 },
    ],
    bytes: tlv(4, "88a87005") + tlv(8, "01000000 05000000") + tlv(9, "00064140 8847 0000") +
      tlv(14, "020000000001 020000000002") + tlv(22, "00064140 8848 0100"),
  },
  {
    name: "userspace",
    actions: [
      {
        type: "userspace",
        pid: 0x01020304,
        userdata: "aabbccddee",
        actions: true,
        tunnelOutPort: 9,
      },
      { type: "userspace", pid: 1, userdata: undefined, actions: false, tunnelOutPort: undefined },
    ],
    bytes: tlv(2, tlv(1, "04030201"), tlv(2, "aabbccddee"), tlv(3, "09000000"), tlv(4)) +
      tlv(2, tlv(1, "01000000")),
  },
  {
    name: "lists within lists",
    actions: [
      { type: "clone", actions: [{ type: "output", port: 1 }] },
      { type: "sample", probability: 0x80000000, actions: [{ type: "pop_vlan" }] },
      {
        type: "check_pkt_len",
        size: 200,
        greater: [{ type: "output", port: 2 }],
        lessEqual: [],
      },
      { type: "dec_ttl", exceeded: [{ type: "output", port: 3 }] },
    ],
    bytes: tlv(20, tlv(1, "01000000")) + tlv(6, tlv(1, "00000080"), tlv(2, tlv(5))) +
      tlv(21, tlv(1, "c800"), tlv(2, tlv(1, "02000000")), tlv(3)) +
      tlv(23, tlv(1, tlv(1, "03000000"))),
  },
  {
    name: "psample",
    actions: [
      { type: "psample", group: 12, cookie: "0102030405" },
      { type: "psample", group: 13, cookie: undefined },
    ],
    // Marked as nested.
    bytes: tlv(0x8019, tlv(1, "0c000000"), tlv(2, "0102030405")) +
      tlv(0x8019, tlv(1, "0d000000")),
  },
  {
    name: "ct with everything",
    actions: [{
      ...NO_CT,
      type: "ct",
      commit: true,
      zone: 0x1234,
      mark: { value: 1, mask: 0xff },
      label: {
        value: "00000000000000000000000000000001",
        mask: "000000000000000000000000000000ff",
      },
      helper: "ftp",
      eventMask: 0x1234,
      timeout: "tp",
      nat: {
        ...NO_NAT,
        direction: "src",
        addressMin: "0a000001",
        addressMax: "0a0000ff",
        portMin: 1000,
        portMax: 2000,
        persistent: true,
        random: true,
      },
    }],
    bytes: tlv(
      12,
      tlv(1),
      tlv(2, "3412"),
      tlv(3, "01000000 ff000000"),
      tlv(4, "01", "00".repeat(15), "ff", "00".repeat(15)),
      tlv(5, "66747000"),
      tlv(8, "34120000"),
      tlv(9, "747000"),
      tlv(
        6,
        tlv(1),
        tlv(3, "0a000001"),
        tlv(4, "0a0000ff"),
        tlv(5, "e803"),
        tlv(6, "d007"),
        tlv(7),
        tlv(9),
      ),
    ),
  },
  {
    name: "ct with little",
    actions: [
      { ...NO_CT, type: "ct" },
      { ...NO_CT, type: "ct", forceCommit: true, nat: NO_NAT },
      {
        ...NO_CT,
        type: "ct",
        nat: { ...NO_NAT, direction: "dst", addressMin: "00".repeat(15) + "01", hash: true },
      },
    ],
    bytes: tlv(12) + tlv(12, tlv(7), tlv(6)) +
      tlv(12, tlv(6, tlv(2), tlv(3, "00".repeat(15), "01"), tlv(8))),
  },
  {
    name: "push_nsh of both metadata types",
    actions: [
      {
        type: "push_nsh",
        flags: 2,
        ttl: 63,
        mdtype: 1,
        np: 3,
        path: 0x123456ff,
        metadata: "00112233445566778899aabbccddeeff",
      },
      { type: "push_nsh", flags: 0, ttl: 1, mdtype: 2, np: 3, path: 255, metadata: "01020304" },
      { type: "push_nsh", flags: 0, ttl: 1, mdtype: 2, np: 3, path: 255, metadata: "" },
    ],
    bytes: tlv(
      17,
      tlv(28, tlv(1, "02 3f 01 03 123456ff"), tlv(2, "00112233445566778899aabbccddeeff")),
    ) + tlv(17, tlv(28, tlv(1, "00 01 02 03 000000ff"), tlv(3, "01020304"))) +
      tlv(17, tlv(28, tlv(1, "00 01 02 03 000000ff"))),
  },
  {
    name: "set: all of an attribute",
    actions: [
      set("skb_mark", "skb_mark(0x12345678)"),
      set("eth", "eth(src=02:00:00:00:00:01,dst=02:00:00:00:00:02)"),
      set(
        "ipv4",
        "eth_type(0x800),ipv4(src=10.0.0.1,dst=10.0.0.2,proto=6,tos=0,ttl=63,frag=no)",
      ),
      set("ct_label", "ct_label(0x1)"),
    ],
    bytes: tlv(3, tlv(15, "78563412")) + tlv(3, tlv(4, "020000000001 020000000002")) +
      tlv(3, tlv(7, "0a000001 0a000002 06 00 3f 00")) + tlv(3, tlv(25, "01", "00".repeat(15))),
  },
  {
    name: "set: some bits of an attribute",
    actions: [
      set("skb_mark", "skb_mark(0x10/0xf0)"),
      set("eth", "eth(dst=02:00:00:00:00:02)"),
      set("ipv6", "eth_type(0x86dd),ipv6(label=0x12345,hlimit=5)"),
      set("tcp", "eth_type(0x800),ipv4(proto=6),tcp(src=80)"),
    ],
    bytes: tlv(11, tlv(15, "10000000 f0000000")) +
      tlv(11, tlv(4, "00".repeat(6), "020000000002", "00".repeat(6), "ff".repeat(6))) +
      tlv(
        11,
        tlv(8, "00".repeat(32), "00012345 00000500", "00".repeat(32), "000fffff 0000ff00"),
      ) +
      tlv(11, tlv(9, "00500000 ffff0000")),
  },
  {
    name: "set: labels, and parts of NSH with a mask each",
    actions: [
      set("mpls", "eth_type(0x8847),mpls(label=1,tc=2,ttl=3,bos=1)"),
      set("mpls", "eth_type(0x8847),mpls(ttl=3)"),
      set("nsh", "eth_type(0x894f),nsh(ttl=5)"),
      set("nsh", "eth_type(0x894f),nsh(ttl=5,c2=0x10/0xf0)"),
    ],
    dialect: "userspace",
    bytes: tlv(3, tlv(21, "00001503")) + tlv(11, tlv(21, "00000003 000000ff")) +
      tlv(11, tlv(28, tlv(1, "00050000 00000000 00ff0000 00000000"))) +
      tlv(
        11,
        tlv(
          28,
          tlv(1, "00050000 00000000 00ff0000 00000000"),
          tlv(2, "00000000 00000010", "00".repeat(12), "000000f0", "00".repeat(8)),
        ),
      ),
  },
  {
    name: "tnl_push, tnl_pop, lb_output",
    actions: [
      { type: "tnl_push", tunnelPort: 6, outPort: 1, tunnelType: 4, header: "0102030405" },
      { type: "tnl_pop", port: 4 },
      { type: "lb_output", bond: 1 },
    ],
    dialect: "userspace",
    bytes: tlv(26, "06000000 01000000 05000000 04000000 0102030405") + tlv(27, "04000000") +
      tlv(28, "01000000"),
  },
  {
    name: "those that nobody knows",
    actions: [
      { type: "unknown", number: 26, payload: "0102" },
      { type: "unknown", number: 99, payload: "" },
    ],
    dialect: "kernel",
    bytes: tlv(26, "0102") + tlv(99),
  },
];

for (const { name, actions, bytes, dialect } of VECTORS) {
  Deno.test(`encodeActions, decodeActions: ${name}`, () => {
    for (const each of dialect === undefined ? ["kernel", "userspace"] as const : [dialect]) {
      assert.equal(toHex(encodeActions(actions, { dialect: each })), bytes);
      assert.deepEqual(decodeActions(bytesOf(bytes), { dialect: each }), actions);
    }
  });
}

Deno.test("set of a tunnel: what is written, options, flags", () => {
  const payload = tlv(0, "0000000000000005") + tlv(2, "01020304") + tlv(4, "40") + tlv(5) +
    tlv(8, "0102 80 01 01020304");
  const bytes = tlv(3, tlv(16, payload));
  const [action, ...rest] = decodeActions(bytesOf(bytes), { dialect: "kernel" });
  assert.deepEqual(rest, []);
  assert(action?.type === "set");
  assert.equal(toHex(encodeActions([action], { dialect: "kernel" })), bytes);
  // A mask of ones all over doesn't say what was written: zeros aren't, but the TTL.
  const whole = { ...action, mask: new Int32Array(KEY_WORDS).fill(-1) };
  assert.equal(toHex(encodeActions([whole], { dialect: "kernel" })), bytes);
  const ipv6 = tlv(3, tlv(16, tlv(13, "00".repeat(16)), tlv(4, "00")));
  const again = decodeActions(bytesOf(ipv6), { dialect: "kernel" });
  assert.equal(toHex(encodeActions(again, { dialect: "kernel" })), ipv6);
  // The kernel's flag for tunnels in a bridge of metadata devices, which is GTP-U's number elsewhere.
  const bridge = tlv(3, tlv(16, tlv(0, "00".repeat(8)), tlv(16)));
  const info = decodeActions(bytesOf(bridge), { dialect: "kernel" });
  assert.equal(toHex(encodeActions(info, { dialect: "kernel" })), bridge);
  assert.throws(() => decodeActions(bytesOf(bridge), { dialect: "userspace" }), NetlinkCodecError);
});

Deno.test("decodeActions: what has unknown parts is kept whole", () => {
  const bytes = [
    tlv(2, tlv(1, "01000000"), tlv(9, "00")),
    tlv(3, tlv(77, "00")),
    tlv(3, tlv(16, tlv(99))),
    tlv(6, tlv(1, "01000000"), tlv(2), tlv(3)),
    tlv(8, "07000000 00000000"),
    tlv(11, tlv(30, "00".repeat(16))),
    tlv(12, tlv(10)),
    tlv(12, tlv(6, tlv(10))),
    tlv(21, tlv(1, "0100"), tlv(4)),
    tlv(23, tlv(2)),
    tlv(25, tlv(1, "01000000"), tlv(3)),
  ];
  for (const each of bytes) {
    const actions = decodeActions(bytesOf(each), { dialect: "kernel" });
    assert.deepEqual(actions.map(({ type }) => type), ["unknown"], each);
    assert.equal(toHex(encodeActions(actions, { dialect: "kernel" })), each);
  }
});

function nestedClones(levels: number): string {
  let bytes = "";
  for (let level = 0; level < levels; level++) bytes = tlv(20, bytes);
  return bytes;
}

const MALFORMED: readonly (readonly [bytes: string, message: RegExp])[] = [
  ["0400", /actions: 2 bytes are left over/],
  ["0c000100 01000000", /attribute 1 at byte 0 has length 12/],
  [tlv(1, "0100"), /actions attribute 1: 2 bytes, must be 4/],
  [tlv(5, "00"), /attribute 5: 1 bytes, must be 0/],
  [tlv(4, "8100"), /attribute 4: 2 bytes, must be 4/],
  [tlv(9, "00064140 8847"), /attribute 9: 6 bytes, must be 8/],
  [tlv(14, "00".repeat(11)), /attribute 14: 11 bytes/],
  [tlv(2), /userspace: a pid must be there/],
  [tlv(2, tlv(1, "01")), /userspace attribute 1: 1 bytes/],
  [tlv(2, tlv(1, "01000000"), tlv(1, "01000000")), /attribute 1 stands twice/],
  [tlv(6, tlv(2)), /sample: a probability must be there/],
  [tlv(6, tlv(1, "00000000"), tlv(2, "00")), /actions sample: 1 bytes are left over/],
  [tlv(21, tlv(2)), /check_pkt_len: a length must be there/],
  [tlv(21, tlv(1, "00000000")), /check_pkt_len attribute 1: 4 bytes, must be 2/],
  [tlv(20, "010203"), /actions clone: 3 bytes are left over/],
  [tlv(23, tlv(1, "01")), /actions dec_ttl: 1 bytes/],
  [tlv(25), /psample: a group must be there/],
  [tlv(3), /set: 0 attributes, must be 1/],
  [tlv(3, tlv(15, "00000000"), tlv(2, "00000000")), /set: 2 attributes, must be 1/],
  [tlv(3, tlv(15, "0000")), /set skb_mark: 2 bytes, must be 4/],
  [tlv(3, "0c000f00 00000000"), /set: attribute 15 at byte 0 has length 12/],
  [tlv(11, tlv(15, "00000000")), /set_masked skb_mark: 2 bytes, must be 4/],
  [tlv(11, tlv(15, "0000000000")), /5 bytes aren't a value and its mask/],
  [tlv(11, tlv(16, tlv(4, "40"))), /a tunnel can't be set in part/],
  [tlv(3, tlv(21, "00".repeat(8))), /only the outermost label can be set/],
  [tlv(11, tlv(21, "00".repeat(16))), /only the outermost label can be set/],
  [tlv(11, tlv(28, tlv(1, "00".repeat(8)))), /nsh 1: 4 bytes, must be 8/],
  [tlv(12, tlv(2, "01")), /ct attribute 2: 1 bytes, must be 2/],
  [tlv(12, tlv(3, "00".repeat(4))), /ct attribute 3: 4 bytes, must be 8/],
  [tlv(12, tlv(4, "00".repeat(16))), /ct attribute 4: 16 bytes, must be 32/],
  [tlv(12, tlv(6, tlv(1), tlv(2))), /ct nat: src and dst can't be translated at once/],
  [tlv(12, tlv(6, tlv(1), tlv(3, "00".repeat(5)))), /an address of 5 bytes/],
  [tlv(17), /push_nsh: an NSH key must be there/],
  [tlv(17, tlv(28)), /push_nsh nsh: a base must be there/],
  [tlv(17, tlv(28, tlv(1, "0000"))), /attribute 1: 2 bytes, must be 8/],
  [tlv(17, tlv(28, tlv(1, "00000100 00000000"))), /the metadata isn't that of mdtype 1/],
  [
    tlv(17, tlv(28, tlv(1, "00000200 00000000"), tlv(2, "00".repeat(16)))),
    /the metadata isn't that of mdtype 2/,
  ],
  [tlv(26, "00000000"), /tnl_push: 4 bytes, must be at least 16/],
  [tlv(26, "00".repeat(8), "05000000 04000000 01020304"), /a header of 5 bytes, there are 4/],
  [nestedClones(40), /more than 32 levels/],
];

Deno.test("decodeActions: malformed attributes are named", () => {
  for (const [bytes, message] of MALFORMED) {
    assert.throws(
      () => decodeActions(bytesOf(bytes), { dialect: "userspace" }),
      (error: unknown) => {
        assert(error instanceof NetlinkCodecError, `${bytes}: ${error}`);
        assert.match(error.message, message);
        return true;
      },
      bytes,
    );
  }
});

Deno.test("encodeActions: what can't be said", () => {
  let deep: Action = { type: "clone", actions: [] };
  for (let level = 0; level < 40; level++) deep = { type: "clone", actions: [deep] };
  const large = Array.from({ length: 10_000 }, (): Action => ({ type: "output", port: 1 }));
  const bad: readonly (readonly [Action, Dialect, RegExp])[] = [
    [deep, "kernel", /more than 32 levels/],
    [{ type: "clone", actions: large }, "kernel", /80004 bytes, an attribute can have 65535/],
    [{ type: "lb_output", bond: 1 }, "kernel", /lb_output: the kernel has no such action/],
    [{ type: "tnl_pop", port: 1 }, "kernel", /tnl_pop: the kernel has no such action/],
    [{ type: "push_eth", src: "00", dst: "00" }, "kernel", /push_eth: 2 bytes, must be 12/],
    [
      { type: "push_nsh", flags: 0, ttl: 0, mdtype: 1, np: 0, path: 0, metadata: "00" },
      "kernel",
      /push_nsh metadata: 1 bytes, must be 16/,
    ],
    [{ ...NO_CT, type: "ct", helper: "a".repeat(16) }, "kernel", /more than 15 bytes/],
    [{ ...NO_CT, type: "ct", timeout: "a".repeat(32) }, "kernel", /more than 31 bytes/],
    [
      { ...NO_CT, type: "ct", nat: { ...NO_NAT, direction: "src", addressMin: "0a0000" } },
      "kernel",
      /an address of 3 bytes/,
    ],
    [{ type: "psample", group: 1, cookie: "0" }, "kernel", /must be hexadecimal digits/],
    [{ type: "output", port: -1 }, "kernel", /-1 must have 32 bits/],
    [
      {
        type: "tnl_push",
        tunnelPort: 1,
        outPort: 1,
        tunnelType: 4,
        header: "00".repeat(513),
      },
      "userspace",
      /a header of 513 bytes, there can be 512/,
    ],
    [
      set("nd_ext", "eth_type(0x86dd),ipv6(proto=58),icmpv6(type=135),nd_ext(nd_reserved=1)"),
      "kernel",
      /set nd_ext: only ovs-vswitchd/,
    ],
  ];
  for (const [action, dialect, message] of bad) {
    assert.throws(() => encodeActions([action], { dialect }), (error: unknown) => {
      assert(error instanceof NetlinkCodecError, `${error}`);
      assert.match(error.message, message);
      return true;
    });
  }
});

function checkRoundTrip(actions: readonly Action[], dialect: Dialect): void {
  const bytes = encodeActions(actions, { dialect });
  const decoded = decodeActions(bytes, { dialect });
  assert.deepEqual(decoded, actions);
}

const RUNS = cases(1000);

for (const dialect of ["kernel", "userspace"] as const) {
  for (const type of ACTION_TYPES[dialect]) {
    if (type === "set") continue;
    Deno.test(`netlink of random actions: ${dialect}: ${type}`, () => {
      const random = seededRandom(type.length);
      for (let run = 0; run < RUNS; run++) {
        checkRoundTrip([randomAction(random, type, { dialect })], dialect);
      }
    });
  }

  Deno.test(`netlink of random actions: ${dialect}: set of every attribute`, () => {
    const random = seededRandom(11);
    for (const attribute of FIELDS.attributes) {
      if (attribute.only !== undefined && attribute.only !== dialect) continue;
      for (let run = 0; run < RUNS / 2; run++) {
        checkRoundTrip([randomSetOf(random, attribute)], dialect);
      }
    }
  });

  Deno.test(`netlink of random actions: ${dialect}: lists`, () => {
    const random = seededRandom(12);
    for (let run = 0; run < 2 * RUNS; run++) {
      checkRoundTrip(randomActions(random, { dialect }), dialect);
    }
  });
}
