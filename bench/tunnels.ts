/**
 * `deno task bench:tunnels [--rounds 3] [--seconds 3] [--only denovs,kernel,ovs] [--joined]`: one TCP stream
 * through VXLAN, out of the tunnel's near side and into it. The topology is the same for all: host a
 * by veth to the switch, the switch by an underlay veth (MTU 1500) to the kernel's vxlan device in a
 * namespace of its own. The switch is denovs, the kernel's bridge and vxlan device, or ovs-vswitchd
 * with its userspace datapath (whose hosts have to switch transmit offloads off). Switches are pinned
 * to CPU 1, and what the namespaces at the ends receive is handled on CPU 0 (receive packet steering):
 * a veth's other end would else work on the switch's time, more than half of it on the way out. With
 * --joined the far end's device cuts trains up, as a network card would, and the kernel joins them
 * again in front of the switch: what comes in from another machine. Rounds alternate; medians and
 * ratios are printed.
 */
import { IS_ROOT, Lab, type Peer } from "../tests/e2e/lab.ts";
import { eventually, run, spawn } from "../tests/e2e/process.ts";
import { FAR, NEAR, underlay } from "../tests/e2e/tunnel_lab.ts";
import { median, say, table, warn } from "../tests/output.ts";
import { installMissing } from "../tests/packages.ts";
import { argument, threadTimes, usedBetween } from "./switches.ts";

const VNI = "42";
const CPU = "1";
const ENDS_CPU_MASK = "1";
const INNER_MTU = "1450";

interface Subject extends AsyncDisposable {
  readonly name: string;
  readonly a: Peer;
  readonly far: Peer;
  /** Undefined: works in the kernel. */
  readonly pid: number | undefined;
}

/** Host a and the far end with its vxlan device; the switch is the caller's. */
async function topology(lab: Lab): Promise<{ a: Peer; far: Peer }> {
  const far = await underlay(lab, { v6: false });
  const device = ["vx0", "type", "vxlan", "id", VNI, "dstport", "4789", "remote", NEAR];
  await far.ip("link", "add", ...device);
  await far.ip("addr", "add", "10.0.0.2/24", "dev", "vx0");
  await far.ip("link", "set", "vx0", "up");
  const a = await lab.peer("a", { address: "10.0.0.1/24" });
  await a.ip("link", "set", "eth0", "mtu", INNER_MTU);
  await lab.sw.ip("link", "set", a.port, "mtu", INNER_MTU);
  for (const end of [a, far]) {
    await end.run(["sh", "-c", `echo ${ENDS_CPU_MASK} > /sys/class/net/eth0/queues/rx-0/rps_cpus`]);
  }
  if (Deno.args.includes("--joined")) {
    const segmentation = ["tx-udp_tnl-segmentation", "tx-udp_tnl-csum-segmentation", "tx"];
    await far.run(["ethtool", "-K", "eth0", ...segmentation.flatMap((name) => [name, "off"])]);
    await lab.sw.run(["ethtool", "-K", far.port, "gro", "on"]);
  }
  return { a, far };
}

function subject(name: string, lab: Lab, ends: { a: Peer; far: Peer }, pid?: number): Subject {
  return { name, ...ends, pid, [Symbol.asyncDispose]: () => lab[Symbol.asyncDispose]() };
}

async function startDenovs(): Promise<Subject> {
  const lab = await Lab.make();
  const ends = await topology(lab);
  const { denovs } = lab;
  await denovs.start([], ["taskset", "-c", CPU]);
  await denovs.cli("dp-add", "br0");
  await denovs.cli("port-add", "br0", ends.a.port);
  await denovs.cli("port-add", "br0", "tun", "--type", "vxlan", `remote_ip=${FAR}`, `key=${VNI}`);
  await denovs.cli("flow-add", "br0", "in_port(1)", "2");
  await denovs.cli("flow-add", "br0", "in_port(2)", "1");
  return subject("denovs", lab, ends, denovs.pid);
}

async function startKernel(): Promise<Subject> {
  const lab = await Lab.make();
  const ends = await topology(lab);
  const device = ["vx0", "type", "vxlan", "id", VNI, "dstport", "4789", "remote", FAR];
  await lab.sw.ip("link", "add", ...device);
  await lab.sw.ip("link", "add", "br0", "type", "bridge");
  for (const name of ["vx0", ends.a.port]) {
    await lab.sw.ip("link", "set", name, "master", "br0", "up");
  }
  await lab.sw.ip("link", "set", "br0", "up");
  return subject("kernel", lab, ends);
}

