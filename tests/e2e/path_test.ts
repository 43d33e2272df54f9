/** The switch, and nothing else, is in the path. */
import assert from "node:assert/strict";
import { rootTest, withLab } from "./lab.ts";
import { eventually } from "./process.ts";
import { assertAccounts, sendFrames, serveTcp, twoHosts } from "./traffic.ts";

rootTest(
  "path: without flows the host answers neither ARP nor ping, with host=share it does",
  () =>
    withLab(async (lab) => {
      const { a, b } = await twoHosts(lab, { flows: false });
      const { denovs, sw } = lab;
      await sw.ip("addr", "add", "10.0.0.10/24", "dev", "br0");
      await sw.ip("link", "set", "br0", "up");
      assert.equal(await a.ping("10.0.0.10"), 0);
      assert.doesNotMatch(await a.ip("neigh", "show", "10.0.0.10"), /lladdr/);
      // With the neighbour known, too: the frames must not reach the host's stack at all.
      const [br0] = JSON.parse(await sw.ip("-j", "link", "show", "br0"));
      await a.ip(
        "neigh",
        "replace",
        "10.0.0.10",
        "lladdr",
        br0.address,
        "dev",
        "eth0",
        "nud",
        "permanent",
      );
      assert.equal(await a.ping("10.0.0.10"), 0);
      const { counters } = await denovs.show();
      assert.ok(Number(counters["missed"]) >= 6, JSON.stringify(counters));
      assert.equal(counters["lost"], counters["missed"]);
      assert.ok(Number(counters.drops["no-upcall-handler"]) >= 6);
      await denovs.cli("port-del", "br0", b.port);
      await denovs.cli("port-add", "br0", b.port, "host=share");
      // Its answers to pings leave by br0, where its route is; ARP answers leave by the device itself.
      await b.ping("10.0.0.10", { count: 1 });
      assert.match(await b.ip("neigh", "show", "10.0.0.10"), /lladdr/);
    }),
);

rootTest(
  "path: the ping stops when its flow is deleted and goes on when it is back",
  () =>
    withLab(async (lab) => {
      const { a } = await twoHosts(lab);
      assert.equal(await a.ping("10.0.0.2"), 3);
      await lab.denovs.cli("flow-del", "br0", "in_port(1)");
      assert.equal(await a.ping("10.0.0.2"), 0);
      await lab.denovs.cli("flow-add", "br0", "in_port(1)", "2");
      assert.equal(await a.ping("10.0.0.2"), 3);
      await lab.denovs.cli("flow-mod", "br0", "in_port(1)", "drop");
      assert.equal(await a.ping("10.0.0.2"), 0);
      await lab.denovs.cli("flow-mod", "br0", "in_port(1)", "2");
      assert.equal(await a.ping("10.0.0.2"), 3);
      await lab.denovs.cli("flow-flush", "br0");
      assert.equal(await a.ping("10.0.0.2"), 0);
    }),
);

rootTest(
  "path: when the switch ends nothing passes, and the devices are the host's again",
  () =>
    withLab(async (lab) => {
      const { a } = await twoHosts(lab);
      assert.equal(await a.ping("10.0.0.2"), 3);
      assert.equal(await promiscuity(lab, a.port), 1);
      assert.equal(await lab.denovs.end(), 0);
      assert.equal(await a.ping("10.0.0.2"), 0);
      assert.equal(await promiscuity(lab, a.port), 0);
      await lab.sw.ip("addr", "add", "10.0.0.20/24", "dev", a.port);
      assert.equal(await a.ping("10.0.0.20"), 3);
    }),
);

async function promiscuity(
  lab: { sw: { ip(...args: string[]): Promise<string> } },
  device: string,
): Promise<number> {
  const [link] = JSON.parse(await lab.sw.ip("-d", "-j", "link", "show", device));
  return link.promiscuity;
}

rootTest("path: port-del gives the device back to the host", () =>
  withLab(async (lab) => {
    const { a } = await twoHosts(lab);
    await lab.sw.ip("addr", "add", "10.0.0.20/24", "dev", a.port);
    assert.equal(await a.ping("10.0.0.20"), 0);
    await lab.denovs.cli("port-del", "br0", a.port);
    assert.equal(await a.ping("10.0.0.20"), 3);
  }));

