/**
 * Action lists as packet threads run them: a flat run of 32-bit words in shared memory.
 *
 * Each instruction begins with a word `op | length << 8`, length in words, this word included; a
 * list ends with END. Port numbers and the like are plain numbers, header fields lie as in the key
 * (network byte order, the words of datapath/key.ts).
 */
import type { Action, SetAction } from "./actions.ts";
import { dropReason } from "./drop_reasons.ts";
import { attributeNamed, SETTABLE } from "./fields.ts";
import { KEY_WORDS } from "./key.ts";

export const END = 0;
/** [op, port] */
export const OUTPUT = 1;
/** [op, drop reason index]: ends the list. An empty list is END alone and drops as `explicit`. */
export const DROP = 2;
/** [op, tpid << 16 | tci]: plain numbers; tci with VLAN_PRESENT. */
export const PUSH_VLAN = 3;
/** [op] */
export const POP_VLAN = 4;
/** [op, SET_* header, from, count, value × count, mask × count]: key words [from, from + count); value bits lie within the mask. */
export const SET_MASKED = 5;

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

/** The header word of an instruction. */
function operation(code: number, length: number): number {
  return code | length << 8;
}

/** Compiles an action list. The result ends with END. */
export function encodeActions(actions: readonly Action[]): Int32Array<ArrayBuffer> {
  const words: number[] = [];
  for (const action of actions) {
    switch (action.type) {
      case "output":
        words.push(operation(OUTPUT, 2), action.port);
        break;
      case "drop":
        words.push(operation(DROP, 2), dropReason("explicit"));
        break;
      case "push_vlan":
        words.push(operation(PUSH_VLAN, 2), action.tpid << 16 | action.tci);
        break;
      case "pop_vlan":
        words.push(operation(POP_VLAN, 1));
        break;
      case "set":
        encodeSet(action, words);
        break;
    }
  }
  words.push(operation(END, 1));
  return Int32Array.from(words);
}

function encodeSet(action: SetAction, words: number[]): void {
  const attribute = attributeNamed(action.attribute);
  const from = Math.min(...attribute.fields.map((field) => field.at >> 2));
  const end = Math.max(...attribute.fields.map((field) => field.at + field.size + 3 >> 2));
  const count = end - from;
  words.push(operation(SET_MASKED, 4 + 2 * count), attribute.set!, from, count);
  words.push(...action.value.subarray(from, end), ...action.mask.subarray(from, end));
}

/** The action list that a program at words[at] came from. */
export function decodeActions(words: Int32Array, at: number = 0): Action[] {
  const actions: Action[] = [];
  for (;;) {
    const word = words[at]!;
    switch (word & 0xff) {
      case END:
        return actions;
      case OUTPUT:
        actions.push({ type: "output", port: words[at + 1]! });
        break;
      case DROP:
        actions.push({ type: "drop" });
        break;
      case PUSH_VLAN:
        actions.push({
          type: "push_vlan",
          tpid: words[at + 1]! >>> 16,
          tci: words[at + 1]! & 0xffff,
        });
        break;
      case POP_VLAN:
        actions.push({ type: "pop_vlan" });
        break;
      case SET_MASKED:
        actions.push(decodeSet(words, at));
        break;
      default:
        throw new Error(`action program has the unknown instruction ${word & 0xff}`);
    }
    at += word >>> 8;
  }
}

function decodeSet(words: Int32Array, at: number): SetAction {
  const attribute = SETTABLE.get(words[at + 1]!)!;
  const from = words[at + 2]!;
  const count = words[at + 3]!;
  const value = new Int32Array(KEY_WORDS);
  const mask = new Int32Array(KEY_WORDS);
  value.set(words.subarray(at + 4, at + 4 + count), from);
  mask.set(words.subarray(at + 4 + count, at + 4 + 2 * count), from);
  return { type: "set", attribute: attribute.name as SetAction["attribute"], value, mask };
}
