/** Scenarios of connection tracking: protocols other than TCP, commits, marks and labels, broken packets. */
import { ACK, type PacketSpec, SYN } from "../../datapath/conntrack/testing/packets.ts";
import {
  A,
  A6,
  B,
  B6,
  ICMP,
  ICMPV6,
  quote,
  send,
  sendWith,
  twoSides,
  UDP,
} from "./kernel_ct_frames.ts";
import type { CtFlow, CtScenario, CtStep } from "./kernel_ct_scenario.ts";

const COMMIT = twoSides("ct(commit,mark=7)", "ct");
const COMMIT6 = twoSides("ct(commit,mark=7)", "ct", 6);

const there = (sport: number, rest = {}): CtStep =>
  send(1, { ...A, protocol: UDP, sport, dport: 53, payload: "question", ...rest });
const back = (dport: number, rest = {}): CtStep =>
  send(2, { ...B, protocol: UDP, sport: 53, dport, payload: "answer", ...rest });

/** A query and its answer of each ICMP type that has one, and both again. */
function queries(): CtStep[] {
  const steps: CtStep[] = [];
  for (const [type, answer] of [[8, 0], [13, 14], [15, 16], [17, 18]] as const) {
    const question = send(1, {
      ...A,
      protocol: ICMP,
      type,
      id: 100 + type,
      payload: "0123456789ab",
    });
    const reply = send(2, { ...B, protocol: ICMP, type: answer, id: 100 + type });
    steps.push(question, reply, question, reply);
    // Nobody's answer, an answer with another identifier, an answer from the asking side.
    steps.push(send(2, { ...B, protocol: ICMP, type: answer, id: 999 }));
    steps.push(send(1, { ...A, protocol: ICMP, type: answer, id: 100 + type }));
  }
  for (const type of [1, 2, 6, 7, 9, 10, 19, 30, 41, 42, 253]) {
    steps.push(send(1, { ...A, protocol: ICMP, type, id: 1 }));
  }
  // Codes that are not 0.
  steps.push(send(1, { ...A, protocol: ICMP, type: 8, code: 3, id: 7 }));
  steps.push(send(2, { ...B, protocol: ICMP, type: 0, code: 0, id: 7 }));
  steps.push(send(2, { ...B, protocol: ICMP, type: 0, code: 3, id: 7 }));
  return steps;
}

function queries6(): CtStep[] {
  const steps: CtStep[] = [];
  for (const [type, answer] of [[128, 129], [139, 140]] as const) {
    const question = send(1, { ...A6, protocol: ICMPV6, type, id: 100 + type });
    const reply = send(2, { ...B6, protocol: ICMPV6, type: answer, id: 100 + type });
    steps.push(question, reply, question, reply);
    steps.push(send(2, { ...B6, protocol: ICMPV6, type: answer, id: 999 }));
  }
  for (
    const type of [0, 5, 100, 127, 130, 131, 132, 137, 138, 141, 142, 143, 144, 151, 160, 200, 255]
  ) {
    steps.push(send(1, { ...A6, protocol: ICMPV6, type, id: 1, payload: "x".repeat(40) }));
  }
  const target = new Uint8Array(24);
  for (const type of [133, 134, 135, 136, 137]) {
    steps.push(send(1, { ...A6, protocol: ICMPV6, type, payload: target }));
  }
  return steps;
}

/** Every error about a connection, from its peer and from a router, and about nothing that is known. */
function errors(): CtStep[] {
  const sent = { ...A, protocol: UDP, sport: 2000, dport: 53, payload: "0123456789" };
  const steps: CtStep[] = [send(1, sent)];
  for (const type of [3, 4, 5, 11, 12]) {
    for (const src of [B.src, "10.9.9.9"]) {
      const error = { src, dst: A.src, protocol: ICMP, type, code: 1 };
      steps.push(send(2, { ...error, payload: quote(sent) }));
      // More than the least, and less: the quoted header alone, a part of it.
      steps.push(send(2, { ...error, payload: quote(sent, 38) }));
      steps.push(send(2, { ...error, payload: quote(sent, 27) }));
      steps.push(send(2, { ...error, payload: quote(sent, 20) }));
      steps.push(send(2, { ...error, payload: quote(sent, 12) }));
      steps.push(send(2, { ...error, dst: "10.0.0.77", payload: quote(sent) }));
      steps.push(send(2, { ...error, payload: quote({ ...sent, sport: 2001 }) }));
      // From the wrong side.
      steps.push(send(1, { ...error, src: A.src, dst: B.src, payload: quote(sent) }));
    }
  }
  // About the answer, about a ping, about a TCP segment, about an error.
  const answer = { ...B, protocol: UDP, sport: 53, dport: 2000 };
  const ping = { ...A, protocol: ICMP, type: 8, id: 5 };
  const pong = { ...B, protocol: ICMP, type: 0, id: 5 };
  const syn = { ...A, sport: 3000, dport: 80, seq: 1, flags: SYN };
  const unreachable = { protocol: ICMP, type: 3, code: 3 };
  const error = { ...B, ...unreachable, payload: quote(sent) };
  steps.push(send(2, answer), send(1, { ...A, ...unreachable, payload: quote(answer) }));
  steps.push(send(1, ping), send(2, { ...B, ...unreachable, payload: quote(ping) }));
  steps.push(send(2, pong), send(1, { ...A, ...unreachable, payload: quote(pong) }));
  steps.push(send(1, syn), send(2, { ...B, ...unreachable, payload: quote(syn) }));
  steps.push(send(1, { ...A, ...unreachable, payload: quote(error, 56) }));
  steps.push(send(2, { ...B, ...unreachable, payload: new Uint8Array(28) }));
  steps.push(send(2, { ...B, ...unreachable, payload: quote({ ...A6, protocol: UDP }) }));
  return steps;
}

