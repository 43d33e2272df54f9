/**
 * Where fragments wait: their bytes in chunks of one buffer, their places in lists of small numbers.
 * Everything is made at once and bounded; a fragment that finds no room is refused. The lists know
 * nothing of protocols: see reassembly.ts.
 */

/** Bytes of a chunk: an ordinary fragment needs one. */
const CHUNK_SIZE = 2048;

/** Copies of up to this many bytes make no view; longer ones cost one short-lived view, as copyBytes does. */
const BYTEWISE_MAX = 256;

/** What {@link FragmentStore.place} says of a fragment among those of its list. */
export const PLACE_FREE = 0;
/** All of it is there already. */
export const PLACE_DUPLICATE = 1;
/** Part of it is. */
export const PLACE_OVERLAP = 2;

/** Fragments in lists, sorted by offset. A fragment is a number, 0: none. */
export class FragmentStore {
  readonly #bytes: Uint8Array;
  readonly #chunkNext: Int32Array;
  readonly #offset: Int32Array;
  readonly #size: Int32Array;
  readonly #chunk: Int32Array;
  readonly #next: Int32Array;
  #freeChunk = 1;
  #freeFragment = 1;
  /** Chunks in use. */
  chunks = 0;
  readonly chunksMax: number;

  constructor(memoryMax: number) {
    const chunks = FragmentStore.fragmentsIn(memoryMax);
    this.chunksMax = chunks;
    this.#bytes = new Uint8Array((chunks + 1) * CHUNK_SIZE);
    this.#chunkNext = Int32Array.from({ length: chunks + 1 }, (_, at) => at < chunks ? at + 1 : 0);
    this.#offset = new Int32Array(chunks + 1);
    this.#size = new Int32Array(chunks + 1);
    this.#chunk = new Int32Array(chunks + 1);
    this.#next = Int32Array.from({ length: chunks + 1 }, (_, at) => at < chunks ? at + 1 : 0);
  }

  /** Ordinary fragments that so many bytes have room for. */
  static fragmentsIn(memoryMax: number): number {
    return Math.max(64, Math.floor(memoryMax / CHUNK_SIZE));
  }

  /** Chunks that `size` bytes take. */
  static chunksFor(size: number): number {
    return Math.max(1, Math.ceil(size / CHUNK_SIZE));
  }

  /** How [offset, end) stands to the list at `first`. */
  place(first: number, offset: number, end: number): number {
    let covered = offset;
    for (let at = first; at !== 0; at = this.#next[at]!) {
      const from = this.#offset[at]!;
      const to = from + this.#size[at]!;
      if (to <= offset) continue;
      if (from >= end) break;
      // The first that reaches into it decides: is everything from there on without a gap?
      if (from > covered) return PLACE_OVERLAP;
      covered = to;
      if (covered >= end) return PLACE_DUPLICATE;
    }
    return covered > offset ? PLACE_OVERLAP : PLACE_FREE;
  }

  /**
   * Adds [from, from + size) of `bytes` as the fragment at `offset`, whose place is free. Returns the
   * list's first fragment, −1: there is no room.
   */
  insert(first: number, offset: number, bytes: Uint8Array, from: number, size: number): number {
    const fragment = this.#freeFragment;
    if (fragment === 0 || this.chunks + FragmentStore.chunksFor(size) > this.chunksMax) return -1;
    this.#freeFragment = this.#next[fragment]!;
    this.#offset[fragment] = offset;
    this.#size[fragment] = size;
    this.#chunk[fragment] = this.#write(bytes, from, size);
    let previous = 0;
    let at = first;
    while (at !== 0 && this.#offset[at]! < offset) {
      previous = at;
      at = this.#next[at]!;
    }
    this.#next[fragment] = at;
    if (previous === 0) return fragment;
    this.#next[previous] = fragment;
    return first;
  }

  /** Copies into chunks; there are enough. Returns the first. */
  #write(bytes: Uint8Array, from: number, size: number): number {
    let first = 0;
    let last = 0;
    for (let done = 0; done < size || first === 0; done += CHUNK_SIZE) {
      const chunk = this.#freeChunk;
      this.#freeChunk = this.#chunkNext[chunk]!;
      this.#chunkNext[chunk] = 0;
      if (first === 0) first = chunk;
      else this.#chunkNext[last] = chunk;
      last = chunk;
      const part = Math.min(CHUNK_SIZE, size - done);
      copyPart(bytes, from + done, this.#bytes, chunk * CHUNK_SIZE, part);
      this.chunks++;
    }
    return first;
  }

  /** Copies all payload of a complete list to target[at …]. */
  copy(first: number, target: Uint8Array, at: number): void {
    for (let fragment = first; fragment !== 0; fragment = this.#next[fragment]!) {
      const size = this.#size[fragment]!;
      let chunk = this.#chunk[fragment]!;
      for (let done = 0; done < size; done += CHUNK_SIZE) {
        const part = Math.min(CHUNK_SIZE, size - done);
        const to = at + this.#offset[fragment]! + done;
        copyPart(this.#bytes, chunk * CHUNK_SIZE, target, to, part);
        chunk = this.#chunkNext[chunk]!;
      }
    }
  }

  /** Writes the sizes of a list's fragments, in order. Returns how many there are, 0: more than fit. */
  sizes(first: number, into: Uint16Array): number {
    let count = 0;
    for (let fragment = first; fragment !== 0; fragment = this.#next[fragment]!) {
      if (count === into.length) return 0;
      into[count++] = this.#size[fragment]!;
    }
    return count;
  }

  /** Frees a list. Returns how many chunks it had. */
  release(first: number): number {
    let freed = 0;
    for (let fragment = first; fragment !== 0;) {
      const next = this.#next[fragment]!;
      for (let chunk = this.#chunk[fragment]!; chunk !== 0;) {
        const following = this.#chunkNext[chunk]!;
        this.#chunkNext[chunk] = this.#freeChunk;
        this.#freeChunk = chunk;
        chunk = following;
        freed++;
      }
      this.#next[fragment] = this.#freeFragment;
      this.#freeFragment = fragment;
      fragment = next;
    }
    this.chunks -= freed;
    return freed;
  }
}

function copyPart(
  source: Uint8Array,
  from: number,
  target: Uint8Array,
  to: number,
  size: number,
): void {
  if (size > BYTEWISE_MAX) target.set(source.subarray(from, from + size), to);
  else for (let byte = 0; byte < size; byte++) target[to + byte] = source[from + byte]!;
}
