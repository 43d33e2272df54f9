import assert from "node:assert/strict";
import type { Action } from "./actions.ts";
import { COPIED, DROPPED, SAMPLED, SENT } from "../counters.ts";
import * as key from "../key.ts";
import { GSO_NONE, GSO_TCPV4, type Packet } from "../packet/packet.ts";
import { faults, makeFrame, packetOf } from "../testing/frames.ts";
import { seededRandom } from "../testing/flows.ts";
import { RecordingPort } from "../testing/ports.ts";
import { dropsAfter, frameAfter, out, runActions, setBytes } from "../testing/run_actions.ts";
import { cases } from "../testing/cases.ts";

const frame = makeFrame().bytes;
const HEX = frame.toHex();
const ttl = (value: number): Action =>
  setBytes("ipv4", [key.IP_TTL_AT, value.toString(16).padStart(2, "0")]);
const mark = (value: string): Action => setBytes("skb_mark", [key.SKB_MARK_AT, value]);
const withTtl = (value: number): string => frameAfter(frame, ttl(value));
const clone = (...actions: Action[]): Action => ({ type: "clone", actions });
const sample = (probability: number, ...actions: Action[]): Action => ({
  type: "sample",
  probability,
  actions,
});
const checkLength = (size: number, greater: Action[], lessEqual: Action[]): Action => ({
  type: "check_pkt_len",
  size,
  greater,
  lessEqual,
});
const recirc = (id: number): Action => ({ type: "recirc", id });
const trunc = (sizeMax: number): Action => ({ type: "trunc", sizeMax });
const drop: Action = { type: "drop", reason: 0 };
const pushVlan: Action = { type: "push_vlan", tpid: 0x8100, tci: 0x1005 };
const popEth: Action = { type: "pop_eth" };

function frames(actions: readonly Action[], options = {}): string[] {
  return runActions(packetOf(frame), actions, options).frames;
}

Deno.test("clone: what is changed inside stays inside; the copy is made at the first change", () => {
  assert.deepEqual(frames([clone(ttl(9), out(1)), out(2)]), [withTtl(9), HEX]);
  assert.deepEqual(frames([clone(pushVlan, ttl(9), out(1)), ttl(7), out(2)]).at(-1), withTtl(7));
  // Nothing is changed: nothing is copied.
  const { sent } = runActions(packetOf(frame), [clone(out(1)), out(2)], { slots: 0 });
  assert.equal(sent[0]!.packet, sent[1]!.packet);
});

Deno.test("clone: as the last action it runs on the packet itself", () => {
  const packet = packetOf(frame);
  const { sent } = runActions(packet, [clone(ttl(9), clone(pushVlan, out(1)))], { slots: 0 });
  assert.equal(sent[0]!.packet, packet);
});

Deno.test("clone: metadata that is set inside stays inside", () => {
  const packet = packetOf(frame, { mark: 5 });
  const { sent } = runActions(packet, [clone(mark("00000007"), out(1)), out(2)]);
  assert.deepEqual(sent.map((each) => each.mark), [7, 5]);
});

Deno.test("clone: nested ones each keep theirs, on the outer one's copy", () => {
  const list = [clone(ttl(9), clone(ttl(8), out(1)), clone(popEth), out(1)), out(1)];
  assert.deepEqual(frames(list), [withTtl(8), withTtl(9), HEX]);
});

Deno.test("clone: an action that fails inside ends the lists around; a drop does not", () => {
  const { test } = runActions(packetOf(frame), [clone(popEth, popEth, out(1)), out(2)]);
  assert.deepEqual(test.drops(), { "action-impossible": 2 });
  assert.equal(test.count(COPIED), 1);
  const deep = runActions(packetOf(frame), [clone(clone(popEth, popEth)), out(2)]);
  assert.deepEqual(deep.test.drops(), { "action-impossible": 2 });
  const dropped = runActions(packetOf(frame), [clone(drop), out(2)]);
  assert.deepEqual(dropped.frames, [HEX]);
  assert.deepEqual(dropped.test.drops(), { explicit: 1 });
});

