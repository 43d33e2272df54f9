/**
 * Random conversations for connection tracking: TCP segments that are mostly what the other side
 * expects and otherwise anything, on connections of their own, with the same seed always the same.
 */
import { withoutChosen } from "./kernel_ct_chosen.ts";
import {
  ACK,
  FIN,
  type PacketSpec,
  PSH,
  RST,
  SYN,
} from "../../datapath/conntrack/testing/packets.ts";
import type { Random } from "../../datapath/testing/flows.ts";
import {
  fragments,
  frame,
  frameBytes,
  ICMP,
  ICMPV6,
  quote,
  send,
  twoSides,
  UDP,
} from "./kernel_ct_frames.ts";
import type { CtScenario, CtStep } from "./kernel_ct_scenario.ts";

const URG = 32;

/** What one side of a connection would send next. */
interface Side {
  readonly address: string;
  readonly tcpPort: number;
  /** Number of the next byte. */
  next: number;
  /** Shift that it announced. */
  scale: number;
}

const CLIENT = "10.0.0.1";
const SERVER = "10.0.0.2";

/** Flags in order of a usual conversation, and what else there is. */
const USUAL = [SYN, SYN | ACK, ACK, ACK | PSH, ACK, ACK | PSH, ACK | FIN, ACK, ACK | FIN, ACK];
const FLAGS = [
  SYN,
  SYN,
  SYN | ACK,
  SYN | ACK,
  ACK,
  ACK,
  ACK,
  ACK | PSH,
  ACK | FIN,
  ACK | FIN,
  RST,
  RST | ACK,
  FIN,
  0,
  SYN | FIN,
  SYN | RST,
  PSH,
  FIN | PSH | URG,
  ACK | URG,
  SYN | URG,
  ACK | RST | FIN,
];
const WINDOWS = [0, 1, 100, 512, 5000, 65535];

function pick<T>(random: Random, from: readonly T[]): T {
  return from[random(from.length)]!;
}

/** A number near to `from`, mostly that. */
function near(random: Random, from: number): number {
  switch (random(12)) {
    case 0:
      return from - 1;
    case 1:
      return from + 1;
    case 2:
      return from + random(200);
    case 3:
      return from - random(200);
    case 4:
      return from + 60_000 + random(12_000);
    case 5:
      return from - 60_000 - random(12_000);
    case 6:
      return pick(random, [0, random(0x7fffffff) * 2, from + 0x7fffffff]);
    default:
      return from;
  }
}

/** Options of a SYN: scale, SACK-permitted, size, in any combination, perhaps damaged. */
function synOptions(random: Random, side: Side): number[] {
  const options: number[] = [];
  if (random(2) === 0) options.push(2, 4, 5, 180);
  if (random(2) === 0) {
    side.scale = random(16);
    options.push(3, 3, side.scale, 1);
  }
  if (random(2) === 0) options.push(4, 2, 1, 1);
  if (random(16) === 0) options.push(3, random(8), 1, 0);
  return options;
}

/** Timestamps, or a SACK block near to what is acknowledged. */
function ackOptions(random: Random, ack: number): number[] {
  if (random(4) === 0) return [1, 1, 8, 10, 0, 0, 0, 1, 0, 0, 0, 2];
  if (random(6) !== 0) return [];
  const edge = (value: number): number[] => [24, 16, 8, 0].map((bit) => (value >>> bit) & 255);
  const left = near(random, ack);
  return [1, 1, 5, 10, ...edge(left), ...edge(left + random(400))];
}

/** `count` segments of one connection from the port `tcpPort`. */
export function tcpConversation(random: Random, tcpPort: number, count: number): CtStep[] {
  const sides: [Side, Side] = [
    { address: CLIENT, tcpPort, next: random(0x7fffffff), scale: 0 },
    { address: SERVER, tcpPort: 80, next: random(0x7fffffff), scale: 0 },
  ];
  const isTame = random(3) === 0;
  // Some are met in the middle.
  let usual = random(4) === 0 ? random(USUAL.length) : 0;
  const steps: CtStep[] = [];
  for (let at = 0; at < count; at++) {
    const isUsual = usual < USUAL.length && random(isTame ? 16 : 5) !== 0;
    const flags = isUsual ? USUAL[usual]! : pick(random, FLAGS);
    // Requests and answers in turn, but for what is sent twice or by the wrong side.
    const from = isUsual
      ? (usual === 1 || usual === 4 || usual === 5 || usual > 7 ? 1 : 0)
      : random(2);
    if (isUsual && random(12) !== 0) usual++;
    else if (usual >= USUAL.length && random(4) === 0) usual = 0;
    steps.push(segment(random, sides, from, flags, isUsual));
  }
  return steps;
}

