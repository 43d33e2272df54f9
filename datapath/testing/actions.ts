/**
 * Random actions as data, made from the field table: every action, every nested attribute, and set
 * actions of every attribute, whole and masked.
 *
 * What comes out is canonical: reading its text, its netlink attributes or its JSON gives the same
 * objects again. It need not make sense for a flow; {@link randomValidActions} does.
 */
import type { Action, CtNat, SetAction } from "../actions/actions.ts";
import { RuleError } from "../errors.ts";
import type { Attribute, Field } from "../fields/field_types.ts";
import { FIELDS, type FieldTable } from "../fields/field_table.ts";
import * as at from "../key.ts";
import { completeTunnel } from "../actions/set_action.ts";
import type { Random } from "./flow_values.ts";

/** Whose actions: what both know, or those of one datapath as well. */
export type ActionDialect = "kernel" | "userspace" | "any";

export interface ActionOptions {
  /** Default: any. */
  readonly dialect?: ActionDialect;
  /** Most levels of nested lists; default 3. */
  readonly depthMax?: number;
  /** Attributes for set actions; default: this version's. */
  readonly table?: FieldTable;
}

type ActionType = Action["type"];

const SHARED: readonly ActionType[] = [
  "output",
  "drop",
  "push_vlan",
  "pop_vlan",
  "set",
  "userspace",
  "push_mpls",
  "pop_mpls",
  "add_mpls",
  "push_eth",
  "pop_eth",
  "push_nsh",
  "pop_nsh",
  "sample",
  "recirc",
  "hash",
  "ct",
  "ct_clear",
  "trunc",
  "clone",
  "meter",
  "check_pkt_len",
];

/** Every type of action that the datapath has; `any` has the unknown ones too. */
export const ACTION_TYPES: Readonly<Record<ActionDialect, readonly ActionType[]>> = {
  kernel: [...SHARED, "dec_ttl", "psample"],
  userspace: [...SHARED, "lb_output", "tnl_push", "tnl_pop"],
  any: [...SHARED, "dec_ttl", "psample", "lb_output", "tnl_push", "tnl_pop", "unknown"],
};

function chance(random: Random, percent: number): boolean {
  return random(100) < percent;
}

function choose<T>(random: Random, from: readonly T[]): T {
  return from[random(from.length)]!;
}

function bits(random: Random, count: number): number {
  if (count <= 16) return random(2 ** count);
  return random(2 ** (count - 16)) * 0x10000 + random(0x10000);
}

/** Often one of the ends of the range, else anything. */
function number(random: Random, count: number): number {
  const kind = random(6);
  if (kind === 0) return 0;
  if (kind === 1) return 2 ** count - 1;
  return kind === 2 ? random(Math.min(16, 2 ** count)) : bits(random, count);
}

function bytes(random: Random, size: number): string {
  let text = "";
  const zeros = chance(random, 20) ? random(size + 1) : 0;
  for (let index = 0; index < size; index++) {
    text += (index < zeros ? 0 : random(256)).toString(16).padStart(2, "0");
  }
  return text;
}

function maybe<T>(random: Random, make: () => T): T | undefined {
  return chance(random, 50) ? make() : undefined;
}

/** An action list of 0 to 4 actions. A drop comes last. */
export function randomActions(random: Random, options: ActionOptions = {}): Action[] {
  const types = ACTION_TYPES[options.dialect ?? "any"];
  const actions: Action[] = [];
  for (let count = random(5); count > 0; count--) {
    const action = randomAction(random, choose(random, types), options);
    actions.push(action);
    if (action.type === "drop") break;
  }
  return actions;
}