Deno.test("clone: without a buffer for the copy only the clone is lost", () => {
  const { test, frames } = runActions(packetOf(frame), [clone(ttl(9), out(1)), out(2)], {
    slots: 0,
  });
  assert.deepEqual(frames, [HEX]);
  assert.deepEqual(test.drops(), { "pool-exhausted": 1 });
});

Deno.test("a list in which only nested ones could output and did not drops as explicit", () => {
  for (const list of [[clone()], [clone(), ttl(9)], [sample(0, out(1))], [clone(pushVlan)]]) {
    const { test } = runActions(packetOf(frame), list);
    assert.deepEqual(test.drops(), { explicit: 1 });
  }
});

Deno.test("sample: never, always, and by the random number", () => {
  const taken = (probability: number, random: number): boolean =>
    frames([sample(probability, out(1)), out(2)], { services: { random: () => random } }).length ===
      2;
  assert.deepEqual([taken(0, 0), taken(0xffffffff, 0xffffffff)], [false, true]);
  assert.deepEqual([taken(1000, 1000), taken(1000, 1001)], [true, false]);
  assert.deepEqual([taken(0x80000000, 0x80000000), taken(0x80000000, 0x80000001)], [true, false]);
  assert.deepEqual(frames([sample(0xffffffff, ttl(9), out(1)), out(1)]), [withTtl(9), HEX]);
});

Deno.test("check_pkt_len: by the frame's size without its outer tag", () => {
  const which = (bytes: Uint8Array, size: number): string =>
    runActions(packetOf(bytes), [checkLength(size, [ttl(9), out(1)], [ttl(8), out(2)])]).ports[0]!
        .sent.length === 1
      ? "greater"
      : "lessEqual";
  assert.equal(which(frame, frame.length), "lessEqual");
  assert.equal(which(frame, frame.length - 1), "greater");
  const tagged = makeFrame({ tags: [0x81000005] }).bytes;
  assert.equal(which(tagged, tagged.length - 4), "lessEqual");
  assert.equal(which(tagged, tagged.length - 5), "greater");
  assert.deepEqual(frames([checkLength(9, [ttl(9), out(1)], []), out(2)]), [withTtl(9), HEX]);
  assert.deepEqual(frames([checkLength(9999, [ttl(9), out(1)], []), out(2)]), [HEX]);
});

function train(tags: readonly number[] = []): Packet {
  const made = makeFrame({ checksum: "partial", payloadSize: 5000, tags });
  return packetOf(made.bytes, {
    needsCsum: true,
    csumStart: made.l4,
    csumOffset: 16,
    gsoType: GSO_TCPV4,
    gsoSize: 1400,
  });
}

Deno.test("check_pkt_len: a train fits if its segments do; a reassembled packet if its fragments do", () => {
  const fits = (packet: Packet, size: number): boolean =>
    runActions(packet, [checkLength(size, [], [out(1)])]).sent.length === 1;
  assert.deepEqual([fits(train(), 1454), fits(train(), 1453)], [true, false]);
  assert.deepEqual([fits(train([0x81000005]), 1454), fits(train([0x81000005]), 1453)], [
    true,
    false,
  ]);
  const reassembled = (): Packet => packetOf(frame, { mru: frame.length - 20 });
  // It leaves in two fragments.
  const sent = (size: number): number =>
    runActions(reassembled(), [checkLength(size, [], [out(1)])]).sent.length;
  assert.deepEqual([sent(frame.length - 6), sent(frame.length - 7)], [2, 0]);
});

Deno.test("dec_ttl: one less, the IPv4 checksum follows", () => {
  for (const isIpv6 of [false, true]) {
    const made = makeFrame({ isIpv6 });
    const sent = Uint8Array.fromHex(frameAfter(made.bytes, { type: "dec_ttl", exceeded: [] }));
    assert.equal(sent[made.l3 + (isIpv6 ? 7 : 8)], 63);
    assert.deepEqual(faults(sent), []);
  }
  const other = Uint8Array.fromHex("ffffffffffff02000000000188cc" + "00".repeat(46));
  assert.equal(frameAfter(other, { type: "dec_ttl", exceeded: [] }), other.toHex());
});

