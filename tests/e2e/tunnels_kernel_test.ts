/** Tunnel ports against the kernel's vxlan device. */
import assert from "node:assert/strict";
import { exchange } from "./exchange.ts";
import { type Namespace, rootTest, withLab } from "./lab.ts";
import { assertAccounts, assertDropsOnly, introduce, sendTcp, serveTcp } from "./traffic.ts";
import { captured, complaints, decoded } from "./tshark.ts";
import {
  A,
  A6,
  B,
  B6,
  FAR,
  FAR6,
  NEAR,
  NEAR6,
  nearSide,
  replaceTunnel,
  setChecksumOffload,
  setMtu,
  underlay,
} from "./tunnel_lab.ts";

const FAR_MAC = "02:00:00:00:00:42";

/** The kernel's device at the far end, made anew, with host b's addresses. */
async function kernelVxlan(far: Namespace, ...options: string[]): Promise<void> {
  await far.run(["ip", "link", "del", "vx0"], { fails: true });
  const words = ["type", "vxlan", "id", "42", "dstport", "4789", ...options];
  await far.ip("link", "add", "vx0", "address", FAR_MAC, ...words);
  await far.ip("addr", "add", `${B}/24`, "dev", "vx0");
  await far.ip("addr", "add", `${B6}/64`, "dev", "vx0", "nodad");
  await far.ip("link", "set", "vx0", "up");
}

rootTest(
  "tunnels: vxlan to the kernel's device: ping, TCP and UDP both ways over IPv4 and IPv6, MTU 1500 and 9000",
  () =>
    withLab(async (lab) => {
      const far = await underlay(lab);
      const a = await nearSide(lab, ["vxlan", `remote_ip=${FAR}`, "key=42"]);
      await serveTcp(far);
      await serveTcp(a);
      for (
        const { local, remote, overhead } of [
          { local: NEAR, remote: FAR, overhead: 50 },
          { local: NEAR6, remote: FAR6, overhead: 70 },
        ]
      ) {
        for (const mtu of [1500, 9000]) {
          await setMtu(lab, far, mtu);
          await setMtu(lab, a, mtu - overhead);
          await kernelVxlan(far, "remote", local, "local", remote);
          const options = [`remote_ip=${remote}`, `local_ip=${local}`, "key=42"];
          await replaceTunnel(lab.denovs, ["vxlan", ...options]);
          const one = { host: a, address: A, address6: A6 };
          const two = { host: far, address: B, address6: B6 };
          const hosts = mtu === 1500 ? [one, two] as const : [two, one] as const;
          await exchange(...hosts, { mtu: mtu - overhead, megabytes: 30 }).catch((error: Error) => {
            error.message = `over ${remote}, MTU ${mtu}: ${error.message}`;
            throw error;
          });
        }
      }
      await assertDropsOnly(lab.denovs, "br0", ["no-upcall-handler", "tunnel-not-a-port"]);
      await assertAccounts(lab);
    }),
);

rootTest(
  "tunnels: vxlan group policies go both ways, the kernel reads and writes them, and so does tshark",
  () =>
    withLab(async (lab) => {
      const far = await underlay(lab);
      const a = await nearSide(lab, ["vxlan", "remote_ip=flow", "key=flow", "exts=gbp"]);
      await setChecksumOffload(lab, far, "off");
      // The kernel's answer to a ping has the ping's mark, which is the group policy of its packet.
      await far.run(["sysctl", "-qw", "net.ipv4.fwmark_reflect=1"]);
      const { denovs } = lab;
      for (
        const { ip, local, remote } of [
          { ip: "", local: NEAR, remote: FAR },
          { ip: "ipv6_", local: NEAR6, remote: FAR6 },
        ]
      ) {
        await kernelVxlan(far, "remote", local, "gbp");
        const to = `tun_id=0x2a,${ip}dst=${remote},tos=0x28,ttl=33,tp_dst=4789`;
        const from = `tun_id=0x2a,${ip}src=${remote},${ip}dst=${local},ttl=64`;
        const policy = (id: number, flags: number): string => `vxlan(gbp(id=${id},flags=${flags}))`;
        await denovs.batch([
          "flow-flush br0",
          `flow-add br0 in_port(1) set(tunnel(${to},${policy(4660, 8)},flags(df|csum|key))),2`,
          // The kernel's datagrams have checksums. Reflected, with the "applied" flag that the mark keeps; and one that the kernel set itself.
          `flow-add br0 tunnel(${from},${policy(4660, 8)},flags(csum|key)),in_port(2) 1`,
          `flow-add br0 tunnel(${from},${policy(291, 0)},flags(csum|key)),in_port(2) 1`,
        ]);
        // Unmarked questions and answers (ARP) have no policy: neighbours are introduced.
        await introduce(a, B, FAR_MAC);
        await far.ip("neigh", "replace", A, "lladdr", a.mac, "dev", "vx0", "nud", "permanent");
        const file = await captured(lab, far, async () => {
          assert.equal(await a.ping(B), 3, "marked pings are answered with their mark");
          await far.run(["ping", "-n", "-q", "-c", "1", "-W", "5", "-m", "291", A]);
        });
        const version = ip === "" ? "ip" : "ipv6";
        const outer = ip === "" ? ["ip.dsfield", "ip.ttl"] : ["ipv6.tclass", "ipv6.hlim"];
        const policies = ["vxlan.vni", "vxlan.gbp", "vxlan.flag_a", "vxlan.flag_g"];
        const fields = [`${version}.src`, "icmp.type", ...policies, ...outer];
        const rows = await decoded(far, file, { filter: "vxlan && icmp", fields });
        const seen = new Set(rows.map((row) => fields.map((field) => row[field]?.[0]).join(" ")));
        const theirTos = ip === "" ? "0x00 64" : "0x00000000 64";
        const ourTos = ip === "" ? "0x28 33" : "0x00000028 33";
        assert.deepEqual([...seen].sort(), [
          `${local} 0 42 4660 1 1 ${ourTos}`, // the answer to the kernel's ping
          `${local} 8 42 4660 1 1 ${ourTos}`,
          `${remote} 0 42 4660 1 1 ${theirTos}`, // reflected
          `${remote} 8 42 291 0 1 ${theirTos}`,
        ]);
        assert.deepEqual(await complaints(far, file), []);
        assert.equal((await denovs.flow("gbp(id=291,")).packets, 1);
      }
      await assertAccounts(lab);
    }),
);

