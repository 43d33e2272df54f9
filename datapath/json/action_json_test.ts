import assert from "node:assert/strict";
import { ACTION_TYPES, randomAction } from "../testing/actions.ts";
import { seededRandom } from "../testing/flow_values.ts";
import { formatActions, parseActions } from "../text/action_text.ts";
import { actionsFromJson, actionsToJson } from "./action_json.ts";
import { FlowJsonError } from "./json_error.ts";
import { cases } from "../testing/cases.ts";

const LISTS: readonly (readonly [text: string, json: unknown])[] = [
  ["1,drop", [{ type: "output", port: 1 }, { type: "drop", reason: 0 }]],
  ["", []],
  ["set(ipv4(ttl=64))", [{ type: "set", ipv4: { ttl: 64 } }]],
  [
    "set(eth(src=01:00:00:00:00:00/ff:00:00:00:00:00))",
    [{
      type: "set",
      eth: { src: { value: "01:00:00:00:00:00", mask: "ff:00:00:00:00:00" } },
    }],
  ],
  [
    "set(tunnel(tun_id=0x1,dst=1.2.3.4,ttl=64,flags(df|key)))",
    [{ type: "set", tunnel: { tun_id: "0x1", dst: "1.2.3.4", ttl: 64, flags: "df|key" } }],
  ],
  [
    "ct(commit,mark=0x1/0xff,nat(src=10.0.0.1,random))",
    [{
      type: "ct",
      commit: true,
      mark: { value: 1, mask: 255 },
      nat: { direction: "src", addressMin: "10.0.0.1", random: true },
    }],
  ],
  [
    "ct(commit,nat(dst=[2001:db8::1]-[2001:db8::ff]:80))",
    [{
      type: "ct",
      commit: true,
      nat: {
        direction: "dst",
        addressMin: "2001:db8::1",
        addressMax: "2001:db8::ff",
        portMin: 80,
      },
    }],
  ],
  [
    "push_eth(src=02:00:00:00:00:01,dst=02:00:00:00:00:02)",
    [{ type: "push_eth", src: "02:00:00:00:00:01", dst: "02:00:00:00:00:02" }],
  ],
  [
    "push_nsh(flags=0,ttl=63,mdtype=2,np=3,spi=0xabcdef,si=255,md2=0x01020304)",
    [{
      type: "push_nsh",
      flags: 0,
      ttl: 63,
      mdtype: 2,
      np: 3,
      spi: 0xabcdef,
      si: 255,
      metadata: "01020304",
    }],
  ],
  ["ct", [{ type: "ct" }]],
  [
    "sample(sample=50.0%,actions(clone(1),2))",
    [{
      type: "sample",
      probability: 2147483648,
      actions: [
        { type: "clone", actions: [{ type: "output", port: 1 }] },
        { type: "output", port: 2 },
      ],
    }],
  ],
  ["userspace(pid=4,userdata(0102))", [{ type: "userspace", pid: 4, userdata: "0102" }]],
];

Deno.test("actionsToJson and actionsFromJson: what text says", () => {
  for (const [text, json] of LISTS) {
    const actions = parseActions(text);
    assert.deepEqual(JSON.parse(JSON.stringify(actionsToJson(actions))), json, text);
    assert.deepEqual(actionsFromJson(json), actions, text);
  }
});

Deno.test("actionsFromJson: addresses in digits, and a service path as one number", () => {
  const cases: readonly (readonly [unknown, string])[] = [
    [{ type: "ct", nat: { direction: "src", addressMin: "0A000001" } }, "ct(nat(src=10.0.0.1))"],
    [
      { type: "ct", nat: { direction: "src", addressMin: "20010db8" + "0".repeat(23) + "1" } },
      "ct(nat(src=2001:db8::1))",
    ],
    [
      { type: "push_eth", src: "020000000001", dst: "02:0:0:0:0:2" },
      "push_eth(src=02:00:00:00:00:01,dst=02:00:00:00:00:02)",
    ],
    [
      { type: "push_nsh", flags: 0, ttl: 63, mdtype: 2, np: 3, path: 0x1ff, metadata: "01020304" },
      "push_nsh(flags=0,ttl=63,mdtype=2,np=3,spi=0x1,si=255,md2=0x1020304)",
    ],
  ];
  for (const [json, text] of cases) assert.equal(formatActions(actionsFromJson([json])), text);
});