Deno.test("dec_ttl: at 1 and 0 its own list is all that follows", () => {
  for (const value of [0, 1]) {
    const expired = Uint8Array.fromHex(withTtl(value));
    assert.deepEqual(dropsAfter(expired, { type: "dec_ttl", exceeded: [] }), { "ttl-exceeded": 1 });
    const list: Action[] = [{ type: "dec_ttl", exceeded: [pushVlan, out(2)] }, out(1)];
    const { ports } = runActions(packetOf(expired), list);
    assert.equal(ports[0]!.sent.length, 0);
    assert.equal(ports[1]!.sent.length, 1);
  }
});

Deno.test("trunc: the next output alone; an Ethernet header is left; what is shorter stays", () => {
  const list = [trunc(20), out(1), out(1), trunc(3), out(1), trunc(9999), out(1)];
  assert.deepEqual(frames(list).map((each) => each.length / 2), [
    20,
    frame.length,
    14,
    frame.length,
  ]);
  assert.deepEqual(frames([trunc(20), clone(out(1)), out(2)]), [
    HEX.slice(0, 40),
    HEX.slice(0, 40),
  ]);
  assert.deepEqual(frames([clone(trunc(20), out(1)), out(2)]), [HEX.slice(0, 40), HEX]);
  assert.deepEqual(frames([trunc(20), ttl(9), out(1)]), [withTtl(9).slice(0, 40)]);
});

Deno.test("trunc: the outer tag does not count", () => {
  assert.equal(frames([pushVlan, trunc(20), out(1)])[0]!.length / 2, 24);
});

Deno.test("trunc: a checksum that is cut off is not asked for, one that is not is completed", () => {
  const made = makeFrame({ checksum: "partial", payloadSize: 100 });
  const partial = { needsCsum: true, csumStart: made.l4, csumOffset: 16 };
  for (const [size, needsCsum] of [[made.l4 + 17, false], [made.l4 + 18, true]] as const) {
    const { sent } = runActions(packetOf(made.bytes, partial), [trunc(size), out(1), out(2)]);
    assert.equal(sent[0]!.needsCsum, needsCsum);
    assert.equal(sent[1]!.needsCsum, true);
  }
});

Deno.test("trunc: the checksum that is completed for a cut frame does not get into the whole one", () => {
  const made = makeFrame({ checksum: "partial", payloadSize: 100 });
  const partial = { needsCsum: true, csumStart: made.l4, csumOffset: 16 };
  const ports = [new RecordingPort(1, { partial: false }), new RecordingPort(2)];
  runActions(packetOf(made.bytes, partial), [trunc(100), out(1), out(2)], { ports });
  const [cut, whole] = ports.map(({ sent }) => sent[0]!);
  assert.deepEqual([cut!.frame.length, cut!.needsCsum], [100, false]);
  assert.deepEqual([whole!.needsCsum, whole!.csumStart, whole!.csumOffset], [true, made.l4, 16]);
  assert.deepEqual(whole!.frame, made.bytes);
});

Deno.test("trunc: of a train whole segments go out, of less than one a frame", () => {
  const cut = (size: number): RecordingPort => {
    const port = new RecordingPort(1, { trains: false, partial: false });
    runActions(train(), [trunc(size), out(1)], { ports: [port] });
    return port;
  };
  assert.deepEqual(cut(54 + 2000).sent.map((each) => each.frame.length), [1454, 654]);
  assert.deepEqual(cut(54 + 1400).sent.map((each) => each.frame.length), [1454]);
  assert.equal(cut(60).sent[0]!.gsoType, GSO_NONE);
});

Deno.test("trunc: what a port has written in front of the frame for an earlier output stays", () => {
  // As port_sender.ts does with a virtio_net_hdr, which the kernel reads at the flush.
  const written: { packet: Packet; at: number; gsoType: number }[] = [];
  class Port extends RecordingPort {
    override send(packet: Packet): number {
      const at = packet.start - 1;
      const { gsoType } = packet;
      if (at >= packet.headLimit) {
        packet.view.setUint8(at, gsoType);
        written.push({ packet, at, gsoType });
      }
      return super.send(packet);
    }
  }
  for (const list of [[out(1), trunc(60), out(2)], [trunc(60), out(2), out(1)]]) {
    written.length = 0;
    const packet = train();
    const { headLimit } = packet;
    const { sent } = runActions(packet, list, { ports: [new Port(1), new Port(2)] });
    assert.deepEqual(sent.map((each) => each.gsoType), [GSO_TCPV4, GSO_NONE]);
    assert.equal(packet.headLimit, headLimit);
    assert.ok(written.length > 0);
    for (const each of written) assert.equal(each.packet.view.getUint8(each.at), each.gsoType);
  }
});

