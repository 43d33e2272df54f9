/** Tunnel ports against those of another denovs, with every offload; and ports that are refused. */
import assert from "node:assert/strict";
import type { Denovs } from "./denovs.ts";
import { exchange, sendExactly, serveDigests } from "./exchange.ts";
import { type Peer, rootTest, withLab } from "./lab.ts";
import { assertAccounts, assertDropsOnly, introduce, serveTcp } from "./traffic.ts";
import { captured, complaints, decoded, type DecodedPacket } from "./tshark.ts";
import {
  A,
  A6,
  B,
  B6,
  FAR,
  FAR6,
  farHost,
  NEAR,
  NEAR6,
  nearSide,
  otherDenovs,
  setChecksumOffload,
  underlay,
} from "./tunnel_lab.ts";

/** Fits through every tunnel here: 1500 less IPv6, UDP, 8 bytes and the inner Ethernet header. */
const MTU = 1430;

interface Case {
  /** Of port-add, but for the addresses. */
  readonly words: string;
  /** In the tunnel's header; 0: none. Tells the cases apart. */
  readonly key: number;
  readonly isIpv6?: boolean;
  /** Packets go through it without Ethernet header. */
  readonly isL3?: boolean;
}

const CASES: readonly Case[] = [
  { words: "vxlan key=7 csum=true", key: 7 },
  { words: "vxlan key=8", key: 8, isIpv6: true },
  { words: "vxlan key=9 exts=gpe dst_port=4790", key: 9 },
  { words: "vxlan key=10 exts=gpe dst_port=4790 packet_type=legacy_l3", key: 10, isL3: true },
  { words: "geneve key=11 tos=inherit ttl=inherit", key: 11 },
  { words: "geneve key=12", key: 12, isIpv6: true },
  { words: "gre df_default=false", key: 0 },
  { words: "gre key=14 seq=true csum=true", key: 14 },
  { words: "gre key=15", key: 15, isIpv6: true },
  { words: "gre key=16 csum=true packet_type=legacy_l3", key: 16, isIpv6: true, isL3: true },
];

/** Host `own` on port 1, the tunnel on port 2; `other` is the host behind it. */
async function connect(
  denovs: Denovs,
  dp: string,
  options: { each: Case; remote: string; own: Peer; other: Peer },
): Promise<void> {
  const { each, remote, own, other } = options;
  const push = `push_eth(src=${other.mac},dst=${own.mac}),1`;
  const flows = each.isL3
    ? [
      "in_port(1),eth_type(0x0800) pop_eth,2",
      "in_port(1),eth_type(0x86dd) pop_eth,2",
      `in_port(2),packet_type(ns=1,id=0x800) ${push}`,
      `in_port(2),packet_type(ns=1,id=0x86dd) ${push}`,
    ]
    : ["in_port(1) 2", "in_port(2) 1"];
  await denovs.batch([
    `port-del ${dp} tun --if-exists`,
    `port-add ${dp} tun --port-no 2 --type ${each.words} remote_ip=${remote}`,
    `flow-flush ${dp}`,
    ...flows.map((flow) => `flow-add ${dp} ${flow}`),
  ]);
}

/** Mean size of what the host at port 1 got, bytes. */
async function meanSize(denovs: Denovs, dp: string, during: () => Promise<void>): Promise<number> {
  const sums = async (): Promise<{ packets: number; bytes: number }> => {
    const { ports } = await denovs.show(dp);
    const counters = ports.find(({ portNo }) => portNo === 1)?.counters;
    return { packets: counters?.["txPackets"] ?? NaN, bytes: counters?.["txBytes"] ?? NaN };
  };
  const before = await sums();
  await during();
  const after = await sums();
  return (after.bytes - before.bytes) / (after.packets - before.packets);
}

/** VNI or GRE key; 0: none. */
function keyOf(packet: DecodedPacket): number {
  const value = packet["vxlan.vni"]?.[0] ?? packet["geneve.vni"]?.[0] ?? packet["gre.key"]?.[0];
  return Number(value ?? 0);
}

function isOuterIpv6(packet: DecodedPacket): boolean {
  const outer = packet["ipv6.dst"]?.[0];
  return outer === NEAR6 || outer === FAR6;
}

