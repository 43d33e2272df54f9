/**
 * Connection tracking against Debian's ovs-vswitchd: both switches have the same flows and are given
 * the same packets of whole conversations. Every packet leaves with its ct_state and ct_mark written
 * into it by the flow that it met behind ct, so that equal frames mean equal states, marks and
 * translations; in the end the connections must be the same.
 */
import assert from "node:assert/strict";
import {
  ACK,
  FIN,
  makePacket,
  type PacketSpec,
  PSH,
  SYN,
} from "../../datapath/conntrack/testing/packets.ts";
import { SwitchBench } from "../../datapath/conntrack/testing/switch_bench.ts";
import { formatConnection } from "../../datapath/conntrack/dump_text.ts";
import { seededRandom } from "../../datapath/testing/flows.ts";
import { frameOf } from "../../datapath/testing/frames.ts";
import { RecordingPort } from "../../datapath/testing/ports.ts";
import { say } from "../output.ts";
import { CONNTRACK_DIFFERENCES, type ConntrackDifference } from "./conntrack_differences.ts";
import { GrowingCapture, OvsControl } from "./ovs_control.ts";
import { hasOvs, OVS_DATAPATH, OvsDummy } from "./ovs_dummy.ts";

/** What a conversation's packets are sent by: inside (port 1) or outside (port 2). */
type Step = readonly [port: 1 | 2, spec: PacketSpec];

interface Scenario {
  readonly name: string;
  /** Actions of ct behind port 1 and port 2. */
  readonly inside: string;
  readonly outside: string;
  readonly steps: readonly Step[];
}

const ETH = "eth(),eth_type(0x0800)";
/** Bits of ct_state that a flow can tell apart: new, est, rel, rpl, inv, snat, dnat; trk is always there. */
const STATES = Array.from({ length: 256 }, (_, bits) => bits).filter((bits) =>
  (bits & 0x20) !== 0 && ((bits & 0x10) === 0 || bits === 0x30) && (bits & 3) !== 3
);
const NAMES = ["new", "est", "rel", "rpl", "inv", "trk", "snat", "dnat"];

function stateText(bits: number): string {
  return NAMES.map((name, bit) => `${bits >> bit & 1 ? "+" : "-"}${name}`).join("");
}

/** What writes the state and the mark of a packet behind ct into its Ethernet addresses. */
function stateFlows(bits: number, port: number): [string, string][] {
  return [0, 7].map((mark) => {
    const mac = `02:00:00:00:0${mark}:${bits.toString(16).padStart(2, "0")}`;
    const state = `ct_state(${stateText(bits)}),ct_mark(${mark})`;
    return [
      `in_port(${port}),recirc_id(0x64),${state},${ETH},ipv4(frag=no)`,
      `set(eth(src=${mac},dst=${mac})),3`,
    ];
  });
}

/** The flows of both switches. */
function flowsOf({ inside, outside }: Scenario): [string, string][] {
  return [
    [`in_port(1),recirc_id(0),${ETH},ipv4(frag=no)`, `${inside},recirc(100)`],
    [`in_port(2),recirc_id(0),${ETH},ipv4(frag=no)`, `${outside},recirc(100)`],
    ...STATES.flatMap((bits) => [1, 2].flatMap((port) => stateFlows(bits, port))),
  ];
}

function frame(spec: PacketSpec): Uint8Array {
  const bytes = frameOf(makePacket(spec));
  bytes.set([2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2]);
  return bytes;
}

const A = { src: "10.0.0.1", dst: "10.0.0.2" };
const B = { src: "10.0.0.2", dst: "10.0.0.1" };

