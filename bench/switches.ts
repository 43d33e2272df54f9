/**
 * The switches that the benchmarks compare: each in a lab of its own (namespaces for source, switch
 * and sink), all alive at once, so that rounds can alternate between them.
 */
import { Lab, type Namespace, type Peer } from "../tests/e2e/lab.ts";
import { eventually, run, spawn } from "../tests/e2e/process.ts";

export interface BenchSwitch extends AsyncDisposable {
  readonly name: string;
  readonly lab: Lab;
  readonly source: Peer;
  readonly sink: Peer;
  /** The switch's process; undefined: it works in the kernel. */
  readonly pid: number | undefined;
}

/** How a benchmark wants its switches. */
export interface Wishes {
  /** CPU that the switch's process is pinned to. */
  readonly cpu: number;
  /** Addresses of source and sink, if they talk IP. */
  readonly withAddresses: boolean;
}

const SOURCE_ADDRESS = "10.9.0.1/24";
export const SINK_ADDRESS = "10.9.0.2";

async function twoPeers(lab: Lab, wishes: Wishes): Promise<{ source: Peer; sink: Peer }> {
  const address = (text: string): { address?: string } =>
    wishes.withAddresses ? { address: text } : {};
  const source = await lab.peer("a", address(SOURCE_ADDRESS));
  const sink = await lab.peer("b", address(`${SINK_ADDRESS}/24`));
  if (wishes.withAddresses) {
    await source.ip(
      "neigh",
      "add",
      SINK_ADDRESS,
      "lladdr",
      sink.mac,
      "dev",
      "eth0",
      "nud",
      "permanent",
    );
    const back = SOURCE_ADDRESS.replace(/\/.*/, "");
    await sink.ip("neigh", "add", back, "lladdr", source.mac, "dev", "eth0", "nud", "permanent");
  }
  return { source, sink };
}

function disposer(lab: Lab): () => Promise<void> {
  return () => lab[Symbol.asyncDispose]();
}

/** The Linux bridge. */
export async function startBridge(wishes: Wishes): Promise<BenchSwitch> {
  const lab = await Lab.make();
  const { source, sink } = await twoPeers(lab, wishes);
  await lab.sw.ip("link", "add", "br0", "type", "bridge");
  for (const { port } of [source, sink]) {
    await lab.sw.ip("link", "set", port, "master", "br0", "up");
  }
  await lab.sw.ip("link", "set", "br0", "up");
  return {
    name: "bridge",
    lab,
    source,
    sink,
    pid: undefined,
    [Symbol.asyncDispose]: disposer(lab),
  };
}

/** Debian's ovs-vswitchd with its netdev datapath. Without `tso` the hosts must not offload. */
export async function startOvs(wishes: Wishes, options: { tso: boolean }): Promise<BenchSwitch> {
  const lab = await Lab.make();
  const { source, sink } = await twoPeers(lab, wishes);
  const folder = lab.folder;
  const env = { OVS_RUNDIR: folder, OVS_LOGDIR: folder, OVS_DBDIR: folder, OVS_SYSCONFDIR: folder };
  const words = Object.entries(env).map(([k, v]) => `${k}=${v}`);
  const inside = ["ip", "netns", "exec", lab.sw.name, "env", ...words];
  const must = async (command: readonly string[]): Promise<void> => {
    const done = await run([...inside, ...command]);
    if (done.code !== 0) throw new Error(`${command.join(" ")}: ${done.stderr}`);
  };
  const db = `unix:${folder}/db.sock`;
  await must([
    "ovsdb-tool",
    "create",
    `${folder}/conf.db`,
    "/usr/share/openvswitch/vswitch.ovsschema",
  ]);
  spawn([...inside, "ovsdb-server", `--remote=p${db}`, `${folder}/conf.db`]);
  await eventually("ovsdb-server listens", () => exists(`${folder}/db.sock`));
  await must(["ovs-vsctl", `--db=${db}`, "--no-wait", "init"]);
  if (options.tso) {
    await must([
      "ovs-vsctl",
      `--db=${db}`,
      "--no-wait",
      "set",
      "Open_vSwitch",
      ".",
      "other_config:userspace-tso-enable=true",
    ]);
  }
  const pin = ["taskset", "-c", String(wishes.cpu)];
  const daemon = spawn([
    ...inside,
    ...pin,
    "ovs-vswitchd",
    "--disable-system",
    `--log-file=${folder}/ovs.log`,
    db,
  ]);
  await must([
    "ovs-vsctl",
    `--db=${db}`,
    "--timeout=20",
    "add-br",
    "br0",
    "--",
    "set",
    "bridge",
    "br0",
    "datapath_type=netdev",
    "fail-mode=secure",
  ]);
  for (const { port } of [source, sink]) {
    await must(["ovs-vsctl", `--db=${db}`, "--timeout=20", "add-port", "br0", port]);
    await lab.sw.ip("link", "set", port, "up");
  }
  if (!options.tso) {
    for (const peer of [source, sink]) await peer.run(["ethtool", "-K", "eth0", "tx", "off"]);
  }
  for (const [from, to] of [[source.port, sink.port], [sink.port, source.port]]) {
    await must([
      "ovs-ofctl",
      "add-flow",
      `unix:${folder}/br0.mgmt`,
      `in_port=${from},actions=output:${to}`,
    ]);
  }
  const name = options.tso ? "ovs-tso" : "ovs";
  return { name, lab, source, sink, pid: daemon.pid, [Symbol.asyncDispose]: disposer(lab) };
}

