import assert from "node:assert/strict";
import type { Packet } from "../packet/packet.ts";
import { ConntrackControl } from "./control.ts";
import {
  ACK,
  addressHex,
  areChecksumsRight,
  describe,
  Lab,
  makePacket,
  nat,
  type PacketSpec,
  plan,
  SYN,
} from "./testing/packets.ts";

function randomSource(seed: number): (below: number) => number {
  return (below) => {
    seed = (Math.imul(seed, 1664525) + 1013904223) | 0;
    return ((seed ^ seed >>> 15) >>> 0) % below;
  };
}

/** What answers a packet that reads `a:p>b:q`. */
function turned(text: string): string {
  const [source, destination] = text.split(">");
  return `${destination}>${source}`;
}

function specOf(text: string, base: PacketSpec): PacketSpec {
  const [source = "", destination = ""] = text.split(">");
  const port = (end: string): number => Number(end.slice(end.lastIndexOf(":") + 1));
  const address = (end: string): string => end.slice(0, end.lastIndexOf(":"));
  return {
    ...base,
    src: address(source),
    dst: address(destination),
    sport: port(source),
    dport: port(destination),
    id: port(source),
  };
}

Deno.test("Nat: forward, then backward, is the identity; checksums stay right", () => {
  const random = randomSource(3);
  const lab = new Lab({ connectionsMax: 8192 });
  const follow = plan({ nat: nat() });
  const seen = new Set<string>();
  for (let round = 0; round < 3000; round++) {
    const isIpv6 = random(3) === 0;
    const protocol = [6, 17, isIpv6 ? 58 : 1, 132][random(4)]!;
    const client = random(40);
    const base: PacketSpec = {
      src: isIpv6 ? `fd00::${client + 1}` : `10.0.0.${client + 1}`,
      dst: isIpv6 ? "fd01::1" : "10.1.0.1",
      protocol,
      sport: 1 + random(65535),
      dport: 1 + random(9),
      id: 1 + random(65535),
      flags: SYN,
      partial: protocol !== 1 && protocol !== 58 && protocol !== 132 && random(2) === 0,
      payload: "x".repeat(random(40)),
    };
    if (isIpv6 && protocol === 132) continue;
    const isSource = random(2) === 0;
    const low = isSource ? (isIpv6 ? "fd02::10" : "192.0.2.10") : isIpv6 ? "fd03::10" : "10.3.0.10";
    const words = plan({
      commit: true,
      nat: nat({
        direction: isSource ? "src" : "dst",
        addressMin: addressHex(low),
        addressMax: random(2) === 0 ? addressHex(low.replace(/10$/, "19")) : undefined,
        ...(random(2) === 0 ? { portMin: 3000, portMax: 3999 } : {}),
        persistent: random(2) === 0,
        hash: random(4) === 0,
        random: random(4) === 0,
      }),
    });
    const packet = makePacket(base);
    const before = describe(packet);
    if (seen.has(`${protocol} ${before}`)) continue;
    seen.add(`${protocol} ${before}`);
    if (lab.run(packet, words) !== 0) continue; // the server's side of a DNAT has no port left
    const after = describe(packet);
    assert.ok(areChecksumsRight(packet), `${before} → ${after}`);
    const reply = makePacket({
      ...specOf(turned(after), base),
      flags: SYN | ACK,
      ack: 1,
      type: isIpv6 ? 129 : 0,
    });
    assert.equal(lab.run(reply, follow), 0);
    assert.equal(lab.ct.state & 0x2a, 0x2a, `${before} → ${after}: ${lab.ct.invalidReason}`);
    assert.equal(describe(reply), turned(before));
    assert.ok(areChecksumsRight(reply));
    const again = makePacket({ ...base, flags: ACK, seq: 1, ack: 1 });
    lab.run(again, follow);
    assert.equal(describe(again), after);
    assert.ok(areChecksumsRight(again));
  }
  assert.ok(seen.size > 2000);
});

Deno.test("Nat: every connection of a small range has a port of its own, and none is left", () => {
  const lab = new Lab();
  const words = plan({
    commit: true,
    nat: nat({
      direction: "src",
      addressMin: addressHex("192.0.2.1"),
      portMin: 5000,
      portMax: 5049,
    }),
  });
  const ports = new Set<string>();
  for (let client = 1; client <= 50; client++) {
    const packet = makePacket({ src: `10.0.0.${client}`, dst: "10.1.1.1", protocol: 17 });
    assert.equal(lab.run(packet, words), 0);
    ports.add(describe(packet));
  }
  assert.equal(ports.size, 50);
  const late = makePacket({ src: "10.0.0.99", dst: "10.1.1.1", protocol: 17 });
  assert.notEqual(lab.run(late, words), 0);
  // To another server the same ports are free.
  const other = makePacket({ src: "10.0.0.99", dst: "10.1.1.2", protocol: 17 });
  assert.equal(lab.run(other, words), 0);
});