function tcp(
  seed: number,
  { client = A, server = B, port = 80 }: {
    client?: { src: string; dst: string };
    server?: { src: string; dst: string };
    port?: number;
  } = {},
): Step[] {
  const random = seededRandom(seed);
  const sport = 1024 + random(60_000);
  const there = (rest: Partial<PacketSpec>): Step => [1, {
    ...client,
    sport,
    dport: 80,
    window: 5000,
    ...rest,
  }];
  const back = (rest: Partial<PacketSpec>): Step => [2, {
    ...server,
    sport: port,
    dport: sport,
    window: 5000,
    ...rest,
  }];
  const [c, s] = [random(0x7fffffff), random(0x7fffffff)];
  const text = "x".repeat(1 + random(400));
  const size = text.length;
  return [
    there({ seq: c, flags: SYN }),
    back({ seq: s, ack: c + 1, flags: SYN | ACK }),
    there({ seq: c + 1, ack: s + 1, flags: ACK }),
    there({ seq: c + 1, ack: s + 1, flags: ACK | PSH, payload: text }),
    back({ seq: s + 1, ack: c + 1 + size, flags: ACK }),
    back({ seq: s + 1, ack: c + 1 + size, flags: ACK | PSH, payload: text }),
    there({ seq: c + 1 + size, ack: s + 1 + size, flags: ACK }),
    there({ seq: c + 1 + size, ack: s + 1 + size, flags: ACK | FIN }),
    back({ seq: s + 1 + size, ack: c + 2 + size, flags: ACK | FIN }),
    there({ seq: c + 2 + size, ack: s + 2 + size, flags: ACK }),
  ];
}

function udp(sport: number, server: { src: string; dst: string } = B, dport = sport): Step[] {
  const there: Step = [1, { ...A, protocol: 17, sport, dport: 53, payload: "question" }];
  const back: Step = [2, { ...server, protocol: 17, sport: 53, dport, payload: "answer" }];
  return [there, back, there, back];
}

function ping(id: number, server: { src: string; dst: string } = B): Step[] {
  const there: Step = [1, { ...A, protocol: 1, type: 8, id, payload: "ping" }];
  return [there, [2, { ...server, protocol: 1, type: 0, id, payload: "ping" }], there];
}

/** A port unreachable about what port 1 sent. */
function unreachable(about: PacketSpec, to: string): Step {
  const packet = frame(about).slice(14, 14 + 28);
  return [2, { src: "10.0.0.2", dst: to, protocol: 1, type: 3, code: 3, payload: packet }];
}

const COMMIT = "ct(commit,zone=5,mark=7)";
const OUTSIDE = { src: "10.0.0.2", dst: "192.0.2.1" };

const SCENARIOS: readonly Scenario[] = [
  { name: "UDP", inside: COMMIT, outside: "ct(zone=5)", steps: [...udp(1000), ...udp(1001)] },
  { name: "ping", inside: COMMIT, outside: "ct(zone=5)", steps: [...ping(7), ...ping(8)] },
  {
    name: "TCP",
    inside: COMMIT,
    outside: "ct(zone=5)",
    steps: [1, 2, 3, 4].flatMap((n) => tcp(n)),
  },
  {
    name: "replies of nobody's connection",
    inside: "ct(zone=5)",
    outside: "ct(zone=5)",
    steps: [
      [2, { ...B, protocol: 17, sport: 53, dport: 1 }],
      [2, { ...B, protocol: 1, type: 0, id: 9 }],
      [1, { ...A, protocol: 17, sport: 1, dport: 53 }],
      [1, { ...A, flags: SYN, seq: 1 }],
    ],
  },
  {
    name: "ICMP errors",
    inside: COMMIT,
    outside: "ct(zone=5)",
    steps: [
      [1, { ...A, protocol: 17, sport: 2000, dport: 53 }],
      unreachable({ ...A, protocol: 17, sport: 2000, dport: 53 }, "10.0.0.1"),
      unreachable({ ...A, protocol: 17, sport: 2001, dport: 53 }, "10.0.0.1"),
    ],
  },
  {
    name: "source translation",
    inside: "ct(commit,zone=5,mark=7,nat(src=192.0.2.1))",
    outside: "ct(zone=5,nat)",
    steps: [...udp(3000, OUTSIDE), ...ping(9, OUTSIDE), ...tcp(5, { server: OUTSIDE })],
  },
  {
    name: "source translation to one port",
    inside: "ct(commit,zone=5,mark=7,nat(src=192.0.2.1:4000))",
    outside: "ct(zone=5,nat)",
    steps: udp(3001, OUTSIDE, 4000),
  },
  {
    name: "destination translation",
    inside: "ct(commit,zone=5,mark=7,nat(dst=10.0.0.9:8080))",
    outside: "ct(zone=5,nat)",
    steps: tcp(6, { server: { src: "10.0.0.9", dst: "10.0.0.1" }, port: 8080 }),
  },
  {
    name: "an ICMP error through source translation",
    inside: "ct(commit,zone=5,mark=7,nat(src=192.0.2.1))",
    outside: "ct(zone=5,nat)",
    steps: [
      [1, { ...A, protocol: 17, sport: 2000, dport: 53 }],
      unreachable(
        { src: "192.0.2.1", dst: "10.0.0.2", protocol: 17, sport: 2000, dport: 53 },
        "192.0.2.1",
      ),
    ],
  },
];