/** One action of that type. */
export function randomAction(
  random: Random,
  type: ActionType,
  options: ActionOptions = {},
): Action {
  switch (type) {
    case "output":
      return { type, port: random(65535) };
    case "drop":
      return { type, reason: chance(random, 70) ? 0 : number(random, 32) };
    case "push_vlan":
      return {
        type,
        tpid: choose(random, [0x8100, 0x88a8]),
        tci: at.VLAN_PRESENT | number(random, 3) << 13 | number(random, 12),
      };
    case "set":
      return randomSet(random, options.table ?? FIELDS, options.dialect ?? "any");
    case "push_mpls":
      return { type, lse: number(random, 32), ethType: choose(random, [0x8847, 0x8848]) };
    case "pop_mpls":
      return { type, ethType: choose(random, [0x800, 0x86dd, 0x8847, 0x806, 0x6558]) };
    case "add_mpls":
      return {
        type,
        lse: number(random, 32),
        ethType: choose(random, [0x8847, 0x8848]),
        flags: choose(random, [0, 1]),
      };
    case "push_eth":
      return { type, src: bytes(random, 6), dst: bytes(random, 6) };
    case "recirc":
    case "meter":
      return { type, id: number(random, 32) };
    case "hash":
      return { type, algorithm: choose(random, ["l4", "sym_l4"]), basis: number(random, 32) };
    case "trunc":
      return { type, sizeMax: 14 + number(random, 16) };
    case "psample": {
      const cookie = maybe(random, () => bytes(random, 1 + random(16)));
      return { type, group: number(random, 32), cookie };
    }
    case "lb_output":
      return { type, bond: number(random, 32) };
    case "tnl_pop":
      return { type, port: random(65535) };
    case "unknown":
      return { type, number: 200 + random(100), payload: bytes(random, random(9)) };
    case "pop_vlan":
    case "pop_eth":
    case "pop_nsh":
    case "ct_clear":
      return { type };
    default:
      return randomLargeAction(random, type, options);
  }
}

function randomLargeAction(random: Random, type: ActionType, options: ActionOptions): Action {
  switch (type) {
    case "userspace":
      return {
        type,
        pid: 1 + number(random, 31),
        userdata: maybe(random, () => randomUserdata(random)),
        actions: chance(random, 50),
        tunnelOutPort: maybe(random, () => random(65535)),
      };
    case "push_nsh":
      return randomPushNsh(random);
    case "ct":
      return randomCt(random);
    case "tnl_push":
      return randomTunnelPush(random);
    case "sample": {
      const share = choose(random, [0, 1, 2 ** 31, 416611827, 42949673, 2 ** 32 - 1]);
      const probability = chance(random, 50) ? share : bits(random, 32);
      return { type, probability, actions: nested(random, options) };
    }
    case "clone":
      return { type, actions: nested(random, options) };
    case "check_pkt_len":
      return {
        type,
        size: number(random, 16),
        greater: nested(random, options),
        lessEqual: nested(random, options),
      };
    case "dec_ttl":
      return { type, exceeded: nested(random, options) };
    default:
      throw new Error(`no random ${type}`);
  }
}

function nested(random: Random, options: ActionOptions): Action[] {
  const depthMax = (options.depthMax ?? 3) - 1;
  return depthMax < 0 ? [] : randomActions(random, { ...options, depthMax }).slice(0, 2);
}

/** Cookies of Open vSwitch (48 bytes, the type first, in the order of the host), and anything. */
function randomUserdata(random: Random): string {
  if (chance(random, 50)) return bytes(random, random(60));
  const cookie = new DataView(new ArrayBuffer(48));
  const little = new Uint8Array(new Uint16Array([1]).buffer)[0] === 1;
  const type = 1 + random(5);
  cookie.setUint16(0, type, little);
  cookie.setUint32(4, 0xffff, little);
  if (type === 1) {
    const tci = number(random, 12) | number(random, 3) << 13;
    cookie.setUint16(24, tci === 0 ? 0 : tci | at.VLAN_PRESENT);
    cookie.setUint32(28, number(random, 32), little);
  } else if (type === 2) {
    cookie.setUint32(28, number(random, 7), little);
  } else if (type === 3) {
    cookie.setUint16(24, number(random, 16), little);
    for (const place of [28, 32, 36]) cookie.setUint32(place, number(random, 32), little);
    cookie.setUint32(40, random(65535), little);
    cookie.setUint32(44, random(3), little);
  } else if (type === 4) {
    cookie.setUint32(24, random(65535), little);
  } else {
    cookie.setUint8(24, random(2));
    cookie.setUint8(25, random(2));
    cookie.setUint16(26, number(random, 16), little);
    for (const place of [28, 32, 36]) cookie.setUint32(place, number(random, 32), little);
    cookie.setUint16(40, number(random, 16), little);
    cookie.setUint16(42, number(random, 16), little);
  }
  // A cookie of a real bridge has more in it than its text.
  if (chance(random, 20)) cookie.setUint32(8 + 4 * random(4), bits(random, 32));
  return hexOf(new Uint8Array(cookie.buffer));
}

function hexOf(data: Uint8Array): string {
  return Array.from(data, (byte) => byte.toString(16).padStart(2, "0")).join("");
}

