/** Tunnel ports against the kernel's vxlan device, and against another denovs. */
import assert from "node:assert/strict";
import type { Denovs } from "./denovs.ts";
import { type Namespace, rootTest, withLab } from "./lab.ts";
import { run } from "./process.ts";
import { assertAccounts, sendTcp, serveTcp } from "./traffic.ts";
import {
  assertNoWarnings,
  captured,
  decoded,
  FAR,
  FAR6,
  NEAR,
  NEAR6,
  nearSide,
  otherDenovs,
  underlay,
} from "./tunnel_lab.ts";

/** The kernel's device at the far end, with host b's addresses. */
async function kernelVxlan(far: Namespace, ...options: string[]): Promise<void> {
  await far.ip("link", "add", "vx0", "type", "vxlan", "id", "42", "dstport", "4789", ...options);
  await far.ip("addr", "add", "10.0.0.2/24", "dev", "vx0");
  await far.ip("addr", "add", "fd00::2/64", "dev", "vx0", "nodad");
  await far.ip("link", "set", "vx0", "up");
}

/** Makes port tun anew, in one step. */
async function replacePort(denovs: Denovs, dp: string, words: string): Promise<void> {
  const lines = [`port-del ${dp} tun --if-exists`, `port-add ${dp} tun ${words}`];
  const done = await denovs.try(["batch", "-"], lines.join("\n") + "\n");
  assert.equal(done.code, 0, done.stderr);
}

/** UDP by iperf3 at a modest rate: what share arrives, 0 to 1. */
async function udpShare(from: Namespace, to: string, size: number): Promise<number> {
  const command = ["iperf3", "-u", "-c", to, "-b", "20M", "-t", "1", "-l", `${size}`, "-J"];
  const { stdout } = await from.run(command, { timeoutMs: 20_000 });
  return 1 - JSON.parse(stdout).end.sum.lost_percent / 100;
}

for (
  const { name, mtu, local, remote, overhead } of [
    { name: "IPv4, MTU 1500", mtu: 1500, local: NEAR, remote: FAR, overhead: 50 },
    { name: "IPv6, MTU 9000", mtu: 9000, local: NEAR6, remote: FAR6, overhead: 70 },
  ]
) {
  rootTest(
    `tunnels: vxlan to the kernel's device over ${name}: ping, TCP and UDP both ways`,
    () =>
      withLab(async (lab) => {
        const far = await underlay(lab, { mtu });
        await kernelVxlan(far, "remote", local, "local", remote);
        const options = [`remote_ip=${remote}`, `local_ip=${local}`, "key=42"];
        const a = await nearSide(lab, ["vxlan", ...options], { mtu: mtu - overhead });
        assert.equal(await a.ping("10.0.0.2"), 3);
        assert.equal(await a.ping("fd00::2"), 3);
        assert.equal(await a.ping("10.0.0.2", { size: mtu - overhead - 28 }), 3);
        await serveTcp(far);
        await serveTcp(a);
        for (const to of ["10.0.0.2", "fd00::2"]) {
          await sendTcp(a, to, { megabytes: 60 });
        }
        for (const to of ["10.0.0.1", "fd00::1"]) {
          await sendTcp(far, to, { megabytes: 60 });
        }
        const size = mtu - overhead - 28;
        assert.ok(await udpShare(a, "10.0.0.2", size) > 0.95);
        assert.ok(await udpShare(far, "10.0.0.1", size) > 0.95);
        assert.equal(await a.checksumErrors(), 0);
        assert.equal(await far.checksumErrors(), 0);
        await assertAccounts(lab);
      }),
  );
}

