import assert from "node:assert/strict";
import { LinkEvents, Rtnetlink } from "./rtnetlink.ts";
import { SystemError } from "./system_error.ts";
import { rootTest, run, TestNamespace } from "./testing.ts";

rootTest("Rtnetlink: finds a device by name and index, with its kind, peer and master", () => {
  using _namespace = new TestNamespace();
  using net = new Rtnetlink();
  run("ip link add v0 address 02:00:00:00:00:0a type veth peer name v1");
  run("ip link add bridge0 type bridge");
  run("ip link set v0 master bridge0");
  const link = net.linkByName("v0");
  const bridge = net.linkByName("bridge0");
  assert.ok(link !== undefined && bridge !== undefined);
  assert.deepEqual(net.linkByIndex(link.ifindex), link);
  assert.equal(link.mac, "02:00:00:00:00:0a");
  assert.equal(link.mtu, 1500);
  assert.equal(link.type, 1);
  assert.equal(link.kind, "veth");
  assert.equal(link.master, bridge.ifindex);
  assert.equal(link.masterKind, "bridge");
  assert.equal(link.up, false);
  assert.equal(link.ifalias, undefined);
  assert.equal(link.link, net.linkByName("v1")?.ifindex);
  assert.equal(bridge.kind, "bridge");
  const loopback = net.linkByName("lo");
  assert.equal(loopback?.type, 772);
  assert.equal((loopback?.flags ?? 0) & 8, 8);
  assert.deepEqual(net.list().map((each) => each.name).sort(), ["bridge0", "lo", "v0", "v1"]);
});

rootTest("Rtnetlink: absent devices and impossible names are undefined", () => {
  using _namespace = new TestNamespace();
  using net = new Rtnetlink();
  assert.equal(net.linkByName("nothing"), undefined);
  assert.equal(net.linkByName(""), undefined);
  assert.equal(net.linkByName("sixteen-bytes-xx"), undefined);
  assert.equal(net.linkByIndex(424242), undefined);
});

rootTest("Rtnetlink: changes state, MAC, MTU, alias; deletes", () => {
  using _namespace = new TestNamespace();
  using net = new Rtnetlink();
  run("ip link add v0 type veth peer name v1");
  const ifindex = net.linkByName("v0")?.ifindex ?? 0;
  net.setUp(ifindex);
  net.setMac(ifindex, "02:aa:BB:00:00:01");
  net.setMtu(ifindex, 9000);
  net.setIfalias(ifindex, "denovs:0123");
  const changed = net.linkByIndex(ifindex);
  assert.equal(changed?.up, true);
  assert.equal(changed?.mac, "02:aa:bb:00:00:01");
  assert.equal(changed?.mtu, 9000);
  assert.equal(changed?.ifalias, "denovs:0123");
  net.setUp(ifindex, false);
  net.setIfalias(ifindex, "");
  assert.equal(net.linkByIndex(ifindex)?.up, false);
  assert.equal(net.linkByIndex(ifindex)?.ifalias, undefined);
  net.deleteLink(ifindex);
  assert.equal(net.linkByName("v0"), undefined);
});

rootTest("Rtnetlink: errors carry the kernel's own words", () => {
  using _namespace = new TestNamespace();
  using net = new Rtnetlink();
  run("ip link add v0 type veth peer name v1");
  const ifindex = net.linkByName("v0")?.ifindex ?? 0;
  assert.throws(() => net.setMtu(ifindex, 10_000_000), (error: unknown) => {
    assert.ok(error instanceof SystemError);
    assert.equal(error.code, "EINVAL");
    assert.match(error.message, /RTM_NEWLINK returned EINVAL \(mtu greater than device maximum\)/);
    return true;
  });
  assert.throws(() => net.setUp(424242), { code: "ENODEV" });
  assert.throws(() => net.setMac(ifindex, "02:00"), TypeError);
});

rootTest("LinkEvents: tells of changes and ends, without blocking", () => {
  using _namespace = new TestNamespace();
  using net = new Rtnetlink();
  using events = new LinkEvents();
  assert.deepEqual(events.read(), []);
  run("ip link add v0 type veth peer name v1");
  const ifindex = net.linkByName("v0")?.ifindex ?? 0;
  net.setUp(ifindex);
  net.setMtu(ifindex, 1400);
  const seen = events.read();
  const last = seen.findLast((event) => event.type === "changed" && event.link.name === "v0");
  assert.ok(last?.type === "changed");
  assert.equal(last.link.mtu, 1400);
  assert.equal(last.link.up, true);
  assert.equal(last.link.kind, "veth");
  net.deleteLink(ifindex);
  const gone = events.read().filter((event) => event.type === "gone");
  assert.deepEqual(gone.map((event) => event.type === "gone" && event.name).sort(), ["v0", "v1"]);
});

rootTest("LinkEvents: lost events are told as resync, and later ones come again", () => {
  using _namespace = new TestNamespace();
  using net = new Rtnetlink();
  using events = new LinkEvents();
  run("ip link add v0 type veth peer name v1");
  const ifindex = net.linkByName("v0")?.ifindex ?? 0;
  for (let round = 0; round < 4000; round++) net.setMtu(ifindex, 1400 + (round & 1));
  assert.ok(events.read().some((event) => event.type === "resync"));
  net.setMtu(ifindex, 1300);
  const [event] = events.read();
  assert.ok(event?.type === "changed" && event.link.mtu === 1300);
});
