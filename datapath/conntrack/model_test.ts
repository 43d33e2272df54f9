import assert from "node:assert/strict";
import { ConntrackControl } from "./control.ts";
import { CONFIRMED, HIGH_WATER, LOCK, RECORD_WORDS, STATUS } from "./layout.ts";
import { CtMetadata } from "./metadata.ts";
import { bucketOf } from "./table.ts";
import {
  ACK,
  addressHex,
  Lab,
  makePacket,
  nat,
  type PacketSpec,
  plan,
  stateText,
  SYN,
} from "./testing/packets.ts";
import { cases } from "../testing/cases.ts";

function randomSource(seed: number): (below: number) => number {
  return (below) => {
    seed = (Math.imul(seed, 1664525) + 1013904223) | 0;
    return ((seed ^ seed >>> 15) >>> 0) % below;
  };
}

/** A UDP connection of the model: what a table would be if a list were fast enough. */
interface ModelConnection {
  readonly zone: number;
  readonly source: string;
  readonly destination: string;
  expiresMs: number;
  streamMs: number;
  isAnswered: boolean;
  mark: number;
}

class Model {
  #connections: ModelConnection[] = [];

  packet(
    nowMs: number,
    zone: number,
    source: string,
    destination: string,
    commit: { readonly mark: number } | undefined,
  ): string {
    this.#connections = this.#connections.filter((one) => one.expiresMs > nowMs);
    const found = this.#connections.find((one) =>
      one.zone === zone &&
      (one.source === source && one.destination === destination ||
        one.source === destination && one.destination === source)
    );
    if (found === undefined) {
      if (commit) {
        this.#connections.push({
          zone,
          source,
          destination,
          expiresMs: nowMs + 30_000,
          streamMs: nowMs + 2000,
          isAnswered: false,
          mark: commit.mark,
        });
      }
      return `new+trk ${commit?.mark ?? 0}`;
    }
    const isReply = found.source === destination;
    const wasAnswered = found.isAnswered;
    found.expiresMs = nowMs + (wasAnswered && nowMs > found.streamMs ? 120_000 : 30_000);
    if (isReply) found.isAnswered = true;
    if (commit) found.mark = commit.mark;
    const state = isReply ? "est+rpl+trk" : wasAnswered ? "est+trk" : "new+trk";
    return `${state} ${found.mark}`;
  }

  get count(): number {
    return this.#connections.length;
  }
}

Deno.test("Tracker: agrees with a list on random UDP packets of both IP versions", () => {
  for (let seed = 1; seed <= 4; seed++) {
    const random = randomSource(seed);
    const lab = new Lab({ connectionsMax: 4096 });
    const model = new Model();
    const control = new ConntrackControl(lab.buffers);
    for (let step = 0; step < cases(12_000); step++) {
      if (random(40) === 0) lab.pass(random(random(10) === 0 ? 60_000 : 900));
      if (random(50) === 0) control.sweep(lab.nowMs, 200);
      const prefix = random(3) === 0 ? "fd00::" : "10.0.0.";
      const end = (): { address: string; port: number } => ({
        address: prefix + String(1 + random(6)),
        port: 1 + random(6),
      });
      const [a, b] = [end(), end()];
      const zone = random(3);
      if (a.address === b.address && a.port === b.port) continue;
      const commit = random(2) === 0 ? { mark: random(5) } : undefined;
      const words = plan({
        zone,
        commit: commit !== undefined,
        mark: commit && { value: commit.mark, mask: 0xffffffff },
      });
      const packet = makePacket({
        src: a.address,
        dst: b.address,
        sport: a.port,
        dport: b.port,
        protocol: 17,
      });
      const state = lab.state(packet, words);
      const text = (one: { address: string; port: number }): string => `${one.address}:${one.port}`;
      assert.equal(
        `${state} ${lab.ct.mark}`,
        model.packet(lab.nowMs, zone, text(a), text(b), commit),
        `seed ${seed}, step ${step}`,
      );
    }
    for (let slice = 0; slice < 100; slice++) control.sweep(lab.nowMs, 200);
    model.packet(lab.nowMs, 99, "a", "b", undefined);
    assert.equal(control.count, model.count);
    let zones = 0;
    for (let zone = 0; zone < 3; zone++) zones += control.zoneCount(zone);
    assert.equal(zones, model.count);
  }
});

Deno.test("bucketOf: grows bucket by bucket, moving only what is split", () => {
  const random = randomSource(5);
  const hashes = Int32Array.from({ length: 2000 }, () => random(0x7fffffff) * 2 + random(2));
  for (let count = 1024; count < 4200; count++) {
    const half = 1 << (31 - Math.clz32(count));
    for (const hash of hashes) {
      const before = bucketOf(hash, count);
      const after = bucketOf(hash, count + 1);
      assert.ok(before < count);
      if (before !== after) assert.deepEqual([before, after], [count - half, count]);
    }
  }
});

