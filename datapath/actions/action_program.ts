/**
 * Action lists as packet threads run them: a flat run of 32-bit words in shared memory.
 *
 * Each instruction begins with a word `op | length << 8`, length in words, this word included; a
 * list ends with END. Port numbers and the like are plain numbers, header fields lie as in the key
 * (network byte order, the words of datapath/key.ts), byte strings as program_bytes.ts has them. A
 * nested list, with an END of its own, lies within its instruction. A program says all that its
 * actions said: dumps are decoded from it.
 */
import type { Action, SetAction } from "./actions.ts";
import { decodeCt, encodeCt } from "./ct_instruction.ts";
import { ATTRIBUTES, SETTABLE } from "../fields/fields.ts";
import type { Attribute } from "../fields/field_types.ts";
import { KEY_WORDS } from "../key.ts";
import { getBytes, putBytes } from "./program_bytes.ts";
import { SET_OTHER } from "./set_headers.ts";

export const END = 0;
/** [op, port] */
export const OUTPUT = 1;
/** [op, reason of Open vSwitch]: ends the list. An empty list is END alone and drops as `explicit`. */
export const DROP = 2;

// From here to DEC_TTL: what changes the packet's bytes or metadata.
/** [op, tpid << 16 | tci]: plain numbers; tci with VLAN_PRESENT. */
export const PUSH_VLAN = 3;
/** [op] */
export const POP_VLAN = 4;
/** [op, SET_* header, from, count, value × count, mask × count]: key words [from, from + count); value bits lie within the mask. */
export const SET_MASKED = 5;
/** [op, label stack entry, ethType] */
export const PUSH_MPLS = 6;
/** [op, ethType] */
export const POP_MPLS = 7;
/** [op, label stack entry, ethType, flags] */
export const ADD_MPLS = 8;
/** [op, 12 bytes in 3 words: destination, source] */
export const PUSH_ETH = 9;
/** [op] */
export const POP_ETH = 10;
/** [op, flags | ttl << 8 | mdtype << 16 | np << 24, path, metadata bytes] */
export const PUSH_NSH = 11;
/** [op] */
export const POP_NSH = 12;
/** [op, algorithm (HASH_*), basis] */
export const HASH = 13;
/** [op, list for packets whose TTL was 0 or 1] */
export const DEC_TTL = 14;

/** [op, bytes] */
export const TRUNC = 15;
/** [op, id] */
export const RECIRC = 16;
/** [op, probability, list] */
export const SAMPLE = 17;
/** [op, list] */
export const CLONE = 18;
/** [op, size, words of the first list, list if greater, list if less or equal] */
export const CHECK_PKT_LEN = 19;
/** [op, id] */
export const METER = 20;
/** [op, group, cookie bytes] */
export const PSAMPLE = 21;
/** [op, pid, actions << 1 | whether the next word counts, tunnel port, userdata bytes] */
export const USERSPACE = 22;
/** See ct_instruction.ts. */
export const CT = 23;
/** [op] */
export const CT_CLEAR = 24;

// Kept for what can be said about them: no installed flow has these.
/** [op, bond] */
export const LB_OUTPUT = 25;
/** [op, tunnel port, output port, type, header bytes] */
export const TUNNEL_PUSH = 26;
/** [op, port] */
export const TUNNEL_POP = 27;
/** [op, OVS_ACTION_ATTR_*, payload bytes] */
export const UNKNOWN = 28;

/** OVS_HASH_ALG_*. */
export const HASH_L4 = 0;
/** See HASH_L4. */
export const HASH_SYM_L4 = 1;

export {
  SET_ETH,
  SET_IPV4,
  SET_IPV6,
  SET_MARK,
  SET_PRIORITY,
  SET_SCTP,
  SET_TCP,
  SET_UDP,
} from "./set_headers.ts";

/** What a program needs of the field table (field_table.ts), and of the datapath that it is for. */
export interface SetAttributes {
  readonly attributes: readonly Attribute[];
  /** Number of a timeout policy that a ct action names; absent: all are the default policy. */
  readonly policyOf?: ((name: string) => number) | undefined;
}

const FIELDS: SetAttributes = { attributes: ATTRIBUTES };

/** Compiles an action list. The result ends with END. */
export function encodeActions(
  actions: readonly Action[],
  table: SetAttributes = FIELDS,
): Int32Array<ArrayBuffer> {
  const words: number[] = [];
  putList(actions, words, table);
  return Int32Array.from(words);
}

function putList(actions: readonly Action[], words: number[], table: SetAttributes): void {
  for (const action of actions) {
    const at = words.length;
    words.push(0);
    const code = putAction(action, words, table);
    words[at] = code | (words.length - at) << 8;
  }
  words.push(END | 1 << 8);
}

