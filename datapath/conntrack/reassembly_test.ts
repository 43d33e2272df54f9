import assert from "node:assert/strict";
import { sum } from "../packet/checksum.ts";
import { Packet } from "../packet/packet.ts";
import { CT_DROPS } from "./reasons.ts";
import { FRAGMENT_NONE } from "./fragment.ts";
import {
  FRAGMENT_COMPLETE,
  FRAGMENT_DUPLICATE,
  FRAGMENT_HELD,
  Reassembler,
  type ReassemblyOptions,
} from "./reassembly.ts";
import { makePacket } from "./testing/packets.ts";

const SEED = Uint8Array.from({ length: 16 }, (_, at) => at * 11 + 3);

function reassembler(options: Partial<ReassemblyOptions> = {}): Reassembler {
  return new Reassembler({ seed: SEED, ...options });
}

function randomSource(seed: number): (below: number) => number {
  return (below) => {
    seed = (Math.imul(seed, 1664525) + 1013904223) | 0;
    return ((seed ^ seed >>> 15) >>> 0) % below;
  };
}

function payload(size: number, seed: number): Uint8Array {
  const random = randomSource(seed);
  return Uint8Array.from({ length: size }, () => random(256));
}

interface Piece {
  readonly offset: number;
  readonly size: number;
  readonly more: boolean;
}

/** The fragment of a packet with these bytes of its L3 payload. */
function cut(whole: Packet, piece: Piece, id: number): Packet {
  const isIpv6 = whole.view.getUint8(whole.l3At) >>> 4 === 6;
  const extra = isIpv6 ? 8 : 0;
  const header = whole.l4At - whole.start;
  const bytes = new Uint8Array(header + extra + piece.size);
  bytes.set(whole.bytes.subarray(whole.start, whole.l4At));
  const from = whole.l4At + piece.offset;
  bytes.set(whole.bytes.subarray(from, from + piece.size), header + extra);
  const view = new DataView(bytes.buffer);
  const l3 = whole.l3At - whole.start;
  if (isIpv6) {
    view.setUint16(l3 + 4, 8 + piece.size);
    const next = view.getUint8(l3 + 6);
    view.setUint8(l3 + 6, 44);
    view.setUint16(header, next << 8);
    view.setUint16(header + 2, piece.offset | (piece.more ? 1 : 0));
    view.setUint32(header + 4, id);
  } else {
    view.setUint16(l3 + 2, 20 + piece.size);
    view.setUint16(l3 + 4, id);
    view.setUint16(l3 + 6, piece.offset >> 3 | (piece.more ? 0x2000 : 0));
  }
  const packet = new Packet({ bytes, view, address: 0 });
  packet.end = bytes.length;
  packet.tailLimit = bytes.length;
  packet.l3At = l3;
  return packet;
}

function target(): Packet {
  const bytes = new Uint8Array(70000);
  const packet = new Packet({ bytes, view: new DataView(bytes.buffer), address: 0 });
  packet.start = 64;
  packet.tailLimit = bytes.length;
  return packet;
}

function big(isIpv6: boolean, size: number, seed = 1): Packet {
  const addresses = isIpv6
    ? { src: "fd00::1", dst: "fd00::2" }
    : { src: "10.0.0.1", dst: "10.0.0.2" };
  return makePacket({ ...addresses, protocol: 17, payload: payload(size, seed) });
}

Deno.test("Reassembler: fragments in any order, some twice, give the packet back", () => {
  const random = randomSource(7);
  const box = reassembler();
  for (let round = 0; round < 400; round++) {
    const whole = big(round % 2 === 1, 1 + random(round % 10 === 0 ? 60000 : 4000), round);
    const size = whole.end - whole.l4At;
    const pieces: Piece[] = [];
    for (let offset = 0; offset < size;) {
      const part = Math.min(size - offset, 8 * (1 + random(round % 10 === 0 ? 700 : 90)));
      pieces.push({ offset, size: part, more: offset + part < size });
      offset += part;
    }
    if (pieces.length === 1 && round % 2 === 0) continue; // no fragment
    const order = [...pieces, ...pieces.filter(() => random(4) === 0)];
    const last = pieces[random(pieces.length)]!;
    const shuffled = order.filter((piece) => piece !== last)
      .map((piece) => ({ piece, key: random(1 << 30) })).toSorted((a, b) => a.key - b.key);
    for (const { piece } of shuffled) {
      const verdict = box.add(cut(whole, piece, round), 0, round);
      assert.ok(verdict === FRAGMENT_HELD || verdict === FRAGMENT_DUPLICATE);
    }
    assert.equal(box.add(cut(whole, last, round), 0, round), FRAGMENT_COMPLETE);
    const out = target();
    const largest = Math.max(...pieces.map((piece) => piece.size));
    assert.equal(box.take(out), largest + (round % 2 === 1 ? 48 : 20));
    const isIpv4 = out.view.getUint8(out.l3At) >>> 4 === 4;
    if (isIpv4) assert.equal(sum(out.view, out.l3At, out.l3At + 20), 0xffff);
    const skip = isIpv4 ? 12 : 0; // identification and checksum differ
    assert.deepEqual(
      out.bytes.slice(out.l3At + skip, out.end),
      whole.bytes.slice(whole.l3At + skip, whole.end),
    );
    assert.deepEqual([box.count, box.held, box.memoryUsed], [0, 0, 0]);
  }
});