/** That no lock is left taken, and every record is linked, spare or free. */
function assertTidy(lab: Lab): void {
  const { table } = lab.tracker;
  const high = table.control[HIGH_WATER]!;
  let linked = 0;
  for (let record = 1; record < high; record++) {
    const at = record * RECORD_WORDS;
    assert.equal(table.records[at + LOCK], 0, `record ${record} is locked`);
    if ((table.records[at + STATUS]! & CONFIRMED) !== 0) linked++;
  }
  assert.equal(linked, table.count);
  assert.ok(table.locks.every((word) => word === 0));
}

Deno.test("Tracker: damaged packets never throw, hold no lock, write nothing outside", () => {
  const random = randomSource(11);
  const lab = new Lab({ connectionsMax: 512 });
  const plans = [
    plan(),
    plan({ commit: true }),
    plan({ commit: true, forceCommit: true }),
    plan({ nat: nat() }),
    plan({
      commit: true,
      helper: "ftp",
      nat: nat({ direction: "src", addressMin: addressHex("192.0.2.1"), portMin: 1, portMax: 60 }),
    }),
    plan({
      commit: true,
      helper: "tftp",
      nat: nat({ direction: "dst", addressMin: addressHex("10.0.0.3"), random: true }),
    }),
  ];
  const commands = ["PORT 10,0,0,1,4,1\r\n", "227 (10,0,0,2,4,1)\r\n", "EPRT |1|10.0.0.1|99|\r\n"];
  const ct = new CtMetadata();
  for (let round = 0; round < cases(60_000); round++) {
    const isIpv6 = random(4) === 0;
    const prefix = isIpv6 ? "fd00::" : "10.0.0.";
    const protocol = [6, 6, 6, 17, isIpv6 ? 58 : 1, 132, 47, 33, 136][random(9)]!;
    const spec: PacketSpec = {
      src: prefix + String(1 + random(3)),
      dst: prefix + String(1 + random(3)),
      sport: 1 + random(4),
      dport: [21, 69, 80][random(3)]!,
      protocol,
      flags: [SYN, SYN | ACK, ACK, ACK, ACK, 1 | ACK, 4, random(64)][random(8)]!,
      seq: random(5) * 20,
      ack: random(5) * 20,
      type: random(3) === 0 ? random(256) : isIpv6 ? 128 + random(2) : [0, 8, 3, 11][random(4)]!,
      options: random(3) === 0 ? Array.from({ length: 12 }, () => random(12)) : [],
      payload: random(2) === 0
        ? commands[random(3)]!
        : Uint8Array.from({ length: random(80) }, () => random(256)),
    };
    const packet = makePacket(spec);
    packet.csumValid = random(2) === 0;
    for (let hits = random(4); hits > 0; hits--) {
      packet.bytes[packet.l3At + random(packet.end - packet.l3At)] = random(256);
    }
    if (random(3) === 0) packet.end -= random(packet.end - packet.start);
    if (random(2) === 0) {
      // Nothing behind the frame: a read beyond it would throw.
      packet.bytes = packet.bytes.slice(0, packet.end);
      packet.view = new DataView(packet.bytes.buffer);
      packet.buffer = { bytes: packet.bytes, view: packet.view, address: 0 };
      packet.tailLimit = packet.end;
    }
    const { end } = packet;
    const behind = packet.bytes.slice(Math.max(end, packet.l3At) + 64);
    if (random(2) === 0) ct.clear();
    lab.tracker.execute(packet, ct, plans[random(plans.length)]!, 0);
    assert.ok(packet.end <= end + 64);
    assert.deepEqual(packet.bytes.slice(Math.max(end, packet.l3At) + 64), behind);
    if (round % 500 === 0) lab.pass(random(40_000));
    if (round % 5000 === 0) assertTidy(lab);
  }
  assertTidy(lab);
  assert.ok(lab.tracker.table.count <= 512);
});

Deno.test("Tracker: an established packet allocates nothing", () => {
  const lab = new Lab();
  const words = plan({ commit: true });
  const packet = makePacket({ src: "10.0.0.1", dst: "10.0.0.2", protocol: 17, payload: "x" });
  const reply = makePacket({
    src: "10.0.0.2",
    dst: "10.0.0.1",
    sport: 80,
    dport: 1000,
    protocol: 17,
  });
  const run = (count: number): void => {
    for (let at = 0; at < count; at++) {
      lab.run(packet, words);
      lab.run(reply, words);
    }
  };
  run(30_000); // until it is compiled
  const before = Deno.memoryUsage().heapUsed;
  run(10_000);
  const grown = Deno.memoryUsage().heapUsed - before;
  assert.ok(grown < 100_000, `heap grew by ${grown} bytes`);
  assert.equal(stateText(lab.ct.state), "est+rpl+trk");
});