function randomPushNsh(random: Random): Action {
  const mdtype = 1 + random(2);
  return {
    type: "push_nsh",
    flags: number(random, 8),
    ttl: number(random, 8),
    mdtype,
    np: number(random, 8),
    path: number(random, 32),
    metadata: bytes(random, mdtype === 1 ? 16 : 4 * random(63)),
  };
}

function randomCt(random: Random): Action {
  const commit = chance(random, 40);
  const mark = (): { value: number; mask: number } => ({
    value: number(random, 32),
    mask: number(random, 32),
  });
  const label = (): { value: string; mask: string } => ({
    value: bytes(random, 16),
    mask: chance(random, 50) ? "f".repeat(32) : bytes(random, 16),
  });
  return {
    type: "ct",
    commit,
    forceCommit: !commit && chance(random, 30),
    zone: maybe(random, () => number(random, 16)),
    mark: maybe(random, mark),
    label: maybe(random, label),
    helper: maybe(random, () => choose(random, ["ftp", "tftp", "a-15-byte.name_"])),
    nat: maybe(random, () => randomNat(random)),
    eventMask: chance(random, 20) ? number(random, 16) : undefined,
    timeout: maybe(
      random,
      () => choose(random, ["0", "ovs_tp_0_tcp4", "31-bytes-of-a-timeout-policy---"]),
    ),
  };
}

function randomNat(random: Random): CtNat {
  const direction = choose(random, ["src", "dst", undefined] as const);
  const isFixed = direction !== undefined && chance(random, 70);
  const size = choose(random, [4, 16]);
  const ordered = (make: () => string): string[] => [make(), make()].toSorted();
  const addresses = ordered(() => bytes(random, size));
  const [portMin, portMax] = [number(random, 16), number(random, 16)].toSorted((a, b) => a - b);
  const hasPort = isFixed && chance(random, 50);
  const flag = direction === undefined ? 0 : random(4);
  return {
    direction,
    addressMin: isFixed ? addresses[0] : undefined,
    addressMax: isFixed && chance(random, 50) ? addresses[1] : undefined,
    portMin: hasPort ? portMin : undefined,
    portMax: hasPort && chance(random, 50) ? portMax : undefined,
    persistent: direction !== undefined && chance(random, 30),
    hash: flag === 1,
    random: flag === 2,
  };
}

const MAC = "0a1b2c3d4e5f0a1b2c3d4e60";

/** A header as Open vSwitch builds it, or, sometimes, bytes that are none. */
function randomTunnelPush(random: Random): Action {
  const type = "tnl_push";
  const ports = { tunnelPort: random(65535), outPort: random(65535) };
  if (chance(random, 10)) {
    return { type, ...ports, tunnelType: 1 + random(120), header: bytes(random, random(100)) };
  }
  const isIpv6 = chance(random, 40);
  const kind = choose(random, isIpv6 ? [...TUNNEL_KINDS, SRV6] : TUNNEL_KINDS);
  const tunnelType = isIpv6 ? kind.ipv6 : kind.ipv4;
  const ip = isIpv6 ? ipv6Header(random, kind) : ipv4Header(random);
  const header = MAC + (isIpv6 ? "86dd" : "0800") + ip + kind.header(random);
  return { type, ...ports, tunnelType, header };
}

interface TunnelKind {
  readonly ipv4: number;
  readonly ipv6: number;
  header(random: Random): string;
}

function word(value: number, size = 4): string {
  return value.toString(16).padStart(2 * size, "0");
}

function udpHeader(random: Random): string {
  return word(number(random, 16), 2) + word(number(random, 16), 2) + "0000" +
    word(number(random, 16), 2);
}

const SRV6: TunnelKind = {
  ipv4: 112,
  ipv6: 112,
  header: (random) => {
    const left = random(6);
    const head = "00" + word(2 * (left + 1), 1) + "04" + word(left, 1) + word(left, 1) + "000000";
    return head + bytes(random, 16 * (left + 1));
  },
};

