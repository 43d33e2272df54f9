/** Tunnel ports against Debian's ovs-vswitchd with its userspace datapath. */
import assert from "node:assert/strict";
import { exchange, sendExactly, serveDigests } from "./exchange.ts";
import { type Lab, type Peer, rootTest, withLab } from "./lab.ts";
import { OvsEnd } from "./ovs_end.ts";
import { eventually } from "./process.ts";
import { assertAccounts, introduce, serveTcp } from "./traffic.ts";
import { captured, complaints, decoded } from "./tshark.ts";
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
  replaceTunnel,
  underlay,
} from "./tunnel_lab.ts";

const MTU = 1400;
const TLV = "{class=0x0102,type=0x80,len=4}";

/** Host a behind denovs, host b behind Open vSwitch, the underlay between the two switches. */
async function ends(lab: Lab): Promise<{ a: Peer; b: Peer; far: Peer; ovs: OvsEnd }> {
  const far = await underlay(lab);
  const b = await farHost(lab, far, { mtu: MTU });
  const a = await nearSide(lab, ["vxlan", `remote_ip=${FAR}`], { mtu: MTU });
  // Its packet sockets give and take finished checksums only.
  await lab.sw.run(["ethtool", "-K", far.port, "tx", "off"]);
  await b.run(["ethtool", "-K", "eth0", "tx", "off"]);
  const ovs = await OvsEnd.start(lab, far, b.port);
  for (const [host, address, address6, mac] of [[a, B, B6, b.mac], [b, A, A6, a.mac]] as const) {
    await introduce(host, address, mac);
    await introduce(host, address6, mac);
    await serveTcp(host);
    await serveDigests(host);
  }
  return { a, b, far, ovs };
}

rootTest(
  "tunnels: Open vSwitch at the far end of vxlan, gre and geneve over IPv4 and IPv6: ping, TCP and UDP both ways",
  () =>
    withLab(async (lab) => {
      const { a, b, ovs } = await ends(lab);
      for (
        const words of [
          "vxlan key=7",
          "vxlan key=7 csum=true",
          "gre key=7",
          "gre",
          // Not both: its checksums leave the sequence number out (netdev_gre_push_header in
          // lib/netdev-native-tnl.c), as tshark confirms.
          "gre key=7 csum=true",
          "gre key=7 seq=true",
          "geneve key=7",
        ]
      ) {
        for (const [near, remote] of [[NEAR, FAR], [NEAR6, FAR6]] as const) {
          const [type = "", ...options] = words.split(" ");
          await replaceTunnel(lab.denovs, [words, `remote_ip=${remote}`]);
          await ovs.tunnel(type, [`remote_ip=${near}`, ...options]);
          await ovs.flows([`in_port=${b.port},actions=tun`, `in_port=tun,actions=${b.port}`]);
          const one = { host: a, address: A, address6: A6 };
          const two = { host: b, address: B, address6: B6 };
          await exchange(one, two, { mtu: MTU, megabytes: 2 }).catch((error: Error) => {
            error.message = `${words} to ${remote}: ${error.message}`;
            throw error;
          });
        }
      }
      await assertAccounts(lab);
    }),
);

rootTest(
  "tunnels: geneve options, set and matched by denovs and by Open vSwitch",
  () =>
    withLab(async (lab) => {
      const { a, b, far, ovs } = await ends(lab);
      const { denovs } = lab;
      const option = (value: string): string => `geneve({class=0x102,type=0x80,len=4,${value}})`;
      await replaceTunnel(denovs, ["geneve remote_ip=flow key=flow"]);
      await ovs.ofctl("add-tlv-map", `${TLV}->tun_metadata0`);
      const file = await captured(lab, lab.sw, async () => {
        for (const [near, remote, v] of [[NEAR, FAR, ""], [NEAR6, FAR6, "ipv6_"]] as const) {
          const out = `tun_id=0x9,${v}dst=${remote},ttl=64,tp_dst=6081,${option("0x11223344")}`;
          const back = `tun_id=0x9,${v}src=${remote},${v}dst=${near},${option("0xaabbccdd")}`;
          await denovs.batch([
            "flow-flush br0",
            `flow-add br0 in_port(1) set(tunnel(${out},flags(df|csum|key))),2`,
            `flow-add br0 tunnel(${back},flags(+key)),in_port(2) 1`,
          ]);
          await ovs.tunnel("geneve", [`remote_ip=${near}`, "key=9"]);
          await ovs.flows([
            `in_port=${b.port},actions=set_field:0xaabbccdd->tun_metadata0,output:tun`,
            `in_port=tun,tun_metadata0=0x11223344,actions=output:${b.port}`,
          ]);
          // The first packets teach Open vSwitch its neighbours.
          await eventually("pings are answered", async () => await a.ping(B) === 3);
          await sendExactly(a, B, 500_000);
          await sendExactly(b, A, 500_000);
        }
      }, far.port);
      const options = ["class", "type", "unknown.data"].map((name) => `geneve.option.${name}`);
      const fields = ["geneve.vni", ...options];
      const packets = await decoded(lab.sw, file, {
        filter: "geneve && ip && tcp",
        fields: ["ip.src", "ipv6.src", ...fields],
      });
      const seen = new Set(packets.map((packet) => {
        const outer = packet["ipv6.src"]?.[0] ?? packet["ip.src"]?.[0];
        return [outer, ...fields.map((field) => packet[field]?.[0])].join(" ");
      }));
      assert.deepEqual(
        seen,
        new Set([
          `${NEAR} 0x000009 0x0102 0x80 11223344`,
          `${FAR} 0x000009 0x0102 0x80 aabbccdd`,
          `${NEAR6} 0x000009 0x0102 0x80 11223344`,
          `${FAR6} 0x000009 0x0102 0x80 aabbccdd`,
        ]),
      );
      assert.deepEqual(await complaints(lab.sw, file), []);
      await assertAccounts(lab);
    }),
);
