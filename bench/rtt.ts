/**
 * `deno task bench:rtt [--rounds 5] [--seconds 2] [--outstanding 1,32] [--only denovs,ovs,bridge]`:
 * request and answer, 16 bytes by UDP, veth to veth and back: how long one takes, and how many a
 * second, with one and with many on their way. Client and server are pinned to CPU 0, the switch to
 * CPU 1. Rounds alternate between the switches; medians and ratios to ovs-vswitchd are printed.
 */
import { IS_ROOT } from "../tests/e2e/lab.ts";
import { median, say, table, warn } from "../tests/output.ts";
import { installMissing } from "../tests/packages.ts";
import { buildRttPeer } from "./rtt_peer.ts";
import { argument, type BenchSwitch, SINK_ADDRESS, startSwitches } from "./switches.ts";

/** What the client prints: microseconds, answers a second. */
interface Round {
  readonly lost: number;
  readonly p50: number;
  readonly p99: number;
  readonly p999: number;
  readonly rate: number;
}

const PINNED = ["taskset", "-c", "0"];

async function measure(
  subject: BenchSwitch,
  peer: string,
  options: { outstanding: string; seconds: number },
): Promise<Round> {
  const { outstanding, seconds } = options;
  const client = [...PINNED, peer, SINK_ADDRESS, outstanding, String(seconds + 0.5)];
  const { code, stdout, stderr } = await subject.source.run(client);
  if (code !== 0) throw new Error(`${subject.name}: no answer came ${stderr}`);
  return JSON.parse(stdout);
}

async function main(): Promise<number> {
  if (!IS_ROOT) return warn("bench:rtt needs root: it makes network namespaces"), 1;
  const problem = await installMissing();
  if (problem !== undefined) return warn(problem), 1;
  const rounds = Number(argument("rounds", "5"));
  const seconds = Number(argument("seconds", "2"));
  const names = argument("only", "denovs,ovs,bridge").split(",");
  const counts = argument("outstanding", "1,32").split(",");
  await using stack = new AsyncDisposableStack();
  const switches = await startSwitches(names, { cpu: 1, withAddresses: true });
  for (const one of switches) stack.use(one);
  const peer = await buildRttPeer(switches[0]?.lab.folder ?? "/tmp");
  for (const one of switches) one.sink.start([...PINNED, peer, "echo"]);
  const results = new Map<string, Round[]>();
  for (let round = 0; round < rounds; round++) {
    for (const outstanding of counts) {
      for (const one of switches) {
        const result = await measure(one, peer, { outstanding, seconds });
        const key = `${one.name} ${outstanding}`;
        results.set(key, [...results.get(key) ?? [], result]);
      }
    }
  }
  for (const outstanding of counts) report(outstanding, names, results);
  say(`load average ${Deno.loadavg().map((value) => value.toFixed(2)).join(" ")}`);
  return 0;
}

function report(
  outstanding: string,
  names: readonly string[],
  results: ReadonlyMap<string, readonly Round[]>,
): void {
  const middle = (name: string, of: (round: Round) => number): number =>
    median((results.get(`${name} ${outstanding}`) ?? []).map(of));
  const ratio = (value: number): string => Number.isNaN(value) ? "-" : value.toFixed(2);
  const rows = names.map((name) => [
    name,
    middle(name, (r) => r.p50).toFixed(1),
    middle(name, (r) => r.p99).toFixed(1),
    middle(name, (r) => r.p999).toFixed(1),
    (middle(name, (r) => r.rate) / 1000).toFixed(1),
    String(middle(name, (r) => r.lost)),
    ratio(middle(name, (r) => r.p50) / middle("ovs", (r) => r.p50)),
    ratio(middle(name, (r) => r.rate) / middle("ovs", (r) => r.rate)),
  ]);
  say(`\n${outstanding} on the way: microseconds, median of the rounds`);
  const head = ["switch", ">p50", ">p99", ">p99.9", ">k answers/s", ">lost", ">p50/ovs"];
  for (const line of table([...head, ">rate/ovs"], rows)) say(line);
}

Deno.exit(await main());