Deno.test("Nat: one source port has one translation for all destinations, until the last one ends", () => {
  const lab = new Lab();
  const words = plan({
    commit: true,
    nat: nat({
      direction: "src",
      addressMin: addressHex("192.0.2.0"),
      addressMax: addressHex("192.0.2.255"),
      portMin: 20_000,
      portMax: 29_999,
    }),
  });
  const translate = (server: number): string => {
    const packet = makePacket({ src: "10.0.0.1", dst: `10.1.1.${server}`, protocol: 17 });
    assert.equal(lab.run(packet, words), 0);
    return describe(packet).split(">")[0]!;
  };
  const first = translate(1);
  for (let server = 2; server <= 50; server++) assert.equal(translate(server), first);
  lab.pass(40_000);
  const control = new ConntrackControl(lab.buffers);
  control.sweep(lab.nowMs, 1000);
  assert.equal(control.count, 0);
  assert.notEqual(translate(1), first);
});

Deno.test("Nat: a source keeps its address in a range with persistent", () => {
  const lab = new Lab();
  const words = plan({
    commit: true,
    nat: nat({
      direction: "src",
      addressMin: addressHex("192.0.2.0"),
      addressMax: addressHex("192.0.2.255"),
      persistent: true,
    }),
  });
  const sources = new Set<string>();
  for (let server = 1; server <= 50; server++) {
    const packet = makePacket({ src: "10.0.0.1", dst: `10.1.1.${server}`, protocol: 17 });
    lab.run(packet, words);
    sources.add(describe(packet).split(":")[0]!);
  }
  assert.equal(sources.size, 1);
});

Deno.test("Nat: a host that talks to its own translated address gets its packets back (hairpin)", () => {
  const lab = new Lab();
  const inbound = plan({
    zone: 1,
    commit: true,
    nat: nat({ direction: "dst", addressMin: addressHex("10.0.0.5"), portMin: 8080 }),
  });
  const outbound = plan({
    zone: 2,
    commit: true,
    nat: nat({ direction: "src", addressMin: addressHex("192.0.2.1") }),
  });
  const packet = makePacket({
    src: "10.0.0.4",
    dst: "192.0.2.1",
    sport: 4000,
    dport: 80,
    protocol: 17,
  });
  lab.run(packet, inbound);
  lab.tracker.execute(packet, lab.ct, outbound, 0);
  assert.equal(describe(packet), "192.0.2.1:4000>10.0.0.5:8080");
  const reply = makePacket({
    src: "10.0.0.5",
    dst: "192.0.2.1",
    sport: 8080,
    dport: 4000,
    protocol: 17,
  });
  lab.run(reply, plan({ zone: 2, nat: nat() }));
  lab.tracker.execute(reply, lab.ct, plan({ zone: 1, nat: nat() }), 0);
  assert.equal(describe(reply), "192.0.2.1:80>10.0.0.4:4000");
  assert.ok(areChecksumsRight(reply));
});

Deno.test("Nat: ICMP errors from both sides are translated, inside and outside", () => {
  const lab = new Lab();
  const commit = plan({
    commit: true,
    nat: nat({ direction: "src", addressMin: addressHex("192.0.2.1"), portMin: 6000 }),
  });
  const packet = makePacket({ src: "10.0.0.1", dst: "10.1.1.1", protocol: 17, payload: "abc" });
  lab.run(packet, commit);
  const quote = (from: Packet): Uint8Array => from.bytes.slice(from.l3At, from.end);
  const error = makePacket({
    src: "10.9.9.9",
    dst: "192.0.2.1",
    protocol: 1,
    type: 11,
    payload: quote(packet),
  });
  lab.run(error, plan({ nat: nat() }));
  assert.match(describe(error), />10\.0\.0\.1:/);
  assert.ok(areChecksumsRight(error));
  const inner = error.l4At + 8;
  assert.equal(error.view.getUint32(inner + 12), 0x0a000001);
  assert.equal(error.view.getUint16(inner + 20), 1000);
  // The client refuses the answer: its error goes out from the translated address.
  const answer = makePacket({
    src: "10.1.1.1",
    dst: "192.0.2.1",
    sport: 80,
    dport: 6000,
    protocol: 17,
  });
  lab.run(answer, plan({ nat: nat() }));
  assert.equal(describe(answer), "10.1.1.1:80>10.0.0.1:1000");
  const refusal = makePacket({
    src: "10.0.0.1",
    dst: "10.1.1.1",
    protocol: 1,
    type: 3,
    code: 3,
    payload: quote(answer),
  });
  lab.run(refusal, commit);
  assert.match(describe(refusal), /^192\.0\.2\.1:/);
  assert.ok(areChecksumsRight(refusal));
  assert.equal(refusal.view.getUint32(refusal.l4At + 8 + 16), 0xc0000201);
  assert.equal(refusal.view.getUint16(refusal.l4At + 8 + 22), 6000);
});