Deno.test("Reassembler: an overlap gives up the packet, an exact repetition does not", () => {
  for (const isIpv6 of [false, true]) {
    const whole = big(isIpv6, 3000);
    const box = reassembler();
    box.add(cut(whole, { offset: 0, size: 1000, more: true }, 1), 0, 0);
    box.add(cut(whole, { offset: 1000, size: 1000, more: true }, 1), 0, 0);
    const within = cut(whole, { offset: 504, size: 800, more: true }, 1);
    assert.equal(box.add(within, 0, 0), FRAGMENT_DUPLICATE);
    const beyond = cut(whole, { offset: 1504, size: 800, more: true }, 1);
    assert.equal(CT_DROPS[box.add(beyond, 0, 0)], "ct-fragment-overlap");
    assert.deepEqual([box.count, box.held, box.givenUp], [0, 0, 2]);
  }
});

Deno.test("Reassembler: fragments that make no sense", () => {
  const whole = big(false, 3000);
  const box = reassembler();
  const name = (packet: Packet): string | undefined => CT_DROPS[box.add(packet, 0, 0)];
  assert.equal(box.add(whole, 0, 0), FRAGMENT_NONE);
  // Where the packet ends: those that say otherwise, or nothing, end it.
  const last = cut(whole, { offset: 1000, size: 504, more: false }, 1);
  for (
    const other of [
      { offset: 1504, size: 96, more: false },
      { offset: 1504, size: 96, more: true },
      { offset: 504, size: 96, more: false },
      { offset: 504, size: 0, more: true },
    ]
  ) {
    assert.equal(box.add(last, 0, 0), FRAGMENT_HELD);
    assert.equal(name(cut(whole, other, 1)), "ct-fragment-invalid");
    assert.deepEqual([box.count, box.held], [0, 0]);
  }
  assert.equal(box.givenUp, 4);
  const far = cut(whole, { offset: 8, size: 800, more: true }, 2);
  far.view.setUint16(far.l3At + 6, 0x3fff);
  assert.equal(name(far), "ct-fragment-invalid");
  const cutOff = cut(whole, { offset: 8, size: 800, more: true }, 2);
  cutOff.end -= 1;
  assert.equal(name(cutOff), "ct-fragment-invalid");
});

Deno.test("Reassembler: of IPv6, only the fragment that contradicts others is refused", () => {
  const whole = big(true, 200);
  const box = reassembler();
  const add = (offset: number, size: number, more: boolean): number =>
    box.add(cut(whole, { offset, size, more }, 1), 0, 0);
  assert.equal(add(104, 104, false), FRAGMENT_HELD);
  for (const [offset, size, more] of [[104, 96, false], [208, 8, true], [96, 0, true]] as const) {
    assert.equal(CT_DROPS[add(offset, size, more)], "ct-fragment-invalid");
  }
  assert.equal(add(0, 104, true), FRAGMENT_COMPLETE);
  assert.ok(box.take(target()) > 0);
  // An empty one does say where the packet ends.
  assert.equal(CT_DROPS[add(96, 0, false)], "ct-fragment-invalid");
  assert.equal(CT_DROPS[add(96, 112, false)], "ct-fragment-invalid");
  assert.equal(add(0, 96, true), FRAGMENT_COMPLETE);
  box.discard();
});

Deno.test("Reassembler: of IPv6, what no packet is put together with goes on as it is", () => {
  const whole = big(true, 200);
  const box = reassembler();
  const add = (offset: number, size: number): number =>
    box.add(cut(whole, { offset, size, more: true }, 1), 0, 0);
  // A first fragment without the whole UDP header.
  assert.equal(add(0, 0), FRAGMENT_NONE);
  // Sizes that are no multiples of 8 end the packet too.
  assert.equal(add(0, 104), FRAGMENT_HELD);
  assert.equal(add(104, 51), FRAGMENT_NONE);
  assert.deepEqual([box.count, box.held, box.givenUp], [0, 0, 1]);
});