/** A frame of a local experiment's type: all that is sent before it is there when it is. */
const SENTINEL = "ffffffffffff020000000001" + "88b5" + "5e".repeat(50);

const SENTINEL_FLOWS: readonly (readonly [string, string])[] = [1, 2].map((
  port,
) => [`in_port(${port}),eth(),eth_type(0x88b5)`, "3"]);

/** How often the capture file is looked at before a packet counts as lost. */
const TRIES_MAX = 5000;

/** Differences that were met. */
const met = new Set<ConntrackDifference>();

/** Our frame, `3: ` before it, with the state that Open vSwitch finds. */
function asTheirs(text: string, scenario: string, port: number): string {
  const bits = parseInt(text.slice(13, 15), 16);
  let theirs = bits;
  for (const difference of CONNTRACK_DIFFERENCES) {
    const before = theirs;
    theirs = difference.state?.(theirs, scenario, port) ?? theirs;
    if (theirs !== before) met.add(difference);
  }
  const byte = theirs.toString(16).padStart(2, "0");
  return text.slice(0, 13) + byte + text.slice(15, 25) + byte + text.slice(27);
}

function normalised(dump: readonly string[]): string[] {
  return dump.filter((line) => line !== "").map((line) =>
    CONNTRACK_DIFFERENCES.reduce((text, difference) => {
      const changed = difference.line?.(text) ?? text;
      if (changed !== text) met.add(difference);
      return changed;
    }, line)
  ).toSorted();
}

Deno.test({
  name: "connection tracking: states, marks, translations and connections are Open vSwitch's",
  ignore: !hasOvs(),
  fn: async (t) => {
    const ovs = await OvsDummy.start(4);
    const control = await OvsControl.open(ovs.socket);
    const capture = new GrowingCapture(ovs.txPcap(3));
    let packets = 0;
    try {
      await control.command("revalidator/pause");
      for (const scenario of SCENARIOS) {
        await t.step(scenario.name, async () => {
          const flows = flowsOf(scenario);
          await control.command("dpctl/del-flows", OVS_DATAPATH);
          await control.command("dpctl/flush-conntrack");
          for (const [flow, actions] of [...flows, ...SENTINEL_FLOWS]) {
            await control.command("dpctl/add-flow", OVS_DATAPATH, flow, actions);
          }
          const ports = [1, 2, 3].map((portNo) => new RecordingPort(portNo));
          const bench = new SwitchBench(flows, { ports });
          for (const [at, [port, spec]] of scenario.steps.entries()) {
            const bytes = frame(spec);
            await control.command("netdev-dummy/receive", `p${port}`, bytes.toHex());
            await control.command("netdev-dummy/receive", `p${port}`, SENTINEL);
            const theirs: string[] = [];
            for (let tries = 0; theirs.at(-1) !== SENTINEL; tries++) {
              assert.ok(tries < TRIES_MAX, `packet ${at}: nothing comes any more: ${theirs}`);
              theirs.push(...capture.next());
              if (theirs.at(-1) !== SENTINEL) await control.command("version");
            }
            const ours = bench.receive(port, bytes).map((text) =>
              asTheirs(text, scenario.name, port)
            );
            const what = `packet ${at}: ${JSON.stringify(spec)}; ${JSON.stringify(bench.drops())}`;
            assert.deepEqual(ours, theirs.slice(0, -1).map((hex) => `3: ${hex}`), what);
            packets++;
          }
          const dump = await control.command("dpctl/dump-conntrack", OVS_DATAPATH, "zone=5");
          const ours: string[] = [];
          bench.conntrack.dump(bench.nowMs, {}, 1, (one) => ours.push(formatConnection(one)));
          assert.deepEqual(normalised(ours), normalised(dump.split("\n")));
        });
      }
    } finally {
      control.close();
      await ovs.stop();
    }
    assert.deepEqual([...met].length, CONNTRACK_DIFFERENCES.length);
    say(`${packets} packets, ${met.size} differences`);
  },
});
