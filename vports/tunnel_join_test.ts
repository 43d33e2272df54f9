/**
 * Datagrams that came one by one are joined to trains where they are segments of one. Whatever comes
 * in whatever order, what is handed over is the same bytes in the same order. In a namespace, because
 * a raw GRE socket hears everybody's packets.
 */
import assert from "node:assert/strict";
import { finish, pseudoIpv4, sum } from "../datapath/packet/checksum.ts";
import * as tcp from "../datapath/headers/tcp.ts";
import { GSO_NONE, GSO_TCPV4 } from "../datapath/packet/packet.ts";
import { ip, namespaceTests } from "../tests/namespace.ts";
import { load, tcpFrame, type TunnelHost, withPort } from "../tests/tunnel_port.ts";
import geneve from "./geneve.ts";
import gre from "./gre.ts";
import type { TunnelOptions } from "./tunnel_options.ts";
import type { Vport, VportOps } from "./vport.ts";
import vxlan from "./vxlan.ts";

const CASES: readonly {
  readonly ops: VportOps<TunnelOptions>;
  readonly options: Readonly<Record<string, string>>;
}[] = [
  { ops: vxlan, options: { remote_ip: "127.0.0.1", csum: "false" } },
  { ops: geneve, options: { remote_ip: "::1", csum: "false" } },
  { ops: gre, options: { remote_ip: "127.0.0.1", key: "7" } },
  { ops: gre, options: { remote_ip: "::1" } },
];
const HEADERS = 54;

/** Sends frames one by one, in their order. */
function send(vport: Vport, host: TunnelHost, frames: readonly Uint8Array[]): void {
  for (const frame of frames) {
    const packet = load(host, frame);
    assert.equal(vport.send(packet, undefined), 0);
    vport.sender!.flush();
    host.recycle(packet);
  }
}

function receiveRest(vport: Vport): void {
  for (const receiver of [vport.receiver, vport.sideReceiver]) {
    while (receiver !== undefined && receiver.receive(32) > 0);
  }
}

/** A segment of connection `flow`; `index` counts its segments. */
function segment(
  fields: { flow: number; index: number; sequence: number; size: number; flags?: number },
): Uint8Array {
  const { flow, index, sequence, size, flags = tcp.ACK } = fields;
  const frame = tcpFrame(size);
  const view = new DataView(frame.buffer);
  view.setUint16(18, (0x1000 * flow + index) & 0xffff);
  view.setUint16(34, 40_000 + flow);
  view.setUint32(38, sequence >>> 0);
  frame[47] = flags;
  for (let at = HEADERS; at < frame.length; at++) {
    frame[at] = Math.imul(sequence + at, 0x9e3779b1) >> 9;
  }
  return finished(frame);
}

/** With right checksums. */
function finished(frame: Uint8Array): Uint8Array {
  const view = new DataView(frame.buffer);
  view.setUint16(24, 0);
  view.setUint16(24, finish(sum(view, 14, 34)), true);
  view.setUint16(50, 0);
  const pseudo = pseudoIpv4(view, 14, 6, frame.length - 34);
  view.setUint16(50, finish(pseudo + sum(view, 34, frame.length)), true);
  return frame;
}

/** What was received, with trains cut up again. */
function segments(host: TunnelHost): Uint8Array[] {
  return host.received.flatMap(({ frame }, index) => {
    const { gsoType, gsoSize } = host.offloads[index]!;
    if (gsoType === GSO_NONE) return [frame];
    assert.equal(gsoType, GSO_TCPV4);
    const parts: Uint8Array[] = [];
    for (let at = HEADERS; at < frame.length; at += gsoSize) {
      const part = new Uint8Array([
        ...frame.subarray(0, HEADERS),
        ...frame.subarray(at, at + gsoSize),
      ]);
      const view = new DataView(part.buffer);
      view.setUint16(16, part.length - 14);
      view.setUint16(18, view.getUint16(18) + parts.length);
      view.setUint32(38, (view.getUint32(38) + at - HEADERS) >>> 0);
      if (at + gsoSize < frame.length) part[47]! &= ~(tcp.PSH | tcp.FIN);
      parts.push(finished(part));
    }
    assert.ok(parts.length > 1, "a train has segments");
    return parts;
  });
}

function test(fact: string, fn: () => void): void {
  Deno.test({ name: `joining: ${fact}`, sanitizeResources: false, fn });
}

