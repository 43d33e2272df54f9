/**
 * What one thread does for a lookup: a matcher per mask, in the published order, brought up to date
 * from shared memory before each burst.
 */
import { KEY_WORDS } from "../key.ts";
import type { MaskRange } from "./hash.ts";
import {
  LIST_COUNT,
  LIST_EPOCH,
  MASK_END,
  MASK_GENERATION,
  MASK_HASH,
  MASK_START,
  MASK_STRIDE,
  MASK_WORDS,
  NO_MASK,
} from "./layout.ts";
import {
  compileScan,
  compileVerify,
  interpretScan,
  interpretVerify,
  type MatcherMemory,
  type Scan,
  type Verify,
} from "./matcher.ts";
import { compileSignatures, interpretSignatures, type Signatures } from "./signatures.ts";

/** Keys tried under a mask before its code is generated. */
const COMPILE_AFTER_DEFAULT = 5000;
/** A count that is not reached soon. Not Infinity: to subtract from that would allocate a number. */
const NEVER = 2 ** 30 - 1;
/** Masks with generated code at a time; the others are interpreted. */
const COMPILED_MAX = 256;

/** A mask's matchers. */
export interface Matcher {
  readonly id: number;
  readonly generation: number;
  readonly range: MaskRange;
  scan: Scan;
  /** Keys to be tried until {@link MaskPlan.compile} is asked (below 0). */
  untilCompiled: number;
  compiled: boolean;
}

export class MaskPlan {
  /** In the order in which masks are tried. */
  readonly matchers: Matcher[] = [];
  /** By mask id. */
  readonly #byId: (Matcher | undefined)[] = [];
  /** Ranges by mask id. */
  readonly #ranges: (MaskRange | undefined)[] = [];
  /** Hashes the words that any mask looks at. */
  signatures: Signatures;
  /** Compares cached flows with keys, under whatever mask. */
  verify: Verify;

  readonly #memory: MatcherMemory;
  readonly #compileAfter: number;
  readonly #union: Int32Array = new Int32Array(KEY_WORDS);
  #compiled = 0;
  #epoch = -1;
  /** Entries of the list that were taken. */
  #taken = 0;
  /** Signatures to be made until their code is generated, and whether it was. */
  #untilCompiled: number;
  #unionCompiled = false;

  /** `compileAfter`: keys after which code is generated: 0 at once, Infinity never. */
  constructor(memory: MatcherMemory, compileAfter: number = COMPILE_AFTER_DEFAULT) {
    this.#memory = memory;
    this.#compileAfter = Math.min(compileAfter, NEVER);
    this.#untilCompiled = this.#compileAfter;
    this.signatures = interpretSignatures(memory.views.constants, this.#union);
    this.verify = interpretVerify(memory, this.#ranges);
  }

  /** Takes over what was published; cheap when nothing was. */
  refresh(): void {
    const { control } = this.#memory.views;
    const epoch = Atomics.load(control, LIST_EPOCH);
    const count = Atomics.load(control, LIST_COUNT + (epoch & 1));
    if (epoch === this.#epoch && count === this.#taken) return;
    this.#take(epoch, count);
  }

  /** Tells that `count` signatures were made. */
  signed(count: number): void {
    if (this.#unionCompiled) return;
    this.#untilCompiled -= count;
    if (this.#untilCompiled >= 0 || this.#compileAfter === NEVER) return;
    this.#unionCompiled = true;
    this.signatures = compileSignatures(this.#memory, this.#union);
    this.verify = compileVerify(this.#memory, this.#union);
  }

  /** Generates a matcher's code, if there may be more. */
  compile(matcher: Matcher): void {
    matcher.untilCompiled = NEVER;
    if (this.#compileAfter === NEVER || matcher.compiled || this.#compiled >= COMPILED_MAX) return;
    this.#compiled++;
    matcher.compiled = true;
    matcher.scan = compileScan(this.#memory, matcher.id, matcher.range);
  }

  #take(epoch: number, count: number): void {
    const { masks, maskLists } = this.#memory.views;
    const from = (epoch & 1) * (maskLists.length / 2);
    if (epoch !== this.#epoch) {
      this.#taken = 0;
      this.matchers.length = 0;
    }
    for (let at = this.#taken; at < count; at++) {
      const id = Atomics.load(maskLists, from + at);
      if (id === NO_MASK) continue;
      let matcher = this.#byId[id];
      if (matcher?.generation !== masks[id * MASK_STRIDE + MASK_GENERATION]) {
        matcher = this.#make(id);
      }
      this.matchers.push(matcher!);
    }
    if (epoch !== this.#epoch) this.#forget();
    const exact = this.#epoch < 0 || ((epoch ^ this.#epoch) & 1) !== 0;
    this.#epoch = epoch;
    this.#taken = count;
    this.#unite(exact);
  }

  /** Drops the matchers whose masks are no longer in the list. */
  #forget(): void {
    const kept = this.matchers;
    this.#byId.length = 0;
    this.#ranges.length = 0;
    this.#compiled = 0;
    for (const matcher of kept) {
      this.#byId[matcher.id] = matcher;
      this.#ranges[matcher.id] = matcher.range;
      if (matcher.compiled) this.#compiled++;
      else matcher.untilCompiled = Math.min(matcher.untilCompiled, this.#compileAfter);
    }
  }

  #make(id: number): Matcher {
    const { masks } = this.#memory.views;
    const at = id * MASK_STRIDE;
    const range: MaskRange = {
      at: at + MASK_WORDS,
      start: masks[at + MASK_START]!,
      end: masks[at + MASK_END]!,
      hash: masks[at + MASK_HASH]!,
    };
    const matcher: Matcher = {
      id,
      generation: masks[at + MASK_GENERATION]!,
      range,
      scan: interpretScan(this.#memory, id, range),
      untilCompiled: this.#compileAfter,
      compiled: false,
    };
    this.#byId[id] = matcher;
    this.#ranges[id] = range;
    return matcher;
  }

  /**
   * Brings the union of all masks up to date: adds what is new, and takes away what no mask looks at
   * any more only if `exact`, lest masks that come and go make for new code all the time.
   */
  #unite(exact: boolean): void {
    const { masks } = this.#memory.views;
    const union = exact ? new Int32Array(KEY_WORDS) : this.#union.slice();
    for (const { range } of this.matchers) {
      for (let word = range.start; word < range.end; word++) {
        union[word]! |= masks[range.at + word]!;
      }
    }
    if (union.every((word, at) => word === this.#union[at])) return;
    this.#union.set(union);
    this.#untilCompiled = this.#compileAfter;
    this.#unionCompiled = false;
    this.signatures = interpretSignatures(this.#memory.views.constants, this.#union);
    this.verify = interpretVerify(this.#memory, this.#ranges);
  }
}
