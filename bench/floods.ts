/**
 * `deno task bench:floods [--flood 50000] [--good 10000] [--seconds 3] [--rounds 3]`: what a flood at
 * one port does to well-behaved traffic between two others, of the same datapath and packet thread.
 *
 * The real daemon, veth ports, frames from C generators at fixed rates: `good` packets a second with a
 * flow, which are counted where they arrive, and `flood` packets a second at another port. Floods:
 * packets with a flow (what the rate alone costs), random 5-tuples that nobody wants, the same for a
 * handler that installs a flow for each, connections that are only begun, fragments of datagrams that
 * never get whole, packets that recirculate without end, and packets in a loop of patch ports. Each in
 * one run with a moment without flood before it; medians over rounds. Losses are the datapath's drops
 * by reason, memory that of the daemon's process.
 */
import { IS_ROOT, type Lab, type Namespace, withLab } from "../tests/e2e/lab.ts";
import { median, say, table, warn } from "../tests/output.ts";
import { installMissing } from "../tests/packages.ts";
import { buildFloodGenerator, type FloodKind } from "./flood_generator.ts";
import { argument, receivedFrames } from "./switches.ts";

/** Nobody's address: the far end drops the frame as soon as it has counted it. */
const DESTINATION = "02:00:00:00:00:99";
const HANDLER = `export default { apiVersion: 1, name: "eager", upcall(packet, key, host) {
  host.addFlow({ flow: key.text, actions: "4", idleTimeout: 1 });
  host.execute(packet, "4");
} };
`;
const FLOWS_MAX = 20_000;
const CONNECTIONS_MAX = 50_000;
const LEAD_MS = 500;

interface Flood {
  readonly name: string;
  readonly kind: FloodKind;
  /** Flows for what comes in at port 3. */
  readonly flows: readonly (readonly [string, string])[];
  readonly handler?: boolean;
}

const FLOODS: readonly Flood[] = [
  { name: "with a flow", kind: "known", flows: [["in_port(3)", "4"]] },
  { name: "misses", kind: "tuples", flows: [] },
  { name: "a handler's flows", kind: "tuples", flows: [], handler: true },
  {
    name: "half-open",
    kind: "syns",
    flows: [["in_port(3),eth(),eth_type(0x0800),ipv4()", "ct(commit),4"]],
  },
  {
    name: "fragments",
    kind: "fragments",
    flows: [["in_port(3),eth(),eth_type(0x0800),ipv4()", "ct(commit),4"]],
  },
  {
    name: "recirculation",
    kind: "known",
    flows: [
      ["recirc_id(0),in_port(3)", "recirc(1)"],
      ["recirc_id(1),in_port(3)", "recirc(1),recirc(1)"],
    ],
  },
  {
    name: "patch loop",
    kind: "known",
    flows: [["in_port(3)", "5"], ["in_port(5)", "5,6"], ["in_port(6)", "5,6"]],
  },
];

interface Moment {
  readonly delivered: number;
  readonly drops: Readonly<Record<string, number>>;
  readonly rssMib: number;
  readonly flows: number;
  readonly connections: number;
  /** Fragments that wait. */
  readonly held: number;
}

const sleep = (ms: number): Promise<void> => new Promise((wake) => setTimeout(wake, ms));

function rssMib(pid: number): number {
  const status = Deno.readTextFileSync(`/proc/${pid}/status`);
  return Number(/^VmRSS:\s+(\d+)/m.exec(status)?.[1] ?? NaN) / 1024;
}

/** Drops that have come in the meantime. */
function difference(
  before: Readonly<Record<string, number>>,
  after: Readonly<Record<string, number>>,
): Record<string, number> {
  const entries = Object.entries(after).map(([name, count]) =>
    [name, count - (before[name] ?? 0)] as const
  );
  return Object.fromEntries(entries.filter(([, count]) => count > 0));
}

class FloodLab {
  readonly #lab: Lab;
  readonly #generator: string;
  readonly #source: Namespace;
  readonly #sink: Namespace;
  readonly #attacker: Namespace;
  readonly #seconds = Number(argument("seconds", "3"));

