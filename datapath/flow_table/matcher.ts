/**
 * What is done under one mask: hash the masked key, walk the chain, compare. Twice: as code made for
 * the mask (its nonzero words unrolled, all else constant), and interpreted from the mask's words.
 * Both give the same answers; a test holds them to it.
 *
 * Generated code pays after some thousand packets and takes memory, so a matcher starts interpreted
 * and is compiled when it has been tried often (mask_plan.ts).
 */
import { KEY_WORDS } from "../key.ts";
import { FINALISE, flowWord, hashCode, make, masked } from "./generate.ts";
import { maskedHash, type MaskRange } from "./hash.ts";
import {
  type FlowTableViews,
  HOT_FROM,
  HOT_SHIFT,
  HOT_TO,
  isHot,
  isWide,
  keyWord,
  MASK,
  MASK_END,
  MASK_START,
  MASK_STRIDE,
  MASK_WORDS,
  NODE_HASH,
  NODE_SHIFT,
  STATE,
  WIDE_FROM,
} from "./layout.ts";

/**
 * Looks up the keys numbered pending[0 … count) (key n begins at word n · KEY_WORDS), writes what it
 * finds to `flows[n]`, moves the others to the front of `pending` and returns how many they are.
 * `heads` and `next` are a bucket array and the node word of its chains.
 */
export type Scan = (
  keys: Int32Array,
  pending: Int32Array,
  count: number,
  heads: Int32Array,
  next: number,
  flows: Int32Array,
) => number;

/**
 * Compares key n of `count` with the flow candidates[n] (−1: none) under the flow's mask. Writes the
 * flow or −1 to flows[n], the numbers of the keys without a flow to `pending`, and returns how many
 * those are. The flows' states must have been checked, with a {@link fence} since.
 */
export type Verify = (
  keys: Int32Array,
  count: number,
  candidates: Int32Array,
  flows: Int32Array,
  pending: Int32Array,
) => number;

/** The memory that matchers work on. */
export interface MatcherMemory {
  readonly views: FlowTableViews;
  /**
   * Which flows can be found: absent, those whose shared state is live (a packet thread); else
   * those whose byte is nonzero (the writer, who also sees what is not yet committed).
   */
  readonly visible?: Uint8Array | undefined;
  /** Scratch: hashes and nodes of the pending keys. */
  readonly hashes: Int32Array;
  readonly nodes: Int32Array;
  /** Receives values that are read only to bring them into the cache; see {@link fence} for word 1. */
  readonly sink: Int32Array;
}

/**
 * Orders all loads before it ahead of all loads behind it, for the compiler (a call it knows nothing
 * about) and the processor (a read-modify-write with acquire and release is a full barrier). One for
 * a burst of records costs what one `Atomics.load` for a single record would: about 20 ns.
 */
export function fence(sink: Int32Array): void {
  Atomics.add(sink, 1, 1);
}

/** Most keys in one call. */
export const BURST_MAX = 32;

/** Scratch memory of a thread's matchers. */
export function makeMatcherMemory(views: FlowTableViews, visible?: Uint8Array): MatcherMemory {
  return {
    views,
    visible,
    hashes: new Int32Array(BURST_MAX),
    nodes: new Int32Array(BURST_MAX),
    sink: new Int32Array(2),
  };
}

/** Whether a live flow under a mask matches the key at word `at`. */
function matches(
  views: FlowTableViews,
  range: MaskRange,
  flow: number,
  keys: Int32Array,
  at: number,
): boolean {
  const { hot, masks } = views;
  const hotAt = flow << HOT_SHIFT;
  for (let word = range.start; word < range.end; word++) {
    const value = isHot(word) ? hot[hotAt + word]! : keyWord(views, flow, word);
    if ((keys[at + word]! & masks[range.at + word]!) !== value) return false;
  }
  return true;
}

/** Interpreted {@link Verify}. */
export function interpretVerify(
  memory: MatcherMemory,
  ranges: readonly (MaskRange | undefined)[],
): Verify {
  const { views } = memory;
  return (keys, count, candidates, flows, pending) => {
    let left = 0;
    for (let key = 0; key < count; key++) {
      const flow = candidates[key]!;
      const range = flow < 0 ? undefined : ranges[views.hot[(flow << HOT_SHIFT) + MASK]!];
      if (range !== undefined && matches(views, range, flow, keys, key * KEY_WORDS)) {
        flows[key] = flow;
      } else {
        flows[key] = -1;
        pending[left++] = key;
      }
    }
    return left;
  };
}

/** Interpreted {@link Scan}. */
export function interpretScan(memory: MatcherMemory, id: number, range: MaskRange): Scan {
  const { nodes, hot, constants, masks } = memory.views;
  const { views, visible } = memory;
  return (keys, pending, count, heads, next, flows) => {
    let left = 0;
    for (let at = 0; at < count; at++) {
      const key = pending[at]!;
      const hash = maskedHash(constants, masks, range, keys, key * KEY_WORDS);
      let node = heads[hash & (heads.length - 1)]!;
      for (; node !== 0; node = nodes[(node << NODE_SHIFT) + next]!) {
        if (nodes[(node << NODE_SHIFT) + NODE_HASH] !== hash) continue;
        const flow = node - 1;
        const live = visible === undefined
          ? (Atomics.load(hot, (flow << HOT_SHIFT) + STATE) & 1) !== 0
          : visible[flow] !== 0;
        if (!live || hot[(flow << HOT_SHIFT) + MASK] !== id) continue;
        if (matches(views, range, flow, keys, key * KEY_WORDS)) break;
      }
      if (node !== 0) flows[key] = node - 1;
      else pending[left++] = key;
    }
    return left;
  };
}

