/**
 * Pieces of generated code that matchers (matcher.ts) and signatures (signatures.ts) are made of. In
 * them `keys[at + n]` is word n of the key in hand.
 */
import type { MaskRange } from "./hash.ts";
import { COLD_WORDS, coldAt, HOT_SHIFT, isHot, isWide, WIDE_FROM, WIDE_WORDS } from "./layout.ts";
import type { MatcherMemory } from "./matcher.ts";

/** `finalise` (hash.ts) of `sum`, to `h`. */
export const FINALISE: string = `
  let h = sum ^ (sum >>> 16);
  h = imul(h, ${0x85ebca6b | 0}); h ^= h >>> 13;
  h = imul(h, ${0xc2b2ae35 | 0}); h ^= h >>> 16;`;

/** Statements that add the masked words' products to `sum`. */
export function hashCode(
  masks: Int32Array,
  range: Omit<MaskRange, "hash">,
  constants: Int32Array,
): string {
  let code = "";
  for (let word = range.start; word < range.end; word++) {
    const mask = masks[range.at + word]!;
    if (mask === 0) continue;
    code += `w = ${masked(word, mask)}; sum = (sum + imul(w ^ (w >>> 16), ${
      constants[word]
    })) | 0;\n`;
  }
  return code;
}

/** `keyWord` (layout.ts) of the flow in the variable `flow`. */
export function flowWord(flow: string, word: number): string {
  if (isHot(word)) return `hot[(${flow} << ${HOT_SHIFT}) + ${word}]`;
  if (isWide(word)) return `wide[${flow} * ${WIDE_WORDS} + ${word - WIDE_FROM}]`;
  return `cold[${flow} * ${COLD_WORDS} + ${coldAt(word)}]`;
}

/** Word `word` of the key in hand under a mask word. */
export function masked(word: number, mask: number): string {
  return mask === -1 ? `keys[at + ${word}]` : `keys[at + ${word}] & ${mask}`;
}

/** Runs a program that returns a function over the table's memory. */
export function make<F>(memory: MatcherMemory, program: string): F {
  const { nodes, hot, cold, wide, masks } = memory.views;
  const { visible, hashes, nodes: first, sink } = memory;
  const { imul } = Math;
  const { load, add } = Atomics;
  const scope = { nodes, hot, cold, wide, masks, visible, hashes, first, sink, imul, load, add };
  // The program is made of numbers from the mask table and names from above, never of a user's text.
  const factory = new Function(...Object.keys(scope), `"use strict"; ${program}`);
  return factory(...Object.values(scope));
}
