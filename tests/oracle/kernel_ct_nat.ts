/** Scenarios of connection tracking: addresses and ports translated, both ways, of everything. */
import { ACK, PSH, SYN } from "../../datapath/conntrack/testing/packets.ts";
import type { PacketSpec } from "../../datapath/conntrack/testing/packets.ts";
import { A, A6, B, B6, ICMP, ICMPV6, quote, send, twoSides, UDP } from "./kernel_ct_frames.ts";
import { withoutAddress, withoutChosen } from "./kernel_ct_chosen.ts";
import type { CtScenario, CtStep } from "./kernel_ct_scenario.ts";

const OUTER = "192.0.2.1";
const OUTER6 = "2001:db8::1";

const udp = (sport: number, rest: Partial<PacketSpec> = {}): CtStep =>
  send(1, { ...A, protocol: UDP, sport, dport: 53, payload: "q", ...rest });
const udp6 = (sport: number, rest: Partial<PacketSpec> = {}): CtStep =>
  send(1, { ...A6, protocol: UDP, sport, dport: 53, payload: "q", ...rest });
const answered = (step: CtStep): CtStep[] => [step, { reflect: 2 }, step, { reflect: 2 }];

/** TCP, UDP and ping of one family, each answered and sent again. */
function everything(isIpv6: boolean, port = 4000): CtStep[] {
  const ends = isIpv6 ? A6 : A;
  const ping = isIpv6
    ? { protocol: ICMPV6, type: 128, id: port }
    : { protocol: ICMP, type: 8, id: port };
  return [
    ...answered(send(1, { ...ends, protocol: UDP, sport: port, dport: 53, payload: "question" })),
    ...answered(send(1, { ...ends, sport: port, dport: 80, seq: 1, flags: SYN })),
    send(1, { ...ends, ...ping, payload: "ping" }),
    // Those are not answers: they show who is meant.
    { reflect: 2 },
    send(1, { ...ends, sport: port, dport: 80, seq: 2, ack: 2, flags: ACK | PSH, payload: "x" }),
  ];
}

/** ICMP errors about translated packets, from the peer and from a router, with more or less quoted. */
function errors(outer: string): CtStep[] {
  const sent = { ...A, protocol: UDP, sport: 2000, dport: 53, payload: "0123456789" };
  const seen = { ...sent, src: outer };
  const syn = { ...A, sport: 2001, dport: 80, seq: 7, flags: SYN };
  const ping = { ...A, protocol: ICMP, type: 8, id: 77, payload: "abcdef" };
  const steps: CtStep[] = [send(1, sent), send(1, syn), send(1, ping)];
  for (const src of [B.src, "10.9.9.9"]) {
    const error = { src, dst: outer, protocol: ICMP, type: 3, code: 3 };
    for (const size of [22, 24, 27, 28, 29, 31, 38]) {
      steps.push(send(2, { ...error, payload: quote(seen, size) }));
    }
    steps.push(send(2, { ...error, payload: quote({ ...syn, src: outer }) }));
    steps.push(send(2, { ...error, payload: quote({ ...syn, src: outer }, 40) }));
    steps.push(send(2, { ...error, type: 11, code: 0, payload: quote({ ...ping, src: outer }) }));
    // Damaged inside: the sum of the quoted packet is not its own.
    const damaged = quote(seen, 38);
    damaged[37]! ^= 0x55;
    steps.push(send(2, { ...error, payload: damaged }));
  }
  // The other direction: the answer does not arrive.
  const answer = {
    src: B.src,
    dst: outer,
    protocol: UDP,
    sport: 53,
    dport: 2000,
    payload: "answer",
  };
  steps.push(send(2, answer));
  const inner = { ...answer, dst: A.src };
  for (const src of [A.src, "10.8.8.8"]) {
    const error = { src, dst: B.src, protocol: ICMP, type: 3, code: 3 };
    steps.push(send(1, { ...error, payload: quote(inner) }));
    steps.push(send(1, { ...error, payload: quote(inner, 34) }));
  }
  return steps;
}

