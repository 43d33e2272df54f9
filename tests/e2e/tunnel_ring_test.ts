/**
 * Three switches in a ring: each has two datapaths, `left` with a tunnel to the switch before it and
 * `right` with a tunnel to the one behind it, and a patch cable between them. Every tunnel is of another
 * type. Hosts are at `left`.
 *
 * ```
 *        a d                     b                       c
 *        | |                     |                       |
 *   ┌─ left ═ right ── vxlan ── left ═ right ── geneve ── left ═ right ─┐
 *   └──────────────────────────────── gre ──────────────────────────────┘
 * ```
 */
import assert from "node:assert/strict";
import type { Denovs, ShownDatapath } from "./denovs.ts";
import { exchange, sendExactly, serveDigests } from "./exchange.ts";
import { type Lab, type Namespace, type Peer, rootTest, withLab } from "./lab.ts";
import { eventually } from "./process.ts";
import { assertAccounts, assertDropsOnly, introduce, serveTcp } from "./traffic.ts";
import { otherDenovs } from "./tunnel_lab.ts";

/** Of all hosts; leaves room for each tunnel's headers. */
const MTU = 1400;
const TTL = 64;
/** Nobody's: frames to it go round and round. */
const NOWHERE = { mac: "02:00:00:00:00:99", address: "10.0.0.99", address6: "fd00::99" };

/** What hosts send to groups by themselves stays where it is. */
const UNICAST = "eth(dst=00:00:00:00:00:00/01:00:00:00:00:00)";

interface Host {
  readonly peer: Peer;
  readonly address: string;
  readonly address6: string;
  /** Of its switch, 0 … 2, and its port number at `left`. */
  readonly place: number;
  readonly portNo: number;
}

interface Link {
  readonly words: string;
  /** Addresses of the end at `right` of a switch, and of the one at `left` of the next. */
  readonly ends: readonly [string, string];
}

const LINKS: readonly Link[] = [
  { words: "vxlan key=12", ends: ["192.0.2.1", "192.0.2.2"] },
  { words: "geneve key=23", ends: ["2001:db8::2", "2001:db8::3"] },
  { words: "gre key=31 csum=true", ends: ["198.51.100.3", "198.51.100.1"] },
];

/** The underlay: a cable between each two of the three namespaces. */
async function cables(lab: Lab): Promise<Namespace[]> {
  const second = await lab.peer("s2", { address: `${LINKS[0]!.ends[1]}/24` });
  const third = await lab.peer("s3", { address: `${LINKS[2]!.ends[0]}/24` });
  const between = ["u2", "type", "veth", "peer", "name", "u3", "netns", third.name];
  await second.ip("link", "add", ...between);
  const [to, from] = LINKS[1]!.ends;
  for (const [where, device, address] of [[second, "u2", to], [third, "u3", from]] as const) {
    await where.ip("addr", "add", `${address}/64`, "dev", device, "nodad");
    await where.ip("link", "set", device, "up");
  }
  for (
    const [port, address] of [[second.port, LINKS[0]!.ends[0]], [third.port, LINKS[2]!.ends[1]]]
  ) {
    await lab.sw.ip("addr", "add", `${address}/24`, "dev", port!);
    await lab.sw.ip("link", "set", port!, "up");
  }
  return [lab.sw, second, third];
}

async function addHost(
  lab: Lab,
  switches: readonly Namespace[],
  where: { name: string; number: number; place: number; portNo: number },
): Promise<Host> {
  const { name, number, place, portNo } = where;
  const [address, address6] = [`10.0.0.${number}`, `fd00::${number}`];
  const peer = await lab.peer(name, { address: `${address}/24`, address6: `${address6}/64` });
  await lab.sw.ip("link", "set", peer.port, "mtu", `${MTU}`);
  if (place > 0) await lab.sw.ip("link", "set", peer.port, "netns", switches[place]!.name);
  await peer.ip("link", "set", "eth0", "mtu", `${MTU}`);
  return { peer, address, address6, place, portNo };
}

/** Frames of a host go on by `right`, but those of d, port 4, the other way round. */
function configurationOf(place: number, hosts: readonly Host[]): string[] {
  const next = LINKS[place]!;
  const previous = LINKS[(place + 2) % 3]!;
  const local = hosts.filter((host) => host.place === place);
  const others = hosts.filter((host) => host.place !== place).map(({ peer }) => peer.mac);
  return [
    "dp-add left",
    "dp-add right",
    `port-add left tl --port-no 1 --type ${previous.words} remote_ip=${previous.ends[0]}`,
    `port-add right tr --port-no 1 --type ${next.words} remote_ip=${next.ends[1]}`,
    "port-add left pl --port-no 2 --type patch peer=pr",
    "port-add right pr --port-no 2 --type patch peer=pl",
    "flow-add right in_port(1) 2",
    "flow-add right in_port(2) 1",
    ...local.flatMap(({ peer, portNo }) => [
      `port-add left ${peer.port} --port-no ${portNo}`,
      `flow-add left in_port(${portNo}),${UNICAST} ${portNo === 4 ? 1 : 2}`,
      `flow-add left in_port(1),eth(dst=${peer.mac}) ${portNo}`,
      `flow-add left in_port(2),eth(dst=${peer.mac}) ${portNo}`,
    ]),
    ...[...others, NOWHERE.mac].flatMap((mac) => [
      `flow-add left in_port(1),eth(dst=${mac}),eth_type(0x0800) dec_ttl(le_1()),2`,
      `flow-add left in_port(1),eth(dst=${mac}),eth_type(0x86dd) dec_ttl(le_1()),2`,
      `flow-add left in_port(2),eth(dst=${mac}),eth_type(0x0800) dec_ttl(le_1()),1`,
      `flow-add left in_port(2),eth(dst=${mac}),eth_type(0x86dd) dec_ttl(le_1()),1`,
    ]),
  ];
}

