/**
 * Ten million hostile packets through a whole datapath (tests/fuzz/fuzz_switch.ts): nothing may throw,
 * be lost from the accounts, or be read or written outside a packet.
 *
 *   deno run -A bench/fuzz.ts [--packets N] [--seed S] [--pcap FILE]
 *
 * Epochs of 50,000 packets with seeds S, S + 1, …: each has random flows of every action, and its own
 * mutations of recorded frames, or of those in FILE. Prints the rate (with everything that checks),
 * what became of the packets, and memory. Exit status 1 at the first failure, with the seed that
 * repeats it and the packet.
 */
import { parseArgs } from "node:util";
import { corpus } from "../tests/fuzz/corpus.ts";
import { FuzzMemory } from "../tests/fuzz/fuzz_host.ts";
import { emptyOutcome, fuzzEpoch, FuzzFailure, type FuzzOutcome } from "../tests/fuzz/fuzz_run.ts";
import { readPcap } from "../tests/golden/script.ts";
import { say } from "../tests/output.ts";
import { cpuNs } from "./cpu.ts";

const EPOCH = 50_000;
/** After so many epochs what is compiled and pooled is there: memory is compared with then. */
const WARM_EPOCHS = 4;

const { values } = parseArgs({
  options: {
    packets: { type: "string", default: "10000000" },
    seed: { type: "string", default: "1" },
    pcap: { type: "string" },
  },
});

function row(name: string, value: number | string): void {
  const text = typeof value === "number" ? Math.round(value).toLocaleString("en") : value;
  say(`${name.padEnd(32)} ${text.padStart(16)}`);
}

/** Resident memory and JavaScript's heap, MiB. */
function memoryMib(): { rss: number; heap: number } {
  const { rss, heapUsed } = Deno.memoryUsage();
  return { rss: rss / 2 ** 20, heap: heapUsed / 2 ** 20 };
}

function report(outcome: FuzzOutcome): void {
  const { totals, read } = outcome;
  const { received, generated, copied, sent, dropped, consumed, held, drops } = totals;
  row("kinds of action in flows", outcome.actions.size);
  row("upcalls, captures, traces read", `${read.upcalls} ${read.captured} ${read.traces}`);
  row("datagrams at tunnel ports", read.datagrams);
  say(`\nreceived ${received} + generated ${generated} + copied ${copied} =`);
  say(`  sent ${sent} + dropped ${dropped} + consumed ${consumed} + held ${held}`);
  say("\ndropped by reason");
  const byCount = Object.entries(drops).toSorted(([, a], [, b]) => b - a);
  for (const [name, count] of byCount) row(`  ${name}`, count);
}

function main(): void {
  const wanted = Number(values.packets);
  const first = Number(values.seed);
  const frames = values.pcap === undefined
    ? corpus()
    : readPcap(Deno.readFileSync(values.pcap)).frames.map((hex) => Uint8Array.fromHex(hex));
  const memory = new FuzzMemory();
  const outcome = emptyOutcome();
  const since = performance.now();
  const cpuFrom = cpuNs();
  let before = memoryMib();
  for (let epoch = 0; outcome.packets < wanted; epoch++) {
    const count = Math.min(EPOCH, wanted - outcome.packets);
    fuzzEpoch({ seed: first + epoch, corpus: frames, memory }, count, outcome);
    if (epoch < WARM_EPOCHS) before = memoryMib();
  }
  const after = memoryMib();
  const seconds = (performance.now() - since) / 1000;
  row("packets", outcome.packets);
  row("exceptions", 0);
  row("packets a second", outcome.packets / seconds);
  row("CPU time per packet, ns", (cpuNs() - cpuFrom) / outcome.packets);
  row("resident MiB, before and after", `${before.rss.toFixed(0)} ${after.rss.toFixed(0)}`);
  row("heap MiB, before and after", `${before.heap.toFixed(0)} ${after.heap.toFixed(0)}`);
  report(outcome);
}

try {
  main();
} catch (failure) {
  if (!(failure instanceof FuzzFailure)) throw failure;
  say(failure.message);
  say(`\nagain: deno run -A bench/fuzz.ts --seed ${failure.seed} --packets ${EPOCH}`);
  Deno.exit(1);
}
