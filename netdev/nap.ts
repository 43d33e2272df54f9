/** Short sleeps of a packet thread. */
import { PR_SET_TIMERSLACK } from "./abi.ts";
import { libc } from "./libc.ts";

/** Unless told otherwise the kernel ends a sleep up to 50 µs late, to save wake-ups. */
const SLACK_NS = 1000n;

/** Prepares the calling thread for sleeps of a few microseconds; returns a function that sleeps for that many, less if a signal comes. It never throws. */
export function openNap(): (us: number) => void {
  const { kernel, poll } = libc();
  // Where it is not allowed, sleeps are longer.
  kernel.prctl(PR_SET_TIMERSLACK, SLACK_NS, 0n, 0n, 0n);
  const { usleep } = poll;
  return (us) => void usleep(us);
}