rootTest(
  "path: malformed and truncated frames are counted, and the switch goes on",
  () =>
    withLab(async (lab) => {
      const { a } = await twoHosts(lab);
      const whole = wholeFrames();
      const frames: string[] = [];
      for (const frame of whole) {
        for (let size = 14; size <= frame.length / 2; size++) frames.push(frame.slice(0, size * 2));
        for (let at = 12; at < Math.min(60, frame.length / 2); at++) {
          frames.push(frame.slice(0, at * 2) + "ff" + frame.slice(at * 2 + 2));
          frames.push(frame.slice(0, at * 2) + "00" + frame.slice(at * 2 + 2));
        }
      }
      const before = (await lab.denovs.show()).counters["received"] ?? 0;
      const sent = await sendFrames(a, frames);
      assert.ok(sent > frames.length * 0.9, `${sent} of ${frames.length}`);
      await eventually("all frames are counted", async () => {
        const { counters } = await lab.denovs.show();
        // The kernel itself drops frames whose VLAN tag is cut off.
        return (counters["received"] ?? 0) - before >= sent * 0.98;
      });
      const flow = await lab.denovs.flow("in_port(1)");
      // Tagged frames, and tags made by a change of the type, miss a flow without vlan().
      assert.ok(flow.packets >= sent * 0.6, `${flow.packets} of ${sent}`);
      await assertAccounts(lab);
      assert.equal(await a.ping("10.0.0.2"), 3);
    }),
);

/** One good frame of each header that the switch reads, hex. */
function wholeFrames(): string[] {
  const eth = "02000000009902000000007700";
  const ethernet = eth.slice(0, 24);
  const udp4 = "450000240000400040110000" + "0a0000010a000002" + "0400080000100000" +
    "0001020304050607";
  const tcp4 = "4500002c0000400040060000" + "0a0000010a000002" +
    "040000500000000100000000600220000000000002040400";
  const tcp6 = "60000000001806400".slice(0, 16) + "fd000000000000000000000000000001" +
    "fd000000000000000000000000000002" + "040000500000000100000000600220000000000002040400";
  const hop6 = "6000000000200040" + "fd000000000000000000000000000001" +
    "fd000000000000000000000000000002" + "1100010400000000" +
    "040008000018000000000000000000000000000000000000";
  const ns6 = "6000000000203aff" + "fd000000000000000000000000000001" +
    "fd000000000000000000000000000002" + "8700000000000000fd000000000000000000000000000002" +
    "0101020000000077";
  const arp = "0001080006040001" + "0200000000770a0000010000000000000a000002";
  const icmp4 = "4500001c0000400040010000" + "0a0000010a000002" + "0800f7ff00000000";
  const sctp4 = "450000200000400040840000" + "0a0000010a000002" + "040008000000000000000000";
  return [
    `${ethernet}0800${udp4}`,
    `${ethernet}0800${tcp4}`,
    `${ethernet}0800${icmp4}`,
    `${ethernet}0800${sctp4}`,
    `${ethernet}86dd${tcp6}`,
    `${ethernet}86dd${hop6}`,
    `${ethernet}86dd${ns6}`,
    `${ethernet}0806${arp}`,
    `${ethernet}81000064` + `0800${udp4}`,
    `${ethernet}88a800c881000064` + `0800${tcp4}`,
    `${ethernet}0026aaaa030000000800${udp4}`,
    `${ethernet}8847000641ff${udp4}`,
  ];
}

rootTest(
  "path: a device that disappears and comes back is a port again",
  () =>
    withLab(async (lab) => {
      const { a } = await twoHosts(lab);
      const c = await lab.peer("c", { address: "10.0.0.3/24" });
      await lab.denovs.cli("port-add", "br0", c.port, "--port-no", "7");
      await lab.denovs.cli("flow-mod", "br0", "in_port(1)", "7");
      await lab.denovs.cli("flow-add", "br0", "in_port(7)", "1");
      assert.equal(await a.ping("10.0.0.3"), 3);
      await lab.sw.ip("link", "del", c.port);
      await eventually("the port is shown as unusable", async () => {
        const port = (await lab.denovs.show()).ports.find(({ portNo }) => portNo === 7);
        return port !== undefined && port.state !== "up" && port.reason !== null;
      });
      assert.equal(await a.ping("10.0.0.3", { count: 2 }), 0);
      await serveTcp(a); // the rest of the switch is alive
      assert.match(await lab.denovs.cli("dp-show", "br0"), /port 7: vc/);
    }),
);
