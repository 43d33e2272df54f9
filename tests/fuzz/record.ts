/**
 * Records the frames that fuzzing begins with (captured.txt): what two kernels really say to each
 * other through a veth pair, bare, tagged and in every tunnel that this machine's kernel has.
 *
 *   deno run -A tests/fuzz/record.ts > tests/fuzz/captured.txt
 *
 * Needs root, iproute2, tcpdump, ping and socat. What the kernel can't do is left out.
 */
import { run, spawn } from "../e2e/process.ts";
import { readPcap } from "../golden/script.ts";
import { say } from "../output.ts";

const A = `fz-${Deno.pid}-a`;
const B = `fz-${Deno.pid}-b`;
/** Frames kept of each conversation, and bytes of each frame. */
const FRAMES_MAX = 12;
const SIZE_MAX = 1600;

/** Both ends of a device: kind and options, with LOCAL and REMOTE for their outer addresses. */
const DEVICES: readonly (readonly [string, string])[] = [
  ["plain", ""],
  ["vlan", "link eth0 type vlan id 5"],
  ["vlan-ad", "link eth0 type vlan proto 802.1ad id 6"],
  ["vxlan", "type vxlan id 7 local LOCAL remote REMOTE dstport 4789"],
  ["vxlan6", "type vxlan id 8 local LOCAL6 remote REMOTE6 dstport 4789"],
  ["geneve", "type geneve id 9 remote REMOTE"],
  ["gretap", "type gretap local LOCAL remote REMOTE key 5 csum"],
  ["ip6gretap", "type ip6gretap local LOCAL6 remote REMOTE6"],
  ["gre", "type gre local LOCAL remote REMOTE seq"],
  ["ipip", "type ipip local LOCAL remote REMOTE"],
  ["sit", "type sit local LOCAL remote REMOTE"],
  ["ip6tnl", "type ip6tnl mode any local LOCAL6 remote REMOTE6"],
];

async function inside(name: string, command: string): Promise<boolean> {
  const { code } = await run(["ip", "netns", "exec", name, "sh", "-c", command]);
  return code === 0;
}

/** Makes one end. False: this kernel has no such device. */
async function makeEnd(name: string, link: string, number: number): Promise<boolean> {
  const [own, other] = name === A ? [1, 2] : [2, 1];
  const type = link.replace("LOCAL6", `fd00::${own}`).replace("REMOTE6", `fd00::${other}`)
    .replace("LOCAL", `10.0.0.${own}`).replace("REMOTE", `10.0.0.${other}`);
  const device = type === "" ? "eth0" : "dev0";
  if (type !== "" && !await inside(name, `ip link add dev0 ${type}`)) return false;
  await inside(name, `ip addr add 10.1.${number}.${own}/24 dev ${device}`);
  await inside(name, `ip addr add fd01:${number}::${own}/64 dev ${device} nodad`);
  return await inside(name, `ip link set ${device} up`);
}

/** Small and large packets both ways, TCP from beginning to end, UDP that is refused. */
async function talk(number: number): Promise<void> {
  const [far, far6] = [`10.1.${number}.2`, `fd01:${number}::2`];
  await inside(A, `ping -n -c 1 -W 1 -s 20 ${far}; ping -n -c 1 -W 1 -s 2900 ${far}`);
  await inside(A, `ping -n -c 1 -W 1 -s 20 ${far6}; ping -n -c 1 -W 1 -s 2900 ${far6}`);
  for (const [address, from] of [[far, "TCP4"], [`[${far6}]`, "TCP6"]]) {
    const listen = `${from}-LISTEN:2121,reuseaddr,fork`;
    const server = spawn(["ip", "netns", "exec", B, "socat", listen, "SYSTEM:echo 220 ready"]);
    await inside(
      A,
      `for i in 1 2 3 4 5; do echo USER me | socat -t 0.2 - ${from}:${address}:2121 && exit; sleep 0.1; done`,
    );
    server.kill("SIGKILL");
    await server.status;
  }
  await inside(
    A,
    `echo datagram | socat -u - UDP4:${far}:9; echo datagram | socat -u - UDP6:[${far6}]:9`,
  );
}

async function record(name: string, number: number, folder: string): Promise<string[]> {
  const path = `${folder}/${name}.pcap`;
  const dump = spawn([
    "ip",
    "netns",
    "exec",
    A,
    "tcpdump",
    "-Z",
    "root",
    "-i",
    "eth0",
    "-U",
    "--immediate-mode",
    "-s",
    "0",
    "-w",
    path,
  ]);
  while (!(await Deno.stat(path).catch(() => undefined))?.size) {
    await new Promise((wake) => setTimeout(wake, 20));
  }
  await talk(number);
  await new Promise((wake) => setTimeout(wake, 300));
  dump.kill("SIGTERM");
  await dump.status;
  return readPcap(Deno.readFileSync(path)).frames;
}

/** Frames of different sizes: the rest says nothing new. */
function choose(frames: readonly string[]): string[] {
  const bySize = new Map(
    frames.filter(({ length }) => length <= 2 * SIZE_MAX).map((f) => [f.length, f]),
  );
  return [...bySize.values()].slice(0, FRAMES_MAX);
}

async function main(): Promise<void> {
  const folder = Deno.makeTempDirSync();
  say(
    "# Recorded by tests/fuzz/record.ts: frames in hexadecimal, each conversation under its name.",
  );
  try {
    for (const [number, [name, link]] of DEVICES.entries()) {
      await run(["ip", "netns", "add", A]);
      await run(["ip", "netns", "add", B]);
      await run([
        "ip",
        "link",
        "add",
        "eth0",
        "netns",
        A,
        "type",
        "veth",
        "peer",
        "name",
        "eth0",
        "netns",
        B,
      ]);
      for (const [end, own] of [[A, 1], [B, 2]] as const) {
        // Whole checksums and single segments, as on a wire.
        await inside(end, "ethtool -K eth0 tx off gso off tso off");
        await inside(
          end,
          `ip addr add 10.0.0.${own}/24 dev eth0; ip addr add fd00::${own}/64 dev eth0 nodad`,
        );
        await inside(end, "ip link set lo up; ip link set eth0 up");
      }
      if (await makeEnd(A, link, number) && await makeEnd(B, link, number)) {
        say(`# ${name}`);
        for (const frame of choose(await record(name, number, folder))) say(frame);
      }
      await run(["ip", "netns", "del", A]);
      await run(["ip", "netns", "del", B]);
    }
  } finally {
    await run(["ip", "netns", "del", A]);
    await run(["ip", "netns", "del", B]);
    Deno.removeSync(folder, { recursive: true });
  }
}

if (import.meta.main) await main();
