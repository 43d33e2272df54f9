/**
 * What the packet socket costs without a switch: a minimal forwarder (ring → sender) between two
 * veths in network namespaces of its own, 60 B UDP one way (64 with the checksum), CPU nanoseconds of
 * the forwarding thread per packet (schedstat), beside the same forwarder in C, in turns; then one
 * TCP stream by iperf3 with all offloads on.
 *
 * `deno run -A bench/packet_io.ts [rounds]`. Needs root, ip, taskset, gcc; iperf3 for the TCP row.
 */
import { dropReason } from "../datapath/drop_reasons.ts";
import { Packet } from "../datapath/packet/packet.ts";
import { allocateBuffer } from "../netdev/memory.ts";
import type { PacketHost } from "../netdev/packet_host.ts";
import { PacketSender } from "../netdev/packet_sender.ts";
import { PacketRing } from "../netdev/packet_socket.ts";
import { Poller } from "../netdev/poller.ts";
import { Rtnetlink } from "../netdev/rtnetlink.ts";
import { say } from "../tests/output.ts";
import { buildGenerator } from "./generator.ts";
import { buildPeer } from "./packet_io_peer.ts";

const SOURCE = "dnv-nd-src";
const SWITCH = "dnv-nd-sw";
const SINK = "dnv-nd-dst";
const SLOTS = 64;
const SLOT_SIZE = 66 * 1024 + 64;
const HEAD = 258;
const BURST = 32;

async function run(command: string, ...args: string[]): Promise<string> {
  const { success, stdout, stderr } = await new Deno.Command(command, { args }).output();
  if (!success) {
    throw new Error(`${command} ${args.join(" ")}: ${new TextDecoder().decode(stderr)}`);
  }
  return new TextDecoder().decode(stdout);
}

async function ip(text: string): Promise<void> {
  await run("ip", ...text.split(" "));
}

/** One thread's worth of switch: every frame of port 0 to port 1 and back. */
class Forwarder implements PacketHost {
  readonly #free: Packet[] = [];
  readonly #used: Packet[] = [];
  readonly sender: PacketSender = PacketSender.open();
  readonly slots: number[] = [];
  packets = 0;
  bytes = 0;
  drops = 0;

  constructor() {
    const { buffer } = allocateBuffer(SLOTS * SLOT_SIZE);
    for (let slot = 0; slot < SLOTS; slot++) {
      const packet = new Packet(buffer);
      packet.slot = slot;
      this.#free.push(packet);
    }
  }
  allocate(): Packet | undefined {
    const packet = this.#free.pop();
    if (packet === undefined) return undefined;
    packet.headLimit = packet.slot * SLOT_SIZE;
    packet.tailLimit = packet.headLimit + SLOT_SIZE;
    packet.start = packet.end = packet.headLimit + HEAD;
    return packet;
  }
  recycle(packet: Packet): void {
    this.#free.push(packet);
  }
  receive(portNo: number, packet: Packet): void {
    this.packets++;
    this.bytes += packet.end - packet.start;
    this.sender.send(this.slots[1 - portNo] ?? 0, packet);
    if (packet.slot >= 0) this.#used.push(packet);
  }
  countRxDrop(): void {
    this.drops++;
  }
  countTxDrop(_portNo: number, reason: number): void {
    if (reason !== dropReason("tx-queue-full")) this.drops++;
    this.drops++;
  }
  flush(): void {
    this.sender.flush();
    for (let used = this.#used.pop(); used !== undefined; used = this.#used.pop()) {
      this.#free.push(used);
    }
  }
}

function cpuNs(): number {
  return Number(Deno.readTextFileSync("/proc/thread-self/schedstat").split(" ")[0]);
}

/** The child in the switch's namespace: prints a JSON line of counts every half second. */
function forward(): void {
  using net = new Rtnetlink();
  const host = new Forwarder();
  const ring = PacketRing.open({ host });
  for (const [portNo, name] of ["s0", "s1"].entries()) {
    const ifindex = net.linkByName(name)?.ifindex ?? 0;
    ring.addPort(ifindex, portNo, host);
    host.slots.push(host.sender.addPort(ifindex, portNo, host));
  }
  const poller = new Poller();
  poller.add(ring.fd, 1);
  const out = new TextEncoder();
  let report = performance.now() + 500;
  for (let rounds = 1;; rounds++) {
    const count = ring.receive(BURST);
    host.flush();
    ring.release();
    if (count === 0) poller.wait(500);
    if (((rounds & 255) !== 0 && count > 0) || performance.now() < report) continue;
    report += 500;
    const { packets, bytes, drops } = host;
    const lost = ring.statistics().drops;
    const line: Sample = { packets, bytes, drops, lost, cpuNs: cpuNs(), rounds };
    Deno.stdout.writeSync(out.encode(JSON.stringify(line) + "\n"));
  }
}

interface Sample {
  readonly packets: number;
  readonly bytes: number;
  readonly drops: number;
  readonly lost: number;
  readonly cpuNs: number;
  readonly rounds: number;
}

/** Reads the child's lines; `latest` is the newest. */
class Samples {
  latest: Sample | undefined;
  constructor(stream: ReadableStream<Uint8Array>) {
    this.#read(stream);
  }
  async #read(stream: ReadableStream<Uint8Array>): Promise<void> {
    let text = "";
    for await (const chunk of stream) {
      text += new TextDecoder().decode(chunk);
      const lines = text.split("\n");
      text = lines.pop() ?? "";
      const last = lines.pop();
      if (last !== undefined) this.latest = JSON.parse(last);
    }
  }
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms));
}