function errors6(): CtStep[] {
  const sent = { ...A6, protocol: UDP, sport: 2000, dport: 53, payload: "0123456789" };
  const steps: CtStep[] = [send(1, sent)];
  for (const type of [1, 2, 3, 4, 5, 126]) {
    for (const src of [B6.src, "fd99::9"]) {
      const error = { src, dst: A6.src, protocol: ICMPV6, type };
      steps.push(send(2, { ...error, payload: quote(sent) }));
      steps.push(send(2, { ...error, payload: quote(sent, 44) }));
      steps.push(send(2, { ...error, payload: quote(sent, 40) }));
      steps.push(send(2, { ...error, payload: quote(sent, 30) }));
      steps.push(send(2, { ...error, dst: "fd00::77", payload: quote(sent) }));
      steps.push(send(2, { ...error, payload: quote({ ...sent, sport: 2001 }) }));
      steps.push(send(1, { ...error, src: A6.src, dst: B6.src, payload: quote(sent) }));
    }
  }
  const ping = { ...A6, protocol: ICMPV6, type: 128, id: 5 };
  steps.push(send(1, ping), send(2, { ...B6, protocol: ICMPV6, type: 1, payload: quote(ping) }));
  return steps;
}

/** Each flag of ct that marks: by masks, again, by the other side, and cleared. */
const MARKS: CtFlow[] = [
  ...twoSides("ct(commit,mark=0x12/0xff,label=0x1234/0xffff)", "ct"),
  [
    "in_port(3),recirc_id(0),eth(),eth_type(0x0800),ipv4()",
    "ct(commit,mark=0x300/0xff00,label=0x7000000000000000000000000000000/0xf000000000000000000000000000000),recirc(100)",
  ],
  [
    "in_port(3),recirc_id(0x64),eth(),eth_type(0x0800),ipv4()",
    "userspace(pid=1),ct_clear,recirc(101)",
  ],
  [
    "in_port(3),recirc_id(0x65),eth(),eth_type(0x0800),ipv4()",
    "userspace(pid=1),ct,recirc(102)",
  ],
  ["in_port(3),recirc_id(0x66),eth(),eth_type(0x0800),ipv4()", "userspace(pid=1),2"],
];

/** ct looks first, and what is new is committed behind it, as controllers do. */
const LATER: CtFlow[] = [1, 2].flatMap((port): CtFlow[] => {
  const flow = `in_port(${port}),eth(),eth_type(0x0800),ipv4()`;
  return [
    [`${flow},recirc_id(0)`, "ct,recirc(100)"],
    [
      `${flow},recirc_id(0x64),ct_state(+new)`,
      "userspace(pid=1),ct(commit,mark=3,label=5),recirc(101)",
    ],
    [`${flow},recirc_id(0x64),ct_state(-new)`, "userspace(pid=1),ct,recirc(101)"],
    [`${flow},recirc_id(0x65)`, `userspace(pid=1),${3 - port}`],
  ];
});

/** A connection is made anew when the other side commits by force. */
const FORCE: CtFlow[] = twoSides("ct(commit,mark=1)", "ct(force_commit,mark=2)");

const FORCE_BOTH: CtFlow[] = [1, 2].flatMap((port): CtFlow[] => {
  const flow = `in_port(${port}),eth(),eth_type(0x0800),ipv4()`;
  return [
    [`${flow},recirc_id(0)`, "ct,recirc(100)"],
    [`${flow},recirc_id(0x64)`, `userspace(pid=1),ct(force_commit,mark=${port}),recirc(101)`],
    [`${flow},recirc_id(0x65)`, `userspace(pid=1),${3 - port}`],
  ];
});

const udpAll = [there(1), back(1), there(1), back(1), there(2), there(2), back(2), back(3)];

