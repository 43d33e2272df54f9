/**
 * Property: whatever two correct TCP endpoints say to each other over links that lose, repeat and
 * reorder, on both sides of the tracker, none of it is invalid; and a blind attacker's segments with
 * random numbers are.
 */
import assert from "node:assert/strict";
import { CT_INVALIDS } from "./reasons.ts";
import { ACK, FIN, Lab, makePacket, plan, SYN } from "./testing/packets.ts";

type Random = (below: number) => number;

function randomSource(seed: number): Random {
  return (below) => {
    seed = (Math.imul(seed, 1664525) + 1013904223) | 0;
    return ((seed ^ seed >>> 15) >>> 0) % below;
  };
}

interface Segment {
  readonly flags: number;
  /** Counted from the side's first number; the packet has it modulo 2^32. */
  readonly seq: number;
  readonly ack: number;
  readonly size: number;
  readonly window: number;
  readonly options: readonly number[];
}

/** One end: sends within the other's window, again from its oldest unacknowledged byte, and acknowledges. */
class End {
  readonly first: number;
  readonly scale: number;
  /** Bytes it is willing to hold. */
  readonly room: number;
  sent = 0;
  acknowledged = 0;
  allowed = 0;
  received = 0;
  /** Out of order, [from, to). */
  readonly #early: [number, number][] = [];
  finAt = -1;
  peerFinAt = -1;
  isOpen = false;
  peerScale = 0;

  constructor(random: Random, scale: number) {
    this.first = random(2) === 0 ? 0xffffffff - random(100_000) : random(1 << 30);
    this.scale = scale;
    this.room = 2000 + random(scale > 0 ? 500_000 : 60_000);
  }

  segment(flags: number, seq: number, size: number): Segment {
    const isSyn = (flags & SYN) !== 0;
    const window = Math.min(65535, isSyn ? this.room : this.room >> this.scale);
    const options = isSyn
      ? (this.scale > 0 ? [3, 3, this.scale, 1, 4, 2, 1, 1] : [4, 2, 1, 1])
      : this.#sack();
    return { flags, seq, ack: this.received, size, window, options };
  }

  #sack(): number[] {
    const block = this.#early[0];
    if (block === undefined) return [];
    return [
      1,
      1,
      5,
      10,
      ...block.flatMap((edge) => {
        const value = (edge + this.peerFirst) >>> 0;
        return [value >>> 24, value >>> 16 & 255, value >>> 8 & 255, value & 255];
      }),
    ];
  }
  peerFirst = 0;

  /** Something to say now: new data, old data, a FIN or an acknowledgment. */
  speak(random: Random): Segment {
    const repeat = this.acknowledged < this.sent && random(4) === 0;
    const seq = repeat ? this.acknowledged : this.sent;
    const most = this.finAt >= 0 ? this.finAt - seq : this.allowed - seq;
    const size = Math.max(0, Math.min(most, random(random(8) === 0 ? 30_000 : 1460)));
    let flags = ACK;
    if (this.finAt >= 0 && seq + size === this.finAt) flags |= FIN;
    this.sent = Math.max(this.sent, seq + size + (flags & FIN));
    return this.segment(flags, seq, size);
  }

  hear(segment: Segment): void {
    this.acknowledged = Math.max(this.acknowledged, segment.ack);
    const scale = (segment.flags & SYN) !== 0 ? 0 : this.peerScale;
    this.allowed = Math.max(this.allowed, segment.ack + (segment.window << scale));
    const end = segment.seq + segment.size + (segment.flags & FIN) + (segment.flags >> 1 & 1);
    if (end > segment.seq) this.#early.push([segment.seq, end]);
    this.#early.sort((a, b) => a[0] - b[0]);
    while (this.#early.length > 0 && this.#early[0]![0] <= this.received) {
      this.received = Math.max(this.received, this.#early.shift()![1]);
    }
  }
}

