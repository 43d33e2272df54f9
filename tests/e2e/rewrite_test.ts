/** Checksums stay right when flows rewrite, tag and untag segments of 64 KiB. */
import assert from "node:assert/strict";
import { type Lab, type Namespace, rootTest, withLab } from "./lab.ts";
import {
  askUdp,
  assertAccounts,
  averageSize,
  introduce,
  listens,
  sendTcp,
  serveTcp,
  serveUdp,
  twoHosts,
} from "./traffic.ts";

/** The far host has to look at every checksum: nothing is left for it to complete or skip. */
async function withoutOffloads(lab: Lab, host: Namespace, port: string): Promise<void> {
  const off = ["tx", "off", "rx", "off", "tso", "off", "gso", "off", "gro", "off"];
  await host.run(["ethtool", "-K", "eth0", ...off]);
  await lab.sw.run(["ethtool", "-K", port, ...off]);
}

const ARP = "eth_type(0x0806)";

/** Address and port translation between a and b: b is seen as 10.0.0.99 (or fd00::99), port 5555. */
async function translate(lab: Lab): Promise<void> {
  const { denovs } = lab;
  const flows: [string, string][] = [
    [`in_port(1),${ARP}`, "2"],
    [`in_port(2),${ARP}`, "1"],
    [
      "in_port(1),eth_type(0x0800),ipv4(dst=10.0.0.99,proto=6),tcp(dst=5555)",
      "set(ipv4(dst=10.0.0.2,ttl=61)),set(tcp(dst=5201)),2",
    ],
    [
      "in_port(2),eth_type(0x0800),ipv4(src=10.0.0.2,proto=6),tcp(src=5201)",
      "set(ipv4(src=10.0.0.99)),set(tcp(src=5555)),1",
    ],
    [
      "in_port(1),eth_type(0x0800),ipv4(dst=10.0.0.99,proto=17),udp(dst=5555)",
      "set(ipv4(dst=10.0.0.2)),set(udp(dst=7000)),2",
    ],
    [
      "in_port(2),eth_type(0x0800),ipv4(src=10.0.0.2,proto=17),udp(src=7000)",
      "set(ipv4(src=10.0.0.99)),set(udp(src=5555)),1",
    ],
    [
      "in_port(1),eth_type(0x86dd),ipv6(dst=fd00::99,proto=6),tcp(dst=5555)",
      "set(ipv6(dst=fd00::2)),set(tcp(dst=5201)),2",
    ],
    [
      "in_port(2),eth_type(0x86dd),ipv6(src=fd00::2,proto=6),tcp(src=5201)",
      "set(ipv6(src=fd00::99)),set(tcp(src=5555)),1",
    ],
  ];
  for (const [flow, actions] of flows) await denovs.cli("flow-add", "br0", flow, actions);
}

for (const offloads of [true, false]) {
  const far = offloads ? "an offloading host" : "a host without offloads";
  rootTest(
    `rewrite: addresses and ports of TCP segments and UDP, far end ${far}`,
    () =>
      withLab(async (lab) => {
        const { a, b } = await twoHosts(lab, { flows: false, v6: true });
        await translate(lab);
        await introduce(a, "10.0.0.99", b.mac);
        await introduce(a, "fd00::99", b.mac);
        await introduce(b, "fd00::1", a.mac);
        if (!offloads) await withoutOffloads(lab, b, b.port);
        await serveTcp(b);
        await sendTcp(a, "10.0.0.99", { port: 5555, megabytes: offloads ? 300 : 60 });
        await sendTcp(a, "fd00::99", { port: 5555, megabytes: offloads ? 300 : 60 });
        await serveUdp(b, "10.0.0.2", 7000);
        assert.equal(await askUdp(a, "10.0.0.99", 5555, { count: 10, size: 1000 }), 10);
        assert.equal(await a.checksumErrors(), 0);
        assert.equal(await b.checksumErrors(), 0);
        const size = await averageSize(lab, "dst=10.0.0.99,proto=6");
        assert.ok(size > 32 * 1024, `average packet of ${size.toFixed(0)} bytes`);
        await assertAccounts(lab);
      }),
  );
}