// ---- generated code ---------------------------------------------------------------------------

/**
 * Generated {@link Scan}: hash all and touch their heads, touch the nodes, walk to the first node with
 * the hash, and after one fence for all compare. What the first candidate does not settle (two flows
 * with one hash, or one that is dead) goes on alone, record by record.
 */
export function compileScan(memory: MatcherMemory, id: number, range: MaskRange): Scan {
  const shared = memory.visible === undefined;
  const { masks, constants } = memory.views;
  const settled = `${
    shared ? "" : "visible[flow] !== 0 &&"
  } hot[(flow << ${HOT_SHIFT}) + ${MASK}] === ${id} && ${matchCode(masks, range, "flow")}`;
  return make<Scan>(
    memory,
    `function rest(node, h, next, keys, at) {
      for (; node !== 0; node = nodes[(node << ${NODE_SHIFT}) + next]) {
        if (nodes[(node << ${NODE_SHIFT}) + ${NODE_HASH}] !== h) continue;
        const flow = node - 1;
        ${shared ? `if ((load(hot, (flow << ${HOT_SHIFT}) + ${STATE}) & 1) === 0) continue;` : ""}
        if (${settled}) break;
      }
      return node - 1;
    }
    return function scan(keys, pending, count, heads, next, flows) {
      const last = heads.length - 1;
      for (let i = 0; i < count; i++) {
        const at = pending[i] * ${KEY_WORDS};
        let sum = ${range.hash}; let w = 0;
        ${hashCode(masks, range, constants)}
        ${FINALISE}
        hashes[i] = h;
        first[i] = heads[h & last];
      }
      if (count > 1) {
        let touched = 0;
        for (let i = 0; i < count; i++) touched ^= nodes[first[i] << ${NODE_SHIFT}];
        sink[0] = touched;
      }
      let candidates = 0;
      for (let i = 0; i < count; i++) {
        const h = hashes[i];
        let node = first[i];
        while (node !== 0 && nodes[(node << ${NODE_SHIFT}) + ${NODE_HASH}] !== h) {
          node = nodes[(node << ${NODE_SHIFT}) + next];
        }
        first[i] = node;
        candidates |= node;
      }
      if (candidates === 0) return count;
      ${
      shared
        ? `for (let i = 0; i < count; i++) {
        const node = first[i];
        // A dead record's candidate is looked at again, alone.
        if (node !== 0 && (hot[((node - 1) << ${HOT_SHIFT}) + ${STATE}] & 1) === 0) first[i] = -node;
      }
      add(sink, 1, 1);`
        : ""
    }
      let left = 0;
      for (let i = 0; i < count; i++) {
        const key = pending[i]; const at = key * ${KEY_WORDS};
        const node = first[i];
        let flow = node - 1;
        if (node === 0) {
          pending[left++] = key;
          continue;
        }
        if (!(node > 0 && ${settled})) {
          flow = rest(node < 0 ? -node : node, hashes[i], next, keys, at);
        }
        if (flow >= 0) flows[key] = flow;
        else pending[left++] = key;
      }
      return left;
    };`,
  );
}

/**
 * Generated {@link Verify}: one function for all masks, whose words come from the mask table. Unrolled
 * are the words that any mask looks at; a function per mask costs more than it saves here, as each
 * packet would call another.
 */
export function compileVerify(memory: MatcherMemory, union: Int32Array): Verify {
  const words = [...union.keys()].filter((word) => union[word] !== 0);
  const code = (where: (word: number) => boolean): string =>
    words.filter(where).map((word) =>
      `d |= (keys[at + ${word}] & masks[m + ${MASK_WORDS + word}]) ^ ${flowWord("flow", word)};`
    ).join("\n");
  const cold = code((word) => !isHot(word) && !isWide(word));
  const looksAtCold =
    `masks[m + ${MASK_END}] > ${HOT_TO} || masks[m + ${MASK_START}] < ${HOT_FROM}`;
  const wide = code(isWide);
  const looksAtWide = `masks[m + ${MASK_END}] > ${WIDE_FROM}`;
  return make<Verify>(
    memory,
    `return function verify(keys, count, candidates, flows, pending) {
      let left = 0;
      for (let i = 0; i < count; i++) {
        const flow = candidates[i];
        if (flow >= 0) {
          const base = flow << ${HOT_SHIFT}; const at = i * ${KEY_WORDS};
          const m = hot[base + ${MASK}] * ${MASK_STRIDE};
          let d = 0;
          ${code(isHot)}
          ${cold === "" ? "" : `if (${looksAtCold}) { ${cold} }`}
          ${wide === "" ? "" : `if (${looksAtWide}) { ${wide} }`}
          if (d === 0) {
            flows[i] = flow;
            continue;
          }
        }
        flows[i] = -1;
        pending[left++] = i;
      }
      return left;
    };`,
  );
}

/** An expression that is true if the flow's masked key equals the packet's. */
function matchCode(masks: Int32Array, range: MaskRange, flow: string): string {
  let code = "true";
  for (let word = range.start; word < range.end; word++) {
    const mask = masks[range.at + word]!;
    if (mask === 0) continue;
    code += ` && (${masked(word, mask)}) === ${flowWord(flow, word)}`;
  }
  return code;
}