function unknown(): CtStep[] {
  const steps: CtStep[] = [];
  for (const protocol of [2, 41, 50, 51, 89, 103, 115, 253]) {
    const payload = "payload of it";
    steps.push(send(1, { ...A, protocol, payload }), send(2, { ...B, protocol, payload }));
    steps.push(send(1, { ...A, protocol, payload }));
    // Another connection of the same protocol.
    steps.push(send(2, { src: "10.0.0.3", dst: A.src, protocol, payload }));
  }
  return steps;
}

const UDPLITE = 136;
const GRE = 47;

/** GRE's header: flags, protocol; of version 1 with a call. */
function gre(flags: number, version: number, call = 0): Uint8Array {
  const bytes = new Uint8Array(16);
  new DataView(bytes.buffer).setUint16(0, flags << 8 | version);
  new DataView(bytes.buffer).setUint16(2, version === 1 ? 0x880b : 0x6558);
  new DataView(bytes.buffer).setUint16(6, call);
  return bytes;
}

function greSteps(): CtStep[] {
  const steps: CtStep[] = [];
  for (const payload of [gre(0, 0), gre(0x20, 0, 5), gre(0x30, 1, 7), gre(0x30, 1, 8), gre(0, 3)]) {
    steps.push(
      send(1, { ...A, protocol: GRE, payload }),
      send(2, { ...B, protocol: GRE, payload }),
    );
    steps.push(send(1, { ...A, protocol: GRE, payload }));
  }
  steps.push(send(1, { ...A, protocol: GRE, payload: new Uint8Array(3) }));
  steps.push(send(1, { ...A, dst: "10.0.0.7", protocol: GRE, payload: new Uint8Array(3) }));
  return steps;
}

const lite = (sport: number): PacketSpec => ({
  ...A,
  protocol: UDPLITE,
  sport,
  dport: 9,
  payload: "0123456789",
});

function udpLite(): CtStep[] {
  return [
    ...[1, 2].flatMap((sport) => [
      send(1, lite(sport)),
      send(2, { ...B, protocol: UDPLITE, sport: 9, dport: sport }),
      send(1, lite(sport)),
    ]),
    // Without a checksum; coverage too small, too large.
    sendWith(1, lite(3), { 26: 0, 27: 0 }),
    sendWith(1, lite(5), { 25: 7 }),
    sendWith(1, lite(6), { 25: 19 }),
  ];
}

/** Headers that are damaged or cut off. */
function broken(): CtStep[] {
  const udp = { ...A, protocol: UDP, sport: 4000, dport: 53, payload: "0123456789" };
  const tcp = { ...A, sport: 4001, dport: 80, seq: 5, flags: SYN };
  const icmp = { ...A, protocol: ICMP, type: 8, id: 44, payload: "0123456789" };
  return [
    // Wrong checksums of L4; UDP without one.
    sendWith(1, udp, { 26: 0x12, 27: 0x34 }),
    sendWith(1, udp, { 26: 0, 27: 0 }),
    sendWith(1, { ...udp, sport: 4002 }, { 40: 0x7a }),
    sendWith(1, tcp, { 36: 0x12 }),
    sendWith(1, icmp, { 22: 0x12 }),
    // UDP's own length: too long, too short, shorter than the packet.
    sendWith(1, { ...udp, sport: 4003 }, { 24: 0xff, 26: 0, 27: 0 }),
    sendWith(1, { ...udp, sport: 4004 }, { 25: 7, 26: 0, 27: 0 }),
    sendWith(1, { ...udp, sport: 4005 }, { 25: 9, 26: 0, 27: 0 }),
    sendWith(1, { ...udp, sport: 4006 }, { 25: 0, 26: 0, 27: 0 }),
    // TCP's header: too short, too long.
    sendWith(1, { ...tcp, sport: 4007 }, { 32: 0x40 }),
    sendWith(1, { ...tcp, sport: 4008 }, { 32: 0xf0 }),
    // IP packets that end within the L4 header, rightly announced so.
    ...[1, 4, 7, 8, 9, 12, 19].flatMap((size) => [
      sendWith(1, { ...A, sport: 4010 + size, flags: SYN }, { 3: 20 + size }, 20 - size),
      sendWith(
        1,
        { ...udp, sport: 4040 + size, payload: "012345678901" },
        { 3: 20 + size },
        20 - size,
      ),
      sendWith(1, { ...icmp, id: 50 + size, payload: "012345678901" }, { 3: 20 + size }, 20 - size),
    ]),
    // Nothing behind the IP header; padding behind the packet.
    sendWith(1, tcp, { 3: 20 }, 20),
    sendWith(1, { ...A, sport: 4090, flags: SYN, payload: "padding" }, { 3: 40 }),
    send(1, { ...A, sport: 4091, flags: ACK }),
  ];
}

/** Time after which nf_conncount has forgotten connections that are not there. */
const FORGOTTEN: CtStep = { waitMs: 100 };

