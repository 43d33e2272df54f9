/** Ping, TCP and UDP through the switch with every offload as the kernel sets it. */
import assert from "node:assert/strict";
import { rootTest, withLab } from "./lab.ts";
import {
  askUdp,
  assertAccounts,
  averageSize,
  sendTcp,
  serveTcp,
  serveUdp,
  twoHosts,
} from "./traffic.ts";

/** Whole segments: what the flow statistics must show on the average. */
const WHOLE_SEGMENT = 32 * 1024;

rootTest(
  "traffic: ping and TCP pass between two namespaces, segments whole",
  () =>
    withLab(async (lab) => {
      const { a, b } = await twoHosts(lab);
      assert.equal(await a.ping("10.0.0.2"), 3);
      assert.equal(await a.ping("10.0.0.2", { size: 1400 }), 3);
      await serveTcp(b);
      await lab.denovs.cli("flow-mod", "br0", "in_port(1)", "--clear", "2");
      await sendTcp(a, "10.0.0.2", { megabytes: 400 });
      const size = await averageSize(lab, "in_port(1)");
      assert.ok(size > WHOLE_SEGMENT, `average packet of ${size.toFixed(0)} bytes`);
      assert.equal(await a.checksumErrors(), 0);
      assert.equal(await b.checksumErrors(), 0);
      await assertAccounts(lab);
    }),
);

rootTest("traffic: IPv6 ping and TCP pass, segments whole", () =>
  withLab(async (lab) => {
    const { a, b } = await twoHosts(lab, { v6: true });
    assert.equal(await a.ping("fd00::2"), 3);
    await serveTcp(b);
    await lab.denovs.cli("flow-mod", "br0", "in_port(1)", "--clear", "2");
    await sendTcp(a, "fd00::2", { megabytes: 300 });
    const size = await averageSize(lab, "in_port(1)");
    assert.ok(size > WHOLE_SEGMENT, `average packet of ${size.toFixed(0)} bytes`);
    assert.equal(await b.checksumErrors(), 0);
  }));

rootTest("traffic: UDP datagrams and IP fragments pass unchanged", () =>
  withLab(async (lab) => {
    const { a, b } = await twoHosts(lab);
    await serveUdp(b, "10.0.0.2", 7000);
    assert.equal(await askUdp(a, "10.0.0.2", 7000, { count: 20, size: 1 }), 20);
    assert.equal(await askUdp(a, "10.0.0.2", 7000, { count: 20, size: 1472 }), 20);
    assert.equal(await askUdp(a, "10.0.0.2", 7000, { count: 10, size: 9000 }), 10);
    assert.equal(await b.checksumErrors(), 0);
  }));

rootTest("traffic: a flow with several outputs copies the packet", () =>
  withLab(async (lab) => {
    const { a, b } = await twoHosts(lab);
    const c = await lab.peer("c");
    await lab.denovs.cli("port-add", "br0", c.port);
    await lab.denovs.cli("flow-mod", "br0", "in_port(1)", "2,3");
    const before = await received(c);
    assert.equal(await a.ping("10.0.0.2", { count: 5 }), 5);
    assert.ok(await received(c) - before >= 5);
    assert.equal(await b.checksumErrors(), 0);
    await assertAccounts(lab);
  }));

async function received(host: { ip(...args: string[]): Promise<string> }): Promise<number> {
  const [link] = JSON.parse(await host.ip("-s", "-j", "link", "show", "eth0"));
  return link.stats64.rx.packets;
}

rootTest(
  "traffic: an offloading host reaches one without offloads, no checksum error",
  () =>
    withLab(async (lab) => {
      const { a, b } = await twoHosts(lab);
      const off = ["tx", "off", "rx", "off", "tso", "off", "gso", "off", "gro", "off", "sg", "off"];
      await b.run(["ethtool", "-K", "eth0", ...off]);
      await lab.sw.run(["ethtool", "-K", b.port, ...off]);
      await serveTcp(b);
      await serveTcp(a);
      await sendTcp(a, "10.0.0.2", { megabytes: 60 });
      await sendTcp(b, "10.0.0.1", { megabytes: 60 });
      await serveUdp(b, "10.0.0.2", 7000);
      assert.equal(await askUdp(a, "10.0.0.2", 7000, { count: 10, size: 1000 }), 10);
      assert.equal(await a.checksumErrors(), 0);
      assert.equal(await b.checksumErrors(), 0);
      await assertAccounts(lab);
    }),
);

