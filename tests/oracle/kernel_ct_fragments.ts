/** Scenarios of connection tracking: fragments that are put together, go on and leave in pieces. */
import type { PacketSpec } from "../../datapath/conntrack/testing/packets.ts";
import { SYN } from "../../datapath/conntrack/testing/packets.ts";
import {
  A,
  A6,
  fragments,
  ICMP,
  ICMPV6,
  type Piece,
  quote,
  send,
  twoSides,
  UDP,
} from "./kernel_ct_frames.ts";
import type { CtScenario, CtStep } from "./kernel_ct_scenario.ts";

function text(size: number): string {
  return Array.from({ length: size }, (_, at) => String.fromCharCode(97 + at % 26)).join("");
}

/** UDP packets of both families, payload size; the L4 header adds 8. */
const udp = (size: number, sport = 1000): PacketSpec => ({
  ...A,
  protocol: UDP,
  sport,
  dport: 53,
  payload: text(size),
});
const udp6 = (size: number, sport = 1000): PacketSpec => ({ ...udp(size, sport), ...A6 });

/** Pieces of equal size. */
function even(size: number, total: number): Piece[] {
  const pieces: Piece[] = [];
  for (let from = 0; from < total; from += size) {
    pieces.push({ from, to: Math.min(total, from + size) });
  }
  return pieces;
}

/** The same cases for either family. */
function cases(make: (size: number, sport?: number) => PacketSpec, first: number): CtStep[] {
  let id = first;
  let sport = 2000;
  const pieces = (size: number, list: readonly Piece[]): CtStep[] =>
    fragments(1, make(size, sport++), id++, list);
  const large = even(1440, 3008);
  return [
    ...pieces(3000, large),
    ...pieces(3000, large.toReversed()),
    ...pieces(3000, [large[1]!, large[2]!, large[0]!]),
    ...pieces(100, even(56, 108)),
    ...pieces(100, even(8, 108)),
    // Twice the same, before and after it is whole.
    ...pieces(100, [...even(56, 108), ...even(56, 108)]),
    ...pieces(100, [{ from: 0, to: 56 }, { from: 0, to: 56 }, { from: 56 }]),
    ...pieces(100, [{ from: 0, to: 56 }, { from: 8, to: 48 }, { from: 56 }]),
    // Overlapping: by a byte or more, from both sides, around, by the last one.
    ...pieces(100, [{ from: 0, to: 56 }, { from: 48 }, { from: 56 }]),
    ...pieces(100, [{ from: 56 }, { from: 0, to: 64 }, { from: 0, to: 56 }]),
    ...pieces(100, [{ from: 16, to: 32 }, { from: 0, to: 56 }, { from: 56 }]),
    ...pieces(100, [{ from: 0, to: 56 }, { from: 48 }, ...even(56, 108)]),
    // A last fragment that ends elsewhere than an earlier one, and what would make either whole.
    ...pieces(100, [{ from: 56 }, { from: 56, to: 96, hasMore: false }, { from: 0, to: 56 }]),
    ...pieces(100, [{ from: 56, to: 96, hasMore: false }, { from: 56 }, { from: 0, to: 56 }]),
    // More behind the last one.
    ...pieces(100, [{ from: 16, to: 56, hasMore: false }, { from: 56, to: 64 }, {
      from: 0,
      to: 16,
    }]),
    ...pieces(100, [{ from: 56, to: 64 }, { from: 16, to: 56, hasMore: false }, {
      from: 0,
      to: 16,
    }]),
    // Empty ones.
    ...pieces(100, [{ from: 0, to: 56 }, { from: 56, to: 56, hasMore: true }, { from: 56 }]),
    ...pieces(100, [{ from: 0, to: 56 }, { from: 108, to: 108, hasMore: false }, { from: 56 }]),
    ...pieces(100, [{ from: 0, to: 0, hasMore: true }, { from: 0, to: 56 }, { from: 56 }]),
    // A part that is no multiple of 8.
    ...pieces(100, [{ from: 0, to: 59 }, { from: 56 }]),
    ...pieces(100, [{ from: 56 }, { from: 0, to: 59 }]),
    // A fragment of all there is; the first alone; the last alone.
    ...pieces(100, [{ from: 0 }]),
    ...pieces(100, [{ from: 0, to: 56 }]),
    ...pieces(100, [{ from: 56 }]),
    // Larger than a device takes.
    ...pieces(4000, even(2000, 4008)),
    ...pieces(1900, even(1600, 1908)),
    // Congestion marks.
    ...pieces(100, [{ from: 0, to: 56, tos: 2 }, { from: 56, tos: 3 }]),
    ...pieces(100, [{ from: 0, to: 56, tos: 1 }, { from: 56, tos: 2 }]),
    ...pieces(100, [{ from: 0, to: 56, tos: 0 }, { from: 56, tos: 3 }]),
    ...pieces(100, [{ from: 0, to: 56, tos: 2 }, { from: 56, tos: 0 }]),
    ...pieces(100, [{ from: 0, to: 56, tos: 0xb8 }, { from: 56, tos: 0 }]),
  ];
}

/** Fragments of unequal sizes, of which none is the last but one. */
const UNEVEN: readonly Piece[] = [{ from: 0, to: 400 }, { from: 400, to: 1200 }, { from: 1200 }];

