/**
 * What one thread holds of the operating system, noted where another can see it: a thread that never
 * comes back can't give anything back itself, and its sockets would go on taking packets.
 *
 * The thread notes descriptors and mapped rings in shared memory; {@link takeOver} then makes every
 * descriptor one of /dev/null and every ring plain memory. The numbers and addresses stay taken: the
 * thread, should it come back after all, finds its own dead descriptors and not somebody else's.
 */
import { O_CLOEXEC, O_RDWR } from "./abi.ts";
import { libc, noteDescriptors } from "./libc.ts";
import { coverRing, noteRings } from "./memory.ts";

/** Descriptors of higher numbers are not noted. */
const DESCRIPTORS_MAX = 1 << 16;
const BITMAP_WORDS = DESCRIPTORS_MAX >> 5;
/** Rings that can be noted: address and size, two float64 each. */
const RINGS_MAX = 1024;
const RINGS_AT = BITMAP_WORDS * 4;

/** Memory for one thread's notes. */
export function makeHoldings(): SharedArrayBuffer {
  return new SharedArrayBuffer(RINGS_AT + RINGS_MAX * 16);
}

/** In the thread, before it opens anything: from now on everything is noted. */
export function noteHoldings(holdings: SharedArrayBuffer): void {
  const bits = new Int32Array(holdings, 0, BITMAP_WORDS);
  const rings = new Float64Array(holdings, RINGS_AT);
  noteDescriptors((fd, isOpen) => {
    if (fd < 0 || fd >= DESCRIPTORS_MAX) return;
    const bit = 1 << (fd & 31);
    if (isOpen) Atomics.or(bits, fd >> 5, bit);
    else Atomics.and(bits, fd >> 5, ~bit);
  });
  noteRings((address, size, isMapped) => {
    const wanted = isMapped ? 0 : address;
    for (let at = 0; at < rings.length; at += 2) {
      if (rings[at] !== wanted) continue;
      rings[at + 1] = size;
      rings[at] = isMapped ? address : 0;
      return;
    }
  });
}

/** Elsewhere, about a thread that runs none of our code: takes away all that it holds. Returns how many descriptors that were. Throws SystemError. */
export function takeOver(holdings: SharedArrayBuffer): number {
  const { file, process } = libc();
  const bits = new Int32Array(holdings, 0, BITMAP_WORDS);
  const rings = new Float64Array(holdings, RINGS_AT);
  // A mapping keeps its socket open, in its fanout group.
  for (let at = 0; at < rings.length; at += 2) {
    if (rings[at] !== 0) coverRing(rings[at]!, rings[at + 1]!);
  }
  const nothing = file.open(new TextEncoder().encode("/dev/null\0"), O_RDWR | O_CLOEXEC, 0);
  if (nothing < 0) return 0;
  let count = 0;
  for (let word = 0; word < BITMAP_WORDS; word++) {
    for (let left = Atomics.load(bits, word); left !== 0; left &= left - 1) {
      const fd = word * 32 + 31 - Math.clz32(left & -left);
      if (process.dup2(nothing, fd) >= 0) count++;
    }
  }
  file.close(nothing);
  return count;
}