/** Appends an instruction's words but the first. Returns its operation. */
function putAction(action: Action, words: number[], table: SetAttributes): number {
  switch (action.type) {
    case "output":
      words.push(action.port);
      return OUTPUT;
    case "drop":
      words.push(action.reason);
      return DROP;
    case "push_vlan":
      words.push(action.tpid << 16 | action.tci);
      return PUSH_VLAN;
    case "pop_vlan":
      return POP_VLAN;
    case "set":
      putSet(action, words, table);
      return SET_MASKED;
    case "push_mpls":
      words.push(action.lse, action.ethType);
      return PUSH_MPLS;
    case "pop_mpls":
      words.push(action.ethType);
      return POP_MPLS;
    case "add_mpls":
      words.push(action.lse, action.ethType, action.flags);
      return ADD_MPLS;
    case "push_eth": {
      const bytes: number[] = [];
      putBytes(bytes, action.dst + action.src);
      words.push(...bytes.slice(1));
      return PUSH_ETH;
    }
    case "pop_eth":
      return POP_ETH;
    case "push_nsh":
      words.push(
        action.flags | action.ttl << 8 | action.mdtype << 16 | action.np << 24,
        action.path,
      );
      putBytes(words, action.metadata);
      return PUSH_NSH;
    case "pop_nsh":
      return POP_NSH;
    case "hash":
      words.push(action.algorithm === "l4" ? HASH_L4 : HASH_SYM_L4, action.basis);
      return HASH;
    default:
      return putOther(action, words, table);
  }
}

type Other = Exclude<
  Action,
  {
    type:
      | "output"
      | "drop"
      | "push_vlan"
      | "pop_vlan"
      | "set"
      | "push_mpls"
      | "pop_mpls"
      | "add_mpls"
      | "push_eth"
      | "pop_eth"
      | "push_nsh"
      | "pop_nsh"
      | "hash";
  }
>;

/** What does not change the packet itself, and dec_ttl. */
function putOther(action: Other, words: number[], table: SetAttributes): number {
  switch (action.type) {
    case "dec_ttl":
      putList(action.exceeded, words, table);
      return DEC_TTL;
    case "trunc":
      words.push(action.sizeMax);
      return TRUNC;
    case "recirc":
      words.push(action.id);
      return RECIRC;
    case "sample":
      words.push(action.probability);
      putList(action.actions, words, table);
      return SAMPLE;
    case "clone":
      putList(action.actions, words, table);
      return CLONE;
    case "check_pkt_len": {
      words.push(action.size, 0);
      const at = words.length;
      putList(action.greater, words, table);
      words[at - 1] = words.length - at;
      putList(action.lessEqual, words, table);
      return CHECK_PKT_LEN;
    }
    case "meter":
      words.push(action.id);
      return METER;
    case "psample":
      words.push(action.group);
      putBytes(words, action.cookie);
      return PSAMPLE;
    case "userspace":
      words.push(
        action.pid,
        (action.actions ? 2 : 0) | (action.tunnelOutPort === undefined ? 0 : 1),
        action.tunnelOutPort ?? 0,
      );
      putBytes(words, action.userdata);
      return USERSPACE;
    case "ct":
      encodeCt(action, words, table.policyOf);
      return CT;
    case "ct_clear":
      return CT_CLEAR;
    case "lb_output":
      words.push(action.bond);
      return LB_OUTPUT;
    case "tnl_push":
      words.push(action.tunnelPort, action.outPort, action.tunnelType);
      putBytes(words, action.header);
      return TUNNEL_PUSH;
    case "tnl_pop":
      words.push(action.port);
      return TUNNEL_POP;
    case "unknown":
      words.push(action.number);
      putBytes(words, action.payload);
      return UNKNOWN;
  }
}

/** All words of the attribute's fields; of a tunnel's, which are many, those up to the last that the mask has. */
function putSet(action: SetAction, words: number[], table: SetAttributes): void {
  const attribute = table.attributes.find(({ name }) => name === action.attribute)!;
  let from = Math.min(...attribute.fields.map((field) => field.at >> 2));
  let end = Math.max(...attribute.fields.map((field) => field.at + field.size + 3 >> 2));
  if (end - from > SHORT_WORDS) end = from;
  // What says of which kind a tunnel and its options are is no field.
  while (from > 0 && action.mask.subarray(0, from).some((word) => word !== 0)) from--;
  end = Math.max(end, action.mask.findLastIndex((word) => word !== 0) + 1);
  const count = end - from;
  words.push(attribute.set ?? SET_OTHER + attribute.number, from, count);
  words.push(...action.value.subarray(from, end), ...action.mask.subarray(from, end));
}

/** No header but a tunnel's has more words than IPv6's. */
const SHORT_WORDS = 24;

/** The action list that a program at words[at] came from. */
export function decodeActions(
  words: Int32Array,
  at: number = 0,
  table: SetAttributes = FIELDS,
): Action[] {
  const actions: Action[] = [];
  for (; (words[at]! & 0xff) !== END; at += words[at]! >>> 8) {
    actions.push(getAction(words, at, table));
  }
  return actions;
}

