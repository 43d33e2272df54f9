/**
 * Every system call of netdev's openers fails once: the n-th call, for n = 1, 2, … until all pass.
 * Whatever fails, no descriptor is lost and the error names the call; what is opened next works.
 */
import assert from "node:assert/strict";
import { encodeGetFamily, GENL_ID_CTRL } from "../../datapath/netlink/generic_message.ts";
import { GenericNetlink } from "../../netdev/generic_netlink.ts";
import { type Libc, libc, replaceLibc } from "../../netdev/libc.ts";
import { PacketSender } from "../../netdev/packet_sender.ts";
import { PacketRing } from "../../netdev/packet_socket.ts";
import { EventFd, Poller } from "../../netdev/poller.ts";
import { LinkEvents, Rtnetlink } from "../../netdev/rtnetlink.ts";
import { RxDrop } from "../../netdev/rx_drop.ts";
import { SystemError } from "../../netdev/system_error.ts";
import { createPersistentTap, TapQueue } from "../../netdev/tap.ts";
import { TunnelInput } from "../../netdev/tunnel_input.ts";
import { TunnelOutput } from "../../netdev/tunnel_output.ts";
import { routeTo } from "../../netdev/tunnel_route.ts";
import { probePort } from "../../netdev/tunnel_socket.ts";
import { closeSteering, openSteering } from "../../netdev/tunnel_steering.ts";
import {
  openDescriptors,
  RecordingHost,
  rootTest,
  run,
  TestNamespace,
} from "../../netdev/testing.ts";

const EMFILE = 24;

/** A libc whose n-th call fails with EMFILE without being made. close() always works. */
class FaultyLibc implements Libc {
  calls = 0;
  /** Name of the call that failed. */
  failed: string | undefined;
  readonly #real: Libc = libc();
  readonly #failAt: number;
  #injected = false;

  readonly file: Libc["file"];
  readonly memory: Libc["memory"];
  readonly poll: Libc["poll"];
  readonly socket: Libc["socket"];
  readonly clock: Libc["clock"];
  readonly kernel: Libc["kernel"];
  readonly process: Libc["process"];

  constructor(failAt: number) {
    this.#failAt = failAt;
    const { file, memory, poll, socket, clock, kernel } = this.#real;
    const wrapInt = this.#wrapper(-1);
    this.file = {
      close: file.close,
      open: wrapInt("open", file.open),
      read: wrapInt("read", file.read),
      write: wrapInt("write", file.write),
      readv: wrapInt("readv", file.readv),
      writev: wrapInt("writev", file.writev),
      ioctl: wrapInt("ioctl", file.ioctl),
      ioctlValue: wrapInt("ioctl", file.ioctlValue),
    };
    const failed = Deno.UnsafePointer.create(0xffff_ffff_ffff_ffffn);
    const wrapPointer = this.#wrapper<Deno.PointerValue>(failed);
    this.memory = { mmap: wrapPointer("mmap", memory.mmap) };
    this.poll = {
      epoll_create1: wrapInt("epoll_create1", poll.epoll_create1),
      epoll_ctl: wrapInt("epoll_ctl", poll.epoll_ctl),
      epoll_wait: wrapInt("epoll_wait", poll.epoll_wait),
      eventfd: wrapInt("eventfd", poll.eventfd),
      usleep: poll.usleep,
    };
    this.socket = {
      socket: wrapInt("socket", socket.socket),
      bind: wrapInt("bind", socket.bind),
      setsockopt: wrapInt("setsockopt", socket.setsockopt),
      getsockopt: wrapInt("getsockopt", socket.getsockopt),
      send: wrapInt("send", socket.send),
      recv: wrapInt("recv", socket.recv),
      recvmsg: wrapInt("recvmsg", socket.recvmsg),
      sendmmsg: wrapInt("sendmmsg", socket.sendmmsg),
    };
    this.clock = clock;
    this.process = this.#real.process;
    this.kernel = { bpf: wrapInt("bpf", kernel.bpf), setns: kernel.setns, prctl: kernel.prctl };
  }

  errno(): number {
    return this.#injected ? EMFILE : this.#real.errno();
  }

  #wrapper<Result>(
    failure: Result,
  ): <Parameters extends unknown[]>(
    name: string,
    call: (...parameters: Parameters) => Result,
  ) => (...parameters: Parameters) => Result {
    return (name, call) => (...parameters) => {
      this.#injected = ++this.calls === this.#failAt;
      if (!this.#injected) return call(...parameters);
      this.failed = name;
      return failure;
    };
  }
}

