import assert from "node:assert/strict";
import { PacketRing } from "./packet_socket.ts";
import { Rtnetlink } from "./rtnetlink.ts";
import { RxDrop } from "./rx_drop.ts";
import { RecordingHost, rootTest, run, TestNamespace } from "./testing.ts";

/** A peer namespace whose device p0 is joined with our v0; both have addresses. */
function withPeer(test: (ifindex: number, net: Rtnetlink, answers: () => boolean) => void): void {
  using peer = new TestNamespace();
  using _ours = new TestNamespace();
  using net = new Rtnetlink();
  run(`ip link add v0 type veth peer name p0 netns ${peer.name}`);
  run("ip addr add 10.9.0.1/24 dev v0");
  run("ip link set v0 up");
  run(`ip -n ${peer.name} addr add 10.9.0.2/24 dev p0`);
  run(`ip -n ${peer.name} link set p0 up`);
  const answers = (): boolean => {
    run(`ip -n ${peer.name} neigh flush all`);
    const args = `netns exec ${peer.name} ping -c 1 -W 1 10.9.0.1`.split(" ");
    return new Deno.Command("ip", { args, stdout: "null", stderr: "null" }).outputSync().success;
  };
  test(net.linkByName("v0")?.ifindex ?? 0, net, answers);
}

for (const how of ["tcx", "clsact"] as const) {
  rootTest(
    `RxDrop by ${how}: the host no longer answers, a packet socket sees every frame, release gives back`,
    () => {
      withPeer((ifindex, net, answers) => {
        assert.ok(answers());
        const drop = RxDrop.take(ifindex, net, { how });
        assert.equal(drop.how, how);
        const host = new RecordingHost();
        using ring = PacketRing.open({ host });
        ring.addPort(ifindex, 1, host);
        assert.ok(!answers());
        ring.receive(32);
        ring.release();
        assert.ok(host.seen.some(({ frame }) => frame[12] === 8 && frame[13] === 6), "no ARP seen");
        drop.release();
        drop.release();
        assert.ok(answers());
        assert.ok(!run("tc qdisc show dev v0").includes("clsact"));
      });
    },
  );
}

rootTest("RxDrop.take: prefers TCX on this kernel", () => {
  withPeer((ifindex, net) => {
    using drop = RxDrop.take(ifindex, net);
    assert.equal(drop.how, "tcx");
  });
});

rootTest("RxDrop by clsact: taking again after a kill works and release removes all", () => {
  withPeer((ifindex, net, answers) => {
    RxDrop.take(ifindex, net, { how: "clsact" });
    const again = RxDrop.take(ifindex, net, { how: "clsact" });
    assert.equal(run("tc filter show dev v0 ingress").match(/denovs-rx-drop/g)?.length, 1);
    assert.ok(!answers());
    again.release();
    assert.ok(answers());
    assert.ok(!run("tc qdisc show dev v0").includes("clsact"));
  });
});

rootTest("RxDrop by clsact: a qdisc with somebody else's filter stays", () => {
  withPeer((ifindex, net) => {
    run("tc qdisc add dev v0 clsact");
    RxDrop.take(ifindex, net, { how: "clsact" }).release();
    assert.ok(run("tc qdisc show dev v0").includes("clsact"));
    assert.equal(run("tc filter show dev v0 ingress"), "");
  });
});

rootTest(
  "RxDrop.take: a device that is none is refused; one that went away is released without a fault",
  () => {
    withPeer((ifindex, net) => {
      assert.throws(() => RxDrop.take(424242, net), { code: "ENODEV" });
      const tcx = RxDrop.take(ifindex, net, { how: "tcx" });
      const clsact = RxDrop.take(ifindex, net, { how: "clsact" });
      net.deleteLink(ifindex);
      tcx.release();
      clsact.release();
    });
  },
);
