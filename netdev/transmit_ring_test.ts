import assert from "node:assert/strict";
import {
  mmsghdr,
  msghdr,
  sockaddr_ll,
  TP_STATUS_AVAILABLE,
  TP_STATUS_SEND_REQUEST,
  TP_STATUS_WRONG_FORMAT,
  tpacket2_hdr,
  virtio_net_hdr,
} from "./abi.ts";
import { type Libc, libc, replaceLibc } from "./libc.ts";
import { allocateBuffer, pointerTo } from "./memory.ts";
import { PacketSender } from "./packet_sender.ts";
import { PacketRing } from "./packet_socket.ts";
import { Rtnetlink } from "./rtnetlink.ts";
import {
  assertSameFrame,
  ipv4Frame,
  packetOf,
  RecordingHost,
  rootTest,
  run,
  TestNamespace,
  until,
} from "./testing.ts";
import { fitsRing, TransmitRing } from "./transmit_ring.ts";

const SLOT_SIZE = 128;
const SLOTS = 256;
const SENDING = 2;

/** The kernel's side of a ring: takes as many frames as it is told, and leaves them in a state. */
class FakeKernel {
  /** Frames that the next call takes; then it stops at one, which it leaves in `stopStatus`. */
  takes = 0;
  stopStatus: number = TP_STATUS_SEND_REQUEST;
  leaves: number = TP_STATUS_AVAILABLE;
  readonly sent: { size: number; headersSize: number; first: number }[] = [];
  readonly calls: Libc;
  #view = new DataView(new ArrayBuffer(0));
  #head = 0;