Deno.test("recirc: runs the flow of the id; the key is that of the packet as it is now", () => {
  const flows = { 7: [ttl(9), out(1)], 8: [] };
  assert.deepEqual(frames([pushVlan, recirc(7)], { flows })[0]!.slice(24, 32), "81000005");
  assert.deepEqual(frames([recirc(7), out(2)], { flows }), [withTtl(9), HEX]);
  assert.deepEqual(frames([ttl(8), recirc(7)], { flows }), [withTtl(9)]);
  const { test } = runActions(packetOf(frame), [recirc(8), out(2)], { flows });
  assert.deepEqual(test.drops(), { explicit: 1 });
  const missed = runActions(packetOf(frame), [out(1), recirc(9)], { flows });
  assert.deepEqual(missed.test.drops(), { "no-upcall-handler": 1 });
});

Deno.test("userspace: completes a partial checksum for the actions behind, not for the lists around; not of a tagged frame", () => {
  const userspace: Action = {
    type: "userspace",
    pid: 1,
    userdata: undefined,
    actions: false,
    tunnelOutPort: undefined,
  };
  const partialAfter = (tags: readonly number[], ...actions: readonly Action[]): boolean[] => {
    const { bytes, l4 } = makeFrame({ checksum: "partial", tags });
    const partial = { needsCsum: true, csumStart: l4, csumOffset: 16 };
    return runActions(packetOf(bytes, partial), actions).sent.map(({ needsCsum, frame }) => {
      assert.deepEqual(needsCsum ? [] : faults(frame), []);
      return needsCsum;
    });
  };
  assert.deepEqual(partialAfter([], out(1), userspace, out(1)), [true, false]);
  assert.deepEqual(partialAfter([], clone(userspace, out(1)), out(1)), [false, true]);
  assert.deepEqual(partialAfter([0x81000005], userspace, out(1)), [true]);
});

Deno.test("recirc: the id is the packet's while the flow runs, and trunc goes along", () => {
  const packet = packetOf(frame);
  const { frames } = runActions(packet, [trunc(20), recirc(7), out(2)], { flows: { 7: [out(1)] } });
  assert.deepEqual(frames.map((each) => each.length / 2), [20, 20]);
  assert.equal(packet.recircId, 0);
});

Deno.test("recirc: a loop ends as recirc-limit after 30 lookups; others go on", () => {
  let lookups = 0;
  const loop: Record<number, Action[]> = { 1: [recirc(1)] };
  const services = {};
  const { test, frames } = runActions(packetOf(frame), [recirc(1), out(2)], {
    flows: loop,
    services,
  });
  assert.deepEqual(frames, [HEX]);
  assert.deepEqual(test.drops(), { "recirc-limit": 1 });
  const counted = runActions(packetOf(frame), [recirc(1)], {
    services: {
      recirculate: () => {
        lookups++;
        return 0;
      },
    },
  });
  assert.deepEqual(counted.test.drops(), { "recirc-limit": 1 });
  assert.equal(lookups, 30);
});

Deno.test("recirc: a chain of many goes through, in copies once it is deep; a forking loop is bounded", () => {
  const chain: Record<number, Action[]> = {};
  for (let id = 1; id < 29; id++) chain[id] = [pushVlan, recirc(id + 1)];
  chain[29] = [out(1)];
  const { frames } = runActions(packetOf(frame), [recirc(1)], { flows: chain });
  assert.equal(frames[0]!.length / 2, frame.length + 28 * 4);
  const fork = { 1: [ttl(9), recirc(1), out(1), recirc(1), out(2)] };
  const { test } = runActions(packetOf(frame), [recirc(1)], { flows: fork });
  assert((test.drops()["recirc-limit"] ?? 0) > 0);
  assert(test.count(SENT) > 2 && test.count(SENT) < 200);
});

