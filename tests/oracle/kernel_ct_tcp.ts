/** Scenarios of connection tracking: TCP as it is told in textbooks, and what goes wrong with it. */
import {
  ACK,
  FIN,
  type PacketSpec,
  PSH,
  RST,
  SYN,
} from "../../datapath/conntrack/testing/packets.ts";
import { A, A6, B, B6, send, twoSides } from "./kernel_ct_frames.ts";
import type { CtScenario, CtStep } from "./kernel_ct_scenario.ts";
import { Talk } from "./kernel_ct_talk.ts";

/** Numbers that client and server begin with. */
const C = 1000;
const S = 5000;
const URG = 32;

const from = (flags: number, seq: number, ack = 0, rest: Partial<PacketSpec> = {}): CtStep =>
  send(1, { ...A, sport: 4000, dport: 80, flags, seq, ack, window: 1000, ...rest });
const to = (flags: number, seq: number, ack = 0, rest: Partial<PacketSpec> = {}): CtStep =>
  send(2, { ...B, sport: 80, dport: 4000, flags, seq, ack, window: 1000, ...rest });

const OPEN: readonly CtStep[] = [
  from(SYN, C),
  to(SYN | ACK, S, C + 1),
  from(ACK, C + 1, S + 1),
];
const DATA: readonly CtStep[] = [
  ...OPEN,
  from(ACK | PSH, C + 1, S + 1, { payload: "x".repeat(100) }),
  to(ACK, S + 1, C + 101),
];
const CLOSED: readonly CtStep[] = [
  ...DATA,
  from(FIN | ACK, C + 101, S + 1),
  to(FIN | ACK, S + 1, C + 102),
  from(ACK, C + 102, S + 2),
];

function whole(ends: { client: string; server: string }): CtStep[] {
  const talk = new Talk({ ...ends, clientPort: 4000, serverPort: 80 });
  return [
    ...talk.open(),
    talk.ask("GET / HTTP/1.0\r\n\r\n"),
    talk.answer("HTTP/1.0 200 OK\r\n"),
    ...talk.confirm(),
    ...talk.close(),
  ];
}

const flows = twoSides("ct(commit)", "ct");
const scenario = (name: string, ...steps: readonly CtStep[]): CtScenario => ({
  name,
  flows,
  steps,
});