function errors6(): CtStep[] {
  const sent = { ...A6, protocol: UDP, sport: 2000, dport: 53, payload: "0123456789" };
  const seen = { ...sent, src: OUTER6 };
  const steps: CtStep[] = [send(1, sent)];
  for (const src of [B6.src, "fd99::9"]) {
    const error = { src, dst: OUTER6, protocol: ICMPV6, type: 1, code: 4 };
    for (const size of [43, 44, 47, 48]) {
      steps.push(send(2, { ...error, payload: quote(seen, size) }));
    }
    steps.push(send(2, { ...error, payload: quote(seen, 58) }));
    steps.push(send(2, { ...error, type: 2, payload: quote(seen, 49) }));
  }
  const answer = { src: B6.src, dst: OUTER6, protocol: UDP, sport: 53, dport: 2000, payload: "a" };
  steps.push(send(2, answer));
  const inner = { ...answer, dst: A6.src };
  steps.push(send(1, { ...A6, protocol: ICMPV6, type: 1, payload: quote(inner) }));
  return steps;
}

/** Several sources that want the same port. */
function collisions(count: number, dport = 53): CtStep[] {
  const steps: CtStep[] = [];
  for (let at = 0; at < count; at++) {
    const src = `10.0.0.${10 + at}`;
    steps.push(...answered(send(1, { src, dst: B.src, protocol: UDP, sport: 5000, dport })));
  }
  return steps;
}

/** For ports of a range. */
const anyPort = (low: number, high: number): (event: string) => string =>
  withoutChosen((port) => port >= low && port <= high);

const both = (nat: string, family = 4) => twoSides(`ct(commit,${nat})`, "ct(nat)", family);