namespaceTests(import.meta.url, () => {
  Deno.writeTextFileSync("/proc/sys/net/ipv6/conf/lo/disable_ipv6", "0");
  ip("link", "set", "lo", "up", "mtu", "65536");
  for (const { ops, options } of CASES) {
    const words = ops === gre ? options : { ...options, dst_port: "16061" };
    const name = `${ops.type} to ${options["remote_ip"]}`;

    test(`${name}: segments of one connection become trains, as long as a round and a packet allow`, () => {
      withPort(ops, words, (vport, host) => {
        const frames = Array.from(
          { length: 50 },
          (_, index) => segment({ flow: 0, index, sequence: 1400 * index, size: 1400 }),
        );
        send(vport, host, frames);
        receiveRest(vport);
        assert.deepEqual(segments(host), frames);
        assert.deepEqual(host.offloads.map(({ gsoSize }) => gsoSize), [1400, 1400]);
        assert.ok(host.received.every(({ frame }) => frame.length < 65_536));
      });
    });

    test(`${name}: a train ends at PSH, a shorter segment, a gap, or another connection`, () => {
      const one = (
        index: number,
        more: { size?: number; flags?: number; sequence?: number } = {},
      ) => segment({ flow: 1, index, sequence: 1000 * index, size: 1000, ...more });
      const another = segment({ flow: 2, index: 0, sequence: 5, size: 1000 });
      const cases = [
        { frames: [one(0), one(1, { flags: tcp.ACK | tcp.PSH }), one(2)], trains: [2, 1] },
        { frames: [one(0), one(1), one(2, { size: 999 }), one(3)], trains: [3, 1] },
        { frames: [one(0), one(1), one(3)], trains: [2, 1] },
        { frames: [one(0), one(1), another], trains: [2, 1] },
        { frames: [one(0), one(1, { size: 1001 })], trains: [1, 1] },
        { frames: [one(0), one(1), one(2, { flags: tcp.ACK | tcp.URG })], trains: [2, 1] },
      ];
      for (const { frames, trains } of cases) {
        withPort(ops, words, (vport, host) => {
          send(vport, host, frames);
          receiveRest(vport);
          assert.deepEqual(segments(host), frames);
          const counts = host.received.map(({ frame }) =>
            Math.ceil((frame.length - HEADERS) / 1001)
          );
          assert.deepEqual(counts, trains);
        });
      }
    });

    test(`${name}: a segment with a wrong checksum is not joined, and not repaired`, () => {
      withPort(ops, words, (vport, host) => {
        const frames = [0, 1, 2].map((index) =>
          segment({ flow: 0, index, sequence: 600 * index, size: 600 })
        );
        frames[1]![300]! ^= 1;
        send(vport, host, frames);
        receiveRest(vport);
        assert.deepEqual(segments(host), frames);
        assert.deepEqual(host.offloads.map(({ gsoType }) => gsoType), [0, 0, 0]);
      });
    });

    test(`${name}: mixed traffic is handed over as it came`, () => {
      let state = 0x5eed;
      const random = (below: number): number => {
        state ^= state << 13;
        state ^= state >>> 17;
        state ^= state << 5;
        return (state >>> 0) % below;
      };
      let joined = 0;
      for (let round = 0; round < 60; round++) {
        withPort(ops, { ...words, tos: "inherit" }, (vport, host) => {
          const state = [0, 1, 2].map(() => ({ index: 0, sequence: 0xffff_0000 + random(0xffff) }));
          const frames: Uint8Array[] = [];
          let flow = 0;
          for (let count = 1 + random(60); count > 0; count--) {
            if (random(4) === 0) flow = random(3);
            const known = state[flow]!;
            const size = [1400, 1400, 1400, 600, 1399, 0, 9000][random(7)]!;
            const flags = tcp.ACK | (random(8) === 0 ? tcp.PSH : 0);
            const { index, sequence } = known;
            const frame = segment({ flow, index, sequence, size, flags });
            if (random(16) === 0) frame.set([0x88, 0xb5], 12);
            if (random(16) === 0) {
              frame[15] = 0x20;
              finished(frame);
            }
            frames.push(frame);
            known.index++;
            known.sequence = (sequence + size) >>> 0;
          }
          send(vport, host, frames);
          receiveRest(vport);
          assert.deepEqual(host.rxDrops, []);
          assert.deepEqual(segments(host), frames);
          joined += frames.length - host.received.length;
        });
      }
      assert.ok(joined > 50, `${joined} were joined`);
    });
  }

  test("gre with checksums: each is its own datagram's, which the train's first bytes are", () => {
    withPort(gre, { remote_ip: "127.0.0.1", key: "8", csum: "true" }, (vport, host) => {
      const frames = [0, 1, 2].map((index) =>
        segment({ flow: 0, index, sequence: 600 * index, size: 600 })
      );
      send(vport, host, frames);
      receiveRest(vport);
      assert.deepEqual(host.rxDrops, []);
      assert.deepEqual(segments(host), frames);
      assert.deepEqual(host.offloads.map(({ gsoSize }) => gsoSize), [600]);
    });
  });
});
