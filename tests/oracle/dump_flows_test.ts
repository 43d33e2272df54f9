/**
 * The same flows and the same frames into Debian's ovs-vswitchd (dummy class) and into denovs
 * (class dummy): what dump-flows prints and every byte that the ports send must be equal.
 *
 * Normalised, and nothing else:
 * - the header line `flow-dump from …` of the userspace datapath is dropped, lines are sorted;
 * - top-level fields are sorted, since OVS 3.2 prints metadata in another order than 3.1 does;
 * - `recirc_id(0)`, which OVS's userspace datapath adds to every flow, is dropped.
 */
import assert from "node:assert/strict";
import { Denovs } from "../e2e/denovs.ts";
import { eventually, run } from "../e2e/process.ts";
import { readPcap } from "../golden/script.ts";
import { hasOvs, OVS_DATAPATH, OvsDummy } from "./ovs_dummy.ts";

const PORTS = 4;
const A = "02:00:00:00:00:01";
const B = "02:00:00:00:00:02";

interface Case {
  readonly flow: string;
  readonly actions: string;
  /** Frames in flow text, injected at the flow's in_port. */
  readonly frames: readonly string[];
}

const ethernet = (port: number): string => `in_port(${port}),eth(src=${A},dst=${B})`;
const ip4 = (port: number, proto: number, l4: string): string =>
  `${
    ethernet(port)
  },eth_type(0x0800),ipv4(src=10.0.0.1,dst=10.0.0.2,proto=${proto},tos=0,ttl=64,frag=no)${l4}`;
const ip6 = (port: number, proto: number, l4: string): string =>
  `${
    ethernet(port)
  },eth_type(0x86dd),ipv6(src=fd00::1,dst=fd00::2,label=0,proto=${proto},tclass=0,hlimit=64,frag=no)${l4}`;
const udp = (dst: number): string => `,udp(src=1024,dst=${dst})`;
const tcp = (dst: number, flags: string): string => `,tcp(src=1024,dst=${dst}),tcp_flags(${flags})`;
const ARP = `eth_type(0x0806),arp(sip=10.0.0.1,tip=10.0.0.2,op=1,sha=${A},tha=00:00:00:00:00:00)`;
const VLAN = "eth_type(0x8100),vlan(vid=5,pcp=1)";