export const BASIC_SCENARIOS: readonly CtScenario[] = [
  { name: "UDP", flows: COMMIT, steps: udpAll },
  { name: "UDP that is not committed", flows: twoSides("ct", "ct"), steps: udpAll },
  { name: "UDP committed by both", flows: twoSides("ct(commit)", "ct(commit)"), steps: udpAll },
  {
    name: "UDP committed by the answering side",
    flows: twoSides("ct", "ct(commit)"),
    steps: udpAll,
  },
  {
    name: "UDP over IPv6",
    flows: COMMIT6,
    steps: [1, 2].flatMap((sport) => [
      send(1, { ...A6, protocol: UDP, sport, dport: 53, payload: "question" }),
      send(2, { ...B6, protocol: UDP, sport: 53, dport: sport, payload: "answer" }),
      send(1, { ...A6, protocol: UDP, sport, dport: 53, payload: "question" }),
    ]),
  },
  {
    name: "UDP that goes on for more than two seconds",
    flows: COMMIT,
    steps: [there(1), back(1), there(2), { waitMs: 2100 }, there(1), back(1), back(2)],
  },
  {
    name: "UDP whose time is over",
    flows: COMMIT,
    sysctls: { "net/netfilter/nf_conntrack_udp_timeout": "1" },
    steps: [there(1), back(1), { waitMs: 1500, oursMs: 31_000 }, back(1)],
  },
  { name: "ICMP queries", flows: COMMIT, steps: queries() },
  { name: "ICMPv6 queries", flows: COMMIT6, steps: queries6() },
  { name: "ICMP errors", flows: COMMIT, steps: errors() },
  { name: "ICMPv6 errors", flows: COMMIT6, steps: errors6() },
  { name: "protocols without ports", flows: COMMIT, steps: unknown() },
  {
    name: "UDP-Lite",
    flows: COMMIT,
    sysctls: { "net/netfilter/nf_conntrack_checksum": "0" },
    steps: udpLite(),
  },
  {
    name: "UDP-Lite whose checksum is looked at",
    flows: COMMIT,
    steps: [send(1, lite(1)), sendWith(1, lite(2), { 26: 0x12 }), sendWith(1, lite(3), { 25: 8 })],
  },
  {
    name: "SCTP that begins with data",
    flows: COMMIT,
    steps: [send(1, { ...A, protocol: 132, payload: new Uint8Array([0, 3, 0, 16, ...Array(12)]) })],
  },
  {
    name: "DCCP that begins with a packet of no type",
    flows: COMMIT,
    steps: [send(1, { ...A, protocol: 33, payload: "0123456789ab" })],
  },
  // The kernel counts what it has refused, and what was flushed, for two ticks: before others are
  // counted it is waited for that to end.
  {
    name: "a limit that comes late",
    flows: COMMIT,
    steps: [
      FORGOTTEN,
      ...[101, 102, 103].map((sport) => there(sport)),
      { limits: [{ zone: 0, limit: 2 }] },
      ...[104, 105, 106, 101].map((sport) => there(sport)),
    ],
  },
  {
    name: "limits",
    flows: COMMIT,
    steps: [
      FORGOTTEN,
      { limits: [{ zone: 0, limit: 2 }] },
      ...[1, 2, 3, 1, 2].map((sport) => there(sport)),
      back(1),
      back(3),
      FORGOTTEN,
      { limits: [{ zone: 0, limit: 3 }] },
      ...[3, 4].map((sport) => there(sport)),
      { limits: [{ zone: 0, limit: 0 }] },
      ...[5, 6, 7].map((sport) => there(sport)),
    ],
  },
  {
    name: "a limit for all zones",
    flows: COMMIT,
    steps: [
      FORGOTTEN,
      { limits: [{ zone: -1, limit: 1 }] },
      ...[1, 2, 1].map((sport) => there(sport)),
    ],
  },
  { name: "GRE", flows: COMMIT, steps: greSteps() },
  {
    name: "marks and labels by masks, and what ct_clear leaves",
    flows: MARKS,
    steps: [
      there(1),
      back(1),
      send(3, { ...A, protocol: UDP, sport: 1, dport: 53 }),
      there(1),
      back(1),
      send(3, { ...A, protocol: UDP, sport: 2, dport: 53 }),
      back(2),
    ],
  },
  { name: "looked at first, committed later", flows: LATER, steps: udpAll },
  { name: "committed by force from outside", flows: FORCE, steps: udpAll },
  { name: "committed by force by both", flows: FORCE_BOTH, steps: udpAll },
  { name: "broken packets", flows: COMMIT, steps: broken() },
  {
    name: "a mask of events",
    flows: twoSides("ct(commit,eventmask=0x12)", "ct(eventmask=0)"),
    steps: udpAll,
  },
];