function converse(seed: number): void {
  const random = randomSource(seed);
  const lab = new Lab();
  const words = plan({ commit: true });
  const scale = random(2) === 0 ? 0 : 1 + random(8);
  const ends = [new End(random, scale), new End(random, scale)] as const;
  ends[0].peerFirst = ends[1].first;
  ends[1].peerFirst = ends[0].first;
  /** Between an end and the tracker, and between the tracker and the other end. */
  const before: { side: 0 | 1; segment: Segment }[] = [];
  const behind: { side: 0 | 1; segment: Segment }[] = [];
  const track = (side: 0 | 1, segment: Segment): void => {
    const forward = { src: "10.0.0.1", dst: "10.0.0.2", sport: 1000, dport: 80 };
    const backward = { src: "10.0.0.2", dst: "10.0.0.1", sport: 80, dport: 1000 };
    const packet = makePacket({
      ...(side === 0 ? forward : backward),
      flags: segment.flags,
      seq: (segment.seq + ends[side].first) >>> 0,
      ack: (segment.flags & ACK) === 0 ? 0 : (segment.ack + ends[1 - side as 0 | 1].first) >>> 0,
      window: segment.window,
      options: segment.options,
      payload: new Uint8Array(segment.size),
    });
    lab.run(packet, words);
    const reason = CT_INVALIDS[lab.ct.invalidReason]?.[0];
    assert.equal(reason, "none", `seed ${seed}: ${side} ${JSON.stringify(segment)}`);
  };
  // The handshake in order; then anything goes.
  const syn = ends[0].segment(SYN, 0, 0);
  track(0, syn);
  ends[1].hear(syn);
  const synAck = ends[1].segment(SYN | ACK, 0, 0);
  track(1, synAck);
  ends[0].hear(synAck);
  for (const end of ends) {
    end.sent = 1;
    end.peerScale = scale;
  }
  const open = ends[0].segment(ACK, 1, 0);
  track(0, open);
  ends[1].hear(open);

  for (let step = 0; step < 600; step++) {
    if (step === 400 && random(3) !== 0) ends[random(2) as 0 | 1].finAt = 0;
    for (const end of ends) if (end.finAt === 0) end.finAt = Math.max(1, end.sent);
    const side = random(2) as 0 | 1;
    before.push({ side, segment: ends[side].speak(random) });
    const take = <T>(queue: T[]): T | undefined =>
      queue.splice(random(5) === 0 ? random(queue.length) : 0, 1)[0];
    while (before.length > random(6)) {
      const next = take(before);
      if (next === undefined || random(20) === 0) continue;
      track(next.side, next.segment);
      behind.push(next);
      if (random(30) === 0) behind.push(next);
    }
    while (behind.length > random(6)) {
      const next = take(behind);
      if (next === undefined || random(20) === 0) continue;
      ends[1 - next.side as 0 | 1].hear(next.segment);
    }
  }
  assert.ok(ends[0].received + ends[1].received > 1000, `seed ${seed}: nothing was said`);
}

Deno.test("TcpTracker: what correct endpoints say is never invalid", () => {
  for (let seed = 1; seed <= 120; seed++) converse(seed);
});

Deno.test("TcpTracker: segments with random numbers rarely pass", () => {
  const random = randomSource(5);
  const lab = new Lab();
  const words = plan({ commit: true });
  const ends = { src: "10.0.0.1", dst: "10.0.0.2", sport: 1000, dport: 80 };
  lab.run(makePacket({ ...ends, flags: SYN, seq: 1 }), words);
  const back = { src: "10.0.0.2", dst: "10.0.0.1", sport: 80, dport: 1000 };
  lab.run(makePacket({ ...back, flags: SYN | ACK, seq: 1, ack: 2 }), words);
  lab.run(makePacket({ ...ends, flags: ACK, seq: 2, ack: 2 }), words);
  lab.run(makePacket({ ...back, flags: ACK, seq: 2, ack: 2 }), words);
  let invalid = 0;
  for (let round = 0; round < 1000; round++) {
    const seq = random(0xffffffff);
    lab.run(makePacket({ ...back, flags: ACK, seq, ack: random(0xffffffff) }), words);
    if (lab.ct.invalidReason !== 0) invalid++;
  }
  // Old sequence numbers are let through, as repetitions; they change nothing.
  assert.ok(invalid > 700, `${invalid} of 1000`);
  assert.equal(lab.state(makePacket({ ...ends, flags: ACK, seq: 2, ack: 2 }), words), "est+trk");
});