/** Each case has a destination port of its own, so that flows don't overlap. */
function cases(): Case[] {
  let next = 1000;
  const v4 = (proto: 6 | 17, actions: string): Case => {
    const dst = next++;
    const l4 = proto === 6 ? "tcp" : "udp";
    const frame = proto === 6 ? tcp(dst, "psh|ack") : udp(dst);
    const flow = `in_port(1),eth(),eth_type(0x0800),ipv4(proto=${proto},frag=no),${l4}(dst=${dst})`;
    return { flow, actions, frames: [ip4(1, proto, frame), ip4(1, proto, frame)] };
  };
  const v6 = (proto: 6 | 17, actions: string): Case => {
    const dst = next++;
    const l4 = proto === 6 ? "tcp" : "udp";
    const frame = proto === 6 ? tcp(dst, "syn") : udp(dst);
    const flow = `in_port(1),eth(),eth_type(0x86dd),ipv6(proto=${proto},frag=no),${l4}(dst=${dst})`;
    return { flow, actions, frames: [ip6(1, proto, frame)] };
  };
  return [
    v4(17, "2"),
    v4(17, "2,3,4"),
    v4(17, "drop"),
    v4(6, "3,1"),
    v4(17, "push_vlan(vid=12,pcp=3),2"),
    v4(6, "push_vlan(tpid=0x88a8,vid=4095,pcp=7),2"),
    v4(17, "push_vlan(vid=12,pcp=0),push_vlan(tpid=0x88a8,vid=13,pcp=1),2,pop_vlan,3,pop_vlan,4"),
    v4(17, "2,set(eth(src=02:00:00:00:00:aa)),3"),
    v4(17, "set(eth(src=02:00:00:00:00:aa,dst=02:00:00:00:00:bb)),2"),
    v4(17, "set(eth(dst=00:11:00:00:00:00/00:ff:00:00:00:00)),2"),
    v4(17, "set(ipv4(src=192.0.2.1)),2"),
    v4(6, "set(ipv4(dst=192.0.2.1,ttl=63)),2"),
    v4(6, "set(ipv4(src=1.0.0.0/255.0.0.0,tos=0x2/0x3)),2"),
    v4(17, "set(ipv4(tos=0x1c,ttl=1)),2,set(ipv4(src=9.9.9.9)),3"),
    v4(17, "set(udp(src=7,dst=8)),2"),
    v4(17, "set(udp(dst=0x100/0xff00)),2"),
    v4(6, "set(tcp(src=7,dst=8)),2"),
    v4(6, "set(tcp(src=0x1/0xff)),set(ipv4(dst=10.9.9.9)),2,3"),
    v6(17, "2"),
    v6(17, "set(ipv6(src=fd00::99)),2"),
    v6(6, "set(ipv6(dst=fd00::99,hlimit=7)),set(tcp(dst=443)),2"),
    v6(6, "set(ipv6(tclass=0x1c,label=0x12345)),2"),
    v6(17, "set(udp(src=1,dst=2)),push_vlan(vid=1,pcp=1),2"),
    {
      flow: `in_port(2),eth(),${ARP.replace(/,tip.*/, ")")}`,
      actions: "1",
      frames: [`${ethernet(2)},${ARP}`],
    },
    {
      flow: `in_port(3),eth(),${VLAN},encap(eth_type(0x0800),ipv4(frag=no))`,
      actions: "pop_vlan,1",
      frames: [
        `${ethernet(3)},${VLAN},encap(${ip4(3, 17, udp(53)).replace(/^.*?eth\(.*?\),/, "")})`,
      ],
    },
    {
      flow: "in_port(4),eth(),eth_type(0x0800),ipv4(proto=1,frag=no),icmp(type=8,code=0)",
      actions: "1",
      frames: [ip4(4, 1, ",icmp(type=8,code=0)")],
    },
    {
      flow: "in_port(4),eth(),eth_type(0x86dd),ipv6(proto=58,frag=no),icmpv6(type=128)",
      actions: "1",
      frames: [ip6(4, 58, ",icmpv6(type=128,code=0)")],
    },
    {
      flow: "in_port(4),eth(),eth_type(0x0800),ipv4(proto=132,frag=no),sctp(dst=80)",
      actions: "2",
      frames: [ip4(4, 132, ",sctp(src=1,dst=80)")],
    },
    {
      flow: "in_port(4),eth(dst=ff:ff:ff:ff:ff:ff),eth_type(0x1234)",
      actions: "1,2,3",
      frames: [`in_port(4),eth(src=${A},dst=ff:ff:ff:ff:ff:ff),eth_type(0x1234)`],
    },
    {
      flow:
        "in_port(4),eth(),eth_type(0x0800),ipv4(src=10.0.0.0/255.0.0.0,proto=6,frag=no),tcp(src=1024/0xfc00,dst=81)",
      actions: "1",
      frames: [ip4(4, 6, tcp(81, "syn")), ip4(4, 6, tcp(81, "fin|ack")), ip4(4, 6, tcp(81, "rst"))],
    },
  ];
}

/** `a(b(c),d),e` → [`a(b(c),d)`, `e`]. */
function splitFields(text: string): string[] {
  const parts: string[] = [];
  let depth = 0;
  let from = 0;
  for (let at = 0; at < text.length; at++) {
    if (text[at] === "(") depth++;
    else if (text[at] === ")") depth--;
    else if (text[at] === "," && depth === 0) {
      parts.push(text.slice(from, at).trim());
      from = at + 1;
    }
  }
  parts.push(text.slice(from).trim());
  return parts;
}

function normalise(dump: string): string[] {
  return dump.trim().split("\n").filter((line) => !line.startsWith("flow-dump from")).map(
    (line) => {
      const [match = "", ...rest] = line.split(", packets:");
      const fields = splitFields(match).filter((field) => field !== "recirc_id(0)");
      return `${fields.toSorted().join(",")}, packets:${rest.join("")}`;
    },
  ).toSorted();
}

