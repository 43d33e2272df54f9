/**
 * What runs inside the virtual machine of tunnels_guest_test.ts, whose kernel has geneve and gre devices:
 * denovs in one network namespace, the kernel's devices in another, a host behind denovs in a third.
 * Ends with status 0 if pings, TCP and UDP cross both ways through each, else throws.
 */
import assert from "node:assert/strict";
import { denovsCommand } from "./denovs.ts";
import { exchange } from "./exchange.ts";
import { Namespace } from "./lab.ts";
import { eventually, run, spawn, stopAll } from "./process.ts";
import { serveTcp } from "./traffic.ts";
import { FAR, FAR6, NEAR, NEAR6 } from "./tunnel_lab.ts";

const NEAR_MAC = "02:00:00:00:00:11";
const FAR_MAC = "02:00:00:00:00:22";
/** Of all hosts: 1500 less IPv6, a destination option of 8 bytes, GRE with all fields, Ethernet. */
const MTU = 1420;

const folder = Deno.makeTempDirSync({ prefix: "dnv-guest-" });
const env = {
  DENOVS_SOCKET: `${folder}/ctl`,
  DENOVS_STATE: `${folder}/state.db`,
  PATH: Deno.env.get("PATH") ?? "",
};

async function must(...command: string[]): Promise<string> {
  const done = await run(command, { timeoutMs: 60_000, env });
  assert.equal(done.code, 0, `${command.join(" ")}: ${done.stderr}${done.stdout}`);
  return done.stdout;
}

/** `10.0.NET.1` and `fd00:NET::1` are host a, those with 2 the kernel's device at the far end. */
interface Tunnel {
  readonly net: number;
  readonly type: string;
  readonly options: string;
  /** Words of `ip link add`. */
  readonly device: readonly string[];
  readonly isIpv6?: boolean;
  /** The device carries IP packets as they are. */
  readonly isL3?: boolean;
}

const ENDS = ["remote", NEAR, "local", FAR];
const ENDS6 = ["remote", NEAR6, "local", FAR6];
const TUNNELS: readonly Tunnel[] = [
  { net: 9, type: "geneve", options: "key=9", device: ["geneve", "id", "9", "remote", NEAR] },
  {
    net: 10,
    type: "geneve",
    options: "key=10",
    device: ["geneve", "id", "10", "remote", NEAR6],
    isIpv6: true,
  },
  { net: 11, type: "gre", options: "key=11", device: ["gretap", ...ENDS, "key", "11"] },
  {
    net: 12,
    type: "gre",
    options: "key=12 csum=true seq=true",
    device: ["gretap", ...ENDS, "key", "12", "csum", "seq"],
  },
  {
    net: 13,
    type: "gre",
    options: "key=13 packet_type=legacy_l3",
    device: ["gre", ...ENDS, "key", "13"],
    isL3: true,
  },
  {
    net: 14,
    type: "gre",
    options: "key=14 csum=true",
    device: ["ip6gretap", ...ENDS6, "key", "14", "csum"],
    isIpv6: true,
  },
  {
    net: 15,
    type: "gre",
    options: "key=15 packet_type=legacy_l3",
    device: ["ip6gre", ...ENDS6, "key", "15", "encaplimit", "none"],
    isIpv6: true,
    isL3: true,
  },
];

/** Commands of `ip -batch` in a namespace. */
async function batch(namespace: string, lines: readonly string[]): Promise<void> {
  const file = `${folder}/ip-${namespace}`;
  Deno.writeTextFileSync(file, lines.join("\n") + "\n");
  await must("ip", "-n", namespace, "-batch", file);
}