  private constructor(
    lab: Lab,
    generator: string,
    peers: readonly [Namespace, Namespace, Namespace],
  ) {
    this.#lab = lab;
    this.#generator = generator;
    [this.#source, this.#sink, this.#attacker] = peers;
  }

  static async make(lab: Lab): Promise<FloodLab> {
    const generator = await buildFloodGenerator(lab.folder);
    const peers = [];
    for (const name of ["a", "b", "x", "y"]) peers.push(await lab.peer(name));
    const { denovs } = lab;
    await denovs.start();
    await denovs.cli("dp-add", "br0", "--flows-max", `${FLOWS_MAX}`);
    for (const { port } of peers) await denovs.cli("port-add", "br0", port);
    await denovs.cli("port-add", "br0", "p5", "--type", "patch", "peer=p6");
    await denovs.cli("port-add", "br0", "p6", "--type", "patch", "peer=p5");
    await denovs.cli("ct-maxconns", "br0", `${CONNECTIONS_MAX}`);
    Deno.writeTextFileSync(`${lab.folder}/eager.ts`, HANDLER, { mode: 0o600 });
    return new FloodLab(lab, generator, [peers[0]!, peers[1]!, peers[2]!]);
  }

  /** The same datapath with the flows of a flood. */
  async prepare(flood: Flood): Promise<void> {
    const { denovs, folder } = this.#lab;
    await denovs.cli("flow-flush", "br0");
    await denovs.cli("ct-flush", "br0");
    await denovs.cli("flow-add", "br0", "in_port(1)", "2");
    for (const [flow, actions] of flood.flows) await denovs.cli("flow-add", "br0", flow, actions);
    const handler = flood.handler === true ? `${folder}/eager.ts` : "";
    await denovs.cli("dp-set", "br0", `upcall-handler=${handler}`);
  }

  /** Well-behaved traffic for a while, with or without a flood. */
  async moment(kind: FloodKind | undefined): Promise<Moment> {
    const { denovs } = this.#lab;
    const seconds = `${this.#seconds + 2 * LEAD_MS / 1000}`;
    const start = (where: Namespace, what: FloodKind, rate: string): Deno.ChildProcess =>
      where.start([this.#generator, "eth0", DESTINATION, what, rate, seconds]);
    const running = [start(this.#source, "known", argument("good", "10000"))];
    if (kind !== undefined) running.push(start(this.#attacker, kind, argument("flood", "50000")));
    await sleep(LEAD_MS);
    const before = await denovs.show();
    const arrived = await receivedFrames(this.#sink);
    const since = performance.now();
    await sleep(this.#seconds * 1000);
    const delivered = (await receivedFrames(this.#sink) - arrived) / (performance.now() - since);
    const after = await denovs.show();
    const { count } = JSON.parse(await denovs.cli("ct-maxconns", "br0", "--json"));
    for (const each of running) await each.status;
    return {
      delivered: delivered * 1000,
      drops: difference(before.counters.drops, after.counters.drops),
      rssMib: rssMib(denovs.pid),
      flows: after.flows,
      connections: count,
      held: after.counters["held"] ?? 0,
    };
  }
}

function print(results: ReadonlyMap<string, { alone: Moment; flooded: Moment }[]>): void {
  const rows = [...results].map(([name, rounds]) => {
    const alone = median(rounds.map((round) => round.alone.delivered));
    const flooded = median(rounds.map((round) => round.flooded.delivered));
    const { drops, flows, connections, held, rssMib: after } = rounds.at(-1)!.flooded;
    const lost = Object.entries(drops).toSorted(([, a], [, b]) => b - a).slice(0, 3)
      .map(([reason, count]) => `${reason} ${count}`).join(", ");
    const before = rounds[0]!.alone.rssMib;
    return [
      name,
      Math.round(alone).toString(),
      Math.round(flooded).toString(),
      `${Math.round(100 * flooded / alone)} %`,
      `${Math.round(before)} ${Math.round(after)}`,
      `${flows} ${connections} ${held}`,
      lost,
    ];
  });
  const heads = [
    ...["flood", "alone/s", "flooded/s", "", "RSS MiB", "flows, connections, fragments"],
    "lost in the flood",
  ];
  for (const line of table(heads, rows)) say(line);
}

async function main(): Promise<void> {
  if (!IS_ROOT) {
    warn("bench:floods needs root");
    Deno.exit(1);
  }
  await installMissing();
  await withLab(async (lab) => {
    const floods = await FloodLab.make(lab);
    const results = new Map<string, { alone: Moment; flooded: Moment }[]>();
    for (let round = 0; round < Number(argument("rounds", "3")); round++) {
      for (const flood of FLOODS) {
        await floods.prepare(flood);
        const alone = await floods.moment(undefined);
        const flooded = await floods.moment(flood.kind);
        results.set(flood.name, [...results.get(flood.name) ?? [], { alone, flooded }]);
      }
    }
    print(results);
    say("received + generated + copied = sent + dropped + consumed + held is checked at the end");
  });
}

await main();