/** Injects every case's frames into `inject` with the clock of `warp` running between them. */
async function play(
  all: readonly Case[],
  add: (flow: string, actions: string) => Promise<void>,
  inject: (port: number, frame: string) => Promise<void>,
  warp: (ms: number) => Promise<void>,
): Promise<void> {
  for (const { flow, actions } of all) await add(flow, actions);
  for (const [i, { flow, frames }] of all.entries()) {
    if (i % 6 === 5) await warp(500); // a dump that shows several ages
    const port = Number(/in_port\((\d+)\)/.exec(flow)?.[1]);
    for (const frame of frames) await inject(port, frame);
  }
  await warp(1234);
}

Deno.test({
  name: `dump-flows and frames sent: as ovs-vswitchd${
    hasOvs() ? "" : " [needs openvswitch-switch]"
  }`,
  ignore: !hasOvs(),
  sanitizeOps: false,
  sanitizeResources: false,
  async fn(): Promise<void> {
    const all = cases();
    const ovs = await OvsDummy.start(PORTS);
    const folder = Deno.makeTempDirSync({ prefix: "dnv-oracle-" });
    const denovs = new Denovs(folder);
    try {
      await ovs.appctl("revalidator/pause");
      await ovs.appctl("time/stop");
      await play(
        all,
        async (flow, actions) =>
          void await ovs.appctl("dpctl/add-flow", OVS_DATAPATH, flow, actions),
        async (port, frame) =>
          void await ovs.appctl("netdev-dummy/receive", `p${port}`, frame, "--len", "100"),
        async (ms) => {
          await settled(ovs, all);
          await ovs.appctl("time/warp", String(ms));
        },
      );
      const wanted = normalise(await ovs.appctl("dpctl/dump-flows", OVS_DATAPATH));

      await denovs.start();
      await denovs.cli("dp-add", "dummy@dp0");
      for (let i = 1; i <= PORTS; i++) {
        await denovs.cli(
          "port-add",
          "dp0",
          `p${i}`,
          "--type",
          "dummy",
          `tx_pcap=${folder}/tx${i}.pcap`,
        );
      }
      const appctl = async (...args: string[]): Promise<string> => {
        const done = await run(["ovs-appctl", "-t", denovs.socket, ...args]);
        assert.equal(done.code, 0, `${args.join(" ")}: ${done.stderr}`);
        return done.stdout;
      };
      await appctl("time/stop");
      const frames = new Map(
        Array.from(
          { length: PORTS },
          (_, i) => [i + 1, readPcap(Deno.readFileSync(ovs.rxPcap(i + 1))).frames],
        ),
      );
      await play(
        all,
        async (flow, actions) => void await appctl("dpctl/add-flow", "dummy@dp0", flow, actions),
        async (port) => {
          // The bytes that OVS composed from the text.
          const frame = frames.get(port)?.shift();
          assert.ok(frame, `OVS recorded no more frames at p${port}`);
          await appctl("netdev-dummy/receive", `p${port}`, frame);
        },
        async (ms) => void await appctl("time/warp", String(ms)),
      );
      const got = normalise(await appctl("dpctl/dump-flows", "dummy@dp0"));
      assert.deepEqual(got, wanted);
      for (let i = 1; i <= PORTS; i++) {
        const theirs = readPcap(Deno.readFileSync(ovs.txPcap(i))).frames;
        const ours = readPcap(Deno.readFileSync(`${folder}/tx${i}.pcap`)).frames;
        assert.deepEqual(ours, theirs, `frames sent to p${i}`);
      }
    } finally {
      await denovs.end();
      await ovs.stop();
      Deno.removeSync(folder, { recursive: true });
    }
  },
});

/** Waits until OVS's main loop has handled what was injected: its dump no longer changes. */
async function settled(ovs: OvsDummy, all: readonly Case[]): Promise<void> {
  let before = "";
  await eventually(`ovs-vswitchd handles the frames of ${all.length} flows`, async () => {
    const now = (await ovs.appctl("dpctl/dump-flows", OVS_DATAPATH)).replace(/used:[^,]*/g, "");
    const isSame = now === before;
    before = now;
    return isSame;
  });
}