/** Counters of a port. */
function of(datapath: ShownDatapath, name: string): Record<string, number> {
  const counters = datapath.ports.find((port) => port.name === name)?.counters;
  assert.ok(counters, name);
  return counters as unknown as Record<string, number>;
}

/** Frames that nobody takes go round until their time to live is over, each counted where it ends. */
async function goRoundForEver(a: Host, ring: readonly Denovs[]): Promise<void> {
  const pings = ["ping", "-n", "-q", "-c", "5", "-i", "0.05", "-W", "1", "-t", `${TTL}`];
  await Promise.all([NOWHERE.address, NOWHERE.address6].map(async (address) => {
    const { stdout } = await a.peer.run([...pings, address], { fails: true });
    assert.match(stdout, /5 packets transmitted, 0 received/);
  }));
  const show = (dp: string): Promise<ShownDatapath[]> =>
    Promise.all(ring.map((denovs) => denovs.show(dp)));
  const endedIn = (lefts: readonly ShownDatapath[]): number[] =>
    lefts.map(({ counters }) => counters.drops["ttl-exceeded"] ?? 0);
  await eventually("all have come to an end", async () => {
    return endedIn(await show("left")).reduce((sum, count) => sum + count) >= 10;
  });
  const [lefts, rights] = [await show("left"), await show("right")];
  // The 64th tunnel that a packet comes out of is the second switch's.
  assert.deepEqual(endedIn(lefts), [0, 10, 0]);
  assert.match(await ring[1]!.cli("dp-show", "left", "--drops"), /ttl-exceeded +10\b/);
  const came = lefts.map((left) => of(left, "tl")["rxPackets"]!);
  assert.equal(came.reduce((sum, count) => sum + count), 10 * TTL, `${came}`);
  // Nothing is lost on the way: what goes into a tunnel or a cable comes out at its other end.
  ring.forEach((_, place) => {
    const next = lefts[(place + 1) % 3]!;
    assert.equal(of(rights[place]!, "tr")["txPackets"], of(next, "tl")["rxPackets"]);
    assert.equal(of(lefts[place]!, "pl")["txPackets"], of(rights[place]!, "pr")["rxPackets"]);
  });
}

rootTest(
  "tunnels: a ring of three switches, of patch cables and tunnels of each type, all the way round",
  () =>
    withLab(async (lab) => {
      const switches = await cables(lab);
      const hosts: Host[] = [];
      for (
        const where of [
          { name: "a", number: 1, place: 0, portNo: 3 },
          { name: "b", number: 2, place: 1, portNo: 3 },
          { name: "c", number: 3, place: 2, portNo: 3 },
          { name: "d", number: 4, place: 0, portNo: 4 },
        ]
      ) {
        hosts.push(await addHost(lab, switches, where));
      }
      const [a, b, c, d] = hosts as [Host, Host, Host, Host];
      for (const { peer } of hosts) {
        for (const { address, address6, ...rest } of [...hosts, NOWHERE]) {
          const mac = "mac" in rest ? rest.mac : rest.peer.mac;
          if (mac === peer.mac) continue;
          await introduce(peer, address, mac);
          await introduce(peer, address6, mac);
        }
      }
      await lab.denovs.start();
      await otherDenovs(lab, switches[1]!, async (second) => {
        await otherDenovs(lab, switches[2]!, async (third) => {
          const ring = [lab.denovs, second, third];
          await Promise.all(ring.map((denovs, at) => denovs.batch(configurationOf(at, hosts))));
          await goRoundForEver(a, ring);
          for (const [from, to] of [[a, b], [b, c], [c, a], [c, d]] as const) {
            assert.equal(await from.peer.ping(to.address), 3);
            assert.equal(await from.peer.ping(to.address6), 3);
          }
          // From a to d through all three switches and back to the first; from d to a likewise.
          await serveTcp(a.peer);
          await serveTcp(d.peer);
          await serveDigests(d.peer);
          await exchange({ ...a, host: a.peer }, { ...d, host: d.peer }, { mtu: MTU });
          await sendExactly(a.peer, d.address6, 2_000_000);
          for (const denovs of ring) {
            for (const dp of ["left", "right"]) {
              await assertAccounts({ denovs }, dp);
              await assertDropsOnly(denovs, dp, ["ttl-exceeded", "no-upcall-handler"]);
            }
          }
        });
      });
    }),
);