Deno.test("actionsFromJson: ports by name", () => {
  const names = { byName: (name: string) => name === "p1" ? 1 : undefined, byNo: () => undefined };
  const json = [{ type: "output", port: "p1" }];
  assert.deepEqual(actionsFromJson(json, { names }), [{ type: "output", port: 1 }]);
  assert.throws(() => actionsFromJson(json), /\[0\].port: must be a port's number/);
});

const FAULTS: readonly (readonly [json: unknown, path: string, message: RegExp])[] = [
  [{}, "", /must be an array/],
  [[1], "[0]", /must be an object/],
  [[{}], "[0].type", /must be the name of an action/],
  [[{ type: "outptu" }], "[0].type", /did you mean output/],
  [[{ type: "output" }], "[0]", /needs port/],
  [[{ type: "output", port: 65535 }], "[0].port", /0 … 65534/],
  [[{ type: "output", port: 1.5 }], "[0].port", /0 … 65534/],
  [[{ type: "output", port: 1, prt: 2 }], "[0].prt", /did you mean port/],
  [[{ type: "drop", reason: 0 }, { type: "output", port: 1 }], "[1]", /nothing can follow drop/],
  [[{ type: "push_eth", src: "01", dst: "020202020202" }], "[0].src", /a MAC address/],
  [[{ type: "push_eth", src: "01010101010g", dst: "020202020202" }], "[0].src", /a MAC address/],
  [[{ type: "push_eth", src: "01:02:03:04:05", dst: "020202020202" }], "[0].src", /a MAC address/],
  [
    [{ type: "push_nsh", flags: 0, ttl: 1, mdtype: 1, np: 1, path: 1, si: 1, metadata: "" }],
    "[0].path",
    /stands for spi and si/,
  ],
  [[{ type: "push_nsh", flags: 0, ttl: 1, mdtype: 1, np: 1, spi: 1 }], "[0]", /needs si/],
  [[{ type: "hash", algorithm: "l3", basis: 0 }], "[0].algorithm", /l4 or sym_l4/],
  [[{ type: "ct", commit: 1 }], "[0].commit", /true or false/],
  [[{ type: "ct", mark: { value: 1 } }], "[0].mark", /needs mask/],
  [[{ type: "ct", mark: 1 }], "[0].mark", /must be an object/],
  [[{ type: "ct", nat: { direction: "both" } }], "[0].nat.direction", /src or dst/],
  [[{ type: "ct", nat: { addressMin: "0a0b0c0d0e" } }], "[0].nat.addressMin", /an IPv4 or IPv6/],
  [[{ type: "ct", nat: { addressMin: "10.0.0.256" } }], "[0].nat.addressMin", /an IPv4 or IPv6/],
  [[{ type: "ct", nat: { addressMin: "10.0.0.1,2" } }], "[0].nat.addressMin", /an IPv4 or IPv6/],
  [[{ type: "ct", nat: { addressMin: 10 } }], "[0].nat.addressMin", /an IPv4 or IPv6/],
  [[{ type: "ct", helper: "a b" }], "[0].helper", /1 to 15 characters/],
  [[{ type: "clone", actions: [{ type: "trunc" }] }], "[0].actions[0]", /needs sizeMax/],
  [[{ type: "clone" }], "[0]", /needs actions/],
  [[{ type: "set" }], "[0]", /one attribute/],
  [[{ type: "set", ipv4: {}, eth: {} }], "[0]", /one attribute/],
  [[{ type: "set", ipv5: {} }], "[0].ipv5", /did you mean ipv4/],
  [[{ type: "set", ipv4: { ttl: 256 } }], "[0].ipv4.ttl", /0 … 255/],
  [[{ type: "set", ipv4: { tll: 6 } }], "[0].ipv4.tll", /unknown/],
];

Deno.test("actionsFromJson: faults are named with their path", () => {
  for (const [json, path, message] of FAULTS) {
    assert.throws(() => actionsFromJson(json), (error: unknown) => {
      assert(error instanceof FlowJsonError, `${JSON.stringify(json)}: ${error}`);
      assert.equal(error.path, path, error.message);
      assert.match(error.message, message);
      return true;
    });
  }
});

const SEED = 20261121;

for (const type of ACTION_TYPES.any) {
  Deno.test(`property: ${type} survives JSON`, () => {
    const random = seededRandom(SEED);
    for (let run = 0; run < cases(2000); run++) {
      const actions = [randomAction(random, type)];
      const json = JSON.stringify(actionsToJson(actions));
      const about = `seed ${SEED} run ${run}: ${formatActions(actions)}`;
      assert.deepEqual(actionsFromJson(JSON.parse(json)), actions, about);
    }
  });
}