rootTest(
  "rewrite: addresses and ports on the way into the internal port",
  () =>
    withLab(async (lab) => {
      const { a } = await twoHosts(lab, { flows: false });
      const { denovs } = lab;
      await lab.sw.ip("addr", "add", "10.0.0.10/24", "dev", "br0");
      await lab.sw.ip("link", "set", "br0", "up");
      const { ports } = await denovs.show();
      const mac = ports.find(({ portNo }) => portNo === 0)?.mac;
      assert.ok(mac);
      await introduce(a, "10.0.0.99", mac);
      await denovs.cli("flow-add", "br0", "in_port(1),eth_type(0x0806)", "0");
      await denovs.cli("flow-add", "br0", "in_port(0),eth_type(0x0806)", "1");
      await denovs.cli(
        "flow-add",
        "br0",
        "in_port(1),eth_type(0x0800),ipv4(proto=6),tcp(dst=5555)",
        "set(ipv4(dst=10.0.0.10)),set(tcp(dst=5201)),0",
      );
      await denovs.cli(
        "flow-add",
        "br0",
        "in_port(0),eth_type(0x0800),ipv4(proto=6),tcp(src=5201)",
        "set(ipv4(src=10.0.0.99)),set(tcp(src=5555)),1",
      );
      await serveTcp(lab.sw);
      await sendTcp(a, "10.0.0.99", { port: 5555, megabytes: 200 });
      assert.equal(await a.checksumErrors(), 0);
      assert.equal(await lab.sw.checksumErrors(), 0);
    }),
);

/**
 * a - 1 |switch| 3 = veth = 4 |switch| 2 - b: segments are tagged between ports 3 and 4. The kernel
 * carries the tag, so both ends of tagging are seen: what is sent and what is received again.
 */
async function detour(lab: Lab, tags: readonly { tpid: string; vid: number }[]): Promise<void> {
  const { denovs, sw } = lab;
  await sw.ip("link", "add", "t1", "type", "veth", "peer", "name", "t2");
  if (tags.some(({ tpid }) => tpid !== "0x8100")) {
    // Only an 802.1Q tag may exceed the MTU on a packet socket (packet_extra_vlan_len_allowed).
    for (const device of ["t1", "t2"]) await sw.ip("link", "set", device, "mtu", "1508");
  }
  await denovs.cli("port-add", "br0", "t1");
  await denovs.cli("port-add", "br0", "t2");
  const push = tags.map(({ tpid, vid }) => `push_vlan(tpid=${tpid},vid=${vid},pcp=3)`).join(",");
  const pop = tags.map(() => "pop_vlan").join(",");
  const outer = tags.at(-1);
  assert.ok(outer);
  const tagged = `eth_type(${outer.tpid}),vlan(vid=${outer.vid},pcp=3)`;
  await denovs.cli("flow-add", "br0", "in_port(1)", `${push},3`);
  await denovs.cli("flow-add", "br0", "in_port(2)", `${push},4`);
  for (const [from, to] of [[4, 2], [3, 1]]) {
    const inner = tags.length > 1
      ? `encap(eth_type(0x8100),vlan(vid=${tags[0]?.vid}),encap())`
      : "encap()";
    await denovs.cli(
      "flow-add",
      "br0",
      `in_port(${from}),eth(),${tagged},${inner}`,
      `${pop},${to}`,
    );
  }
}

for (
  const [name, tags] of [
    ["802.1Q", [{ tpid: "0x8100", vid: 100 }]],
    ["802.1ad", [{ tpid: "0x88a8", vid: 200 }]],
    ["802.1ad over 802.1Q", [{ tpid: "0x8100", vid: 100 }, { tpid: "0x88a8", vid: 200 }]],
  ] as const
) {
  rootTest(
    `rewrite: push_vlan and pop_vlan of TCP segments, ${name}`,
    () =>
      withLab(async (lab) => {
        const { a, b } = await twoHosts(lab, { flows: false });
        await detour(lab, tags);
        assert.equal(await a.ping("10.0.0.2"), 3);
        await serveTcp(b);
        await sendTcp(a, "10.0.0.2", { megabytes: 100 });
        const size = await averageSize(lab, "in_port(1)");
        assert.ok(size > 32 * 1024, `average packet of ${size.toFixed(0)} bytes`);
        assert.equal(await b.checksumErrors(), 0);
        await assertAccounts(lab);
      }),
  );
}

rootTest("rewrite: Ethernet addresses are set, b sees only its own", () =>
  withLab(async (lab) => {
    const { a, b } = await twoHosts(lab, { flows: false });
    await introduce(a, "10.0.0.2", "02:00:00:00:00:aa");
    await introduce(b, "10.0.0.1", "02:00:00:00:00:bb");
    await lab.denovs.cli(
      "flow-add",
      "br0",
      "in_port(1)",
      `set(eth(src=02:00:00:00:00:bb,dst=${b.mac})),2`,
    );
    await lab.denovs.cli(
      "flow-add",
      "br0",
      "in_port(2)",
      `set(eth(src=02:00:00:00:00:aa,dst=${a.mac})),1`,
    );
    assert.equal(await a.ping("10.0.0.2"), 3);
    b.start(["iperf3", "-s"]);
    await listens(b, 5201);
    await sendTcp(a, "10.0.0.2", { megabytes: 50 });
  }));