function segment(
  random: Random,
  sides: readonly [Side, Side],
  from: number,
  flags: number,
  isUsual: boolean,
): CtStep {
  const sender = sides[from === 0 ? 0 : 1];
  const receiver = sides[from === 0 ? 1 : 0];
  const isOdd = !isUsual || random(10) === 0;
  const seq = isOdd ? near(random, sender.next) : sender.next;
  const expected = receiver.next;
  const ack = (flags & ACK) === 0 && random(2) === 0
    ? 0
    : isOdd
    ? near(random, expected)
    : expected;
  const size = (flags & (SYN | RST)) === 0 && random(3) === 0 ? random(300) : 0;
  const options = (flags & SYN) !== 0 ? synOptions(random, sender) : ackOptions(random, ack);
  if (!isOdd) sender.next = (seq + size + ((flags & (SYN | FIN)) === 0 ? 0 : 1)) >>> 0;
  return {
    port: from + 1,
    frame: frame({
      src: sender.address,
      dst: receiver.address,
      sport: sender.tcpPort,
      dport: receiver.tcpPort,
      seq,
      ack,
      flags,
      window: pick(random, WINDOWS),
      options,
      payload: "x".repeat(size),
    }),
  };
}

/** Hosts that packets of all kinds go between: inside and outside. */
const INSIDE = ["10.0.0.1", "10.0.0.2", "10.0.0.3"];
const OUTSIDE = ["10.0.1.1", "10.0.1.2", "192.0.2.1"];
const INSIDE_6 = ["fd00::1", "fd00::2", "fd00::3"];
const OUTSIDE_6 = ["fd01::1", "fd01::2", "2001:db8::1"];
/** None is among those that a translation of another chooses below 1024. */
const PORTS = [1053, 1080, 2000, 2001, 2002];
const IDS = [1, 2];

/** A packet of any protocol from a side (0 inside) to the other. */
function anySpec(random: Random, side: number, isIpv6: boolean): PacketSpec {
  const hosts = isIpv6 ? [INSIDE_6, OUTSIDE_6] : [INSIDE, OUTSIDE];
  const src = pick(random, hosts[side]!);
  const dst = pick(random, hosts[1 - side]!);
  const ports = { sport: pick(random, PORTS), dport: pick(random, PORTS) };
  const payload = "0123456789abcdef".slice(0, random(17));
  switch (random(8)) {
    case 0:
    case 1:
    case 2:
      return { src, dst, protocol: UDP, ...ports, payload };
    case 3:
    case 4: {
      const flags = pick(random, [SYN, SYN, SYN | ACK, ACK, ACK, RST, FIN | ACK]);
      const numbers = { seq: random(3) * 100, ack: random(3) * 100, window: 1000 };
      return { src, dst, ...ports, flags, ...numbers, payload };
    }
    case 5:
    case 6: {
      const type = isIpv6 ? pick(random, [128, 129]) : pick(random, [8, 0, 8, 0, 13, 14]);
      return { src, dst, protocol: isIpv6 ? ICMPV6 : ICMP, type, id: pick(random, IDS), payload };
    }
    default:
      return { src, dst, protocol: pick(random, [50, 253]), payload: `${payload}01234567` };
  }
}

/** An ICMP error about a packet: from its receiver or another of that side, to its sender or another. */
function errorAbout(random: Random, about: PacketSpec, side: number): PacketSpec {
  const isIpv6 = about.src.includes(":");
  const hosts = isIpv6 ? [INSIDE_6, OUTSIDE_6] : [INSIDE, OUTSIDE];
  return {
    src: random(3) === 0 ? pick(random, hosts[1 - side]!) : about.dst,
    dst: random(6) === 0 ? pick(random, hosts[side]!) : about.src,
    protocol: isIpv6 ? ICMPV6 : ICMP,
    type: isIpv6 ? 1 + random(4) : pick(random, [3, 4, 11, 12]),
    payload: quote(about, random(3) === 0 ? 28 + random(40) : undefined),
  };
}

/** The packet seen from its receiver. */
function answerTo(spec: PacketSpec): PacketSpec {
  const { src, dst, sport, dport, type } = spec;
  const answer = { ...spec, src: dst, dst: src };
  const kinds: Readonly<Record<number, number>> = { 8: 0, 13: 14, 128: 129 };
  return {
    ...answer,
    ...(sport === undefined ? {} : { sport: dport!, dport: sport }),
    ...(type === undefined ? {} : { type: kinds[type] ?? type }),
    ...(spec.flags === undefined ? {} : { flags: (spec.flags | ACK) & ~RST }),
  };
}