/** To start a program costs much in here: few do much. */
async function prepare(): Promise<void> {
  for (const name of ["a", "s", "b"]) await must("ip", "netns", "add", name);
  await batch("s", [
    `link add va mtu ${MTU} type veth peer name eth0 address ${NEAR_MAC} mtu ${MTU} netns a`,
    "link add u0 type veth peer name u0 netns b",
    `addr add ${NEAR}/24 dev u0`,
    `addr add ${NEAR6}/64 dev u0 nodad`,
    "link set u0 up",
  ]);
  await batch("a", [
    "link set lo up",
    "link set eth0 up",
    ...TUNNELS.flatMap(({ net }) => [
      `addr add 10.0.${net}.1/24 dev eth0`,
      `addr add fd00:${net}::1/64 dev eth0 nodad`,
      `neigh replace 10.0.${net}.2 lladdr ${FAR_MAC} dev eth0`,
      `neigh replace fd00:${net}::2 lladdr ${FAR_MAC} dev eth0`,
    ]),
  ]);
  await batch("b", [
    "link set lo up",
    `addr add ${FAR}/24 dev u0`,
    `addr add ${FAR6}/64 dev u0 nodad`,
    "link set u0 up",
    ...TUNNELS.flatMap(({ net, device, isL3 }) => {
      const name = `t${net}`;
      const neighbours = [`10.0.${net}.1`, `fd00:${net}::1`].map((address) =>
        `neigh replace ${address} lladdr ${NEAR_MAC} dev ${name}`
      );
      return [
        `link add ${name} ${isL3 ? "" : `address ${FAR_MAC}`} mtu ${MTU} type ${device.join(" ")}`,
        `addr add 10.0.${net}.2/24 dev ${name}`,
        `addr add fd00:${net}::2/64 dev ${name} nodad`,
        `link set ${name} up`,
        ...isL3 ? [] : neighbours,
      ];
    }),
  ]);
}

/** All configuration in one go, before the daemon runs. */
async function configure(): Promise<void> {
  const lines = ["dp-add br0", "port-add br0 va host=share"];
  TUNNELS.forEach(({ net, type, options, isIpv6, isL3 }, at) => {
    const port = at + 2;
    const remote = isIpv6 ? FAR6 : FAR;
    const out = isL3 ? `pop_eth,${port}` : `${port}`;
    const push = `push_eth(src=${FAR_MAC},dst=${NEAR_MAC}),1`;
    lines.push(
      `port-add br0 t${net} --port-no ${port} --type ${type} remote_ip=${remote} ${options}`,
      `flow-add br0 in_port(1),eth_type(0x0800),ipv4(dst=10.0.${net}.2) ${out}`,
      `flow-add br0 in_port(1),eth_type(0x86dd),ipv6(dst=fd00:${net}::2) ${out}`,
      ...isL3
        ? [
          `flow-add br0 in_port(${port}),packet_type(ns=1,id=0x800) ${push}`,
          `flow-add br0 in_port(${port}),packet_type(ns=1,id=0x86dd) ${push}`,
        ]
        : [`flow-add br0 in_port(${port}) 1`],
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
const a = new Namespace("a");
const b = new Namespace("b");
try {
  await serveTcp(a);
  await serveTcp(b);
  await eventually("packets pass", async () => {
    return await a.ping("10.0.9.2", { count: 1 }) === 1;
  });
  for (const { net, device } of TUNNELS) {
    const near = { host: a, address: `10.0.${net}.1`, address6: `fd00:${net}::1` };
    const far = { host: b, address: `10.0.${net}.2`, address6: `fd00:${net}::2` };
    const hosts = net % 2 === 0 ? [near, far] as const : [far, near] as const;
    await exchange(...hosts, { mtu: MTU, megabytes: 1 }).catch((error: Error) => {
      error.message = `${device.join(" ")}: ${error.message}`;
      throw error;
    });
  }
} catch (error) {
  const shown = await must(...denovsCommand(), "dp-show", "-s", "br0").catch(String);
  if (error instanceof Error) error.message += `\n${shown}`;
  throw error;
} finally {
  stopAll("iperf3");
  daemon.kill("SIGTERM");
  await daemon.output();
}