const both = (family = 4): CtScenario["flows"] => twoSides("ct(commit)", "ct", family);

export const FRAGMENT_SCENARIOS: readonly CtScenario[] = [
  { name: "fragments", flows: both(), steps: cases(udp, 100) },
  { name: "fragments, IPv6", flows: both(6), steps: cases(udp6, 100) },
  {
    name: "fragments of unequal sizes",
    flows: both(),
    steps: [
      ...fragments(1, udp(1500), 300, UNEVEN),
      ...fragments(1, udp(1500), 301, UNEVEN.toReversed()),
    ],
  },
  {
    name: "fragments of unequal sizes, IPv6",
    flows: both(6),
    steps: [
      ...fragments(1, udp6(1500), 300, UNEVEN),
      ...fragments(1, udp6(1500), 301, UNEVEN.toReversed()),
    ],
  },
  {
    name: "fragments that must not be fragmented",
    flows: both(),
    steps: [
      ...fragments(1, udp(300), 320, even(104, 308).map((piece) => ({ ...piece, isWhole: true }))),
      ...fragments(1, udp(300), 321, [{ from: 0, to: 104, isWhole: true }, { from: 104 }]),
      ...fragments(1, udp(300), 322, [{ from: 0, to: 104 }, { from: 104, isWhole: true }]),
    ],
  },
  {
    name: "fragments of TCP and pings",
    flows: both(),
    steps: [
      ...fragments(
        1,
        { ...A, sport: 1, dport: 80, flags: SYN, payload: text(200) },
        330,
        even(8, 220),
      ),
      ...fragments(
        1,
        { ...A, protocol: ICMP, type: 8, id: 3, payload: text(2000) },
        331,
        even(1200, 2008),
      ),
      ...fragments(1, { ...A, protocol: 253, payload: text(200) }, 332, even(96, 208)),
    ],
  },
  {
    name: "fragments of pings, IPv6",
    flows: both(6),
    steps: [
      ...fragments(
        1,
        { ...A6, protocol: ICMPV6, id: 3, payload: text(2000) },
        331,
        even(1400, 2008),
      ),
      ...fragments(
        1,
        { ...A6, sport: 1, dport: 80, flags: SYN, payload: text(200) },
        330,
        even(8, 220),
      ),
    ],
  },
  {
    name: "fragments that are translated, both ways",
    flows: twoSides("ct(commit,nat(src=192.0.2.1:7000))", "ct(nat)"),
    steps: [
      ...fragments(1, udp(2000), 340, even(1200, 2008)),
      ...fragments(
        2,
        {
          src: A.dst,
          dst: "192.0.2.1",
          protocol: UDP,
          sport: 53,
          dport: 7000,
          payload: text(2000),
        },
        341,
        even(1000, 2008),
      ),
    ],
  },
  {
    name: "fragments that are translated, IPv6",
    flows: twoSides("ct(commit,nat(src=[2001:db8::1]:7000))", "ct(nat)", 6),
    steps: fragments(1, udp6(2000), 340, even(1400, 2008)),
  },
  {
    name: "fragments that leave by two ports",
    flows: [
      ["in_port(1),recirc_id(0),eth(),eth_type(0x0800),ipv4()", "ct(commit),recirc(100)"],
      ["in_port(1),recirc_id(0x64),eth(),eth_type(0x0800),ipv4()", "2,3"],
    ],
    steps: [
      ...fragments(1, udp(1500), 345, UNEVEN),
      ...fragments(1, udp(3000), 346, even(1440, 3008)),
    ],
  },
  {
    name: "fragments of an ICMP error, cut within what it quotes",
    flows: twoSides("ct(commit,nat(src=[2001:db8::1]:7000))", "ct(nat)", 6),
    steps: [
      send(1, udp6(20)),
      ...fragments(
        2,
        {
          ...{ src: "fd00::2", dst: "2001:db8::1", protocol: ICMPV6, type: 1 },
          payload: quote({ ...udp6(20), src: "2001:db8::1", sport: 7000 }, 68),
        },
        347,
        [{ from: 0, to: 24 }, { from: 24 }],
      ),
    ],
  },
  {
    name: "fragments with the same number from others",
    flows: both(),
    steps: [
      ...fragments(1, udp(100), 350, [{ from: 0, to: 56 }]),
      ...fragments(1, { ...udp(100), src: "10.0.0.7" }, 350, [{ from: 56 }]),
      ...fragments(1, { ...A, protocol: 253, payload: text(100) }, 350, [{ from: 56 }]),
      ...fragments(2, udp(100), 350, [{ from: 56 }]),
    ],
  },
  {
    name: "fragments whose packet does not become whole in time",
    flows: both(),
    sysctls: { "net/ipv4/ipfrag_time": "1", "net/netfilter/nf_conntrack_frag6_timeout": "1" },
    steps: [
      ...fragments(1, udp(100), 360, [{ from: 0, to: 56 }]),
      { waitMs: 1500, oursMs: 31_000 },
      ...fragments(1, udp(100), 360, [{ from: 56 }]),
      ...fragments(1, udp(100), 360, [{ from: 0, to: 56 }]),
      send(1, udp(20)),
    ],
  },
];