Deno.test("recirc and userspace: sets behind them find the headers though extraction does not, behind a third tag", () => {
  const { bytes } = makeFrame({ tags: [0x88a80001, 0x81000002] });
  const wanted = makeFrame({ tags: [0x81000005, 0x88a80001, 0x81000002], sourcePort: 7 }).bytes;
  const port = setBytes("tcp", [key.TP_SRC_AT, "0007"]);
  const { frames } = runActions(packetOf(bytes), [pushVlan, recirc(7), port, out(1)], {
    flows: { 7: [drop] },
  });
  assert.deepEqual(frames, [wanted.toHex()]);
});

Deno.test("nested lists: what may change the packet waits, fourfold nested, until the rest is done", () => {
  const nest = (depth: number, innermost: readonly Action[]): Action =>
    depth === 0 ? clone(...innermost) : clone(nest(depth - 1, innermost), ttl(9), out(2));
  const ports = (depth: number, innermost: readonly Action[]): number[] => {
    const order: number[] = [];
    const list = [nest(depth, innermost), out(3)];
    class Port extends RecordingPort {
      override send(packet: Packet): number {
        order.push(this.portNo);
        return super.send(packet);
      }
    }
    runActions(packetOf(frame), list, { ports: [new Port(1), new Port(2), new Port(3)] });
    return order;
  };
  assert.deepEqual(ports(2, [ttl(8), out(1)]), [1, 2, 2, 3]);
  assert.deepEqual(ports(3, [ttl(8), out(1)]), [2, 2, 2, 3, 1]);
  // As the last of its list, or without a change, it needs no copy of the key.
  assert.deepEqual(ports(3, [out(1)]), [1, 2, 2, 2, 3]);
  assert.deepEqual(ports(2, [clone(ttl(8), out(1))]), [1, 2, 2, 3]);
});

Deno.test("nested lists: of those that wait more than nine are too many", () => {
  const deep = (inner: readonly Action[]): Action =>
    clone(clone(clone(...inner, out(2)), ttl(9)), ttl(9));
  const many = Array.from({ length: 12 }, () => clone(ttl(8), out(1)));
  const { test, frames } = runActions(packetOf(frame), [deep(many), ttl(9)], { slots: 64 });
  assert.deepEqual(test.drops(), { "recirc-limit": 3 });
  assert.equal(frames.length, 10);
});

Deno.test("meter: over its rate the packet is dropped", () => {
  const sizes: number[] = [];
  const services = {
    isOverRate: (id: number, size: number) => {
      sizes.push(size);
      return id === 0xffffffff;
    },
  };
  const meter = (id: number): Action => ({ type: "meter", id });
  assert.deepEqual(frames([meter(1), out(1)], { services }), [HEX]);
  const { test } = runActions(packetOf(frame), [out(1), meter(0xffffffff), out(2)], { services });
  assert.deepEqual(test.drops(), { meter: 1 });
  const nested = runActions(packetOf(frame), [clone(meter(0xffffffff)), out(2)], { services });
  assert.deepEqual(nested.frames, [HEX]);
  assert.deepEqual(sizes, [frame.length, frame.length, frame.length]);
});

Deno.test("psample: counted, and it uses the truncation up", () => {
  const psample: Action = { type: "psample", group: 1, cookie: undefined };
  const { test, frames } = runActions(packetOf(frame), [trunc(20), psample, out(1)]);
  assert.deepEqual(frames, [HEX]);
  assert.equal(test.count(SAMPLED), 1);
});

Deno.test("output: over a port's MTU it is dropped, a tag does not count, a train is not looked at", () => {
  const sizes = (packet: Packet, mtu: number): unknown => {
    const port = new RecordingPort(1, { mtu });
    const { test } = runActions(packet, [out(1)], { ports: [port] });
    return port.sent.length || test.drops();
  };
  assert.equal(sizes(packetOf(frame), frame.length - 14), 1);
  assert.deepEqual(sizes(packetOf(frame), frame.length - 15), { "over-mtu": 1 });
  const tagged = makeFrame({ tags: [0x81000005] }).bytes;
  assert.equal(sizes(packetOf(tagged), tagged.length - 18), 1);
  assert.deepEqual(sizes(packetOf(tagged), tagged.length - 19), { "over-mtu": 1 });
  const twice = makeFrame({ tags: [0x88a80005, 0x81000006] }).bytes;
  assert.equal(sizes(packetOf(twice), twice.length - 18), 1);
  assert.deepEqual(sizes(packetOf(twice), twice.length - 19), { "over-mtu": 1 });
  assert.equal(sizes(train(), 1500), 1);
});