async function topology(): Promise<void> {
  await cleanUp();
  for (const name of [SOURCE, SWITCH, SINK]) {
    await ip(`netns add ${name}`);
    await run("ip", "netns", "exec", name, "sysctl", "-qw", "net.ipv6.conf.all.disable_ipv6=1");
    await run("ip", "netns", "exec", name, "sysctl", "-qw", "net.ipv6.conf.default.disable_ipv6=1");
  }
  await ip(`link add a0 netns ${SOURCE} type veth peer name s0 netns ${SWITCH}`);
  await ip(`link add b0 netns ${SINK} type veth peer name s1 netns ${SWITCH}`);
  await ip(`-n ${SOURCE} addr add 10.0.0.1/24 dev a0`);
  await ip(`-n ${SINK} addr add 10.0.0.2/24 dev b0`);
  for (const [name, device] of [[SOURCE, "a0"], [SWITCH, "s0"], [SWITCH, "s1"], [SINK, "b0"]]) {
    await ip(`-n ${name} link set ${device} up`);
  }
}

async function cleanUp(): Promise<void> {
  for (const name of [SOURCE, SWITCH, SINK]) {
    await new Deno.Command("ip", { args: ["netns", "del", name], stderr: "null" }).output();
  }
}

function inNamespace(name: string, cpu: number, ...command: string[]): Deno.Command {
  const args = ["netns", "exec", name, "taskset", "-c", `${cpu}`, ...command];
  return new Deno.Command("ip", { args, stdout: "piped", stderr: "inherit" });
}

/** Runs one forwarder under the test's traffic; the child is gone afterwards. */
async function withForwarder(
  command: readonly string[],
  test: (samples: Samples) => Promise<void>,
): Promise<void> {
  const child = inNamespace(SWITCH, 1, ...command).spawn();
  try {
    const samples = new Samples(child.stdout);
    while (samples.latest === undefined) await sleep(50);
    await test(samples);
  } finally {
    child.kill("SIGKILL");
    await child.status;
  }
}

async function main(rounds: number): Promise<void> {
  const folder = await Deno.makeTempDir();
  try {
    const generator = await buildGenerator(folder);
    const inC = [await buildPeer(folder)];
    const ours = [Deno.execPath(), "run", "-A", new URL(import.meta.url).pathname, "forward"];
    await topology();
    for (let round = 0; round < rounds; round++) {
      for (const [label, command] of [["C", inC], ["ours", ours]] as const) {
        await withForwarder(command, (samples) => small(label, samples, generator));
      }
    }
    await withForwarder(ours, (samples) => tcp(samples));
  } finally {
    await cleanUp();
    await Deno.remove(folder, { recursive: true });
  }
}

/** 60-byte frames, 3.5 s, of which the last 2 count. */
async function small(label: string, samples: Samples, generator: string): Promise<void> {
  const sending = inNamespace(SOURCE, 0, generator, "a0", "02:00:00:00:00:09", "60", "3.5", "1");
  const source = sending.spawn();
  await sleep(1500);
  const before = samples.latest;
  const sunk = await received();
  const start = performance.now();
  await sleep(2000);
  const after = samples.latest;
  const rate = (await received() - sunk) / (performance.now() - start) * 1000;
  await source.stdout.cancel();
  await source.status;
  if (before !== undefined && after !== undefined) report(label, before, after, rate);
}

async function received(): Promise<number> {
  const path = "/sys/class/net/b0/statistics/rx_packets";
  return Number(await run("ip", "netns", "exec", SINK, "cat", path));
}

function report(label: string, before: Sample, after: Sample, sinkRate: number): void {
  const packets = after.packets - before.packets;
  const ns = (after.cpuNs - before.cpuNs) / packets;
  const burst = packets / (after.rounds - before.rounds);
  const size = (after.bytes - before.bytes) / packets;
  say(
    `${label}: ${ns.toFixed(0)} CPU ns/packet, ${(sinkRate / 1e6).toFixed(3)} Mpps at the sink, ` +
      `${burst.toFixed(1)} packets/round, ${size.toFixed(0)} B/packet, ` +
      `${after.lost - before.lost} lost in the ring, ${after.drops - before.drops} drops`,
  );
}

async function tcp(samples: Samples): Promise<void> {
  const server = inNamespace(SINK, 0, "iperf3", "-s", "-1").spawn();
  await sleep(600);
  const before = samples.latest;
  const args = `netns exec ${SOURCE} iperf3 -J -c 10.0.0.2 -t 3`.split(" ");
  const { stdout } = await new Deno.Command("ip", { args }).output();
  await sleep(600);
  const after = samples.latest;
  await server.stdout.cancel();
  await server.status;
  const bits = JSON.parse(new TextDecoder().decode(stdout)).end?.sum_received?.bits_per_second ?? 0;
  if (before !== undefined && after !== undefined) {
    report(`ours, TCP ${(bits / 1e9).toFixed(2)} Gbit/s`, before, after, 0);
  }
}

if (import.meta.main) {
  if (Deno.args[0] === "forward") forward();
  else await main(Number(Deno.args[0] ?? 3));
}
