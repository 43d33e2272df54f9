/** A list of 32-bit integers that grows: 4 bytes an entry, no objects. */
export class IntList {
  #words: Int32Array = new Int32Array(64);
  #length = 0;

  get length(): number {
    return this.#length;
  }

  /** The value at an index below {@link length}. */
  at(index: number): number {
    return this.#words[index]!;
  }

  set(index: number, value: number): void {
    this.#words[index] = value;
  }

  push(value: number): void {
    if (this.#length === this.#words.length) this.#grow();
    this.#words[this.#length++] = value;
  }

  /** Takes the last value off; the list must not be empty. */
  pop(): number {
    return this.#words[--this.#length]!;
  }

  /** Empties the list; gives a large array back. */
  clear(): void {
    this.#length = 0;
    if (this.#words.length > 4096) this.#words = new Int32Array(64);
  }

  #grow(): void {
    const words = new Int32Array(this.#words.length * 2);
    words.set(this.#words);
    this.#words = words;
  }
}