/** A list of a few actions that every packet here can take, nested up to some depth. */
function randomList(random: (bound: number) => number, depth: number): Action[] {
  const list: Action[] = [];
  for (let count = random(5); count > 0; count--) {
    const kind = random(depth > 0 ? 14 : 9);
    const inner = (): Action[] => randomList(random, depth - 1);
    if (kind < 3) list.push(out(random(4)));
    else if (kind === 3) list.push(ttl(random(256)));
    else if (kind === 4) list.push(mark("0000000" + random(10)));
    else if (kind === 5) list.push(random(2) === 0 ? pushVlan : { type: "pop_vlan" });
    else if (kind === 6) list.push(trunc(random(100)));
    else if (kind === 7) list.push(recirc(random(4)));
    else if (kind === 8) list.push({ type: "push_mpls", lse: random(1e6), ethType: 0x8847 });
    else if (kind === 9) list.push(clone(...inner()));
    else if (kind === 10) list.push(sample(random(2) * 0xffffffff, ...inner()));
    else if (kind === 11) list.push(checkLength(60 + random(20), inner(), inner()));
    else if (kind === 12) list.push({ type: "dec_ttl", exceeded: inner() });
    else list.push(popEth);
  }
  return list;
}

Deno.test("output: an L3 packet has no Ethernet header to be over the MTU with", () => {
  const port = new RecordingPort(1, { l3: true, mtu: 60 });
  for (const size of [60, 61, 74]) {
    const packet = packetOf(new Uint8Array(size), { isL3: true, ethType: 0x88b5 });
    runActions(packet, [out(1)], { ports: [port] });
  }
  assert.deepEqual(port.sent.map((each) => each.frame.length), [60]);
});

Deno.test("whatever the lists, the accounts balance, buffers come back, and lent bytes stay", () => {
  const random = seededRandom(3);
  for (let run = 0; run < cases(3000); run++) {
    const flows = { 1: randomList(random, 2), 2: randomList(random, 1), 3: [recirc(3), out(1)] };
    const packet = random(4) === 0 ? train() : packetOf(makeFrame({ tags: [0x81000001] }).bytes);
    const list = randomList(random, 4);
    const slots = random(3) === 0 ? random(4) : 64;
    const { test } = runActions(packet, list, { flows, slots });
    assert(test.count(SENT) + test.count(DROPPED) > 0, JSON.stringify(list));
  }
});

Deno.test("whatever a clone has in it, what follows is as without it", () => {
  const random = seededRandom(4);
  const flows = { 1: [ttl(3), pushVlan, out(3)], 2: [popEth, recirc(3)], 3: [out(3)] };
  let compared = 0;
  const runs = cases(2000);
  for (let run = 0; run < runs; run++) {
    const inner = randomList(random, 3);
    const packet = (): Packet => packetOf(makeFrame({ tags: [0x81000001] }).bytes, { mark: 1 });
    const port2 = (): RecordingPort[] => [new RecordingPort(9)];
    const rest: Action[] = [ttl(77), out(9)];
    const alone = runActions(packet(), rest, { ports: port2() });
    const { ports, test } = runActions(packet(), [clone(...inner), ...rest], {
      ports: port2(),
      flows,
    });
    const { frames } = alone;
    const sent = ports[0]!.sent;
    // An action that fails inside ends both lists.
    const drops = test.drops();
    if ((drops["action-impossible"] ?? drops["set-header-missing"] ?? 0) > 0) continue;
    compared++;
    assert.deepEqual(sent.map((each) => each.frame.toHex()), frames, JSON.stringify(inner));
    assert.deepEqual(sent.map((each) => each.mark), [1]);
  }
  assert(compared > runs / 2, `${compared}`);
});
