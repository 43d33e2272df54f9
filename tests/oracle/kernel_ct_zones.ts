/** Scenarios of connection tracking in zones, for kernels that have them. */
import { ACK, SYN } from "../../datapath/conntrack/testing/packets.ts";
import { A, B, fragments, ICMP, quote, send, twoSides, UDP } from "./kernel_ct_frames.ts";
import type { CtScenario, CtStep } from "./kernel_ct_scenario.ts";

const there = (sport: number, rest = {}): CtStep =>
  send(1, { ...A, protocol: UDP, sport, dport: 53, payload: "question", ...rest });
const back = (dport: number, rest = {}): CtStep =>
  send(2, { ...B, protocol: UDP, sport: 53, dport, payload: "answer", ...rest });
const UDPS = [there(1), back(1), there(1), there(2), back(2), back(3)];

export const ZONE_SCENARIOS: readonly CtScenario[] = [
  {
    name: "one zone",
    flows: twoSides("ct(commit,zone=5,mark=7)", "ct(zone=5)"),
    steps: [
      ...UDPS,
      send(1, { ...A, sport: 9, dport: 80, flags: SYN, seq: 1 }),
      send(2, { ...B, sport: 80, dport: 9, flags: SYN | ACK, seq: 100, ack: 2 }),
      send(1, { ...A, sport: 9, dport: 80, flags: ACK, seq: 2, ack: 101 }),
    ],
  },
  {
    name: "answers in another zone",
    flows: twoSides("ct(commit,zone=5)", "ct(zone=6)"),
    steps: UDPS,
  },
  {
    name: "two zones one after the other",
    flows: twoSides("ct(commit,zone=1,mark=1),ct(commit,zone=2,mark=2)", "ct(zone=2),ct(zone=1)"),
    steps: UDPS,
  },
  {
    name: "back to the first zone",
    flows: twoSides(
      "ct(zone=1),ct(commit,zone=2),ct(commit,zone=1,mark=3)",
      "ct(zone=1),ct(zone=2)",
    ),
    steps: UDPS,
  },
  {
    name: "cleared between zones",
    flows: twoSides("ct(commit,zone=1,mark=1),ct_clear", "ct(zone=1),ct_clear,ct(commit,zone=2)"),
    steps: UDPS,
  },
  {
    name: "the same translation in two zones",
    flows: twoSides(
      "ct(commit,zone=1,nat(src=192.0.2.1:7000)),ct(commit,zone=2)",
      "ct(zone=2,nat),ct(zone=1,nat)",
    ),
    steps: [there(1), { reflect: 2 }, there(1), { reflect: 2 }],
  },
  {
    name: "fragments in zones",
    flows: twoSides("ct(commit,zone=3)", "ct(zone=4)"),
    steps: [
      ...fragments(1, { ...A, protocol: UDP, sport: 1, dport: 53, payload: "x".repeat(100) }, 7, [
        { from: 0, to: 56 },
        { from: 56 },
      ]),
      ...fragments(2, { ...B, protocol: UDP, sport: 53, dport: 1, payload: "x".repeat(100) }, 7, [
        { from: 56 },
        { from: 0, to: 56 },
      ]),
    ],
  },
  {
    name: "ICMP errors in zones",
    flows: twoSides("ct(commit,zone=5)", "ct(zone=5),ct(zone=6)"),
    steps: [
      there(1),
      send(2, {
        ...B,
        protocol: ICMP,
        type: 3,
        payload: quote({ ...A, protocol: UDP, sport: 1, dport: 53 }),
      }),
    ],
  },
  {
    name: "limits of zones",
    flows: twoSides("ct(commit,zone=5)", "ct(commit,zone=6)"),
    steps: [
      { limits: [{ zone: 5, limit: 2 }, { zone: -1, limit: 1 }] },
      ...[1, 2, 3, 1].map((sport) => there(sport)),
      ...[11, 12, 11].map((dport) => back(dport)),
    ],
  },
];