async function startOvs(): Promise<Subject> {
  const lab = await Lab.make();
  const ends = await topology(lab);
  const { folder, sw } = lab;
  const words = ["OVS_RUNDIR", "OVS_LOGDIR", "OVS_DBDIR", "OVS_SYSCONFDIR"]
    .map((name) => `${name}=${folder}`);
  const inside = ["ip", "netns", "exec", sw.name, "env", ...words];
  const must = async (...command: string[]): Promise<void> => {
    const done = await run([...inside, ...command]);
    if (done.code !== 0) throw new Error(`${command.join(" ")}: ${done.stderr}`);
  };
  const db = `unix:${folder}/db.sock`;
  const vsctl = (...args: string[]): Promise<void> =>
    must("ovs-vsctl", `--db=${db}`, "--timeout=20", ...args);
  const schema = "/usr/share/openvswitch/vswitch.ovsschema";
  await must("ovsdb-tool", "create", `${folder}/conf.db`, schema);
  spawn([...inside, "ovsdb-server", `--remote=p${db}`, `${folder}/conf.db`]);
  await eventually(
    "ovsdb-server listens",
    async () => (await run(["test", "-S", `${folder}/db.sock`])).code === 0,
  );
  await vsctl("--no-wait", "init");
  const daemon = spawn([...inside, "taskset", "-c", CPU, "ovs-vswitchd", "--disable-system", db]);
  const netdev = "datapath_type=netdev";
  await vsctl("add-br", "br-phy", "--", "set", "bridge", "br-phy", netdev);
  await vsctl("add-port", "br-phy", ends.far.port);
  await vsctl("add-br", "br-int", "--", "set", "bridge", "br-int", netdev);
  await vsctl("add-port", "br-int", ends.a.port);
  const interfaceWords = ["type=vxlan", `options:remote_ip=${FAR}`, `options:key=${VNI}`];
  await vsctl("add-port", "br-int", "tun", "--", "set", "interface", "tun", ...interfaceWords);
  await sw.ip("addr", "flush", "dev", ends.far.port);
  await sw.ip("addr", "add", `${NEAR}/24`, "dev", "br-phy");
  for (const name of ["br-phy", ends.a.port]) await sw.ip("link", "set", name, "up");
  for (const end of [ends.a, ends.far]) await end.run(["ethtool", "-K", "eth0", "tx", "off"]);
  await ends.far.run(["ethtool", "-K", "vx0", "tx", "off"]);
  return subject("ovs", lab, ends, daemon.pid);
}

interface Round {
  readonly gigabits: number;
  /** CPU time of the switch's busiest thread per byte carried, nanoseconds. */
  readonly nsPerByte: number;
}

async function measure(one: Subject, way: "out" | "in", seconds: number): Promise<Round> {
  const before = threadTimes(one.pid ?? Deno.pid);
  const flags = way === "in" ? ["-R"] : [];
  const client = ["taskset", "-c", "0", "iperf3", "-c", "10.0.0.2", "-t", `${seconds}`, "-J"];
  const { stdout } = await one.a.run([...client, ...flags], {
    timeoutMs: (seconds + 20) * 1000,
  });
  const used = usedBetween(before, threadTimes(one.pid ?? Deno.pid));
  const { bits_per_second: rate, bytes } = JSON.parse(stdout).end.sum_received;
  return { gigabits: rate / 1e9, nsPerByte: one.pid === undefined ? NaN : used.busiest / bytes };
}

async function main(): Promise<number> {
  if (!IS_ROOT) return warn("bench:tunnels needs root: it makes network namespaces"), 1;
  const problem = await installMissing();
  if (problem !== undefined) return warn(problem), 1;
  const rounds = Number(argument("rounds", "3"));
  const seconds = Number(argument("seconds", "3"));
  const makers = new Map([["denovs", startDenovs], ["kernel", startKernel], ["ovs", startOvs]]);
  await using stack = new AsyncDisposableStack();
  const subjects: Subject[] = [];
  for (const name of argument("only", "denovs,kernel,ovs").split(",")) {
    const make = makers.get(name);
    if (make === undefined) return warn(`no switch "${name}" (there are: denovs kernel ovs)`), 1;
    const one = stack.use(await make());
    subjects.push(one);
    one.far.start(["iperf3", "-s"]);
    await eventually(
      "iperf3 listens",
      async () => (await one.far.run(["ss", "-Hltn", "sport = :5201"])).stdout !== "",
    );
    await eventually(`${name} carries packets`, async () => await one.a.ping("10.0.0.2") > 0);
  }
  const results = new Map<string, Round[]>();
  for (let round = 0; round < rounds; round++) {
    for (const one of subjects) {
      for (const way of ["out", "in"] as const) {
        const result = await measure(one, way, seconds);
        const key = `${one.name} ${way}`;
        results.set(key, [...results.get(key) ?? [], result]);
        say(`round ${round + 1} ${key}: ${result.gigabits.toFixed(2)} Gbit/s`);
      }
    }
  }
  report(results);
  return 0;
}

function report(results: ReadonlyMap<string, readonly Round[]>): void {
  const rate = (key: string): number => median((results.get(key) ?? []).map((r) => r.gigabits));
  const cpu = (key: string): number => median((results.get(key) ?? []).map((r) => r.nsPerByte));
  const ratio = (one: number, other: number): string =>
    Number.isFinite(one / other) ? (one / other).toFixed(2) : "-";
  const rows = [...results].map(([key, rounds]) => {
    const way = key.split(" ")[1] ?? "";
    const rates = rounds.map((round) => round.gigabits);
    const cost = cpu(key);
    const against = (peer: string): string => {
      const theirs = rate(`${peer} ${way}`);
      return results.has(`${peer} ${way}`) ? (rate(key) / theirs).toFixed(2) : "-";
    };
    return [
      key,
      rate(key).toFixed(2),
      `${Math.min(...rates).toFixed(2)}-${Math.max(...rates).toFixed(2)}`,
      Number.isNaN(cost) ? "-" : cost.toFixed(2),
      ratio(cost, cpu(`ovs ${way}`)),
      against("kernel"),
      against("ovs"),
    ];
  });
  say(
    "\nOne TCP stream through VXLAN, Gbit/s, median of the rounds; CPU of the switch's busiest thread",
  );
  const head = [
    "switch, way",
    ">Gbit/s",
    ">spread",
    ">CPU ns/B",
    ">/ovs",
    ">Gbit/s /kernel",
    ">/ovs",
  ];
  for (const line of table(head, rows)) say(line);
  say(`load average ${Deno.loadavg().map((value) => value.toFixed(2)).join(" ")}`);
}

Deno.exit(await main());