Deno.test("Reassembler: the sizes of the fragments stay with the packet", () => {
  const whole = big(false, 1500);
  const box = reassembler();
  const sizes = [400, 800, 308];
  let offset = 0;
  const pieces = sizes.map((size) => {
    const piece = { offset, size, more: offset + size < 1508 };
    offset += size;
    return piece;
  });
  for (const piece of pieces.toReversed()) box.add(cut(whole, piece, 1), 0, 0);
  const out = target();
  assert.equal(box.take(out), 820);
  const { pieces: kept, pieceCount } = out.metadata();
  assert.deepEqual([...kept.subarray(0, pieceCount)], sizes);
  // More of them than are kept.
  for (let at = 0; at < 1508; at += 8) {
    box.add(cut(whole, { offset: at, size: Math.min(8, 1508 - at), more: at + 8 < 1508 }, 2), 0, 0);
  }
  assert.equal(box.take(out), 28);
  assert.equal(out.metadata().pieceCount, 0);
});

Deno.test("Reassembler: zones are apart, and time runs out", () => {
  const whole = big(false, 1000);
  const box = reassembler();
  box.add(cut(whole, { offset: 0, size: 504, more: true }, 1), 1, 0);
  const rest = cut(whole, { offset: 504, size: 504, more: false }, 1);
  assert.equal(box.add(rest, 2, 0), FRAGMENT_HELD);
  assert.equal(box.sweep(29_999, 100), 0);
  assert.equal(box.sweep(30_000, 100), 2);
  assert.equal(box.add(rest, 1, 30_000), FRAGMENT_HELD);
});

Deno.test("Reassembler: a flood of first fragments is bounded and does not stop others", () => {
  const box = reassembler({ memoryMax: 1 << 20 });
  const victim = big(false, 2800, 5);
  const from = (source: number, id: number): Packet => {
    const packet = cut(victim, { offset: 0, size: 1400, more: true }, id & 0xffff);
    packet.view.setUint32(packet.l3At + 12, source);
    return packet;
  };
  // One source: it can't push the victim out.
  box.add(cut(victim, { offset: 0, size: 1400, more: true }, 7), 0, 0);
  for (let id = 0; id < 5000; id++) box.add(from(0x01010101, id), 0, 1);
  assert.ok(box.memoryUsed <= 1 << 20);
  const rest = cut(victim, { offset: 1400, size: 1408, more: false }, 7);
  assert.equal(box.add(rest, 0, 2), FRAGMENT_COMPLETE);
  assert.ok(box.take(target()) > 0);
  // A source for each fragment: packets that come in one go still pass.
  let passed = 0;
  for (let id = 0; id < 5000; id++) {
    box.add(from(0x02000000 + id, id), 0, 3);
    if (id % 10 !== 0) continue;
    box.add(cut(victim, { offset: 0, size: 1400, more: true }, id), 0, 3);
    if (box.add(cut(victim, { offset: 1400, size: 1408, more: false }, id), 0, 3) < 0) passed++;
    box.take(target());
  }
  assert.equal(passed, 500);
  assert.ok(box.memoryUsed <= 1 << 20);
});

Deno.test("Reassembler: random fragments never throw, and everything is given back", () => {
  const random = randomSource(99);
  const box = reassembler({ memoryMax: 1 << 18, queuesMax: 32 });
  const out = target();
  const sources = [big(false, 3000), big(true, 3000)];
  let waiting = 0;
  for (let round = 0; round < 30_000; round++) {
    const whole = sources[random(2)]!;
    const offset = random(3000) & ~7;
    const packet = cut(
      whole,
      { offset, size: Math.min(random(1500), 3008 - offset), more: random(3) !== 0 },
      random(8),
    );
    if (random(8) === 0) packet.bytes[random(packet.bytes.length)] = random(256);
    if (random(8) === 0) packet.end -= Math.min(packet.end - packet.l3At, random(60));
    const verdict = box.add(packet, random(2), round);
    if (verdict === FRAGMENT_HELD || verdict === FRAGMENT_COMPLETE) waiting++;
    if (verdict !== FRAGMENT_COMPLETE) continue;
    const before = box.held;
    box.take(out);
    waiting -= before - box.held;
  }
  assert.equal(waiting, box.held + box.givenUp);
  box.sweep(200_000, 1000);
  assert.deepEqual([box.count, box.held, box.memoryUsed], [0, 0, 0]);
});
