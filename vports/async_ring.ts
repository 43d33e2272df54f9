/**
 * A bounded queue of frames in shared memory, one isolate writing and one reading: how packet threads
 * and the Worker of an asynchronous port hand frames to each other.
 *
 * Positions count bytes and run freely (modulo 2^32); a record is a size and the frame, padded to 4.
 */
const HEAD = 0;
const TAIL = 1;
const HEADER_SIZE = 64;
const SIZE_FIELD = 4;

/** Memory for a ring of `capacity` bytes, a power of 2. */
export function makeRing(capacity: number): SharedArrayBuffer {
  return new SharedArrayBuffer(HEADER_SIZE + capacity);
}

/** One isolate's view of a ring. */
export class FrameRing {
  readonly #words: Int32Array<SharedArrayBuffer>;
  readonly #bytes: Uint8Array<SharedArrayBuffer>;
  readonly #view: DataView<SharedArrayBuffer>;
  readonly #capacity: number;

  constructor(memory: SharedArrayBuffer) {
    this.#words = new Int32Array(memory, 0, HEADER_SIZE >> 2);
    this.#bytes = new Uint8Array(memory, HEADER_SIZE);
    this.#view = new DataView(memory, HEADER_SIZE);
    this.#capacity = this.#bytes.length;
  }

  /** Writer: appends bytes [start, end) as one frame. False: there is no room, and nothing has changed. */
  push(frame: Uint8Array, start: number, end: number): boolean {
    const size = end - start;
    const head = this.#words[HEAD]!;
    const used = (head - Atomics.load(this.#words, TAIL)) >>> 0;
    const total = (SIZE_FIELD + size + 3) & ~3;
    if (used + total > this.#capacity) return false;
    const at = head & (this.#capacity - 1);
    this.#view.setUint32(at, size, true);
    const from = (at + SIZE_FIELD) & (this.#capacity - 1);
    const first = Math.min(size, this.#capacity - from);
    this.#bytes.set(frame.subarray(start, start + first), from);
    if (first < size) this.#bytes.set(frame.subarray(start + first, end), 0);
    Atomics.store(this.#words, HEAD, (head + total) | 0);
    return true;
  }

  /** Writer: the reader has taken all but the frame pushed last, so it may be asleep. */
  wasEmptyBefore(size: number): boolean {
    const total = (SIZE_FIELD + size + 3) & ~3;
    return ((this.#words[HEAD]! - Atomics.load(this.#words, TAIL)) >>> 0) <= total;
  }

  /** Reader: size of the next frame; −1: there is none. */
  nextSize(): number {
    const tail = this.#words[TAIL]!;
    if (Atomics.load(this.#words, HEAD) === tail) return -1;
    return this.#view.getUint32(tail & (this.#capacity - 1), true);
  }

  /** Reader: takes the next frame, of which {@link nextSize} has told the size, to `to`[at …). */
  take(to: Uint8Array, at: number, size: number): void {
    const tail = this.#words[TAIL]!;
    const from = (tail + SIZE_FIELD) & (this.#capacity - 1);
    const first = Math.min(size, this.#capacity - from);
    to.set(this.#bytes.subarray(from, from + first), at);
    if (first < size) to.set(this.#bytes.subarray(0, size - first), at + first);
    Atomics.store(this.#words, TAIL, (tail + ((SIZE_FIELD + size + 3) & ~3)) | 0);
  }
}
