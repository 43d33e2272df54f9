/**
 * `deno task bench:conntrack [--most 1000000]`: what connection tracking costs in memory per connection
 * and in CPU time per packet of an established TCP or UDP connection, when the table holds 1,000,
 * 100,000 and 1,000,000 of them, and per new connection. Packets visit the connections in random order. No
 * privileges needed.
 */
import { makeConntrackBuffers } from "../datapath/conntrack/layout.ts";
import { ConntrackControl } from "../datapath/conntrack/control.ts";
import { CtMetadata } from "../datapath/conntrack/metadata.ts";
import { setDefaultTimeouts } from "../datapath/conntrack/timeouts.ts";
import { Tracker } from "../datapath/conntrack/tracker.ts";
import { ACK, makePacket, nat, plan, SYN } from "../datapath/conntrack/testing/packets.ts";
import type { Packet } from "../datapath/packet/packet.ts";
import { median, say, table } from "../tests/output.ts";
import { cpuNs } from "./cpu.ts";

const ROUNDS = 5;
const VISITS = 400_000;
const BURST = 32;

function residentSize(): number {
  return Deno.memoryUsage().rss;
}

/** Gives a packet the addresses of connection `index`, in either direction; checksums stay unchecked. */
function aim(packet: Packet, index: number, isReply: boolean): void {
  const { view, l3At, l4At } = packet;
  const client = 0x0a000000 + (index >>> 8);
  const port = 1024 + (index & 255);
  view.setUint32(l3At + (isReply ? 16 : 12), client);
  view.setUint32(l3At + (isReply ? 12 : 16), 0xc0a80001);
  view.setUint16(l4At + (isReply ? 2 : 0), port);
  view.setUint16(l4At + (isReply ? 0 : 2), 80);
}

interface Row {
  readonly newNs: number;
  readonly udpNs: number;
  readonly tcpNs: number;
  readonly natNs: number;
  readonly burstNs: number;
  readonly bytes: number;
}

function measure(count: number): Row {
  const before = residentSize();
  const buffers = makeConntrackBuffers({
    connectionsMax: 1 << 21,
    threads: 1,
    seed: crypto.getRandomValues(new Uint8Array(16)),
  });
  setDefaultTimeouts(buffers);
  const numbers = new Uint32Array(1);
  const random = (): number => crypto.getRandomValues(numbers)[0]!;
  const tracker = new Tracker(buffers, 0, random, { tcpLiberalEstablished: true });
  tracker.setNow(Date.now());
  const ct = new CtMetadata();
  const addresses = { src: "10.0.0.1", dst: "192.168.0.1" };
  const trusted = <T extends Packet>(packet: T): T => Object.assign(packet, { csumValid: true });
  const syn = trusted(makePacket({ ...addresses, flags: SYN, seq: 1 }));
  const synAck = trusted(makePacket({ ...addresses, flags: SYN | ACK, seq: 1, ack: 2 }));
  const ack = trusted(
    makePacket({ ...addresses, flags: ACK, seq: 2, ack: 2, payload: "12345678" }),
  );
  const udp = trusted(makePacket({ ...addresses, protocol: 17, payload: "12345678" }));
  const look = plan();
  const commit = plan({ commit: true });
  const followNat = plan({ nat: nat() });
  const run = (packet: Packet, index: number, isReply: boolean, words: Int32Array): void => {
    aim(packet, index, isReply);
    ct.clear();
    tracker.execute(packet, ct, words, 0);
  };
  // Half of the connections TCP, half UDP: of different numbers, so that neither helps the other.
  const begin = cpuNs();
  for (let index = 0; index < count; index++) run(index & 1 ? udp : syn, index, false, commit);
  const newNs = (cpuNs() - begin) / count;
  for (let index = 0; index < count; index++) run(index & 1 ? udp : synAck, index, true, look);
  for (let index = 0; index < count; index++) run(index & 1 ? udp : ack, index, false, look);
  const control = new ConntrackControl(buffers);
  if (control.count !== count) throw new Error(`${control.count} of ${count} connections`);
  const order = Uint32Array.from({ length: VISITS }, () => Math.floor(Math.random() * count / 2));
  const visit = (packet: Packet, odd: number, words: Int32Array): number => {
    const times: number[] = [];
    for (let round = 0; round < ROUNDS; round++) {
      const start = cpuNs();
      for (let at = 0; at < VISITS; at++) run(packet, order[at]! * 2 + odd, false, words);
      times.push((cpuNs() - start) / VISITS);
    }
    if ((ct.state & 2) === 0) throw new Error("not established");
    return median(times);
  };
  const udpNs = visit(udp, 1, look);
  const tcpNs = visit(ack, 0, look);
  const natNs = visit(udp, 1, followNat);
  // As a packet thread could do it: all packets of a burst touch their memory before the first is tracked.
  const packets = Array.from(
    { length: BURST },
    () => trusted(makePacket({ ...addresses, protocol: 17, payload: "12345678" })),
  );
  const nodes = new Int32Array(BURST);
  const times: number[] = [];
  for (let round = 0; round < ROUNDS; round++) {
    const start = cpuNs();
    for (let at = 0; at < VISITS; at += BURST) {
      for (let slot = 0; slot < BURST; slot++) {
        aim(packets[slot]!, order[at + slot]! * 2 + 1, false);
        nodes[slot] = tracker.touch(packets[slot]!, 0);
      }
      let touched = 0;
      for (let slot = 0; slot < BURST; slot++) touched ^= tracker.touchRecord(nodes[slot]!);
      nodes[0] = touched;
      for (let slot = 0; slot < BURST; slot++) {
        ct.clear();
        tracker.execute(packets[slot]!, ct, look, 0);
      }
    }
    times.push((cpuNs() - start) / VISITS);
  }
  const burstNs = median(times);
  return { newNs, udpNs, tcpNs, natNs, burstNs, bytes: (residentSize() - before) / count };
}

function main(): void {
  const most = Number(Deno.args[Deno.args.indexOf("--most") + 1] ?? "1000000") || 1_000_000;
  const rows: string[][] = [];
  measure(1000); // warm up
  for (const count of [1000, 100_000, 1_000_000].filter((count) => count <= most)) {
    const row = measure(count);
    rows.push([
      String(count),
      row.udpNs.toFixed(0),
      row.burstNs.toFixed(0),
      row.tcpNs.toFixed(0),
      row.natNs.toFixed(0),
      row.newNs.toFixed(0),
      count < 100_000 ? "-" : row.bytes.toFixed(0),
    ]);
  }
  const head = [
    ">connections",
    ">UDP: ns a packet",
    ">in bursts: ns",
    ">TCP: ns",
    ">UDP, nat: ns",
    ">new: ns",
    ">bytes each",
  ];
  for (const line of table(head, rows)) say(line);
}

main();