const TUNNEL_KINDS: readonly TunnelKind[] = [
  {
    ipv4: 4,
    ipv6: 4,
    header: (random) =>
      udpHeader(random) + word(number(random, 32)) + word(number(random, 24), 3) + "00",
  },
  {
    ipv4: 5,
    ipv6: 5,
    header: (random) => {
      let options = "";
      for (let count = random(4); count > 0; count--) {
        const words = random(5);
        options += bytes(random, 3) + word(words, 1) + bytes(random, 4 * words);
      }
      const flags = choose(random, [0, 0x80, 0x40, 0xc0]);
      return udpHeader(random) + word(options.length / 8, 1) + word(flags, 1) + "6558" +
        word(number(random, 24), 3) + "00" + options;
    },
  },
  {
    ipv4: 3,
    ipv6: 109,
    header: (random) => {
      const flags = choose(random, [0, 0x8000, 0x2000, 0x1000, 0xb000, 0x3000]);
      let text = word(flags, 2) + "6558";
      if ((flags & 0x8000) !== 0) text += bytes(random, 2) + "0000";
      if ((flags & 0x2000) !== 0) text += bytes(random, 4);
      return (flags & 0x1000) !== 0 ? text + bytes(random, 4) : text;
    },
  },
  {
    ipv4: 107,
    ipv6: 108,
    header: (random) => {
      const session = word(number(random, 10), 2);
      if (chance(random, 50)) {
        return "100088be00000000" + "1000" + session + word(number(random, 32));
      }
      const last = number(random, 6) << 4 | number(random, 1) << 3;
      return "100022eb00000000" + "2000" + session + "00000000" + "0000" + word(last, 2);
    },
  },
  {
    ipv4: 110,
    ipv6: 110,
    header: (random) =>
      udpHeader(random) + bytes(random, 1) + bytes(random, 1) + "0000" + word(number(random, 32)),
  },
];

function ipv4Header(random: Random): string {
  const fields = `4500${"0000"}0000${choose(random, ["4000", "0000"])}${bytes(random, 2)}`;
  const tos = bytes(random, 1);
  const text = "45" + tos + fields.slice(4) + "0000" + bytes(random, 8);
  let sum = 0;
  for (let index = 0; index < 40; index += 4) {
    sum += Number.parseInt(text.slice(index, index + 4), 16);
  }
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  return text.slice(0, 20) + word(~sum & 0xffff, 2) + text.slice(24);
}

function ipv6Header(random: Random, kind: TunnelKind): string {
  const first = 6 * 2 ** 28 + number(random, 8) * 2 ** 20 + number(random, 20);
  const next = kind === SRV6 ? "2b" : bytes(random, 1);
  return word(first) + "0000" + next + bytes(random, 1) + bytes(random, 32);
}

/** A set action of a random attribute. */
function randomSet(random: Random, table: FieldTable, dialect: ActionDialect): SetAction {
  const attributes = table.attributes.filter((each) =>
    dialect === "any" || each.only === undefined || each.only === dialect
  );
  return randomSetOf(random, choose(random, attributes));
}

/** A set action of that attribute: of all of it, or of some of its bits. */
export function randomSetOf(random: Random, attribute: Attribute): SetAction {
  const value = new Int32Array(at.KEY_WORDS);
  const mask = new Int32Array(at.KEY_WORDS);
  const into = { value: new Uint8Array(value.buffer), mask: new Uint8Array(mask.buffer) };
  if (attribute.name === "tunnel") {
    randomTunnel(random, attribute, into);
  } else {
    const isWhole = chance(random, 50);
    for (const field of attribute.fields) {
      const isMatched = isWhole || chance(random, 60);
      if (isMatched || field.mask === "fixed" || field.mask === "exact" || field.name === "cfi") {
        randomField(random, field, into, !isWhole);
      }
    }
  }
  return { type: "set", attribute: attribute.name, value, mask };
}

interface SetBytes {
  readonly value: Uint8Array;
  readonly mask: Uint8Array;
}

function fieldValue(random: Random, field: Field): bigint {
  if (field.name === "cfi") return 1n;
  switch (field.form) {
    case "fragment":
      return BigInt(random(3));
    case "ether_type":
      return BigInt(choose(random, [0x800, 0x86dd, 0x806, 0x1234, 0xffff]));
    case "port":
      return BigInt(random(65535));
    default: {
      const text = bytes(random, Math.ceil(field.bits / 8));
      return BigInt("0x" + text) & (1n << BigInt(field.bits)) - 1n;
    }
  }
}

/** Writes random bits of the field, all of them or (`masked`) some. */
function randomField(random: Random, field: Field, into: SetBytes, masked: boolean): void {
  const full = (1n << BigInt(field.bits)) - 1n;
  const inPart = masked && field.mask === "bits" && field.name !== "cfi" && chance(random, 50);
  const mask = inPart ? fieldValue(random, field) : full;
  orBits(into.value, field, fieldValue(random, field) & mask);
  orBits(into.mask, field, mask);
}