rootTest(
  "tunnels: packets without Ethernet header go to and from the kernel by vxlan gpe",
  () =>
    withLab(async (lab) => {
      const far = await underlay(lab, { v6: false });
      const device = ["vx0", "type", "vxlan", "external", "gpe", "dstport", "4790"];
      await far.ip("link", "add", ...device);
      await far.ip("addr", "add", "10.0.0.2/32", "dev", "vx0");
      await far.ip("link", "set", "vx0", "mtu", "1450", "up");
      const way = ["encap", "ip", "id", "42", "dst", NEAR, "dev", "vx0", "src", "10.0.0.2"];
      await far.ip("route", "add", "10.0.0.1/32", ...way);
      const options = ["key=42", "dst_port=4790", "exts=gpe", "packet_type=legacy_l3"];
      const a = await nearSide(lab, ["vxlan", `remote_ip=${FAR}`, ...options]);
      await a.ip("neigh", "add", "10.0.0.2", "lladdr", "02:00:00:00:00:99", "dev", "eth0");
      const { denovs } = lab;
      await denovs.cli("flow-del", "br0", "in_port(1)");
      await denovs.cli("flow-del", "br0", "in_port(2)");
      await denovs.cli("flow-add", "br0", "in_port(1),eth_type(0x0800)", "pop_eth,2");
      const push = `push_eth(src=02:00:00:00:00:99,dst=${a.mac}),1`;
      await denovs.cli("flow-add", "br0", "in_port(2),packet_type(ns=1,id=0x800)", push);
      assert.equal(await a.ping("10.0.0.2"), 3);
      await serveTcp(far);
      await sendTcp(a, "10.0.0.2", { megabytes: 30 });
      assert.equal(await a.checksumErrors(), 0);
      assert.equal(await far.checksumErrors(), 0);
      await assertAccounts(lab);
    }),
);

rootTest(
  "tunnels: outer packets have egress_pkt_mark, and no route is a drop with that name",
  () =>
    withLab(async (lab) => {
      const far = await underlay(lab, { v6: false });
      await kernelVxlan(far, "remote", NEAR);
      const options = [`remote_ip=${FAR}`, "key=42", "egress_pkt_mark=7"];
      const a = await nearSide(lab, ["vxlan", ...options]);
      assert.equal(await a.ping("10.0.0.2"), 3);
      await lab.sw.ip("rule", "add", "fwmark", "7", "unreachable");
      assert.equal(await a.ping("10.0.0.2", { count: 1 }), 0);
      const { ports } = await lab.denovs.show();
      const drops = ports.find(({ name }) => name === "tun")?.counters?.drops ?? {};
      assert.ok((drops["tunnel-no-route"] ?? 0) >= 1, JSON.stringify(drops));
      await assertAccounts(lab);
    }),
);

rootTest(
  "tunnels: what does not fit is answered, and counted by name",
  () =>
    withLab(async (lab) => {
      const far = await underlay(lab);
      await kernelVxlan(far, "remote", NEAR);
      const a = await nearSide(lab, ["vxlan", `remote_ip=${FAR}`, "key=42"], { mtu: 1500 });
      assert.equal(await a.ping("10.0.0.2"), 3);
      const ping = ["ping", "-n", "-c", "2", "-i", "0.2", "-W", "1", "-M", "do", "-s", "1430"];
      const four = await a.run([...ping, "10.0.0.2"], { fails: true });
      assert.match(four.stdout, /Frag needed and DF set \(mtu = 1450\)/);
      const six = await a.run([...ping, "fd00::2"], { fails: true });
      assert.match(six.stdout, /Packet too big: mtu=1450/);
      const { ports } = await lab.denovs.show();
      assert.ok((ports.find(({ name }) => name === "tun")?.counters?.drops["over-mtu"] ?? 0) >= 2);
      // A TCP stream finds its way: segments shrink to what was announced.
      await serveTcp(far);
      await sendTcp(a, "10.0.0.2", { megabytes: 20 });
      await assertAccounts(lab);
    }),
);
