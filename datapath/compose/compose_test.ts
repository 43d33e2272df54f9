import assert from "node:assert/strict";
import fc from "fast-check";
import { composeFrame } from "./compose.ts";
import { RuleError } from "../errors.ts";
import { extractKey } from "../extract/extract.ts";
import * as at from "../key.ts";
import {
  ETH_TYPE_AT,
  IN_PORT_AT,
  IP_PROTO_AT,
  KEY_WORDS,
  L3_PACKET,
  RECIRC_ID_AT,
  SKB_MARK_AT,
  SKB_PRIORITY_AT,
  TCP_FLAGS_AT,
} from "../key.ts";
import { Packet } from "../packet/packet.ts";
import { faults } from "../testing/frames.ts";
import { type Random, randomFlowText } from "../testing/flows.ts";
import { formatFlow, parseFlow } from "../text/flow_text.ts";

/** The frame's key, with the metadata of another key. */
function extracted(frame: Uint8Array<ArrayBuffer>, like: Int32Array): Int32Array {
  const packet = new Packet({ bytes: frame, view: new DataView(frame.buffer), address: 0 });
  packet.end = frame.length;
  const metadata = new DataView(like.buffer, like.byteOffset);
  packet.inPort = metadata.getUint16(IN_PORT_AT);
  packet.priority = metadata.getUint32(SKB_PRIORITY_AT);
  packet.mark = metadata.getUint32(SKB_MARK_AT);
  packet.recircId = metadata.getUint32(RECIRC_ID_AT);
  packet.isL3 = (metadata.getUint16(TCP_FLAGS_AT) & L3_PACKET) !== 0;
  packet.ethType = metadata.getUint16(ETH_TYPE_AT);
  const key = new Int32Array(KEY_WORDS);
  extractKey(packet, key, 0);
  return key;
}

Deno.test("property: composeFrame's frame has the key that it was made from", () => {
  fc.assert(
    fc.property(fc.gen(), fc.option(fc.integer({ min: 300, max: 2000 })), (g, size) => {
      const random: Random = (bound) => g(fc.nat, bound - 1);
      const text = randomFlowText(random);
      const { key } = parseFlow(text);
      // In an IPv6 header protocol 0 is an extension.
      fc.pre(!isIpv6WithoutProtocol(key));
      const frame = composeFrame(key, size ?? undefined);
      if (size !== null) assert.equal(frame.length, size);
      const wanted = formatFlow(key, exact(key));
      const found = extracted(frame, key);
      assert.equal(formatFlow(found, exact(found)), wanted, text);
    }),
    { numRuns: 1000 },
  );
});

function isIpv6WithoutProtocol(key: Int32Array): boolean {
  const view = new DataView(key.buffer);
  return view.getUint16(ETH_TYPE_AT) === 0x86dd && view.getUint8(IP_PROTO_AT) === 0;
}

/** A mask of everything that formatFlow shows of such a key. */
function exact(key: Int32Array): Int32Array {
  const mask = new Int32Array(KEY_WORDS).fill(-1);
  // An ICMP type is one byte of the port's two.
  const { mask: typed } = parseFlow(
    "eth_type(0x86dd),ipv6(proto=58),icmpv6(type=135,code=0),nd(target=::1)",
  );
  const keyBytes = new Uint8Array(key.buffer);
  const isIcmp = keyBytes[44] === 1 || keyBytes[44] === 58;
  if (isIcmp) mask[14] = typed[14]!;
  // What a zero does not ask for: ipv6_exthdrs and nd_ext.
  mask[46] = 0;
  mask[47] = 0;
  return mask;
}