rootTest(
  "traffic: the internal port is a far end: TCP to and from br0's address",
  () =>
    withLab(async (lab) => {
      const { a } = await twoHosts(lab, { flows: false });
      await lab.denovs.cli("flow-add", "br0", "in_port(1)", "0");
      await lab.denovs.cli("flow-add", "br0", "in_port(0)", "1");
      await lab.sw.ip("addr", "add", "10.0.0.10/24", "dev", "br0");
      await lab.sw.ip("link", "set", "br0", "up");
      assert.equal(await a.ping("10.0.0.10"), 3);
      await serveTcp(lab.sw);
      await serveTcp(a);
      await lab.denovs.cli("flow-mod", "br0", "in_port(1)", "--clear", "0");
      await sendTcp(a, "10.0.0.10", { megabytes: 200 });
      const size = await averageSize(lab, "in_port(1)");
      assert.ok(size > WHOLE_SEGMENT, `average packet of ${size.toFixed(0)} bytes into the TAP`);
      await lab.denovs.cli("flow-mod", "br0", "in_port(0)", "--clear", "1");
      await sendTcp(lab.sw, "10.0.0.1", { megabytes: 200 });
      const back = await averageSize(lab, "in_port(0)");
      assert.ok(back > WHOLE_SEGMENT, `average packet of ${back.toFixed(0)} bytes from the TAP`);
      assert.equal(await a.checksumErrors(), 0);
      assert.equal(await lab.sw.checksumErrors(), 0);
      await assertAccounts(lab);
    }),
);

rootTest(
  "traffic: TCP of a kernel vxlan device whose underlay crosses the switch",
  () =>
    withLab(async (lab) => {
      const { a, b } = await twoHosts(lab);
      for (
        const [host, own, other, inner] of [
          [a, "10.0.0.1", "10.0.0.2", "172.16.0.1/24"],
          [b, "10.0.0.2", "10.0.0.1", "172.16.0.2/24"],
        ] as const
      ) {
        const tunnel = ["id", "7", "local", own, "remote", other, "dstport", "4789", "dev", "eth0"];
        await host.ip("link", "add", "vx0", "type", "vxlan", ...tunnel);
        await host.ip("addr", "add", inner, "dev", "vx0");
        await host.ip("link", "set", "vx0", "up");
      }
      assert.equal(await a.ping("172.16.0.2"), 3);
      await serveTcp(b);
      await sendTcp(a, "172.16.0.2", { megabytes: 60 });
      assert.equal(await b.checksumErrors(), 0);
      await assertAccounts(lab);
    }),
);

for (const miss of ["flood", "learn"]) {
  rootTest(`traffic: --miss ${miss} makes a switch without flows`, () =>
    withLab(async (lab) => {
      const a = await lab.peer("a", { address: "10.0.0.1/24" });
      const b = await lab.peer("b", { address: "10.0.0.2/24" });
      const c = await lab.peer("c", { address: "10.0.0.3/24" });
      await lab.denovs.start();
      await lab.denovs.cli("dp-add", "br0", "--miss", miss);
      for (const { port } of [a, b, c]) await lab.denovs.cli("port-add", "br0", port);
      assert.equal(await a.ping("10.0.0.2"), 3);
      const before = await received(c);
      assert.equal(await a.ping("10.0.0.2", { count: 10 }), 10);
      const overheard = await received(c) - before;
      if (miss === "learn") assert.ok(overheard < 4, `${overheard} unicast frames reached c`);
      else assert.ok(overheard >= 20, `only ${overheard} frames reached c`);
      await assertAccounts(lab);
    }));
}
