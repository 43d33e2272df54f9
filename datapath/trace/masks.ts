/** Why masks did not match: for each one that was tried, the flow that came closest. */
import { KEY_WORDS } from "../key.ts";
import { formatFlow, type PortNames } from "../text/flow_text.ts";
import { differingFields, maskedFields } from "./fields.ts";
import type { TriedMask } from "./schema.ts";

/** A mask in the list of all. */
export interface ListedMask {
  readonly id: number;
  /** KEY_WORDS words. */
  readonly words: Int32Array;
}

/** A lookup to be explained. */
export interface Lookup {
  /** The packet's. */
  readonly key: Int32Array;
  /** Mask of the flow that was found; −1: none was found. */
  readonly maskId: number;
}

interface Candidate {
  /** Index of the flow; −1: no flow was looked at. */
  flow: number;
  differences: number;
  bits: number;
  count: number;
}

/** One look through the flows for any number of lookups. */
export class MaskSurvey {
  readonly #masks: readonly ListedMask[];
  readonly #places: ReadonlyMap<number, number>;
  readonly #lookups: readonly Lookup[];
  /** By lookup, then by place in the list of masks. */
  readonly #candidates: Candidate[][];

  constructor(masks: readonly ListedMask[], lookups: readonly Lookup[]) {
    this.#masks = masks;
    this.#places = new Map(masks.map(({ id }, place) => [id, place]));
    this.#lookups = lookups;
    this.#candidates = lookups.map(() =>
      masks.map(() => ({ flow: -1, differences: 0, bits: 0, count: 0 }))
    );
  }

  /** Takes one flow into account; its key is masked. */
  look(flow: number, maskId: number, key: Int32Array): void {
    const place = this.#places.get(maskId);
    if (place === undefined) return;
    const mask = this.#masks[place]!.words;
    this.#lookups.forEach((lookup, at) => {
      const candidate = this.#candidates[at]![place]!;
      candidate.count++;
      let differences = 0;
      let bits = 0;
      for (let word = 0; word < KEY_WORDS; word++) {
        const difference = (lookup.key[word]! & mask[word]!) ^ key[word]!;
        if (difference === 0) continue;
        differences++;
        bits += countBits(difference);
      }
      const isCloser = candidate.flow < 0 || differences < candidate.differences ||
        (differences === candidate.differences && bits < candidate.bits);
      if (isCloser) Object.assign(candidate, { flow, differences, bits });
    });
  }

  /** The masks that a lookup has tried. */
  tried(lookup: number, flows: FlowTexts): TriedMask[] {
    const { key, maskId } = this.#lookups[lookup]!;
    const found = this.#places.get(maskId);
    const count = found === undefined ? this.#masks.length : found + 1;
    return this.#masks.slice(0, count).map(({ words }, place) => {
      const matched = place === found;
      const candidate = this.#candidates[lookup]![place]!;
      const closest = candidate.flow < 0 ? undefined : flows.read(candidate.flow);
      return {
        fields: closest === undefined ? [] : maskedFields(closest.key, words),
        matched,
        flows: candidate.count,
        ...(matched || closest === undefined ? {} : {
          closest: {
            ufid: closest.ufid,
            flow: formatFlow(closest.key, words, { names: flows.names }),
            differences: differingFields({ key: closest.key, mask: words }, key),
          },
        }),
      };
    });
  }
}

/** What is asked about flows. */
export interface FlowTexts {
  readonly names?: PortNames | undefined;
  /** The masked key and the UFID of a flow; undefined: it has gone. */
  read(flow: number): { readonly key: Int32Array; readonly ufid: string } | undefined;
}

function countBits(word: number): number {
  let count = 0;
  for (let rest = word; rest !== 0; rest &= rest - 1) count++;
  return count;
}