export const NAT_SCENARIOS: readonly CtScenario[] = [
  { name: "source", flows: both(`nat(src=${OUTER})`), steps: everything(false) },
  { name: "source, IPv6", flows: both(`nat(src=${OUTER6})`, 6), steps: everything(true) },
  { name: "destination", flows: both("nat(dst=10.0.0.9)"), steps: everything(false) },
  { name: "destination, IPv6", flows: both("nat(dst=fd00::9)", 6), steps: everything(true) },
  {
    name: "destination and port",
    flows: both("nat(dst=10.0.0.9:8080)"),
    steps: everything(false),
  },
  {
    name: "destination and port, IPv6",
    flows: both("nat(dst=[fd00::9]:8080)", 6),
    steps: everything(true),
  },
  { name: "source and port", flows: both(`nat(src=${OUTER}:4000)`), steps: everything(false) },
  {
    name: "nothing but nat, committed without translation",
    flows: twoSides("ct(commit,nat)", "ct(nat)"),
    steps: everything(false),
  },
  {
    name: "looked up with nat, never committed",
    flows: twoSides("ct(nat)", "ct(nat)"),
    steps: everything(false),
  },
  {
    name: "answers without nat",
    flows: twoSides(`ct(commit,nat(src=${OUTER}))`, "ct"),
    steps: everything(false),
  },
  {
    name: "committed with nat from both sides",
    flows: twoSides(`ct(commit,nat(src=${OUTER}))`, "ct(commit,nat(dst=10.0.0.99))"),
    steps: everything(false),
  },
  {
    name: "committed without nat, then with",
    flows: twoSides("ct(commit)", `ct(commit,nat(src=${OUTER}))`),
    steps: everything(false),
  },
  {
    name: "source translated to itself",
    flows: both(`nat(src=${A.src})`),
    steps: everything(false),
  },
  { name: "ICMP errors", flows: both(`nat(src=${OUTER})`), steps: errors(OUTER) },
  { name: "ICMPv6 errors", flows: both(`nat(src=${OUTER6})`, 6), steps: errors6() },
  {
    name: "ICMP errors about a translated destination",
    flows: both("nat(dst=10.0.0.9)"),
    steps: [
      udp(2000, { payload: "0123456789" }),
      ...[B.src, "10.0.0.9", "10.9.9.9"].map((src) =>
        send(2, {
          src,
          dst: A.src,
          protocol: ICMP,
          type: 3,
          code: 1,
          payload: quote({
            ...A,
            dst: "10.0.0.9",
            protocol: UDP,
            sport: 2000,
            dport: 53,
            payload: "0123456789",
          }),
        })
      ),
    ],
  },
  {
    name: "three sources, one port",
    flows: both(`nat(src=${OUTER}:7000-7002)`),
    steps: collisions(3),
    chosen: anyPort(7000, 7002),
  },
  {
    name: "more sources than ports",
    flows: both(`nat(src=${OUTER}:7000-7001)`),
    steps: collisions(4),
    chosen: anyPort(7000, 7001),
  },
  {
    name: "sources that collide without a range of ports",
    flows: both(`nat(src=${OUTER})`),
    steps: collisions(4),
    chosen: anyPort(1024, 65535),
  },
  {
    name: "sources that collide on a port below 512",
    flows: both(`nat(src=${OUTER})`),
    steps: [1, 2, 3].flatMap((at) => answered(udp(500, { src: `10.0.0.${at}`, dport: 6000 }))),
    chosen: anyPort(1, 511),
  },
  {
    name: "sources that collide on a port below 1024",
    flows: both(`nat(src=${OUTER})`),
    steps: [1, 2, 3].flatMap((at) => answered(udp(700, { src: `10.0.0.${at}`, dport: 6000 }))),
    chosen: anyPort(600, 1023),
  },
  {
    name: "one port for several destinations",
    flows: both(`nat(src=${OUTER}:7000)`),
    steps: [1, 2, 3].flatMap((at) => answered(udp(5000, { dst: `10.0.1.${at}` }))),
  },
  {
    name: "a source keeps its port for other destinations",
    flows: both(`nat(src=${OUTER})`),
    steps: [1, 2, 3].flatMap((at) => answered(udp(5000, { dst: `10.0.1.${at}` }))),
  },
  {
    name: "ports at random",
    flows: both(`nat(src=${OUTER}:7000-7100,random)`),
    steps: [1, 2, 3].flatMap((at) => answered(udp(7000 + at))),
    chosen: anyPort(7000, 7100),
  },
  ...["", ",persistent", ",random", ",hash"].map((flags): CtScenario => ({
    name: `addresses of a range${flags}`,
    flows: both(`nat(src=192.0.2.1-192.0.2.200:7000${flags})`),
    steps: [1, 2, 3].flatMap((
      at,
    ) => [udp(5000, { src: `10.0.0.${at}` }), udp(5000, { dst: "10.0.1.1" })]),
    chosen: withoutAddress("192.0.2."),
  })),
  {
    name: "ports by hash",
    flows: both(`nat(src=${OUTER}:7000-7100,hash)`),
    steps: [1, 2, 3].flatMap((at) => answered(udp(7000 + at))),
    chosen: anyPort(7000, 7100),
  },
  {
    name: "pings that collide",
    flows: both(`nat(src=${OUTER})`),
    steps: [1, 2, 3].flatMap((at) => {
      const ping = { src: `10.0.0.${at}`, dst: B.src, protocol: ICMP, type: 8, id: 9 };
      return [send(1, ping), send(1, ping)];
    }),
    chosen: withoutChosen((id) => id !== 9),
  },
  {
    name: "a destination's ports",
    flows: both("nat(dst=10.0.0.9:8000-8003)"),
    steps: [1, 2, 3].flatMap((at) => answered(udp(6000 + at))),
    chosen: anyPort(8000, 8003),
  },
  {
    name: "hairpin: the peer's own address",
    flows: both(`nat(src=${B.src})`),
    steps: [udp(6000), udp(53), udp(6000)],
  },
  {
    name: "protocols without ports",
    flows: both(`nat(src=${OUTER})`),
    steps: [
      ...[1, 2].map((at) =>
        send(1, { src: `10.0.0.${at}`, dst: B.src, protocol: 253, payload: "protocol" })
      ),
      { reflect: 2 },
      send(1, { ...A, protocol: 89, payload: "protocol" }),
      { reflect: 2 },
    ],
  },
  {
    name: "a translation that is another connection's",
    flows: twoSides("ct(commit)", `ct(commit,nat(src=${A.src}))`),
    steps: [
      send(1, { src: "10.0.0.5", dst: A.src, protocol: 253, payload: "protocol" }),
      send(2, { src: "10.0.1.5", dst: "10.0.0.5", protocol: 253, payload: "protocol" }),
    ],
  },
  {
    name: "UDP without a checksum, and one that becomes 0",
    flows: both(`nat(src=${OUTER6})`, 6),
    steps: Array.from({ length: 12 }, (_, at) => udp6(100 + at, { payload: `${at * 37}` })),
  },
];