function orBits(target: Uint8Array, field: Field, value: bigint): void {
  let left = value << BigInt(field.shift);
  for (let index = field.size - 1; index >= 0; index--) {
    target[field.at + index]! |= Number(left & 0xffn);
    left >>= 8n;
  }
}

/** Plain, as the tunnel can only be set: each field is there in whole or not. */
function randomTunnel(random: Random, attribute: Attribute, into: SetBytes): void {
  const isIpv6 = chance(random, 40);
  const view = new DataView(into.value.buffer);
  for (const field of attribute.fields) {
    if (field.at === at.TUN_OPTIONS_AT || field.name === "flags") continue;
    if ((field.name === "src" || field.name === "dst") && isIpv6) continue;
    if (field.name.startsWith("ipv6_") && !isIpv6) continue;
    const isNeeded = field.name.endsWith("dst") || field.name === "ttl";
    if (!isNeeded && chance(random, 50)) continue;
    randomField(random, field, into, false);
  }
  for (const flag of [at.TUN_FLAG_DF, at.TUN_FLAG_CSUM, at.TUN_FLAG_OAM]) {
    if (chance(random, 40)) into.value[at.TUN_FLAGS_AT + 1]! |= flag;
  }
  completeTunnel(into.value, into.mask);
  into.value[at.TUN_FAMILY_AT] = isIpv6 ? 6 : 4;
  into.mask[at.TUN_FAMILY_AT] = 0xff;
  randomTunnelOptions(random, into, view);
}

function randomTunnelOptions(random: Random, into: SetBytes, view: DataView): void {
  const kind = choose(random, [
    at.TUN_OPTIONS_NONE,
    at.TUN_OPTIONS_GENEVE,
    at.TUN_OPTIONS_VXLAN,
    at.TUN_OPTIONS_ERSPAN,
  ]);
  if (kind === at.TUN_OPTIONS_NONE) return;
  const start = at.TUN_OPTIONS_AT;
  let size = 4;
  if (kind === at.TUN_OPTIONS_GENEVE) {
    size = randomGeneve(random, into, view);
  } else if (kind === at.TUN_OPTIONS_VXLAN) {
    view.setUint32(start, number(random, 8) * 0x10000 + number(random, 16));
    into.mask.fill(0xff, start, start + size);
  } else {
    size = 12;
    const version = 1 + random(2);
    view.setUint32(start, version);
    if (version === 1) view.setUint32(start + 4, number(random, 20));
    else into.value.set([random(2), number(random, 6)], start + 4);
    into.mask.fill(0xff, start, start + size);
  }
  into.value[at.TUN_OPTIONS_KIND_AT] = kind;
  into.mask[at.TUN_OPTIONS_KIND_AT] = 0xff;
  view.setUint16(at.TUN_OPTIONS_SIZE_AT, size);
  new DataView(into.mask.buffer).setUint16(at.TUN_OPTIONS_SIZE_AT, 0xffff);
}

/** Writes options; their size. */
function randomGeneve(random: Random, into: SetBytes, view: DataView): number {
  const start = at.TUN_OPTIONS_AT;
  let size = 0;
  for (let count = 1 + random(3); count > 0; count--) {
    const words = random(6);
    view.setUint16(start + size, number(random, 16));
    into.value[start + size + 2] = random(256);
    into.value[start + size + 3] = words;
    into.mask.fill(0xff, start + size, start + size + 4 + 4 * words);
    for (let index = 0; index < 4 * words; index++) {
      into.value[start + size + 4 + index] = random(256);
    }
    size += 4 + 4 * words;
  }
  return size;
}

/**
 * Random actions that `check` lets pass: each is tried behind those before it, and left out when it
 * throws a RuleError.
 */
export function randomValidActions(
  random: Random,
  check: (actions: readonly Action[]) => void,
  options: ActionOptions = {},
): Action[] {
  const types = ACTION_TYPES[options.dialect ?? "any"];
  const actions: Action[] = [];
  for (let tries = 3 + random(20); tries > 0; tries--) {
    const tried = [...actions, randomAction(random, choose(random, types), options)];
    try {
      check(tried);
    } catch (error) {
      if (error instanceof RuleError) continue;
      throw error;
    }
    actions.splice(0, actions.length, ...tried);
    if (actions.at(-1)?.type === "drop") break;
  }
  return actions;
}