rootTest(
  "tunnels: denovs to denovs over each type: ping, TCP and UDP both ways, and tshark finds nothing wrong",
  () =>
    withLab(async (lab) => {
      const far = await underlay(lab);
      const b = await farHost(lab, far, { mtu: MTU });
      const a = await nearSide(lab, ["vxlan", `remote_ip=${FAR}`], { mtu: MTU });
      await introduce(a, B, b.mac);
      await introduce(a, B6, b.mac);
      await introduce(b, A, a.mac);
      await introduce(b, A6, a.mac);
      const hosts = [
        { host: a, address: A, address6: A6 },
        { host: b, address: B, address6: B6 },
      ] as const;
      await otherDenovs(lab, far, async (other) => {
        await other.batch(["dp-add br1", `port-add br1 ${b.port}`]);
        for (const host of [a, b]) {
          await serveTcp(host);
          await serveDigests(host);
        }
        const reconnect = async (each: Case): Promise<void> => {
          const [near, remote] = each.isIpv6 ? [NEAR6, FAR6] : [NEAR, FAR];
          await Promise.all([
            connect(lab.denovs, "br0", { each, remote, own: a, other: b }),
            connect(other, "br1", { each, remote: near, own: b, other: a }),
          ]);
        };
        for (const each of CASES) {
          await reconnect(each);
          const size = await meanSize(other, "br1", async () => {
            await exchange(...hosts, { mtu: MTU }).catch((error: Error) => {
              error.message = `${each.words}: ${error.message}`;
              throw error;
            });
          });
          // What went out in one piece is put together again; GRE has nothing like UDP_GRO.
          assert.ok(each.words.startsWith("gre") || size > 3000, `${each.words}: ${size} bytes`);
        }
        await setChecksumOffload(lab, far, "off"); // checksums are to be in the capture
        const file = await captured(lab, far, async () => {
          for (const each of CASES) {
            await reconnect(each);
            assert.equal(await a.ping(B), 3, each.words);
            assert.equal(await a.ping(B6), 3, each.words);
            await sendExactly(a, B, 200_000);
            await sendExactly(b, A6, 200_000);
          }
        });
        const fields = ["vxlan.vni", "geneve.vni", "gre.key", "ipv6.dst", "tcp.len"];
        const packets = await decoded(far, file, { filter: "tcp", fields });
        for (const { words, key, isIpv6 = false } of CASES) {
          const sizes = packets.filter((packet) =>
            keyOf(packet) === key && isOuterIpv6(packet) === isIpv6
          ).map((packet) => Number(packet["tcp.len"]?.[0]));
          const full = sizes.filter((size) => size > 1000);
          assert.ok(full.length >= 100, `${words}: ${full.length} of ${sizes.length} segments`);
        }
        assert.deepEqual(await complaints(far, file), []);
        // While one end's port is made anew, what the other end sends finds none.
        const reasons = ["no-upcall-handler", "tunnel-not-a-port"];
        await assertDropsOnly(lab.denovs, "br0", reasons);
        await assertDropsOnly(other, "br1", reasons);
        await assertAccounts(lab);
        await assertAccounts({ denovs: other }, "br1");
      });
    }),
);

rootTest(
  "tunnels: ports that would be the same tunnel, or whose UDP port is taken, are refused",
  () =>
    withLab(async (lab) => {
      const { denovs } = lab;
      await denovs.start();
      await denovs.cli("dp-add", "br0");
      const add = ["port-add", "br0"];
      await denovs.cli(...add, "v1", "--type", "vxlan", `remote_ip=${FAR}`, "key=1");
      await denovs.cli(...add, "v2", "--type", "vxlan", `remote_ip=${FAR}`, "key=2");
      const same = [...add, "v3", "--type", "vxlan", `remote_ip=${FAR}`, "key=2"];
      assert.match(await denovs.refused(...same), /Port "v2" is the same tunnel/);
      const policy = [...add, "v3", "--type", "vxlan", `remote_ip=${FAR}`, "key=3", "exts=gbp"];
      assert.match(await denovs.refused(...policy), /must have the same/);
      await lab.sw.ip(
        "link",
        "add",
        "vx9",
        "type",
        "vxlan",
        "id",
        "9",
        "dstport",
        "4999",
        "remote",
        FAR,
      );
      await lab.sw.ip("link", "set", "vx9", "up");
      const taken = [...add, "v4", "--type", "vxlan", `remote_ip=${FAR}`, "dst_port=4999"];
      assert.match(await denovs.refused(...taken), /EADDRINUSE/);
      assert.match(await denovs.refused(...add, "p1", "--type", "patch", "peer=p1"), /own peer/);
    }),
);