  constructor() {
    const real = libc();
    const memory: Libc["memory"] = {
      mmap: (at, size, protection, flags, fd, offset) => {
        const pointer = real.memory.mmap(at, size, protection, flags, fd, offset);
        if (fd >= 0 && pointer !== null) {
          this.#view = new DataView(Deno.UnsafePointerView.getArrayBuffer(pointer, Number(size)));
        }
        return pointer;
      },
    };
    const socket = { ...real.socket, sendmmsg: () => this.#send() };
    const { file, poll, clock, kernel, process } = real;
    const errno = (): number => 0;
    this.calls = { file, memory, poll, socket, clock, kernel, process, errno };
  }

  status(slot: number, status?: number): number {
    if (status !== undefined) this.#view.setUint32(slot * SLOT_SIZE, status, true);
    return this.#view.getUint32(slot * SLOT_SIZE, true);
  }

  #send(): number {
    for (; this.status(this.#head) === TP_STATUS_SEND_REQUEST; this.#head++, this.#head %= SLOTS) {
      if (this.takes-- === 0) {
        this.status(this.#head, this.stopStatus);
        return -1;
      }
      const at = this.#head * SLOT_SIZE;
      this.sent.push({
        size: this.#view.getUint32(at + tpacket2_hdr.tp_len, true),
        headersSize: this.#view.getUint16(at + tpacket2_hdr.size + virtio_net_hdr.hdr_len, true),
        first: this.#view.getUint8(at + tpacket2_hdr.size + virtio_net_hdr.size),
      });
      this.status(this.#head, this.leaves);
    }
    return 1;
  }
}

function withFake(use: (ring: TransmitRing, kernel: FakeKernel, put: Putter) => void): void {
  const kernel = new FakeKernel();
  replaceLibc(kernel.calls);
  try {
    const ring = TransmitRing.open();
    const view = new DataView(new ArrayBuffer(256));
    const put: Putter = (first, size = 60) => {
      view.setUint8(6 + virtio_net_hdr.size, first);
      return ring.put(view, 6, virtio_net_hdr.size + size);
    };
    use(ring, kernel, put);
    ring.close();
  } finally {
    replaceLibc(undefined);
  }
}

type Putter = (first: number, size?: number) => boolean;

const message: Deno.PointerObject = pointerTo(allocateBuffer(4096).buffer);

rootTest(
  "TransmitRing: a frame goes with its size, and as a whole into the kernel's packet",
  () => {
    withFake((ring, kernel, put) => {
      kernel.takes = 9;
      for (const size of [14, 59, 60, 61, 62, 82]) assert.ok(fitsRing(size) && put(size, size));
      assert.equal(ring.send(message), 6);
      const expected = [14, 59, 60, 61, 62, 82].map((size) => {
        return { size: size + virtio_net_hdr.size, headersSize: size, first: size };
      });
      assert.deepEqual(kernel.sent, expected);
    });
    assert.ok(!fitsRing(13) && !fitsRing(83));
  },
);

rootTest(
  "TransmitRing.send: what was refused and all behind it is forgotten, the next goes on there",
  () => {
    for (const stopStatus of [TP_STATUS_SEND_REQUEST, TP_STATUS_WRONG_FORMAT]) {
      withFake((ring, kernel, put) => {
        kernel.stopStatus = stopStatus;
        kernel.takes = 3;
        for (let first = 1; first <= 5; first++) put(first);
        assert.equal(ring.send(message), 3);
        kernel.takes = 0;
        put(6);
        assert.equal(ring.send(message), 0);
        kernel.takes = 2;
        put(7);
        put(8);
        assert.equal(ring.send(message), 2);
        assert.deepEqual(kernel.sent.map(({ first }) => first), [1, 2, 3, 7, 8]);
      });
    }
  },
);

rootTest("TransmitRing.put: a slot that a device still has is not written", () => {
  withFake((ring, kernel, put) => {
    kernel.leaves = SENDING;
    kernel.takes = SLOTS;
    for (let each = 0; each < SLOTS; each++) assert.ok(put(each & 0xff));
    assert.equal(put(1), false, "all wait");
    assert.equal(ring.send(message), SLOTS);
    assert.equal(put(1), false, "the device has them all");
    kernel.status(1, TP_STATUS_AVAILABLE);
    assert.equal(put(1), false, "not the next one");
    kernel.status(0, TP_STATUS_AVAILABLE);
    assert.ok(put(1) && put(2));
    assert.equal(put(3), false);
    kernel.takes = 2;
    assert.equal(ring.send(message), 2);
  });
});

rootTest(
  "PacketSender: small and large frames to several devices keep their order and their content",
  async () => {
    using _namespace = new TestNamespace();
    using net = new Rtnetlink();
    const host = new RecordingHost(64);
    using ring = PacketRing.open({ host });
    using sender = PacketSender.open();
    const slots = [1, 2].map((portNo) => {
      run(`ip link add v${portNo} type veth peer name w${portNo}`);
      run(`ip link set v${portNo} up`);
      run(`ip link set w${portNo} up`);
      const index = (name: string): number => net.linkByName(name)?.ifindex ?? 0;
      ring.addPort(index(`w${portNo}`), portNo, host);
      return sender.addPort(index(`v${portNo}`), portNo, host);
    });
    const sizes = [0, 5, 18, 40, 41, 900, 18, 18, 40, 1400, 33, 34, 35, 36, 18, 18];
    const frames = sizes.map((payloadSize, at) => ipv4Frame({ payloadSize, fill: at }));
    frames.forEach((frame, at) => {
      for (const slot of slots) {
        const packet = packetOf(host, frame);
        packet.needsCsum = at % 3 === 0;
        packet.csumStart = 34;
        packet.csumOffset = 6;
        sender.send(slot, packet);
      }
    });
    sender.flush();
    await until(() => {
      ring.receive(64);
      ring.release();
      return host.seen.length === 2 * frames.length;
    });
    for (const portNo of [1, 2]) {
      const seen = host.seen.filter((each) => each.portNo === portNo);
      frames.forEach((frame, at) => {
        assertSameFrame(seen[at]?.frame, frame, `port ${portNo}, frame ${at}`);
        assert.equal(seen[at]?.needsCsum, at % 3 === 0);
      });
    }
    assert.equal(host.drops.size, 0);
  },
);

rootTest("PacketSender: what the ring does not take goes out behind it, in order", async () => {
  using _namespace = new TestNamespace();
  using net = new Rtnetlink();
  run("ip link add v1 type veth peer name w1");
  run("ip link set v1 up");
  run("ip link set w1 up");
  const host = new RecordingHost(64);
  const real = libc();
  const names: number[] = [];
  // The ring's call is the one that names a device; every other time it comes to nothing.
  const sendmmsg: Libc["socket"]["sendmmsg"] = (fd, messages, count, flags) => {
    const named = new Deno.UnsafePointerView(messages!)
      .getUint32(mmsghdr.msg_hdr + msghdr.msg_namelen) === sockaddr_ll.size;
    if (named && names.push(fd) % 2 === 0) return -1;
    return real.socket.sendmmsg(fd, messages, count, flags);
  };
  const { file, memory, poll, clock, kernel, process } = real;
  const socket = { ...real.socket, sendmmsg };
  replaceLibc({
    file,
    memory,
    poll,
    socket,
    clock,
    kernel,
    process,
    errno: () => real.errno(),
  });
  try {
    using ring = PacketRing.open({ host });
    using sender = PacketSender.open();
    ring.addPort(net.linkByName("w1")?.ifindex ?? 0, 1, host);
    const slot = sender.addPort(net.linkByName("v1")?.ifindex ?? 0, 2, host);
    for (let fill = 0; fill < 60; fill++) {
      sender.send(slot, packetOf(host, ipv4Frame({ payloadSize: 20, fill })));
      if (fill % 10 === 9) sender.flush();
    }
    await until(() => {
      ring.receive(64);
      ring.release();
      return host.seen.length === 60;
    });
  } finally {
    replaceLibc(undefined);
  }
  assert.equal(names.length, 6);
  assert.deepEqual(
    host.seen.map(({ frame }) => frame.at(-1)),
    Array.from({ length: 60 }, (_, i) => i),
  );
  assert.equal(host.drops.size, 0);
});
