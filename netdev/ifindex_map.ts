/** Interface index → small number, looked up for every packet: open addressing over one Int32Array. */

const EMPTY = 0;

export class IfindexMap {
  /** Pairs (ifindex, value); ifindex 0, which no device has, marks a free place. */
  #pairs: Int32Array = new Int32Array(2 * 16);
  #mask = 15;
  #count = 0;

  /** Value of an ifindex, or −1. */
  get(ifindex: number): number {
    const pairs = this.#pairs;
    const mask = this.#mask;
    // Neighbouring numbers are the usual case: they fall into neighbouring places.
    let at = ifindex & mask;
    for (;;) {
      const key = pairs[2 * at];
      if (key === ifindex) return pairs[2 * at + 1] ?? -1;
      if (key === EMPTY) return -1;
      at = (at + 1) & mask;
    }
  }

  /** Adds or replaces; `value` ≥ 0. */
  set(ifindex: number, value: number): void {
    if (this.get(ifindex) === -1 && ++this.#count * 2 > this.#mask) {
      this.#rebuild(this.#mask * 2 + 1);
    }
    this.#put(ifindex, value);
  }

  delete(ifindex: number): void {
    if (this.get(ifindex) === -1) return;
    this.#count--;
    this.#rebuild(this.#mask, ifindex);
  }

  *keys(): Generator<number> {
    for (let at = 0; at < this.#pairs.length; at += 2) {
      const key = this.#pairs[at] ?? EMPTY;
      if (key !== EMPTY) yield key;
    }
  }

  #put(ifindex: number, value: number): void {
    let at = ifindex & this.#mask;
    while (this.#pairs[2 * at] !== EMPTY && this.#pairs[2 * at] !== ifindex) {
      at = (at + 1) & this.#mask;
    }
    this.#pairs[2 * at] = ifindex;
    this.#pairs[2 * at + 1] = value;
  }

  #rebuild(mask: number, without = EMPTY): void {
    const old = this.#pairs;
    this.#pairs = new Int32Array(2 * (mask + 1));
    this.#mask = mask;
    for (let at = 0; at < old.length; at += 2) {
      const key = old[at] ?? EMPTY;
      if (key !== EMPTY && key !== without) this.#put(key, old[at + 1] ?? 0);
    }
  }
}