/** denovs, from the sources or from DENOVS_EXE. */
export async function startDenovs(wishes: Wishes): Promise<BenchSwitch> {
  const lab = await Lab.make();
  const { source, sink } = await twoPeers(lab, wishes);
  await lab.denovs.start([], ["taskset", "-c", String(wishes.cpu)]);
  const { denovs } = lab;
  await denovs.cli("dp-add", "br0");
  await denovs.cli("port-add", "br0", source.port);
  await denovs.cli("port-add", "br0", sink.port);
  await denovs.cli("flow-add", "br0", "in_port(1)", "2");
  await denovs.cli("flow-add", "br0", "in_port(2)", "1");
  return {
    name: "denovs",
    lab,
    source,
    sink,
    pid: denovs.pid,
    [Symbol.asyncDispose]: disposer(lab),
  };
}

/** Starts those of the named switches that are wanted, in the order given. */
export async function startSwitches(
  names: readonly string[],
  wishes: Wishes,
): Promise<BenchSwitch[]> {
  const started: BenchSwitch[] = [];
  for (const name of names) {
    if (name === "bridge") started.push(await startBridge(wishes));
    else if (name === "ovs") started.push(await startOvs(wishes, { tso: false }));
    else if (name === "ovs-tso") started.push(await startOvs(wishes, { tso: true }));
    else if (name === "denovs") started.push(await startDenovs(wishes));
    else throw new Error(`no switch "${name}" (there are: denovs ovs ovs-tso bridge)`);
  }
  return started;
}

function exists(path: string): boolean {
  try {
    Deno.lstatSync(path);
    return true;
  } catch {
    return false;
  }
}

/** CPU time of each thread of a process so far, nanoseconds (schedstat, field 1), by thread id. */
export function threadTimes(pid: number): Map<string, number> {
  const times = new Map<string, number>();
  for (const { name } of Deno.readDirSync(`/proc/${pid}/task`)) {
    try {
      const text = Deno.readTextFileSync(`/proc/${pid}/task/${name}/schedstat`);
      times.set(name, Number(text.split(" ")[0]));
    } catch {
      // The thread has ended meanwhile.
    }
  }
  return times;
}

/** What the busiest thread and all threads together used between two readings, nanoseconds. */
export function usedBetween(
  before: ReadonlyMap<string, number>,
  after: ReadonlyMap<string, number>,
): { busiest: number; all: number } {
  const used = [...after].map(([id, ns]) => ns - (before.get(id) ?? 0));
  return { busiest: Math.max(0, ...used), all: used.reduce((sum, ns) => sum + ns, 0) };
}

/** Frames that a namespace's eth0 has received. */
export async function receivedFrames(namespace: Namespace): Promise<number> {
  const links: { stats64: { rx: { packets: number } } }[] = JSON.parse(
    await namespace.ip("-s", "-j", "link", "show", "eth0"),
  );
  return links[0]?.stats64.rx.packets ?? NaN;
}

/** Value of `--name VALUE` or `--name=VALUE` among the arguments. */
export function argument(name: string, fallback: string): string {
  const at = Deno.args.indexOf(`--${name}`);
  if (at >= 0) return Deno.args[at + 1] ?? fallback;
  const joined = Deno.args.find((arg) => arg.startsWith(`--${name}=`));
  return joined?.slice(name.length + 3) ?? fallback;
}