export const TCP_SCENARIOS: readonly CtScenario[] = [
  scenario("TCP", ...whole({ client: A.src, server: A.dst })),
  {
    name: "TCP over IPv6",
    flows: twoSides("ct(commit)", "ct", 6),
    steps: [
      ...whole({ client: A6.src, server: A6.dst }),
      send(2, { ...B6, sport: 80, dport: 4000, flags: RST, seq: 1 }),
    ],
  },
  scenario(
    "TCP that the server closes first",
    ...DATA,
    to(FIN | ACK, S + 1, C + 101),
    from(ACK, C + 101, S + 2),
    from(FIN | ACK, C + 101, S + 2),
    to(ACK, S + 2, C + 102),
  ),
  scenario(
    "TCP that both close at once",
    ...DATA,
    from(FIN | ACK, C + 101, S + 1),
    to(FIN | ACK, S + 1, C + 101),
    from(ACK, C + 102, S + 2),
    to(ACK, S + 2, C + 102),
  ),
  scenario(
    "TCP that goes on half closed",
    ...DATA,
    from(FIN | ACK, C + 101, S + 1),
    to(ACK | PSH, S + 1, C + 102, { payload: "rest" }),
    from(ACK, C + 102, S + 5),
    to(FIN | ACK, S + 5, C + 102),
    from(ACK, C + 102, S + 6),
  ),
  scenario("a SYN sent again", from(SYN, C), from(SYN, C), to(SYN | ACK, S, C + 1), from(SYN, C)),
  scenario("a SYN with another number", from(SYN, C), from(SYN, C + 77), to(SYN | ACK, S, C + 1)),
  scenario(
    "both open at once",
    from(SYN, C),
    to(SYN, S),
    from(SYN | ACK, C, S + 1),
    to(SYN | ACK, S, C + 1),
    from(ACK, C + 1, S + 1),
    to(ACK, S + 1, C + 1),
  ),
  scenario("refused", from(SYN, C), to(RST | ACK, 0, C + 1), from(SYN, C + 10_000)),
  scenario(
    "refused with a number that was not sent",
    from(SYN, C),
    to(RST | ACK, 0, C + 500),
    to(RST, 7),
    to(SYN | ACK, S, C + 1),
  ),
  scenario("reset by the client", ...DATA, from(RST, C + 101), to(ACK, S + 1, C + 101)),
  scenario("reset before the window", ...DATA, from(RST, C - 50), to(ACK, S + 1, C + 101)),
  scenario("reset within the window", ...DATA, from(RST, C + 400), to(ACK, S + 1, C + 101)),
  scenario("reset behind the window", ...DATA, from(RST, C + 90_000), to(ACK, S + 1, C + 101)),
  scenario(
    "reset by an old number of the server",
    ...DATA,
    to(RST, S - 10),
    from(ACK, C + 101, S + 1),
  ),
  scenario(
    "out of the window of a connection that stands",
    ...DATA,
    from(ACK, C + 200_000, S + 1),
    from(ACK, C + 101, S + 200_000),
    from(ACK | PSH, C + 101, S + 1, { payload: "x".repeat(1400) }),
  ),
  scenario(
    "out of the window of a connection that begins",
    from(SYN, C),
    to(SYN | ACK, S, C + 90_000),
    to(SYN | ACK, S, C + 1),
    from(ACK, C + 200_000, S + 1),
    from(ACK, C + 1, S + 200_000),
    from(ACK, C + 1, S + 1),
  ),
  scenario(
    "met in the middle",
    from(ACK | PSH, C, S, { payload: "data" }),
    to(ACK, S, C + 4),
    from(ACK, C + 4, S),
    to(FIN | ACK, S, C + 4),
  ),
  scenario(
    "met at its end",
    from(FIN | ACK, C, S),
    to(FIN | ACK, S, C + 1),
    from(ACK, C + 1, S + 1),
  ),
  scenario("met with an answer", to(ACK, S, C), from(ACK, C, S)),
  scenario(
    "met with a SYN-ACK or a reset",
    from(SYN | ACK, C, S),
    from(RST, C),
    from(RST | ACK, C, S),
  ),
  scenario(
    "opened again in TIME_WAIT",
    ...CLOSED,
    from(SYN, C + 50_000),
    to(SYN | ACK, S + 9, C + 50_001),
  ),
  scenario(
    "opened again by the server",
    ...CLOSED,
    to(SYN, S + 50_000),
    from(SYN | ACK, C, S + 50_001),
  ),
  scenario("opened again after a reset", ...DATA, from(RST, C + 101), from(SYN, C + 9999)),
  scenario(
    "a late segment in TIME_WAIT",
    ...CLOSED,
    to(FIN | ACK, S + 1, C + 102),
    from(ACK, C + 102, S + 2),
  ),
  scenario(
    "a SYN in a connection that stands",
    ...DATA,
    from(SYN, C + 9000),
    to(ACK, S + 1, C + 101),
    from(RST, C + 101),
  ),
  scenario(
    "a SYN in a connection that stands, which the server takes",
    ...DATA,
    from(SYN, C + 9000),
    to(SYN | ACK, S + 9000, C + 9001),
    from(ACK, C + 9001, S + 9001),
  ),
  scenario(
    "flags that no segment has together",
    ...[0, FIN, PSH, URG, SYN | FIN, SYN | RST, FIN | RST, FIN | PSH | URG, SYN | FIN | ACK, 0x3f]
      .map((flags) => from(flags, C)),
    ...DATA,
    ...[0, FIN, PSH, URG, SYN | FIN, SYN | RST, FIN | RST, FIN | PSH | URG, SYN | FIN | ACK, 0x3f]
      .map((flags) => from(flags, C + 101, S + 1)),
    ...[0x40, 0x80, 0xc0].map((flags) => from(flags | ACK, C + 101, S + 1)),
  ),
  scenario(
    "acknowledged four times",
    ...DATA,
    ...[1, 2, 3, 4].map(() => to(ACK, S + 1, C + 101)),
  ),
  scenario("a window of 0", ...DATA, to(ACK, S + 1, C + 101, { window: 0 })),
  scenario(
    "scaled windows",
    from(SYN, C, 0, { options: [3, 3, 7, 1, 4, 2, 1, 1], window: 65535 }),
    to(SYN | ACK, S, C + 1, { options: [3, 3, 15, 1, 4, 2, 1, 1] }),
    from(ACK, C + 1, S + 1),
    to(ACK, S + 1, C + 1, { options: [1, 1, 5, 10, 0, 0, 4, 0, 0, 0, 5, 0] }),
  ),
];
