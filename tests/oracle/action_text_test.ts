/**
 * Action text against Debian's Open vSwitch 3.1: `ovs-dpctl parse-actions` and `normalize-actions`, which
 * need no datapath, and the parser of python3-openvswitch.
 *
 * What is not compared, because Open vSwitch loses it or can't read it, is {@link isComparable}'s; how
 * its text of the rest differs is {@link asTheirs}'s. Both are rows of datapath/text/lossy_forms.ts.
 */
import assert from "node:assert/strict";
import type {
  Action,
  CtAction,
  CtNat,
  SetAction,
  UserspaceAction,
} from "../../datapath/actions/actions.ts";
import { ATTRIBUTES } from "../../datapath/fields/fields.ts";
import {
  ACTION_TYPES,
  randomAction,
  randomActions,
  randomSetOf,
} from "../../datapath/testing/actions.ts";
import { seededRandom } from "../../datapath/testing/flow_values.ts";
import { FlowSyntaxError } from "../../datapath/errors.ts";
import { formatActions, parseActions } from "../../datapath/text/action_text.ts";
import { run } from "../e2e/process.ts";
import { hasOvs } from "./ovs_dummy.ts";

/** Repeat a failure with DENOVS_SEED=… in the environment. */
const SEED = Number(Deno.env.get("DENOVS_SEED") ?? Math.floor(Math.random() * 2 ** 32));
const RUNS = 300;
const BATCH = 60;

/** Actions that 3.1 can't read. */
const UNREADABLE: ReadonlySet<string> = new Set([
  "hash",
  "push_mpls",
  "pop_mpls",
  "push_eth",
  "pop_eth",
  "dec_ttl",
  "psample",
  "unknown",
  "drop", // but alone
]);
/** Attributes of set that 3.1 can't read, or prints otherwise. */
const UNREADABLE_SETS: ReadonlySet<string> = new Set(["nsh", "ipv6_exthdrs", "nd_ext"]);

