/**
 * What the packet socket costs without a switch: a minimal forwarder (ring → sender) between two
 * veths in network namespaces of its own, 64 B UDP one way, CPU nanoseconds of the forwarding thread
 * per packet (schedstat), and one TCP stream by iperf3 with all offloads on.
 *
 * `deno run -A bench/packet_io.ts [seconds]`. Needs root, ip, gcc; iperf3 for the TCP row.
 */
import { say } from "../tests/output.ts";
import { dropReason } from "../datapath/drop_reasons.ts";
import { Packet } from "../datapath/packet.ts";
import { allocateBuffer } from "../netdev/memory.ts";
import type { PacketHost } from "../netdev/packet_host.ts";
import { PacketSender } from "../netdev/packet_sender.ts";
import { PacketRing } from "../netdev/packet_socket.ts";
import { Poller } from "../netdev/poller.ts";
import { Rtnetlink } from "../netdev/rtnetlink.ts";

const SOURCE = "dnv-nd-src";
const SWITCH = "dnv-nd-sw";
const SINK = "dnv-nd-dst";
const SLOTS = 64;
const SLOT_SIZE = 66 * 1024 + 64;
const HEAD = 258;

/** A generator: `sendmmsg` of 64 copies of one 64-byte UDP frame (without FCS) until killed. */
const GENERATOR = String.raw`
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <stdlib.h>
#include <time.h>
int main(int n, char **a) {
  int fd = socket(AF_PACKET, SOCK_RAW, 0);
  struct sockaddr_ll l = {.sll_family = AF_PACKET, .sll_ifindex = if_nametoindex(a[1])};
  unsigned char f[64][60];
  struct mmsghdr m[64]; struct iovec v[64];
  static const unsigned char h[42] = {2,0,0,0,0,9, 2,0,0,0,0,1, 8,0, 0x45,0,0,46,0,0,0,0,64,17,0x66,0xbb,
    10,0,0,1, 10,0,0,2, 0x10,0,0x20,0, 0,26,0,0};
  memset(f, 0, sizeof f); memset(m, 0, sizeof m);
  for (int i = 0; i < 64; i++) {
    memcpy(f[i], h, sizeof h);
    v[i] = (struct iovec){f[i], 60};
    m[i].msg_hdr = (struct msghdr){.msg_iov = &v[i], .msg_iovlen = 1, .msg_name = &l, .msg_namelen = sizeof l};
  }
  double rate = n > 2 ? atof(a[2]) : 0, sent = 0;
  struct timespec t0, t;
  clock_gettime(CLOCK_MONOTONIC, &t0);
  for (;;) {
    int r = sendmmsg(fd, m, rate ? 16 : 64, 0);
    if (r > 0) sent += r;
    if (rate) for (;;) {
      clock_gettime(CLOCK_MONOTONIC, &t);
      if (sent < rate * (t.tv_sec - t0.tv_sec + (t.tv_nsec - t0.tv_nsec) / 1e9)) break;
    }
  }
}
`;

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
  const frames = Number(Deno.env.get("FRAMES") ?? 4092);
  const burst = Number(Deno.env.get("BURST") ?? 32);
  const ring = PacketRing.open({ host, frames });
  for (const [portNo, name] of ["s0", "s1"].entries()) {
    const ifindex = net.linkByName(name)?.ifindex ?? 0;
    ring.addPort(ifindex, portNo, host);
    host.slots.push(host.sender.addPort(ifindex, portNo, host));
  }
  const poller = new Poller();
  poller.add(ring.fd, 1);
  const out = new TextEncoder();
  let next = performance.now() + 500;
  let rounds = 0;
  let waits = 0;
  for (;;) {
    const count = ring.receive(burst);
    host.flush();
    ring.release();
    rounds++;
    if (count === 0) {
      poller.wait(500);
      waits++;
    }
    if ((rounds & 255) !== 0 && count > 0) continue;
    if (performance.now() < next) continue;
    next += 500;
    const { packets, bytes, drops } = host;
    const line = {
      packets,
      bytes,
      drops,
      lost: ring.statistics().drops,
      cpuNs: cpuNs(),
      rounds,
      waits,
    };
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
  readonly waits: number;
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

async function main(seconds: number): Promise<void> {
  const folder = await Deno.makeTempDir();
  const children: Deno.ChildProcess[] = [];
  try {
    await Deno.writeTextFile(`${folder}/generator.c`, GENERATOR);
    await run("gcc", "-O2", "-o", `${folder}/generator`, `${folder}/generator.c`);
    await topology();
    const self = new URL(import.meta.url).pathname;
    const peer = Deno.env.get("FORWARDER");
    const command = peer === undefined || peer === ""
      ? [Deno.execPath(), "run", "-A", self, "forward"]
      : [peer];
    const forwarder = inNamespace(SWITCH, 1, ...command).spawn();
    children.push(forwarder);
    const samples = new Samples(forwarder.stdout);
    while (samples.latest === undefined) await sleep(100);
    const rate = Deno.env.get("RATE") ?? "0";
    const generator = inNamespace(SOURCE, 0, `${folder}/generator`, "a0", rate).spawn();
    children.push(generator);
    await sleep(1500);
    for (let round = 0; round < seconds; round++) {
      const before = samples.latest;
      const sunk = await received();
      const start = performance.now();
      await sleep(1000);
      const after = samples.latest;
      report(before, after, (await received() - sunk) / (performance.now() - start) * 1000);
    }
    generator.kill("SIGKILL");
    await tcp(samples, seconds);
  } finally {
    for (const child of children) {
      try {
        child.kill("SIGKILL");
      } catch { /* it has ended */ }
      await child.status;
      await child.stdout.cancel().catch(() => {});
    }
    await cleanUp();
    await Deno.remove(folder, { recursive: true });
  }
}

async function received(): Promise<number> {
  const path = "/sys/class/net/b0/statistics/rx_packets";
  return Number(await run("ip", "netns", "exec", SINK, "cat", path));
}

function report(before: Sample, after: Sample, sinkRate: number): void {
  const packets = after.packets - before.packets;
  const ns = (after.cpuNs - before.cpuNs) / packets;
  const burst = packets / (after.rounds - before.rounds);
  const size = (after.bytes - before.bytes) / packets;
  say(
    `${ns.toFixed(0)} CPU ns/packet, ${(sinkRate / 1e6).toFixed(3)} Mpps at the sink, ` +
      `${burst.toFixed(1)} packets/round, ${size.toFixed(0)} B/packet, ` +
      `${after.lost - before.lost} lost in the ring, ${after.drops - before.drops} drops`,
  );
}

async function tcp(samples: Samples, seconds: number): Promise<void> {
  const server = inNamespace(SINK, 0, "iperf3", "-s", "-1").spawn();
  await sleep(600);
  const before = samples.latest;
  const client = new Deno.Command("ip", {
    args: `netns exec ${SOURCE} iperf3 -J -c 10.0.0.2 -t ${seconds}`.split(" "),
  });
  const { stdout } = await client.output();
  await sleep(600);
  const after = samples.latest;
  server.stdout.cancel();
  await server.status;
  const result = JSON.parse(new TextDecoder().decode(stdout));
  const bits = result.end?.sum_received?.bits_per_second ?? 0;
  say(
    `TCP ${(bits / 1e9).toFixed(2)} Gbit/s, retransmits ${result.end?.sum_sent?.retransmits}`,
  );
  if (before !== undefined && after !== undefined) report(before, after, 0);
}

if (import.meta.main) {
  if (Deno.args[0] === "forward") forward();
  else await main(Number(Deno.args[0] ?? 3));
}