/**
 * Packets of every kind between a few hosts, their answers and errors about them, some in fragments,
 * whose numbers begin at `firstId`: a kernel remembers them beyond a scenario.
 */
export function anyPackets(
  random: Random,
  count: number,
  isIpv6: boolean,
  firstId: number,
): CtStep[] {
  const steps: CtStep[] = [];
  const sent: { readonly spec: PacketSpec; readonly side: number }[] = [];
  for (let at = 0; at < count; at++) {
    const last = sent[random(Math.min(sent.length, 12) || 1) + Math.max(0, sent.length - 12)];
    let side = random(3) === 0 ? 1 : 0;
    let spec = anySpec(random, side, isIpv6);
    const choice = last === undefined ? 9 : random(10);
    if (last !== undefined && choice < 6) {
      side = choice < 2 ? last.side : 1 - last.side;
      spec = choice < 2
        ? last.spec
        : choice < 4
        ? answerTo(last.spec)
        : errorAbout(random, last.spec, last.side);
    }
    if (choice === 6) {
      // What came out of a port is answered there, so that translations are met.
      steps.push({ reflect: 1 + random(2) });
      continue;
    }
    if (choice < 4 || choice > 6) sent.push({ spec, side });
    // Errors are not cut: the kernel would leave what it has read of them in one piece.
    const isError = last !== undefined && (choice === 4 || choice === 5);
    const isCut = !isError && random(8) === 0 && frameBytes(spec).length > (isIpv6 ? 54 : 34) + 24;
    if (!isCut) steps.push(send(side + 1, spec));
    else {steps.push(
        ...fragments(side + 1, spec, firstId + at, pick(random, [CUT, CUT.toReversed()])),
      );}
  }
  return steps;
}

/** In two pieces. */
const CUT = [{ from: 0, to: 24 }, { from: 24 }];

/** Lists with ct for either side that random packets are given. */
const LISTS = [
  ["ct(commit)", "ct"],
  ["ct(commit,mark=1/3,label=2/6)", "ct(commit,mark=2/6)"],
  ["ct,ct(commit,mark=5)", "ct(force_commit),ct_clear,ct"],
  ["ct(commit,nat(src=192.0.2.1))", "ct(nat)"],
  ["ct(commit,nat(src=192.0.2.1:2000))", "ct(commit,nat(dst=10.0.0.1:2001))"],
  ["ct(nat)", "ct(commit,nat(dst=10.0.0.2:1053))"],
  ["ct(commit,nat)", "ct(commit,nat(src=10.0.0.3))"],
  ["ct,ct(commit,nat(src=192.0.2.1))", "ct(nat),ct"],
  ["ct,set(ipv4(src=10.0.0.2)),ct(commit)", "ct(commit),set(ipv4(dst=10.0.0.2)),ct"],
] as const;

/** The same of IPv6. */
function ofIpv6(list: string): string {
  return list.replaceAll("ipv4(", "ipv6(").replaceAll("192.0.2.1:2000", "[2001:db8::1]:2000")
    .replaceAll("192.0.2.1", "2001:db8::1")
    .replace(/10\.0\.0\.(\d):(\d+)/g, "[fd00::$1]:$2")
    .replace(/10\.0\.0\.(\d)/g, "fd00::$1");
}

/** Ways of committing that random TCP is tried with: actions inside and outside. */
const WAYS = [
  ["ct(commit)", "ct(commit)"],
  ["ct(commit,mark=7)", "ct"],
  ["ct", "ct"],
  ["ct(commit,nat(src=192.0.2.1))", "ct(nat)"],
] as const;

/** Packets of each scenario. */
const PACKETS = 100;

/** Random conversations, all of a way in one scenario, each at a port of its own; and packets of every kind. */
export function generatedScenarios(random: Random): CtScenario[] {
  const conversations = WAYS.map(([inside, outside]) => ({
    name: `random TCP, ${inside} and ${outside}`,
    flows: twoSides(inside, outside),
    steps: Array.from({ length: 30 }, (_, at) => tcpConversation(random, 1000 + at, 20)).flat(),
  }));
  const known = new Set([...PORTS, ...IDS]);
  const chosen = withoutChosen((port) => !known.has(port));
  const others = LISTS.flatMap(([inside, outside], list) => [
    {
      name: `random packets, ${inside} and ${outside}`,
      flows: twoSides(inside, outside),
      steps: anyPackets(random, PACKETS, false, 1000 + list * PACKETS),
      chosen,
    },
    {
      name: `random packets of IPv6, ${inside} and ${outside}`,
      flows: twoSides(ofIpv6(inside), ofIpv6(outside), 6),
      steps: anyPackets(random, PACKETS, true, 1000 + list * PACKETS),
      chosen,
    },
  ]);
  return [...conversations, ...others];
}