/** Whether Open vSwitch reads the text of this action, and keeps all that it says. */
function isComparable(action: Action): boolean {
  if (UNREADABLE.has(action.type)) return false;
  switch (action.type) {
    case "userspace":
      return isComparableUserspace(action);
    case "add_mpls":
      return action.flags === 0;
    case "push_nsh":
      return action.flags < 4 && action.ttl < 64 &&
        (action.mdtype === 1 || isComparableMetadata(action.metadata));
    case "ct":
      return isComparableCt(action);
    case "set":
      return isComparableSet(action);
    case "tnl_push":
      return !/erspan|gtpu|srv6|data\(/.test(formatActions([action]));
    case "sample":
    case "clone":
      return action.actions.every(isComparable);
    case "check_pkt_len":
      return [...action.greater, ...action.lessEqual].every(isComparable);
    default:
      return true;
  }
}

/** At least 8 bytes of userdata; no cookie that has more in it than its text, nor several reasons of slow_path. */
function isComparableUserspace({ userdata }: UserspaceAction): boolean {
  if (userdata === undefined || userdata.length < 16) return false;
  const action = { type: "userspace", pid: 1, userdata, actions: false, tunnelOutPort: undefined };
  const text = formatActions([{ ...action, type: "userspace" }]);
  return !(userdata.length === 96 && text.includes("userdata(")) &&
    !/slow_path\([a-z]+,/.test(text);
}

/** Bytes whose first digit is a zero are read as others than they are printed; many are not read. */
function isComparableMetadata(metadata: string): boolean {
  return /^[1-9a-f]/.test(metadata) && metadata.length <= 380;
}

function isComparableCt({ zone, mark, label, eventMask, nat }: CtAction): boolean {
  return zone !== 0 && mark?.mask !== 0 && eventMask === undefined &&
    (label === undefined || /[^0]/.test(label.mask)) && (nat === undefined || isComparableNat(nat));
}

function isComparableNat(nat: CtNat): boolean {
  const hasFlags = nat.persistent || nat.hash || nat.random;
  if (nat.addressMin === undefined) return nat.portMin === undefined && !hasFlags;
  return nat.addressMax !== nat.addressMin && nat.portMin !== 0 && nat.portMax !== nat.portMin &&
    nat.portMax !== 0;
}

/**
 * Not compared: one value with a mask of zero; of tunnels hwid over 15, a group policy of zeros, and flags df, csum and oam at
 * once, with which 3.1 prints the mask behind the value.
 */
function isComparableSet(action: SetAction): boolean {
  if (UNREADABLE_SETS.has(action.attribute)) return false;
  const text = formatActions([action]);
  return !/\(0\/0\)|hwid=0x[1-9a-f][0-9a-f]|gbp\(id=0,flags=0\)|flags\(oam\|df\|csum/.test(text);
}

/** Our text as Open vSwitch 3.1 prints it when it has read it. */
function asTheirs(text: string): string {
  return text
    .replaceAll(/sample=([0-9.]+)%/g, (_, share) => `sample=${Number(share).toFixed(1)}%`)
    .replaceAll("clone()", "clone(drop)")
    .replaceAll("actions()", "actions(drop)");
}

/** Our text as it can read it. */
function readable(text: string): string {
  return text
    .replaceAll(/ct_tuple6\([^)]*\)/g, (tuple) => tuple.replace(/(src|dst)_port/g, "tp_$1"))
    .replaceAll(/recirc\((0x[0-9a-f]+)\)/g, (_, id) => `recirc(${Number(id)})`);
}

/** What parse-actions prints for each; "" for one that it refuses. */
async function parseByOvs(texts: readonly string[]): Promise<string[]> {
  if (texts.length === 0) return [];
  const { code, stdout } = await run(["ovs-dpctl", "parse-actions", ...texts]);
  if (code === 0) return stdout.trimEnd().split("\n");
  if (texts.length === 1) return [""];
  const half = texts.length >> 1;
  return [...await parseByOvs(texts.slice(0, half)), ...await parseByOvs(texts.slice(half))];
}

async function compare(lists: readonly (readonly Action[])[]): Promise<number> {
  for (let from = 0; from < lists.length; from += BATCH) {
    const texts = lists.slice(from, from + BATCH).map((list) => formatActions(list));
    const theirs = await parseByOvs(texts.map(readable));
    assert.deepEqual(theirs, texts.map(asTheirs), `DENOVS_SEED=${SEED}`);
    for (const [index, text] of theirs.entries()) {
      assert.equal(asTheirs(formatActions(parseActions(text))), text, texts[index]);
    }
  }
  return lists.length;
}

for (const type of ACTION_TYPES.userspace) {
  if (UNREADABLE.has(type) || type === "set") continue;
  Deno.test({
    name: `parse-actions of Open vSwitch: ${type}`,
    ignore: !hasOvs(),
    fn: async () => {
      const random = seededRandom(SEED);
      const lists: Action[][] = [];
      for (let tries = 0; lists.length < RUNS && tries < 40 * RUNS; tries++) {
        const action = randomAction(random, type, { dialect: "userspace", depthMax: 2 });
        if (isComparable(action)) lists.push([action]);
      }
      assert(await compare(lists) > 0, type);
    },
  });
}

Deno.test({
  name: "parse-actions of Open vSwitch: set of every attribute",
  ignore: !hasOvs(),
  fn: async () => {
    const random = seededRandom(SEED);
    for (const attribute of ATTRIBUTES) {
      const lists = Array.from({ length: RUNS }, () => [randomSetOf(random, attribute)]);
      await compare(lists.filter((list) => list.every(isComparable)));
    }
  },
});

/** What Open vSwitch reads in a form of its own, and what it prints of that; ours is the same. */
const QUIRKS: readonly (readonly [text: string, theirs: string])[] = [
  ["1,,2", "1,2"],
  ["1 2\t3", "1,2,3"],
  ["010", "8"],
  ["DROP", "drop"],
  ["check_pkt_len(size=200,gt(drop),le(1))", "check_pkt_len(size=200,gt(drop),le(1))"],
  ["recirc(010)", "recirc(0xa)"],
  ["ct()", "ct"],
  ["ct(mark=10)", "ct(mark=0x10/0xffffffff)"],
  ["ct(label=10)", "ct(label=0xa)"],
  ["ct(zone=010)", "ct(zone=10)"],
  ["ct(nat())", "ct(nat)"],
  ["ct(nat(persistent))", "ct(nat)"],
  ["ct(commit nat(src=[fe80::1]-[fe80::2]:1-2))", "ct(commit,nat(src=[fe80::1]-[fe80::2]:1-2))"],
  ["set(mpls(label=1))", "set(mpls(label=1/0xfffff,tc=0/0,ttl=0/0x0,bos=0/0))"],
  ["set(in_port(2))", "set(in_port(2))"],
  ["set(vlan(vid=5))", "set(vlan(vid=5))"],
  ["set(vlan(vid=3,pcp=5,cfi=0))", "set(vlan(vid=3,pcp=5,cfi=0))"],
  ["set(ct_state(new))", "set(ct_state(0x1))"],
  ["set(eth())", "set(eth())"],
  ["push_vlan(vid=1,pcp=0,cfi=0)", "push_vlan(vid=1,pcp=0,cfi=0)"],
  [
    "push_nsh(mdtype=2,md2=0x0102)",
    "push_nsh(flags=0,ttl=63,mdtype=2,np=3,spi=0x0,si=255,md2=0x1020000)",
  ],
  ["userspace(pid=4,slow_path())", "userspace(pid=4,slow_path(0))"],
  ["userspace(pid=4,slow_path(cfm|bfd))", "userspace(pid=4,slow_path(cfm,bfd))"],
  ["meter(0x10)", "meter(16)"],
  ["sample(sample=33.33%,actions(1,2))", "sample(sample=33.3%,actions(1,2))"],
];

/** What Open vSwitch reads as we do not: rows of lossy_forms.ts. */
const OTHERWISE: readonly (readonly [text: string, theirs: string, ours: string])[] = [
  ["clone()", "clone(drop)", "clone()"],
  [
    "sample(sample=50%,actions())",
    "sample(sample=50.0%,actions(drop))",
    "sample(sample=50.0%,actions())",
  ],
  ["userspace(pid=0)", `userspace(pid=0,userdata(${"00".repeat(48)}))`, "userspace(pid=0)"],
  [
    "userspace(pid=1,userdata(01))",
    "userspace(pid=1,userdata(0100000000000000))",
    "userspace(pid=1,userdata(01))",
  ],
  ["ct(zone=0)", "ct", "ct(zone=0)"],
  ["ct(nat(src,persistent))", "ct(nat(src))", "ct(nat(src,persistent))"],
  ["ct(nat(src=1.1.1.1-1.1.1.1))", "ct(nat(src=1.1.1.1))", "ct(nat(src=1.1.1.1-1.1.1.1))"],
  ["set(tcp(src=80/0xff00))", "set(tcp(src=80/0xff00))", "set(tcp(src=0/0xff00))"],
  [
    "set(tunnel(dst=1.1.1.1,ttl=64,flags(df|key)))",
    "set(tunnel(dst=1.1.1.1,ttl=64,flags(df)))",
    "set(tunnel(dst=1.1.1.1,ttl=64,flags(df)))",
  ],
];

/** What Open vSwitch does not read and we do, as it prints it or may have to be said. */
const OURS_ALONE: readonly string[] = [
  "hash(l4(0))",
  "push_mpls(label=1,tc=0,ttl=64,bos=1,eth_type=0x8847)",
  "pop_mpls(eth_type=0x800)",
  "push_eth(src=00:00:00:00:00:01,dst=00:00:00:00:00:02)",
  "pop_eth",
  "dec_ttl(le_1(1))",
  "psample(group=1)",
  "recirc(0x1)",
  "1,drop",
  "clone(drop)",
  "drop(3)",
  "userspace(pid=4,slow_path(cfm,bfd))",
  "set(nsh(ttl=1))",
  "ct(nat(src=:80))",
  "ct(eventmask=0x1)",
  "action200(01)",
];

/** What both refuse. */
const REFUSED: readonly string[] = [
  "foo",
  "1x",
  "pop_vlan()",
  "push_vlan(vid=4096,pcp=0)",
  "push_vlan(vid=1",
  "set(eth(src=1:2:3:4:5))",
  "set(foo(1))",
  "ct(commit,force_commit)",
  "ct(nat(src,dst))",
  "ct(nat(hash,random,src))",
  "ct(nat(src=1.2.3.4-1.2.3.3))",
  "ct(helper=sixteen-letters-)",
  "sample(sample=101%,actions(1))",
  "clone(1",
  "clone(".repeat(33) + "1" + ")".repeat(33),
  "tnl_push(tnl_port(1),header(size=1,type=4),out_port(1))",
];

Deno.test({
  name: "parse-actions of Open vSwitch: quirks, differences, refusals",
  ignore: !hasOvs(),
  fn: async () => {
    const ours = (text: string): string => formatActions(parseActions(text));
    assert.deepEqual(await parseByOvs(QUIRKS.map(([text]) => text)), QUIRKS.map((row) => row[1]));
    for (const [text, theirs] of QUIRKS) assert.equal(asTheirs(ours(text)), theirs, text);
    const theirs = await parseByOvs(OTHERWISE.map(([text]) => text));
    assert.deepEqual(theirs, OTHERWISE.map((row) => row[1]));
    for (const [text, , printed] of OTHERWISE) assert.equal(ours(text), printed, text);
    for (const text of OURS_ALONE) {
      assert.deepEqual(await parseByOvs([text]), [""], text);
      assert.equal(ours(text), text);
    }
    for (const text of REFUSED) {
      assert.deepEqual(await parseByOvs([text]), [""], text);
      assert.throws(() => parseActions(text), FlowSyntaxError, text);
    }
  },
});

const NORMALIZED_TYPES = [
  "output",
  "set",
  "userspace",
  "ct",
  "ct_clear",
  "trunc",
  "clone",
  "meter",
] as const;
const FLOW = "in_port(1),eth(src=00:00:00:00:00:01,dst=00:00:00:00:00:02),eth_type(0x0800)," +
  "ipv4(src=1.1.1.1,dst=2.2.2.2,proto=6,tos=0,ttl=64,frag=no),tcp(src=1,dst=2),tcp_flags(0)";

Deno.test({
  name: "normalize-actions of Open vSwitch: lists without tags and labels come out as they are",
  ignore: !hasOvs(),
  fn: async () => {
    const random = seededRandom(SEED);
    for (let runs = 0; runs < 100; runs++) {
      const list: Action[] = [];
      while (list.length < 4) {
        const type = NORMALIZED_TYPES[random(NORMALIZED_TYPES.length)]!;
        const action = randomAction(random, type, { dialect: "userspace", depthMax: 0 });
        // It sorts outputs beside one another, and knows sets of these headers alone.
        const isSorted = action.type === "output" && list.at(-1)?.type === "output";
        const isForeign = action.type === "set" &&
          !["eth", "ipv4", "tcp"].includes(action.attribute);
        if (isComparable(action) && !isSorted && !isForeign) list.push(action);
      }
      const text = formatActions(list);
      const { code, stdout, stderr } = await run(["ovs-dpctl", "normalize-actions", FLOW, text]);
      assert.equal(code, 0, `${text}: ${stderr}`);
      const printed = stdout.split("\n").at(-1);
      assert.equal(printed, `no vlan: no mpls: ${asTheirs(text)}`, `DENOVS_SEED=${SEED}`);
    }
  },
});

/** Reads a JSON array of action texts from a file; prints the names of the actions of each. */
const SCRIPT = `
import json, sys
from ovs.flow.odp import ODPFlow
found = []
for text in json.load(open(sys.argv[1])):
    flow = ODPFlow("in_port(1),eth(), packets:0, bytes:0, used:never, actions:" + text)
    found.append([list(action.keys())[0] for action in flow.actions])
print(json.dumps(found))
`;

/** Actions that python3-openvswitch 3.1 does not know, or reads otherwise than Open vSwitch prints them. */
const UNKNOWN_TO_PYTHON = new Set([
  "pop_eth",
  "hash",
  "pop_mpls",
  "push_eth",
  "dec_ttl",
  "psample",
  "meter",
  "unknown",
]);
const PYTHON = "/usr/bin/python3";

async function hasPython(): Promise<boolean> {
  try {
    return (await run([PYTHON, "-c", "import ovs.flow.odp"])).code === 0;
  } catch {
    return false;
  }
}

function isKnownToPython(action: Action): boolean {
  if (UNKNOWN_TO_PYTHON.has(action.type)) return false;
  switch (action.type) {
    case "set":
      return !/nsh|ct_tuple6|ipv6_exthdrs|geneve/.test(formatActions([action]));
    case "add_mpls":
      return action.flags === 0;
    case "ct":
      return action.eventMask === undefined;
    case "tnl_push":
      return !/srv6|data\(/.test(formatActions([action]));
    case "drop":
      return action.reason === 0;
    case "sample":
    case "clone":
      return action.actions.length > 0 && action.actions.every(isKnownWithin);
    case "check_pkt_len":
      return !formatActions([action]).includes("(drop(") &&
        [...action.greater, ...action.lessEqual].every(isKnownWithin);
    default:
      return true;
  }
}

/** In lists of actions it knows no further lists. */
function isKnownWithin(action: Action): boolean {
  return !["sample", "clone", "check_pkt_len"].includes(action.type) && isKnownToPython(action);
}

Deno.test({
  name: "python3-openvswitch reads our action text",
  ignore: !(await hasPython()),
  fn: async () => {
    const random = seededRandom(SEED);
    const lists = Array.from(
      { length: 2000 },
      () => randomActions(random, { depthMax: 2 }).filter(isKnownToPython),
    ).filter((list) => list.length > 0);
    const file = Deno.makeTempFileSync({ prefix: "dnv-actions-" });
    try {
      Deno.writeTextFileSync(file, JSON.stringify(lists.map((list) => formatActions(list))));
      const { code, stdout, stderr } = await run([PYTHON, "-c", SCRIPT, file]);
      assert.equal(code, 0, `DENOVS_SEED=${SEED}: ${stderr}`);
      const found: unknown = JSON.parse(stdout);
      assert.deepEqual(found, lists.map((list) => list.map((action) => action.type)));
    } finally {
      Deno.removeSync(file);
    }
  },
});
