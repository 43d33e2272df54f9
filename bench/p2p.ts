/**
 * `deno task bench:p2p [--rounds 5] [--seconds 2] [--size 60] [--only denovs,ovs,bridge]`:
 * 64-byte UDP frames, veth to veth, one flow. A C generator on CPU 0 sends as fast as it can, the
 * switch is pinned to CPU 1; the measure is the CPU time of the switch's busiest thread
 * (schedstat) per frame that arrived at the sink, which swings less than frames per second do.
 * Rounds alternate between the switches; medians and ratios to ovs-vswitchd are printed.
 */
import { IS_ROOT } from "../tests/e2e/lab.ts";
import { median, say, table, warn } from "../tests/output.ts";
import { installMissing } from "../tests/packages.ts";
import { buildGenerator } from "./generator.ts";
import {
  argument,
  type BenchSwitch,
  receivedFrames,
  startSwitches,
  threadTimes,
  usedBetween,
} from "./switches.ts";

interface Round {
  readonly framesPerSecond: number;
  readonly busiestNs: number;
  readonly processNs: number;
}

const WARM_UP_MS = 1000;
/** Nobody's address: the sink drops the frame as soon as it has counted it. */
const DESTINATION = "02:00:00:00:00:99";

const sleep = (ms: number): Promise<void> => new Promise((wake) => setTimeout(wake, ms));

async function measure(subject: BenchSwitch, generator: string, seconds: number): Promise<Round> {
  const size = argument("size", "60"); // 64 with the frame check sequence
  const total = String(seconds + WARM_UP_MS / 1000 + 0.3);
  const sender = subject.source.start([
    "taskset",
    "-c",
    "0",
    generator,
    "eth0",
    DESTINATION,
    size,
    total,
    "1",
  ]);
  await sleep(WARM_UP_MS);
  const times = threadTimes(subject.pid ?? Deno.pid);
  const frames = await receivedFrames(subject.sink);
  const begin = performance.now();
  await sleep(seconds * 1000);
  const after = threadTimes(subject.pid ?? Deno.pid);
  const passed = await receivedFrames(subject.sink) - frames;
  const tookMs = performance.now() - begin;
  await sender.status;
  const used = usedBetween(times, after);
  const inKernel = subject.pid === undefined;
  return {
    framesPerSecond: passed / tookMs * 1000,
    busiestNs: inKernel ? NaN : used.busiest / passed,
    processNs: inKernel ? NaN : used.all / passed,
  };
}

async function main(): Promise<number> {
  if (!IS_ROOT) return warn("bench:p2p needs root: it makes network namespaces"), 1;
  const problem = await installMissing();
  if (problem !== undefined) return warn(problem), 1;
  const rounds = Number(argument("rounds", "5"));
  const seconds = Number(argument("seconds", "2"));
  const names = argument("only", "denovs,ovs,bridge").split(",");
  await using stack = new AsyncDisposableStack();
  const switches = await startSwitches(names, { cpu: 1, withAddresses: false });
  for (const one of switches) stack.use(one);
  const generator = await buildGenerator(switches[0]?.lab.folder ?? "/tmp");
  const results = new Map<string, Round[]>(switches.map(({ name }) => [name, []]));
  for (let round = 0; round < rounds; round++) {
    for (const one of switches) {
      const result = await measure(one, generator, seconds);
      results.get(one.name)?.push(result);
      const cpu = Number.isNaN(result.busiestNs)
        ? ""
        : `, ${result.busiestNs.toFixed(0)} CPU ns per frame`;
      say(
        `round ${round + 1} ${one.name}: ${
          (result.framesPerSecond / 1e6).toFixed(3)
        } M frames/s${cpu}`,
      );
    }
  }
  report(results);
  return 0;
}

function report(results: ReadonlyMap<string, readonly Round[]>): void {
  const middle = (name: string, of: (round: Round) => number): number =>
    median((results.get(name) ?? []).map(of));
  const number = (value: number, digits: number): string =>
    Number.isNaN(value) ? "-" : value.toFixed(digits);
  const rows = [...results].map(([name, rounds]) => {
    const busiest = rounds.map((round) => round.busiestNs);
    return [
      name,
      number(middle(name, (r) => r.busiestNs), 0),
      Number.isNaN(busiest[0])
        ? "-"
        : `${Math.min(...busiest).toFixed(0)}-${Math.max(...busiest).toFixed(0)}`,
      number(middle(name, (r) => r.processNs), 0),
      number(middle(name, (r) => r.framesPerSecond) / 1e6, 3),
      number(middle(name, (r) => r.busiestNs) / middle("ovs", (r) => r.busiestNs), 2),
      number(middle(name, (r) => r.framesPerSecond) / middle("ovs", (r) => r.framesPerSecond), 2),
    ];
  });
  say("\nCPU: nanoseconds per frame of the switch's busiest thread, median of the rounds");
  for (
    const line of table([
      "switch",
      ">CPU",
      ">spread",
      ">process",
      ">M frames/s",
      ">CPU/ovs",
      ">rate/ovs",
    ], rows)
  ) say(line);
  say(`load average ${Deno.loadavg().map((value) => value.toFixed(2)).join(" ")}`);
}

Deno.exit(await main());
