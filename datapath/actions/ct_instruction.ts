/**
 * The ct action in action programs (action_program.ts): one instruction of fixed words, so that packet
 * threads find each part at its place, and the names behind them.
 */
import type { CtAction, CtNat } from "./actions.ts";
import { CT_PLAN_WORDS, encodeCt as encodePlan, HELPER_NAMES } from "../conntrack/plan.ts";
import { bytesLength, getBytes, getText, putBytes, putText } from "./program_bytes.ts";

/** Word: CT_HAS_*, CT_* flags. */
export const CT_FLAGS = 1;
/** Word: zone; 0 by default. */
export const CT_ZONE = 2;
/** Words: mark and its mask, plain numbers. */
export const CT_MARK = 3;
/** Words: label (4) and its mask (4), bytes as in the key. */
export const CT_LABEL = 5;
/** Word: bitmap of events. */
export const CT_EVENTS = 13;
/** Words: lowest port, highest port. */
export const CT_NAT_PORTS = 14;
/** CT_PLAN_WORDS words: what the connection tracker reads of the action (conntrack/plan.ts). */
export const CT_PLAN = 16;
/** Byte strings (program_bytes.ts): NAT's lowest and highest address, texts: helper, timeout policy. */
export const CT_STRINGS: number = CT_PLAN + CT_PLAN_WORDS;

export const CT_COMMIT = 1;
export const CT_FORCE_COMMIT = 2;
export const CT_HAS_ZONE = 4;
export const CT_HAS_MARK = 8;
export const CT_HAS_LABEL = 16;
export const CT_HAS_EVENTS = 32;
/** There is a nat part; neither of the next two: translate as the connection is. */
export const CT_NAT = 64;
export const CT_NAT_SRC = 128;
export const CT_NAT_DST = 256;
export const CT_NAT_PERSISTENT = 512;
export const CT_NAT_HASH = 1024;
export const CT_NAT_RANDOM = 2048;
export const CT_HAS_PORT_MIN = 4096;
export const CT_HAS_PORT_MAX = 8192;

/** Appends all words of the instruction but its first. `policyOf`: number of a timeout policy. */
export function encodeCt(
  action: CtAction,
  words: number[],
  policyOf: (name: string) => number = () => 0,
): void {
  const { nat, mark, label } = action;
  words.push(flagsOf(action) | (nat === undefined ? 0 : natFlags(nat)), action.zone ?? 0);
  words.push(mark?.value ?? 0, mark?.mask ?? 0);
  for (const hex of [label?.value, label?.mask]) {
    const bytes: number[] = [];
    putBytes(bytes, hex ?? "0".repeat(32));
    words.push(...bytes.slice(1));
  }
  words.push(action.eventMask ?? 0, nat?.portMin ?? 0, nat?.portMax ?? 0);
  words.push(...planOf(action, policyOf));
  putBytes(words, nat?.addressMin);
  putBytes(words, nat?.addressMax);
  putText(words, action.helper);
  putText(words, action.timeout);
}

/** A helper that the tracker doesn't have is none: validation has refused it where it would run. */
function planOf(action: CtAction, policyOf: (name: string) => number): number[] {
  const isKnown = HELPER_NAMES.some((name) => name === action.helper);
  return encodePlan(isKnown ? action : { ...action, helper: undefined }, policyOf);
}

function flagsOf(action: CtAction): number {
  return (action.commit ? CT_COMMIT : 0) | (action.forceCommit ? CT_FORCE_COMMIT : 0) |
    (action.zone === undefined ? 0 : CT_HAS_ZONE) |
    (action.mark === undefined ? 0 : CT_HAS_MARK) |
    (action.label === undefined ? 0 : CT_HAS_LABEL) |
    (action.eventMask === undefined ? 0 : CT_HAS_EVENTS);
}

function natFlags(nat: CtNat): number {
  return CT_NAT | (nat.direction === "src" ? CT_NAT_SRC : 0) |
    (nat.direction === "dst" ? CT_NAT_DST : 0) | (nat.persistent ? CT_NAT_PERSISTENT : 0) |
    (nat.hash ? CT_NAT_HASH : 0) | (nat.random ? CT_NAT_RANDOM : 0) |
    (nat.portMin === undefined ? 0 : CT_HAS_PORT_MIN) |
    (nat.portMax === undefined ? 0 : CT_HAS_PORT_MAX);
}

/** The action of the instruction at words[at]. */
export function decodeCt(words: Int32Array, at: number): CtAction {
  const flags = words[at + CT_FLAGS]!;
  const has = (flag: number): boolean => (flags & flag) !== 0;
  const minAt = at + CT_STRINGS;
  const maxAt = minAt + bytesLength(words, minAt);
  const helperAt = maxAt + bytesLength(words, maxAt);
  const timeoutAt = helperAt + bytesLength(words, helperAt);
  const number = (word: number): number => words[at + word]! >>> 0;
  const label = (word: number): string =>
    getBytes(Int32Array.of(16, ...words.subarray(at + word, at + word + 4)), 0)!;
  return {
    type: "ct",
    commit: has(CT_COMMIT),
    forceCommit: has(CT_FORCE_COMMIT),
    zone: has(CT_HAS_ZONE) ? number(CT_ZONE) : undefined,
    mark: has(CT_HAS_MARK) ? { value: number(CT_MARK), mask: number(CT_MARK + 1) } : undefined,
    label: has(CT_HAS_LABEL) ? { value: label(CT_LABEL), mask: label(CT_LABEL + 4) } : undefined,
    helper: getText(words, helperAt),
    nat: has(CT_NAT)
      ? {
        direction: has(CT_NAT_SRC) ? "src" : has(CT_NAT_DST) ? "dst" : undefined,
        addressMin: getBytes(words, minAt),
        addressMax: getBytes(words, maxAt),
        portMin: has(CT_HAS_PORT_MIN) ? number(CT_NAT_PORTS) : undefined,
        portMax: has(CT_HAS_PORT_MAX) ? number(CT_NAT_PORTS + 1) : undefined,
        persistent: has(CT_NAT_PERSISTENT),
        hash: has(CT_NAT_HASH),
        random: has(CT_NAT_RANDOM),
      }
      : undefined,
    eventMask: has(CT_HAS_EVENTS) ? number(CT_EVENTS) : undefined,
    timeout: getText(words, timeoutAt),
  };
}