/** Opens and closes something, with the n-th call failing, for all n. `verify` then runs with all calls working. */
function everyFault(openAndClose: () => void, verify: () => void = openAndClose): void {
  openAndClose();
  const before = openDescriptors();
  for (let failAt = 1;; failAt++) {
    assert.ok(failAt < 200, "never succeeds");
    const faulty = new FaultyLibc(failAt);
    replaceLibc(faulty);
    let error: unknown;
    try {
      openAndClose();
    } catch (thrown) {
      error = thrown;
    } finally {
      replaceLibc(undefined);
    }
    assert.equal(openDescriptors(), before, `call ${failAt}, ${faulty.failed}, loses a descriptor`);
    if (error !== undefined) {
      assert.ok(error instanceof SystemError, `call ${failAt}, ${faulty.failed}: ${error}`);
      assert.equal(error.code, "EMFILE");
      const named = error.syscall.replace(/\(.*/, "");
      assert.equal(named, faulty.failed, error.message);
    }
    if (faulty.failed === undefined) break;
  }
  verify();
}

rootTest("faults: TapQueue.open", () => {
  using _namespace = new TestNamespace();
  everyFault(() => TapQueue.open("t0").close());
});

rootTest("faults: createPersistentTap leaves no device behind", () => {
  using _namespace = new TestNamespace();
  using net = new Rtnetlink();
  everyFault(() => {
    assert.equal(net.linkByName("t0"), undefined);
    createPersistentTap("t0", { mac: "02:00:00:00:00:01" });
    const made = net.linkByName("t0");
    if (made !== undefined) net.deleteLink(made.ifindex);
  });
});

rootTest("faults: PacketRing.open and addPort, alone and in a fanout group", () => {
  using _namespace = new TestNamespace();
  using net = new Rtnetlink();
  run("ip link add v0 type veth peer name v1");
  const ifindex = net.linkByName("v0")?.ifindex ?? 0;
  const host = new RecordingHost();
  for (const fanout of [undefined, { group: 9 }]) {
    everyFault(() => {
      using ring = PacketRing.open({ host, frames: 264, fanout });
      ring.addPort(ifindex, 1, host);
    });
  }
  const promiscuity = /promiscuity (\d+)/.exec(run("ip -d link show v0"))?.[1];
  assert.equal(promiscuity, "0");
});

rootTest("faults: PacketSender.open and addPort", () => {
  using _namespace = new TestNamespace();
  using net = new Rtnetlink();
  run("ip link add v0 type veth peer name v1");
  const ifindex = net.linkByName("v0")?.ifindex ?? 0;
  const host = new RecordingHost();
  everyFault(() => {
    using sender = PacketSender.open();
    sender.addPort(ifindex, 1, host);
  });
});

rootTest("faults: Rtnetlink, LinkEvents", () => {
  using _namespace = new TestNamespace();
  run("ip link add v0 type veth peer name v1");
  everyFault(() => {
    using net = new Rtnetlink();
    using events = new LinkEvents();
    const ifindex = net.linkByName("v0")?.ifindex ?? 0;
    net.setMtu(ifindex, 1400);
    net.list();
    events.read();
  });
});

rootTest("faults: GenericNetlink, a lookup and a dump", () => {
  everyFault(() => {
    using netlink = new GenericNetlink();
    assert.ok(netlink.family("nlctrl") !== undefined);
    const purpose = { doing: "list families", label: "CTRL_CMD_GETFAMILY" };
    const request = { type: GENL_ID_CTRL, payload: encodeGetFamily("").slice(0, 4) };
    assert.ok(netlink.dump(request, purpose).length > 0);
  });
});

rootTest("faults: TunnelInput, TunnelOutput, probePort, routeTo, openSteering", () => {
  using _namespace = new TestNamespace();
  for (const carrier of ["udp", "gre"] as const) {
    for (const family of [4, 6] as const) {
      const port = carrier === "udp" ? 4789 : 0;
      const place = { carrier, family, port, thread: 1, threads: 2 };
      everyFault(() => new TunnelInput(place).close());
      const kind = { carrier, family, dontFragment: true, checksum: false };
      everyFault(() => new TunnelOutput(kind).close());
    }
  }
  everyFault(() => probePort(6, 4789));
  everyFault(() => {
    const opened = openSteering(2);
    if (opened !== undefined) closeSteering(opened);
  });
  const steering = openSteering(2);
  assert.ok(steering !== undefined);
  for (const hasChecksum of [false, true]) {
    const place = { carrier: "udp", family: 6, port: 4789, thread: 1, threads: 2 } as const;
    everyFault(() => new TunnelInput({ ...place, steering, hasChecksum }).close());
  }
  closeSteering(steering);
  // A route that can't be asked for is as none.
  const before = openDescriptors();
  assert.equal(routeTo(Uint8Array.of(192, 0, 2, 1)), undefined);
  assert.equal(openDescriptors(), before);
});

rootTest("faults: RxDrop.take leaves neither link nor qdisc behind", () => {
  using _namespace = new TestNamespace();
  run("ip link add v0 type veth peer name v1");
  const hasQdisc = (): boolean => run("tc qdisc show dev v0").includes("clsact");
  for (const how of ["tcx", "clsact"] as const) {
    everyFault(() => {
      using net = new Rtnetlink();
      const ifindex = net.linkByName("v0")?.ifindex ?? 0;
      try {
        RxDrop.take(ifindex, net, { how }).release();
      } catch (error) {
        // Only an answer that got lost leaves open whether the kernel did it.
        const unknown = error instanceof SystemError && error.syscall.startsWith("recv(");
        assert.ok(unknown || !hasQdisc());
        if (unknown && hasQdisc()) run("tc qdisc del dev v0 clsact");
        throw error;
      }
      // A call of release() may have failed, which it does not tell.
      if (hasQdisc()) run("tc qdisc del dev v0 clsact");
    });
  }
});

rootTest("faults: Poller, EventFd", () => {
  everyFault(() => {
    using poller = new Poller();
    using bell = new EventFd();
    poller.add(bell.fd, 1);
  });
});
