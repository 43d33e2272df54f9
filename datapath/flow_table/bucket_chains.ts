/**
 * The writer's side of the hash table: bucket arrays and the chains through the nodes.
 *
 * When flows outnumber buckets, an array of twice the size is filled beside the current one, a few
 * flows with every flow linked, so that no change of the table pays for all. The filled array is
 * published, and both are kept up to date until every packet thread has moved on to the new one
 * (`acknowledged`): each array has a chain word of its own in every node (the lowest bit of its
 * version says which), so readers of either see whole chains.
 */
import { type Buckets, NODE_HASH, NODE_NEXT, NODE_SHIFT } from "./layout.ts";

/** Buckets of a new table, as the kernel's TBL_MIN_BUCKETS. */
const BUCKETS_MIN = 1024;
/** Flows copied to a growing array for each flow linked. */
const COPIED_PER_LINK = 8;

interface BucketArray extends Buckets {
  readonly words: Int32Array<SharedArrayBuffer>;
}

export class BucketChains {
  readonly #nodes: Int32Array<SharedArrayBuffer>;
  readonly #publish: (buckets: Buckets) => void;
  /** 1: the flow is in the chains. */
  readonly #linked: Uint8Array;
  /** Flows below this may be linked. */
  #end = 0;
  #count = 0;
  #current: BucketArray;
  /** Being filled: has the flows below #copied. */
  #growing: BucketArray | undefined;
  #copied = 0;
  /** The array before the current one, while packet threads may read it. */
  #previous: BucketArray | undefined;

  /** `publish` tells the packet threads of a new array; answer with {@link acknowledged}. */
  constructor(nodes: Int32Array<SharedArrayBuffer>, publish: (buckets: Buckets) => void) {
    this.#nodes = nodes;
    this.#publish = publish;
    this.#linked = new Uint8Array(nodes.length >> NODE_SHIFT);
    this.#current = makeArray(0, BUCKETS_MIN);
  }

  /** The newest published array. */
  get buckets(): Buckets {
    return { version: this.#current.version, heads: this.#current.heads };
  }

  /** Heads of the newest published array. */
  get heads(): Int32Array<SharedArrayBuffer> {
    return this.#current.words;
  }

  /** Which word of a node chains it in {@link heads}. */
  get nextWord(): number {
    return nextWord(this.#current);
  }

  /** Puts a flow, filled in but for its node, in front of its chain. */
  link(flow: number, hash: number): void {
    this.#nodes[((flow + 1) << NODE_SHIFT) + NODE_HASH] = hash;
    this.#linked[flow] = 1;
    this.#count++;
    if (flow >= this.#end) this.#end = flow + 1;
    if (this.#previous !== undefined) this.#push(this.#previous, flow, hash);
    this.#push(this.#current, flow, hash);
    if (this.#growing !== undefined && flow < this.#copied) this.#push(this.#growing, flow, hash);
    this.#grow();
  }

  /** Takes a flow out of its chain. Readers that are at it still find their way on. */
  unlink(flow: number): void {
    this.#linked[flow] = 0;
    this.#count--;
    if (this.#previous !== undefined) this.#remove(this.#previous, flow);
    this.#remove(this.#current, flow);
    if (this.#growing !== undefined && flow < this.#copied) this.#remove(this.#growing, flow);
  }

  /** Every packet thread has taken the array with this version. */
  acknowledged(version: number): void {
    if (version === this.#current.version) this.#previous = undefined;
  }

  #push(array: BucketArray, flow: number, hash: number): void {
    const node = flow + 1;
    const head = hash & (array.words.length - 1);
    this.#nodes[(node << NODE_SHIFT) + nextWord(array)] = array.words[head]!;
    Atomics.store(array.words, head, node);
  }

  #remove(array: BucketArray, flow: number): void {
    const nodes = this.#nodes;
    const node = flow + 1;
    const next = nextWord(array);
    const after = nodes[(node << NODE_SHIFT) + next]!;
    const head = nodes[(node << NODE_SHIFT) + NODE_HASH]! & (array.words.length - 1);
    let at = array.words[head]!;
    if (at === node) {
      Atomics.store(array.words, head, after);
      return;
    }
    for (;;) {
      const word = (at << NODE_SHIFT) + next;
      at = nodes[word]!;
      if (at === node) {
        Atomics.store(nodes, word, after);
        return;
      }
      if (at === 0) throw new Error("bug: a flow is not in its chain");
    }
  }

  /** Begins, goes on with or ends the filling of a larger array. */
  #grow(): void {
    if (this.#growing === undefined) {
      const size = this.#current.words.length;
      if (this.#count <= size || this.#previous !== undefined) return;
      const wanted = Math.max(2 * size, 2 ** Math.ceil(Math.log2(this.#count)));
      this.#growing = makeArray(this.#current.version + 1, wanted);
      this.#copied = 0;
    }
    const growing = this.#growing;
    const end = Math.min(this.#copied + COPIED_PER_LINK, this.#end);
    for (let flow = this.#copied; flow < end; flow++) {
      if (this.#linked[flow] === 0) continue;
      this.#push(growing, flow, this.#nodes[((flow + 1) << NODE_SHIFT) + NODE_HASH]!);
    }
    this.#copied = end;
    if (end < this.#end) return;
    this.#previous = this.#current;
    this.#current = growing;
    this.#growing = undefined;
    this.#publish(this.buckets);
  }
}

function makeArray(version: number, count: number): BucketArray {
  const words = new Int32Array(new SharedArrayBuffer(count * 4));
  return { version, heads: words.buffer, words };
}

/** Which word of a node chains it in an array. */
export function nextWord(buckets: { readonly version: number }): number {
  return NODE_NEXT + (buckets.version & 1);
}
