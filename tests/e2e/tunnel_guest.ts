/**
 * What runs inside the virtual machine of tunnels_test.ts, whose kernel has geneve and gre devices:
 * denovs in one network namespace, the kernel's device in another, a host behind denovs in a third.
 * Ends with status 0 if pings of every size cross both ways, else throws.
 */
import assert from "node:assert/strict";
import { denovsCommand } from "./denovs.ts";
import { eventually, run, spawn } from "./process.ts";

const NEAR = "192.0.2.1";
const FAR = "192.0.2.2";
const NEAR_MAC = "02:00:00:00:00:11";
const FAR_MAC = "02:00:00:00:00:22";

async function must(...command: string[]): Promise<string> {
  const done = await run(command, { timeoutMs: 60_000, env });
  assert.equal(done.code, 0, `${command.join(" ")}: ${done.stderr}${done.stdout}`);
  return done.stdout;
}

const folder = Deno.makeTempDirSync({ prefix: "dnv-guest-" });
const env = {
  DENOVS_SOCKET: `${folder}/ctl`,
  DENOVS_STATE: `${folder}/state.db`,
  PATH: Deno.env.get("PATH") ?? "",
};

async function ip(namespace: string, ...args: string[]): Promise<void> {
  await must("ip", "-n", namespace, ...args);
}

/** `10.0.NET.1` is host a, `10.0.NET.2` the kernel's device at the far end. */
interface Tunnel {
  readonly net: number;
  readonly type: string;
  readonly options: string;
  /** Words of `ip link add`. */
  readonly device: readonly string[];
  /** The device carries IP packets as they are. */
  readonly isL3?: boolean;
}

const ENDS = ["remote", NEAR, "local", FAR];
const TUNNELS: readonly Tunnel[] = [
  { net: 9, type: "geneve", options: "key=9", device: ["geneve", "id", "9", "remote", NEAR] },
  { net: 10, type: "gre", options: "key=10", device: ["gretap", ...ENDS, "key", "10"] },
  {
    net: 11,
    type: "gre",
    options: "key=11 csum=true seq=true",
    device: ["gretap", ...ENDS, "key", "11", "csum", "seq"],
  },
  {
    net: 12,
    type: "gre",
    options: "key=12 packet_type=legacy_l3",
    device: ["gre", ...ENDS, "key", "12"],
    isL3: true,
  },
];

async function pings(from: string, to: string): Promise<void> {
  const command = [
    "ip",
    "netns",
    "exec",
    from,
    "ping",
    "-n",
    "-q",
    "-c",
    "2",
    "-i",
    "0.2",
    "-W",
    "5",
  ];
  for (const size of ["56", "1400"]) {
    const { stdout } = await run([...command, "-s", size, to], { timeoutMs: 30_000 });
    assert.match(stdout, /2 received/, `ping ${to} with ${size} bytes from ${from}`);
  }
}

async function prepare(): Promise<void> {
  for (const namespace of ["a", "s", "b"]) {
    await must("ip", "netns", "add", namespace);
    await ip(namespace, "link", "set", "lo", "up");
  }
  await ip(
    "s",
    "link",
    "add",
    "va",
    "type",
    "veth",
    "peer",
    "name",
    "eth0",
    "address",
    NEAR_MAC,
    "netns",
    "a",
  );
  await ip("s", "link", "add", "u0", "type", "veth", "peer", "name", "u0", "netns", "b");
  await ip("s", "addr", "add", `${NEAR}/24`, "dev", "u0");
  await ip("b", "addr", "add", `${FAR}/24`, "dev", "u0");
  for (const namespace of ["s", "b"]) await ip(namespace, "link", "set", "u0", "up");
  await ip("a", "link", "set", "eth0", "mtu", "1440", "up");
  for (const { net, device, isL3 } of TUNNELS) {
    const name = `t${net}`;
    await ip("a", "addr", "add", `10.0.${net}.1/24`, "dev", "eth0");
    const mac = isL3 ? [] : ["address", FAR_MAC];
    await ip("b", "link", "add", name, ...mac, "mtu", "1440", "type", ...device);
    await ip("b", "addr", "add", `10.0.${net}.2/24`, "dev", name);
    await ip("b", "link", "set", name, "up");
    await ip("a", "neigh", "replace", `10.0.${net}.2`, "lladdr", FAR_MAC, "dev", "eth0");
    if (!isL3) await ip("b", "neigh", "replace", `10.0.${net}.1`, "lladdr", NEAR_MAC, "dev", name);
  }
}

/** All configuration in one go, before the daemon runs: to start a program costs much in here. */
async function configure(): Promise<void> {
  const lines = ["dp-add br0", "port-add br0 va host=share"];
  TUNNELS.forEach(({ net, type, options, isL3 }, at) => {
    const port = at + 2;
    lines.push(
      `port-add br0 t${net} --port-no ${port} --type ${type} remote_ip=${FAR} ${options}`,
      `flow-add br0 in_port(1),eth_type(0x0800),ipv4(dst=10.0.${net}.2) ${
        isL3 ? "pop_eth," : ""
      }${port}`,
      isL3
        ? `flow-add br0 in_port(${port}),packet_type(ns=1,id=0x800) push_eth(src=${FAR_MAC},dst=${NEAR_MAC}),1`
        : `flow-add br0 in_port(${port}) 1`,
    );
  });
  Deno.writeTextFileSync(`${folder}/batch`, lines.join("\n") + "\n");
  await must(...denovsCommand(), "batch", `${folder}/batch`);
}

await prepare();
await configure();
const words = Object.entries(env).map(([key, value]) => `${key}=${value}`);
const inside = ["ip", "netns", "exec", "s", "env", ...words];
const daemon = spawn([...inside, ...denovsCommand(), "run"], { output: true });
await eventually("the daemon answers", async () => {
  return (await run(["test", "-S", env.DENOVS_SOCKET])).code === 0;
}, { timeoutMs: 60_000, everyMs: 100 });
try {
  await eventually("packets pass", async () => {
    const command = ["ip", "netns", "exec", "a", "ping", "-c", "1", "-W", "1", "10.0.9.2"];
    return (await run(command)).code === 0;
  });
  for (const { net } of TUNNELS) {
    await pings("a", `10.0.${net}.2`);
    await pings("b", `10.0.${net}.1`);
  }
} catch (error) {
  const shown = await must(...denovsCommand(), "dp-show", "-s", "br0").catch(String);
  if (error instanceof Error) error.message += `\n${shown}`;
  throw error;
} finally {
  daemon.kill("SIGTERM");
  await daemon.output();
}