Deno.test("composeFrame: UDP with 64 counted bytes", () => {
  const { key } = parseFlow(
    "eth(src=02:00:00:00:00:01,dst=02:00:00:00:00:02),eth_type(0x0800)," +
      "ipv4(src=10.0.0.1,dst=10.0.0.2,proto=17,tos=0,ttl=64),udp(src=1024,dst=53)",
  );
  const hex = [...composeFrame(key)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  assert.equal(hex.slice(0, 28), "0200000000020200000000010800");
  assert.equal(hex.slice(28, 68), "4500005c00000000401166" + "8f" + "0a0000010a000002");
  assert.equal(hex.slice(68, 76), "04000035");
  assert.equal(hex.length, 2 * (14 + 20 + 8 + 64));
});

Deno.test("composeFrame: refuses sizes that can't be", () => {
  const { key } = parseFlow("eth_type(0x0806)");
  assert.equal(composeFrame(key, 60).length, 60);
  assert.throws(() => composeFrame(key, 41), RuleError);
  assert.throws(() => composeFrame(key, 70000), RuleError);
  assert.throws(() => composeFrame(key, NaN), RuleError);
});

/** Random bytes of a key's field. */
type Fill = (from: number, size: number) => void;

/** Bitmaps of IPv6 extension headers that there are, without and with a fragment header. */
const CHAINS = [0, 0x40, 0x08, 0x20, 0x68, 0x28, 0x6c, 0x88, 0x84, 0x1a0, 0x120, 0x128, 0x1c0];
const FRAGMENT_CHAINS = [0x10, 0x50, 0x78, 0x130, 0x114, 0x190, 0x118];

/** A key that some packet has, of one of the types that extraction knows. */
const anyKey = fc.gen().map((g) => {
  const view = new DataView(new ArrayBuffer(at.KEY_SIZE));
  const pick = <T>(...values: readonly T[]): T => values[g(fc.nat, values.length - 1)]!;
  const byte = (): number => g(fc.nat, 255);
  const fill: Fill = (from, size) => {
    for (let index = 0; index < size; index++) view.setUint8(from + index, byte());
  };
  const type = pick(0x0800, 0x86dd, 0x0806, 0x8035, 0x8847, 0x8848, 0x894f, 0x88cc);
  view.setUint16(at.ETH_TYPE_AT, type);
  const isL3 = g(fc.boolean);
  if (isL3) view.setUint16(at.TCP_FLAGS_AT, L3_PACKET);
  else fill(at.ETH_DST_AT, 12);
  for (let tag = 0, tags = isL3 ? 0 : g(fc.nat, 2); tag < tags; tag++) {
    view.setUint16(at.VLAN_TCI_AT + 4 * tag, (byte() << 8 | byte()) | at.VLAN_PRESENT);
    view.setUint16(at.VLAN_TPID_AT + 4 * tag, pick(0x8100, 0x88a8));
  }
  if (type === 0x0806 || type === 0x8035) {
    fill(at.IP_PROTO_AT, 1);
    fill(at.IPV4_SRC_AT, 8);
    fill(at.ARP_SHA_AT, 12);
  } else if (type === 0x0800 || type === 0x86dd) {
    fillIp(view, type === 0x0800, { fill, pick });
  } else if (type === 0x8847 || type === 0x8848) {
    for (let label = 0, isBottom = false; label < 3 && !isBottom; label++) {
      fill(at.MPLS_AT + 4 * label, 4);
      isBottom = (view.getUint8(at.MPLS_AT + 4 * label + 2) & 1) !== 0;
      view.setUint8(at.MPLS_COUNT_AT, (2 << label) - 1);
    }
  } else if (type === 0x894f) {
    view.setUint32(at.NSH_FLAGS_AT, pick(0, 1, 2, 3) << 24 | pick(0, 1, 63) << 16);
    view.setUint8(at.NSH_MDTYPE_AT, pick(0, 1, 2, 3));
    fill(at.NSH_NP_AT, 5);
    if (view.getUint8(at.NSH_MDTYPE_AT) === 1) fill(at.NSH_CONTEXT_AT, 16);
  }
  return new Int32Array(view.buffer);
});

interface Source {
  readonly fill: Fill;
  readonly pick: <T>(...values: readonly T[]) => T;
}

function fillIp(view: DataView, isIpv4: boolean, { fill, pick }: Source): void {
  fill(at.IP_TOS_AT, 2);
  const fragment = pick(at.FRAG_NONE, at.FRAG_NONE, at.FRAG_FIRST, at.FRAG_LATER);
  view.setUint8(at.IP_FRAG_AT, fragment);
  let protocol: number = pick(isIpv4 ? 1 : 58, 6, 17, 132, 59, 89);
  if (isIpv4) {
    fill(at.IPV4_SRC_AT, 8);
  } else {
    fill(at.IPV6_SRC_AT, 35);
    view.setUint32(at.IPV6_LABEL_AT, view.getUint32(at.IPV6_LABEL_AT) & 0xfffff);
    const isLater = fragment === at.FRAG_LATER;
    if (isLater) protocol = 44;
    const chains = fragment === at.FRAG_NONE ? CHAINS : isLater ? [0x10, 0x78] : FRAGMENT_CHAINS;
    view.setUint16(at.IPV6_EXTHDRS_AT, pick(...chains) | (protocol === 59 ? 1 : 0));
    for (let byte = at.ND_TARGET_AT; byte < at.ND_TARGET_AT + 28; byte++) view.setUint8(byte, 0);
  }
  view.setUint8(at.IP_PROTO_AT, protocol);
  if (fragment === at.FRAG_LATER) return;
  if (protocol === (isIpv4 ? 1 : 58)) {
    fillIcmp(view, isIpv4 ? pick(0, 8, 3) : pick(128, 129, 135, 136, 133), { fill, pick });
  } else if (protocol === 6 || protocol === 17 || protocol === 132) {
    fill(at.TP_SRC_AT, 4);
    if (protocol !== 6) return;
    const flags = view.getUint16(at.TCP_FLAGS_AT);
    view.setUint16(at.TCP_FLAGS_AT, flags | pick(0, 0x002, 0xfff, 0x810));
  }
}

function fillIcmp(view: DataView, type: number, { fill, pick }: Source): void {
  view.setUint16(at.TP_SRC_AT, type);
  view.setUint16(at.TP_DST_AT, pick(0, 0, 0, 3));
  if ((type !== 135 && type !== 136) || view.getUint16(at.TP_DST_AT) !== 0) return;
  fill(at.ND_RESERVED_AT, 4);
  fill(at.ND_TARGET_AT, 16);
  const addresses = [[1, at.ND_SLL_AT], [2, at.ND_TLL_AT]] as const;
  const present = addresses.filter(() => pick(true, false));
  for (const [, from] of present) {
    fill(from, 6);
    view.setUint8(from, 2);
  }
  if (present.length > 0) view.setUint8(at.ND_OPTIONS_TYPE_AT, pick(...present)[0]);
}

Deno.test("property: composeFrame's frame has exactly the key, of every type, with right checksums", () => {
  fc.assert(
    fc.property(anyKey, fc.option(fc.integer({ min: 300, max: 2000 })), (key, size) => {
      const frame = composeFrame(key, size ?? undefined);
      if (size !== null) assert.equal(frame.length, size);
      const hex = (words: Int32Array): string => new Uint8Array(words.buffer).toHex();
      assert.equal(hex(extracted(frame, key)), hex(key));
      const view = new DataView(key.buffer);
      const extensions = view.getUint16(at.IPV6_EXTHDRS_AT) & 0x14;
      if ((view.getUint16(TCP_FLAGS_AT) & L3_PACKET) === 0 && extensions === 0) {
        assert.deepEqual(faults(frame), []);
      }
    }),
    { numRuns: 3000 },
  );
});

function keyOf(bytes: readonly (readonly [number, readonly number[]])[]): Int32Array {
  const key = new Uint8Array(at.KEY_SIZE);
  for (const [from, values] of bytes) key.set(values, from);
  return new Int32Array(key.buffer);
}

Deno.test("composeFrame: refuses keys that no packet has", () => {
  const ipv6 = [at.ETH_TYPE_AT, [0x86, 0xdd]] as const;
  const udp = [at.IP_PROTO_AT, [17]] as const;
  const refused: Parameters<typeof keyOf>[0][] = [
    [ipv6, udp, [at.IPV6_EXTHDRS_AT, [0, 2]]],
    [ipv6, udp, [at.IPV6_EXTHDRS_AT, [0, 1]]],
    [ipv6, udp, [at.IPV6_EXTHDRS_AT, [0, 0x10]]],
    [ipv6, udp, [at.IP_FRAG_AT, [at.FRAG_FIRST]], [at.IPV6_EXTHDRS_AT, [0, 0x40]]],
    [ipv6, udp, [at.IPV6_EXTHDRS_AT, [1, 0]]],
    [ipv6, [at.IP_PROTO_AT, [59]], [at.IPV6_EXTHDRS_AT, [0, 0x40]]],
    [ipv6, [at.IP_PROTO_AT, [58]], [at.TP_SRC_AT, [0, 135]], [at.ND_OPTIONS_TYPE_AT, [3]]],
    [[at.ETH_TYPE_AT, [0x89, 0x4f]], [at.NSH_FLAGS_AT, [4]]],
    [[at.ETH_TYPE_AT, [0x89, 0x4f]], [at.NSH_TTL_AT, [64]]],
  ];
  for (const bytes of refused) {
    assert.throws(() => composeFrame(keyOf(bytes)), { code: "EINVAL" }, JSON.stringify(bytes));
  }
});

Deno.test("composeFrame: a stack without bottom gets one behind what a key holds", () => {
  const key = keyOf([[at.ETH_TYPE_AT, [0x88, 0x47]], [at.MPLS_AT, [0, 0x01, 0x10, 0x40]]]);
  assert.equal(
    composeFrame(key).subarray(14).toHex(),
    "00011040" + "00000000".repeat(2) + "00000100",
  );
});