rootTest(
  "tunnels: vxlan group policies go both ways, and tshark reads them",
  () =>
    withLab(async (lab) => {
      const far = await underlay(lab);
      await kernelVxlan(far, "remote", NEAR, "gbp");
      const options = ["remote_ip=flow", "key=flow", "exts=gbp"];
      const a = await nearSide(lab, ["vxlan", ...options]);
      const { denovs } = lab;
      await denovs.cli("flow-del", "br0", "in_port(1)");
      await denovs.cli("flow-del", "br0", "in_port(2)");
      const out = `set(tunnel(tun_id=0x2a,dst=${FAR},tos=0x28,ttl=33,tp_dst=4789,` +
        "vxlan(gbp(id=4660,flags=0x8)),flags(df|key))),2";
      await denovs.cli("flow-add", "br0", "in_port(1)", out);
      const back = `tunnel(tun_id=0x2a,src=${FAR},dst=${NEAR},ttl=64,vxlan(gbp(id=291,flags=0)),` +
        "flags(key)),in_port(2)";
      await denovs.cli("flow-add", "br0", back, "1");
      const file = await captured(lab, far, async () => {
        // Unmarked answers (ARP) have no policy: neighbours are introduced.
        const mac = (await far.ip("-br", "link", "show", "vx0")).split(/\s+/)[2] ?? "";
        await a.ip("neigh", "add", "10.0.0.2", "lladdr", mac, "dev", "eth0");
        await far.ip("neigh", "add", "10.0.0.1", "lladdr", a.mac, "dev", "vx0");
        const ping = ["ping", "-n", "-q", "-c", "2", "-i", "0.1", "-W", "1"];
        const marked = await far.run([...ping, "-m", "291", "10.0.0.1"], { fails: true });
        assert.match(marked.stdout, /2 packets transmitted/);
        await a.run([...ping, "10.0.0.2"], { fails: true });
      });
      const fields = ["ip.src", "vxlan.vni", "vxlan.gbp", "vxlan.flag_a", "ip.dsfield", "ip.ttl"];
      const seen = await decoded(far, file, "vxlan", fields);
      const first = (text = ""): string => text.split(",")[0] ?? "";
      // Among them may be what the kernel sends by itself when a device comes up.
      const from = (address: string, policy: string): string[] | undefined =>
        seen.find(([source, , gbp]) => first(source) === address && first(gbp) === policy);
      const told = JSON.stringify(seen);
      assert.deepEqual(from(NEAR, "4660")?.slice(1).map(first), [
        ...["42", "4660", "1", "0x28", "33"],
      ], told);
      assert.deepEqual(from(FAR, "291")?.slice(1, 4).map(first), ["42", "291", "0"], told);
      assert.equal((await denovs.flow("gbp(id=291")).packets >= 2, true);
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

rootTest(
  "tunnels: denovs to denovs over each type, and tshark finds nothing wrong",
  () =>
    withLab(async (lab) => {
      const far = await underlay(lab);
      const b = await lab.peer("b", { address: "10.0.0.2/24", address6: "fd00::2/64" });
      await lab.sw.ip("link", "set", b.port, "netns", far.name);
      await b.ip("link", "set", "eth0", "mtu", "1400");
      const offload = async (on: "on" | "off"): Promise<void> => {
        await lab.sw.run(["ethtool", "-K", far.port, "tx", on]);
        await far.run(["ethtool", "-K", "eth0", "tx", on]);
      };
      const cases: readonly (readonly [type: string, filter: string, ...options: string[]])[] = [
        ["vxlan", "vxlan.vni == 7", "key=7", "csum=true"],
        ["vxlan", "vxlan.vni == 8", "key=8", "exts=gpe", "dst_port=4790"],
        ["geneve", "geneve.vni == 9", "key=9", "tos=inherit", "ttl=inherit"],
        ["gre", "gre.key == 10", "key=10", "seq=true", "csum=true"],
        ["gre", "gre.proto == 0x6558 and not gre.key", "df_default=false"],
        ["geneve", "ipv6 and geneve.vni == 11", "key=11"],
        ["gre", "ipv6 and gre.key == 12", "key=12"],
      ];
      const [type, , ...options] = cases[0]!;
      const a = await nearSide(lab, [type, `remote_ip=${FAR}`, ...options], { mtu: 1400 });
      await otherDenovs(lab, far, async (other) => {
        await other.cli("dp-add", "br1");
        await other.cli("port-add", "br1", b.port);
        await other.cli("flow-add", "br1", "in_port(1)", "2");
        await other.cli("flow-add", "br1", "in_port(2)", "1");
        await serveTcp(b);
        for (const [type, filter, ...options] of cases) {
          const [near, remote] = filter.startsWith("ipv6") ? [NEAR6, FAR6] : [NEAR, FAR];
          const words = `--port-no 2 --type ${type} ${options.join(" ")}`;
          await Promise.all([
            replacePort(lab.denovs, "br0", `${words} remote_ip=${remote}`),
            replacePort(other, "br1", `${words} remote_ip=${near}`),
          ]);
          await offload("off"); // checksums are to be in the capture
          const file = await captured(lab, far, async () => {
            assert.equal(await a.ping("10.0.0.2"), 3, filter);
            assert.equal(await a.ping("fd00::2", { count: 1 }), 1, filter);
          });
          const seen = await decoded(far, file, filter, ["frame.number"]);
          assert.ok(seen.length >= 6, `${filter}: ${seen.length}`);
          await assertNoWarnings(far, file);
          await offload("on");
          const before = await other.flow("in_port(2)", "br1");
          await sendTcp(a, "10.0.0.2", { megabytes: 30 });
          const after = await other.flow("in_port(2)", "br1");
          const size = (after.bytes - before.bytes) / (after.packets - before.packets);
          // What went out in one piece is put together again; GRE has nothing like UDP_GRO.
          assert.ok(type === "gre" || size > 5000, `${type}: packets of ${size} bytes`);
        }
        assert.equal(await a.checksumErrors(), 0);
        assert.equal(await b.checksumErrors(), 0);
        await assertAccounts(lab);
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

rootTest("tunnels: kernel geneve and gre devices at the far end", async () => {
  const script = new URL("tunnel_guest.ts", import.meta.url).pathname;
  const tool = new URL("../tools/kernel-vm", import.meta.url).pathname;
  const command = [tool, "--with", "uml", "--timeout", "100", "--", Deno.execPath(), "run", "-A"];
  const done = await run([...command, "--no-check", script], { timeoutMs: 110_000 });
  assert.equal(done.code, 0, `${done.stdout}\n${done.stderr}`);
});
