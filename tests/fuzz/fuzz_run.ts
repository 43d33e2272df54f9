/** Runs epochs of fuzzed packets (fuzz_switch.ts), adds up what became of them, and finds the packet to blame. */
import { imbalance, type Totals } from "../../datapath/testing/balance.ts";
import { type FuzzedPacket, type FuzzOptions, FuzzSwitch } from "./fuzz_switch.ts";

/** What became of all packets of some epochs. */
export interface FuzzOutcome {
  packets: number;
  totals: Totals;
  read: { upcalls: number; captured: number; traces: number; datagrams: number };
  actions: Set<string>;
}

/** Something threw, was lost, or written where it must not be. */
export class FuzzFailure extends Error {
  override readonly name = "FuzzFailure";
  readonly seed: number;
  readonly packets: readonly FuzzedPacket[];

  constructor(seed: number, packets: readonly FuzzedPacket[], cause: unknown) {
    const what = cause instanceof Error ? cause.stack ?? cause.message : String(cause);
    const lines = packets.map(({ hex, inPort, state }) => `port ${inPort} ${state}\n${hex}`);
    super(`seed ${seed}: ${what}\n${lines.join("\n")}`, { cause });
    this.seed = seed;
    this.packets = packets;
  }
}

export function emptyOutcome(): FuzzOutcome {
  const none = { received: 0, generated: 0, copied: 0, sent: 0, dropped: 0, consumed: 0, held: 0 };
  return {
    packets: 0,
    totals: { ...none, drops: {} },
    read: { upcalls: 0, captured: 0, traces: 0, datagrams: 0 },
    actions: new Set(),
  };
}

/** One epoch of at least `count` packets, added to `outcome`. Throws FuzzFailure. */
export function fuzzEpoch(options: FuzzOptions, count: number, outcome: FuzzOutcome): void {
  const fuzzed = new FuzzSwitch(options);
  try {
    while (fuzzed.packets < count) fuzzed.burst();
    add(outcome, fuzzed);
  } catch (thrown) {
    fuzzed.close();
    const packets = guilty(options, fuzzed.bursts) ?? fuzzed.lastBurst();
    throw new FuzzFailure(options.seed, packets, thrown);
  }
  fuzzed.close();
}

/** The same again up to the burst that failed, whose packets then go one by one: the one that throws. */
function guilty(options: FuzzOptions, burst: number): FuzzedPacket[] | undefined {
  const again = new FuzzSwitch({ ...options, singlyFrom: burst });
  try {
    while (again.bursts <= burst) again.burst();
    return undefined;
  } catch {
    return again.lastBurst();
  } finally {
    again.close();
  }
}

function add(outcome: FuzzOutcome, fuzzed: FuzzSwitch): void {
  const { totals, read } = fuzzed;
  const wrong = imbalance(totals);
  if (wrong !== undefined) throw new Error(wrong);
  const drops: Record<string, number> = { ...outcome.totals.drops };
  for (const [name, count] of Object.entries(totals.drops)) {
    drops[name] = (drops[name] ?? 0) + count;
  }
  const sum = (name: Exclude<keyof Totals, "drops">): number => outcome.totals[name] + totals[name];
  outcome.totals = {
    received: sum("received"),
    generated: sum("generated"),
    copied: sum("copied"),
    sent: sum("sent"),
    dropped: sum("dropped"),
    consumed: sum("consumed"),
    held: sum("held"),
    drops,
  };
  outcome.packets += fuzzed.packets;
  outcome.read.upcalls += read.upcalls;
  outcome.read.captured += read.captured;
  outcome.read.traces += read.traces;
  outcome.read.datagrams += read.datagrams;
  for (const type of fuzzed.actions) outcome.actions.add(type);
}
