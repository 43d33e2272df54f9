/** Flows in the order of their insertion: a doubly linked list in typed arrays, with cursors that survive changes. */

export class FlowOrder {
  readonly #next: Int32Array;
  readonly #before: Int32Array;
  readonly #cursors: Set<FlowCursor> = new Set();
  /** First and last + 1; 0: none. */
  #first = 0;
  #last = 0;

  constructor(flowsMax: number) {
    this.#next = new Int32Array(flowsMax);
    this.#before = new Int32Array(flowsMax);
  }

  append(flow: number): void {
    this.#before[flow] = this.#last;
    this.#next[flow] = 0;
    if (this.#last === 0) this.#first = flow + 1;
    else this.#next[this.#last - 1] = flow + 1;
    this.#last = flow + 1;
  }

  remove(flow: number): void {
    for (const cursor of this.#cursors) cursor.removed(flow);
    const next = this.#next[flow]!;
    const before = this.#before[flow]!;
    if (before === 0) this.#first = next;
    else this.#next[before - 1] = next;
    if (next === 0) this.#last = before;
    else this.#before[next - 1] = before;
  }

  /** A cursor before the first flow; close it. */
  open(): FlowCursor {
    const cursor = new FlowCursor(
      (flow) => (flow < 0 ? this.#first : this.#next[flow]!) - 1,
      (flow) => this.#before[flow]! - 1,
      () => this.#cursors.delete(cursor),
    );
    this.#cursors.add(cursor);
    return cursor;
  }
}

/** A place in the order: behind the flow it gave last. */
export class FlowCursor {
  readonly #after: (flow: number) => number;
  readonly #before: (flow: number) => number;
  readonly #closed: () => void;
  #at = -1;

  /** Made by {@link FlowOrder.open}. `after(−1)` is the first flow. */
  constructor(
    after: (flow: number) => number,
    before: (flow: number) => number,
    closed: () => void,
  ) {
    this.#after = after;
    this.#before = before;
    this.#closed = closed;
  }

  /** The next flow, or −1 at the end. */
  next(): number {
    const flow = this.#after(this.#at);
    if (flow >= 0) this.#at = flow;
    return flow;
  }

  /** A flow is about to leave the order. */
  removed(flow: number): void {
    if (flow === this.#at) this.#at = this.#before(flow);
  }

  close(): void {
    this.#closed();
  }
}