function getAction(words: Int32Array, at: number, table: SetAttributes): Action {
  const first = words[at + 1]!;
  switch (words[at]! & 0xff) {
    case OUTPUT:
      return { type: "output", port: first };
    case DROP:
      return { type: "drop", reason: first >>> 0 };
    case PUSH_VLAN:
      return { type: "push_vlan", tpid: first >>> 16, tci: first & 0xffff };
    case POP_VLAN:
      return { type: "pop_vlan" };
    case SET_MASKED:
      return getSet(words, at, table);
    case PUSH_MPLS:
      return { type: "push_mpls", lse: first >>> 0, ethType: words[at + 2]! };
    case POP_MPLS:
      return { type: "pop_mpls", ethType: first };
    case ADD_MPLS: {
      const [ethType, flags] = words.subarray(at + 2, at + 4);
      return { type: "add_mpls", lse: first >>> 0, ethType: ethType!, flags: flags! };
    }
    case PUSH_ETH: {
      const hex = getBytes(Int32Array.of(12, ...words.subarray(at + 1, at + 4)), 0)!;
      return { type: "push_eth", src: hex.slice(12), dst: hex.slice(0, 12) };
    }
    case POP_ETH:
      return { type: "pop_eth" };
    case PUSH_NSH:
      return {
        type: "push_nsh",
        flags: first & 0xff,
        ttl: first >>> 8 & 0xff,
        mdtype: first >>> 16 & 0xff,
        np: first >>> 24,
        path: words[at + 2]! >>> 0,
        metadata: getBytes(words, at + 3)!,
      };
    case POP_NSH:
      return { type: "pop_nsh" };
    case HASH:
      return {
        type: "hash",
        algorithm: first === HASH_L4 ? "l4" : "sym_l4",
        basis: words[at + 2]! >>> 0,
      };
    default:
      return getOther(words, at, table);
  }
}

function getOther(words: Int32Array, at: number, table: SetAttributes): Action {
  const first = words[at + 1]!;
  const list = (from: number): Action[] => decodeActions(words, at + from, table);
  switch (words[at]! & 0xff) {
    case DEC_TTL:
      return { type: "dec_ttl", exceeded: list(1) };
    case TRUNC:
      return { type: "trunc", sizeMax: first >>> 0 };
    case RECIRC:
      return { type: "recirc", id: first >>> 0 };
    case SAMPLE:
      return { type: "sample", probability: first >>> 0, actions: list(2) };
    case CLONE:
      return { type: "clone", actions: list(1) };
    case CHECK_PKT_LEN: {
      const lessEqual = list(3 + words[at + 2]!);
      return { type: "check_pkt_len", size: first, greater: list(3), lessEqual };
    }
    case METER:
      return { type: "meter", id: first >>> 0 };
    case PSAMPLE:
      return { type: "psample", group: first >>> 0, cookie: getBytes(words, at + 2) };
    case USERSPACE: {
      const flags = words[at + 2]!;
      return {
        type: "userspace",
        pid: first >>> 0,
        userdata: getBytes(words, at + 4),
        actions: (flags & 2) !== 0,
        tunnelOutPort: (flags & 1) !== 0 ? words[at + 3]! >>> 0 : undefined,
      };
    }
    case CT:
      return decodeCt(words, at);
    case CT_CLEAR:
      return { type: "ct_clear" };
    case LB_OUTPUT:
      return { type: "lb_output", bond: first >>> 0 };
    case TUNNEL_PUSH: {
      const [outPort, tunnelType] = words.subarray(at + 2, at + 4);
      const header = getBytes(words, at + 4)!;
      const ports = { tunnelPort: first >>> 0, outPort: outPort! >>> 0 };
      return { type: "tnl_push", ...ports, tunnelType: tunnelType! >>> 0, header };
    }
    case TUNNEL_POP:
      return { type: "tnl_pop", port: first >>> 0 };
    case UNKNOWN:
      return { type: "unknown", number: first, payload: getBytes(words, at + 2)! };
    default:
      throw new Error(`action program has the unknown instruction ${words[at]! & 0xff}`);
  }
}

function getSet(words: Int32Array, at: number, table: SetAttributes): SetAction {
  const header = words[at + 1]!;
  const attribute = header < SET_OTHER
    ? SETTABLE.get(header)!
    : table.attributes.find(({ number }) => number === header - SET_OTHER)!;
  const from = words[at + 2]!;
  const count = words[at + 3]!;
  const value = new Int32Array(KEY_WORDS);
  const mask = new Int32Array(KEY_WORDS);
  value.set(words.subarray(at + 4, at + 4 + count), from);
  mask.set(words.subarray(at + 4 + count, at + 4 + 2 * count), from);
  return { type: "set", attribute: attribute.name, value, mask };
}

/** Where the list for packets of at most the size of a CHECK_PKT_LEN at words[at] begins. */
export function lessEqualAt(words: Int32Array, at: number): number {
  return at + 3 + words[at + 2]!;
}

/** Bytes of the NSH header, whole words, that a PUSH_NSH at words[at] pushes. */
export function pushedNshSize(words: Int32Array, at: number): number {
  return 8 + (words[at + 3]! + 3 & ~3);
}
