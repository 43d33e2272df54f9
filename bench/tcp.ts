/**
 * `deno task bench:tcp [--rounds 5] [--seconds 3] [--only denovs,ovs-tso,ovs,bridge]`: one TCP
 * stream by iperf3, veth to veth, all offloads on. (`ovs` is ovs-vswitchd without userspace-tso: its
 * hosts have to switch transmit offloads off, or TCP does not pass at all.) The switch is pinned to
 * CPU 1. Rounds alternate between the switches; medians and ratios are printed.
 */
import { IS_ROOT } from "../tests/e2e/lab.ts";
import { eventually } from "../tests/e2e/process.ts";
import { median, say, table, warn } from "../tests/output.ts";
import { installMissing } from "../tests/packages.ts";
import {
  argument,
  type BenchSwitch,
  SINK_ADDRESS,
  startSwitches,
  threadTimes,
  usedBetween,
} from "./switches.ts";

interface Round {
  readonly gigabits: number;
  /** CPU time of the switch's busiest thread per byte carried, nanoseconds. */
  readonly nsPerByte: number;
}

async function measure(subject: BenchSwitch, seconds: number): Promise<Round> {
  const before = threadTimes(subject.pid ?? Deno.pid);
  const { stdout } = await subject.source.run(
    ["taskset", "-c", "0", "iperf3", "-c", SINK_ADDRESS, "-t", String(seconds), "-O", "1", "-J"],
    { timeoutMs: (seconds + 20) * 1000 },
  );
  const used = usedBetween(before, threadTimes(subject.pid ?? Deno.pid));
  const { end } = JSON.parse(stdout);
  const bitsPerSecond: number = end.sum_received.bits_per_second;
  const bytes = bitsPerSecond / 8 * (seconds + 1);
  return {
    gigabits: bitsPerSecond / 1e9,
    nsPerByte: subject.pid === undefined ? NaN : used.busiest / bytes,
  };
}

async function main(): Promise<number> {
  if (!IS_ROOT) return warn("bench:tcp needs root: it makes network namespaces"), 1;
  const problem = await installMissing();
  if (problem !== undefined) return warn(problem), 1;
  const rounds = Number(argument("rounds", "5"));
  const seconds = Number(argument("seconds", "3"));
  const names = argument("only", "denovs,ovs-tso,ovs,bridge").split(",");
  await using stack = new AsyncDisposableStack();
  const switches = await startSwitches(names, { cpu: 1, withAddresses: true });
  for (const one of switches) {
    stack.use(one);
    one.sink.start(["iperf3", "-s"]);
    const listens = async (): Promise<boolean> =>
      (await one.sink.run(["ss", "-Hltn", "sport = :5201"])).stdout !== "";
    await eventually("iperf3 listens", listens);
  }
  const results = new Map<string, Round[]>(switches.map(({ name }) => [name, []]));
  for (let round = 0; round < rounds; round++) {
    for (const one of switches) {
      const result = await measure(one, seconds);
      results.get(one.name)?.push(result);
      say(`round ${round + 1} ${one.name}: ${result.gigabits.toFixed(2)} Gbit/s`);
    }
  }
  report(results);
  return 0;
}

function report(results: ReadonlyMap<string, readonly Round[]>): void {
  const rate = (name: string): number => median((results.get(name) ?? []).map((r) => r.gigabits));
  const against = (name: string, peer: string): string =>
    results.has(peer) ? (rate(name) / rate(peer)).toFixed(2) : "-";
  const rows = [...results].map(([name, rounds]) => {
    const rates = rounds.map((round) => round.gigabits);
    const cost = median(rounds.map((round) => round.nsPerByte));
    return [
      name,
      rate(name).toFixed(2),
      `${Math.min(...rates).toFixed(2)}-${Math.max(...rates).toFixed(2)}`,
      Number.isNaN(cost) ? "-" : cost.toFixed(2),
      against(name, "ovs-tso"),
      against(name, "ovs"),
      against(name, "bridge"),
    ];
  });
  say(
    "\nOne TCP stream, Gbit/s, median of the rounds; CPU of the switch's busiest thread per byte",
  );
  const head = ["switch", ">Gbit/s", ">spread", ">CPU ns/B", ">/ovs-tso", ">/ovs", ">/bridge"];
  for (const line of table(head, rows)) say(line);
  say(`load average ${Deno.loadavg().map((value) => value.toFixed(2)).join(" ")}`);
}

Deno.exit(await main());
