/** A port over UDP: the author's header on the wire, and what is counted of datagrams without it. */
import assert from "node:assert/strict";
import { dropReason } from "../datapath/drop_reasons.ts";
import { TestHost } from "../tests/vport_host.ts";
import { UdpPeer } from "../tests/udp_peer.ts";
import { openUdpVport } from "./udp_vport.ts";
import type { EncapsulationHeader, Vport, VportParams } from "./vport.ts";

const FRAME = Uint8Array.from({ length: 60 }, (_, at) => at);
const HEADER: EncapsulationHeader = {
  size: 3,
  write: (view, at) => {
    view.setUint16(at, 0xbeef);
    view.setUint8(at + 2, 1);
  },
  accepts: (view, at) => view.getUint16(at) === 0xbeef,
};

function open(host: TestHost, header: EncapsulationHeader = HEADER): Vport {
  const place = { datapath: "dp", datapathId: "0".repeat(32), name: "u", portNo: 3 };
  const params: VportParams<unknown> = {
    ...{ ...place, options: {}, mac: undefined, threads: 1, thread: 0, data: undefined, host },
  };
  return openUdpVport(params, {
    local: { address: "127.0.0.1", port: 15021 },
    remote: { address: "127.0.0.1", port: 15020 },
    header,
  });
}

function withPeer(work: (port: Vport, peer: UdpPeer, host: TestHost) => void): void {
  const host = new TestHost();
  const peer = new UdpPeer(15020, 15021);
  const port = open(host);
  try {
    work(port, peer, host);
  } finally {
    port.close();
    peer.close();
  }
}

Deno.test({
  name: "udpVport: the header is in front of the frame, and the packet comes back as it went",
  sanitizeResources: false, // libraries stay open
  fn: () =>
    withPeer((port, peer, host) => {
      const packet = host.allocate()!;
      packet.bytes.set(FRAME, packet.start);
      packet.end = packet.start + FRAME.length;
      const { start, end } = packet;
      assert.equal(port.send(packet, undefined), 0);
      port.sender!.flush();
      assert.deepEqual([packet.start, packet.end], [start, end]);
      host.recycle(packet);
      assert.deepEqual(peer.received(), [new Uint8Array([0xbe, 0xef, 1, ...FRAME])]);
    }),
});

Deno.test({
  name: "udpVport: takes the header off; what has none is counted by reason",
  sanitizeResources: false,
  fn: () =>
    withPeer((port, peer, host) => {
      const free = host.pool.freeCount;
      peer.send(new Uint8Array([0xbe]));
      peer.send(new Uint8Array([0xbe, 0xee, 1, ...FRAME]));
      peer.send(new Uint8Array([0xbe, 0xef, 9, ...FRAME]));
      port.receiver!.receive(32);
      assert.deepEqual(host.received.map(({ frame }) => frame), [FRAME]);
      assert.deepEqual(
        host.rxDrops.map(({ reason }) => reason),
        [dropReason("frame-too-short"), dropReason("tunnel-not-a-port")],
      );
      assert.equal(host.pool.freeCount, free);
    }),
});

Deno.test({
  name: "udpVport: whoever floods it with what is none of its own does not keep the thread",
  sanitizeResources: false,
  fn: () =>
    withPeer((port, peer, host) => {
      const free = host.pool.freeCount;
      const count = 150;
      for (let left = count; left > 0; left--) peer.send(new Uint8Array([0xbe]));
      peer.send(new Uint8Array([0xbe, 0xef, 9, ...FRAME]));
      let calls = 0;
      for (; host.received.length === 0 && calls < 10; calls++) port.receiver!.receive(32);
      assert.equal(host.received.length, 1);
      assert.equal(host.rxDrops.length, count);
      assert.ok(calls > 1, "a call comes back before all is taken");
      assert.equal(host.pool.freeCount, free);
    }),
});

Deno.test({
  name: "udpVport: the packet is as it was after a header's code has thrown",
  sanitizeResources: false,
  fn: () => {
    const host = new TestHost();
    const write = (): void => {
      throw new TypeError("broken");
    };
    const port = open(host, { ...HEADER, write });
    try {
      const packet = host.allocate()!;
      packet.end = packet.start + FRAME.length;
      const { start, end } = packet;
      assert.throws(() => port.send(packet, undefined), /broken/);
      assert.deepEqual([packet.start, packet.end], [start, end]);
    } finally {
      port.close();
    }
  },
});
