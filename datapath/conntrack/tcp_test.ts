import assert from "node:assert/strict";
import { CT_INVALIDS } from "./reasons.ts";
import { ConntrackControl } from "./control.ts";
import { ACK, FIN, Lab, makePacket, type PacketSpec, plan, RST, SYN } from "./testing/packets.ts";
import type { TrackerOptions } from "./tracker.ts";

const COMMIT = plan({ commit: true });
const LOOK = plan();

/**
 * One segment of a scenario: direction (> original, < reply), flags, sequence, acknowledgment, bytes of
 * payload, window, options; then what is expected of it: state of the packet, or why it is invalid, and
 * of the connection.
 */
interface Step {
  readonly dir: ">" | "<";
  readonly flags: number;
  readonly seq: number;
  readonly ack?: number;
  readonly size?: number;
  readonly window?: number;
  readonly options?: readonly number[];
  /** Names of ct_state, or a reason of CT_INVALIDS. */
  readonly is: string;
  /** TCP state of the connection behind it; "" when there is none. */
  readonly state?: string;
  /** Seconds that pass before it. */
  readonly after?: number;
}

const A = 1000; // the client's first sequence number
const B = 5000; // the server's

function run(steps: readonly Step[], options: TrackerOptions = {}): Lab {
  const lab = new Lab(options);
  const control = new ConntrackControl(lab.buffers);
  steps.forEach((step, index) => {
    if (step.after !== undefined) lab.pass(step.after * 1000);
    const ends: PacketSpec = step.dir === ">"
      ? { src: "10.0.0.1", dst: "10.0.0.2", sport: 1234, dport: 80 }
      : { src: "10.0.0.2", dst: "10.0.0.1", sport: 80, dport: 1234 };
    const packet = makePacket({
      ...ends,
      flags: step.flags,
      seq: step.seq,
      ack: step.ack ?? 0,
      window: step.window ?? 1000,
      options: step.options ?? [],
      payload: "x".repeat(step.size ?? 0),
    });
    const state = lab.state(packet, COMMIT);
    const reason = CT_INVALIDS[lab.ct.invalidReason]?.[0];
    const label = `step ${index + 1}`;
    assert.equal(lab.ct.invalidReason === 0 ? state : reason, step.is, label);
    if (step.state === undefined) return;
    let found = "";
    control.dump(lab.nowMs, {}, 1, (connection) => found = connection.tcp?.state ?? "");
    assert.equal(found, step.state, label);
  });
  return lab;
}

const HANDSHAKE: readonly Step[] = [
  { dir: ">", flags: SYN, seq: A, is: "new+trk", state: "SYN_SENT" },
  { dir: "<", flags: SYN | ACK, seq: B, ack: A + 1, is: "est+rpl+trk", state: "SYN_RECV" },
  { dir: ">", flags: ACK, seq: A + 1, ack: B + 1, is: "est+trk", state: "ESTABLISHED" },
];

Deno.test("TcpTracker: handshake, data, orderly close from the original side", () => {
  run([
    ...HANDSHAKE,
    { dir: ">", flags: ACK, seq: A + 1, ack: B + 1, size: 100, is: "est+trk" },
    { dir: "<", flags: ACK, seq: B + 1, ack: A + 101, size: 200, is: "est+rpl+trk" },
    { dir: ">", flags: ACK | FIN, seq: A + 101, ack: B + 201, is: "est+trk", state: "FIN_WAIT" },
    { dir: "<", flags: ACK, seq: B + 201, ack: A + 102, is: "est+rpl+trk", state: "CLOSE_WAIT" },
    {
      dir: "<",
      flags: ACK | FIN,
      seq: B + 201,
      ack: A + 102,
      is: "est+rpl+trk",
      state: "LAST_ACK",
    },
    { dir: ">", flags: ACK, seq: A + 102, ack: B + 202, is: "est+trk", state: "TIME_WAIT" },
    { dir: ">", flags: ACK, seq: A + 102, ack: B + 202, after: 121, is: "new+trk" },
  ]);
});

Deno.test("TcpTracker: both sides close at once", () => {
  run([
    ...HANDSHAKE,
    { dir: ">", flags: ACK | FIN, seq: A + 1, ack: B + 1, is: "est+trk", state: "FIN_WAIT" },
    { dir: "<", flags: ACK | FIN, seq: B + 1, ack: A + 1, is: "est+rpl+trk", state: "LAST_ACK" },
    { dir: ">", flags: ACK, seq: A + 2, ack: B + 2, is: "est+trk", state: "TIME_WAIT" },
    { dir: "<", flags: ACK, seq: B + 2, ack: A + 2, is: "est+rpl+trk", state: "TIME_WAIT" },
  ]);
});

Deno.test("TcpTracker: a port used again in TIME_WAIT is a new connection", () => {
  run([
    ...HANDSHAKE,
    { dir: ">", flags: ACK | FIN, seq: A + 1, ack: B + 1, is: "est+trk" },
    { dir: "<", flags: ACK | FIN, seq: B + 1, ack: A + 2, is: "est+rpl+trk" },
    { dir: ">", flags: ACK, seq: A + 2, ack: B + 2, is: "est+trk", state: "TIME_WAIT" },
    { dir: ">", flags: SYN, seq: 90000, is: "new+trk", state: "SYN_SENT" },
  ]);
});

Deno.test("TcpTracker: simultaneous open", () => {
  run([
    { dir: ">", flags: SYN, seq: A, is: "new+trk", state: "SYN_SENT" },
    { dir: "<", flags: SYN, seq: B, is: "est+rpl+trk", state: "SYN_SENT2" },
    { dir: ">", flags: SYN | ACK, seq: A, ack: B + 1, is: "est+trk", state: "SYN_RECV" },
    { dir: "<", flags: SYN | ACK, seq: B, ack: A + 1, is: "est+rpl+trk", state: "SYN_RECV" },
    { dir: "<", flags: ACK, seq: B + 1, ack: A + 1, is: "est+rpl+trk", state: "ESTABLISHED" },
  ]);
});

Deno.test("TcpTracker: resets in and out of the window", () => {
  run([
    ...HANDSHAKE,
    { dir: "<", flags: ACK, seq: B + 1, ack: A + 1, size: 10, is: "est+rpl+trk" },
    { dir: ">", flags: ACK, seq: A + 1, ack: B + 11, is: "est+trk" },
    // Older than what was acknowledged.
    { dir: "<", flags: RST, seq: B - 100, is: "tcp-rst", state: "ESTABLISHED" },
    // Beyond the window.
    { dir: "<", flags: RST, seq: B + 90000, is: "tcp-seq-over", state: "ESTABLISHED" },
    // In the window, but not exact: the receiver will ask back (RFC 5961).
    { dir: "<", flags: RST, seq: B + 50, is: "est+rpl+trk", state: "ESTABLISHED" },
    { dir: "<", flags: RST, seq: B + 11, is: "est+rpl+trk", state: "CLOSE" },
    { dir: ">", flags: ACK, seq: A + 1, ack: B + 11, is: "est+trk", state: "CLOSE" },
  ]);
});

Deno.test("TcpTracker: a refused connection leaves nothing", () => {
  run([
    { dir: ">", flags: SYN, seq: A, is: "new+trk", state: "SYN_SENT" },
    { dir: "<", flags: RST | ACK, seq: 0, ack: A + 1, is: "est+rpl+trk", state: "" },
  ]);
});

Deno.test("TcpTracker: data beyond the window, acknowledgments of what was not sent", () => {
  run([
    ...HANDSHAKE,
    { dir: ">", flags: ACK, seq: A + 1, ack: B + 1, size: 1000, is: "est+trk" },
    { dir: ">", flags: ACK, seq: A + 90000, ack: B + 1, size: 10, is: "tcp-seq-over" },
    { dir: "<", flags: ACK, seq: B + 1, ack: A + 70000, is: "tcp-ack-over" },
    { dir: "<", flags: ACK, seq: B + 1, ack: A + 1001, is: "est+rpl+trk" },
  ]);
});

Deno.test("TcpTracker: with tcpLiberal, and with tcpLiberalEstablished, the same passes", () => {
  for (const options of [{ tcpLiberal: true }, { tcpLiberalEstablished: true }]) {
    run([
      ...HANDSHAKE,
      { dir: ">", flags: ACK, seq: A + 90000, ack: B + 1, size: 10, is: "est+trk" },
      { dir: "<", flags: ACK, seq: B + 1, ack: A + 70000, is: "est+rpl+trk" },
    ], options);
  }
});

Deno.test("TcpTracker: window scaling needs both sides", () => {
  const scale = [3, 3, 7, 1];
  const open = (server: readonly number[]): Step[] => [
    { dir: ">", flags: SYN, seq: A, options: scale, is: "new+trk" },
    { dir: "<", flags: SYN | ACK, seq: B, ack: A + 1, options: server, is: "est+rpl+trk" },
    { dir: ">", flags: ACK, seq: A + 1, ack: B + 1, is: "est+trk" },
    { dir: "<", flags: ACK, seq: B + 1, ack: A + 1, is: "est+rpl+trk" },
  ];
  const far: Step = { dir: ">", flags: ACK, seq: A + 100_000, ack: B + 1, size: 10, is: "est+trk" };
  run([...open(scale), far]);
  run([...open([2, 4, 5, 0xb4]), { ...far, is: "tcp-seq-over" }]);
});

Deno.test("TcpTracker: repeated segments are valid, and a repeated SYN does not prolong", () => {
  run([
    { dir: ">", flags: SYN, seq: A, is: "new+trk", state: "SYN_SENT" },
    { dir: ">", flags: SYN, seq: A, after: 100, is: "new+trk", state: "SYN_SENT" },
    { dir: ">", flags: SYN, seq: A, after: 19, is: "new+trk", state: "SYN_SENT" },
    { dir: "<", flags: SYN | ACK, seq: B, ack: A + 1, after: 2, is: "tcp-new", state: "" },
  ]);
  run([
    ...HANDSHAKE,
    { dir: ">", flags: ACK, seq: A + 1, ack: B + 1, size: 500, is: "est+trk" },
    { dir: ">", flags: ACK, seq: A + 1, ack: B + 1, size: 500, is: "est+trk" },
    { dir: "<", flags: SYN | ACK, seq: B, ack: A + 1, is: "est+rpl+trk", state: "ESTABLISHED" },
  ]);
});

Deno.test("TcpTracker: an established connection is picked up, unless tcpLoose is off", () => {
  const data: Step[] = [
    { dir: ">", flags: ACK, seq: A, ack: B, size: 10, is: "new+trk", state: "ESTABLISHED" },
    { dir: "<", flags: ACK, seq: B, ack: A + 10, size: 5000, is: "est+rpl+trk" },
    { dir: ">", flags: ACK, seq: A + 10, ack: B + 5000, is: "est+trk", state: "ESTABLISHED" },
  ];
  run(data);
  run([{ ...data[0]!, is: "tcp-new", state: "" }], { tcpLoose: false });
  // Without an answer it does not live for days.
  run([data[0]!, { ...data[2]!, after: 301, is: "new+trk" }]);
});

Deno.test("TcpTracker: a reset ends a connection that was picked up before both have agreed on it", () => {
  run([
    { dir: ">", flags: ACK, seq: A, ack: B, size: 10, is: "new+trk", state: "ESTABLISHED" },
    { dir: "<", flags: ACK, seq: B, ack: A, size: 10, is: "est+rpl+trk", state: "ESTABLISHED" },
    { dir: "<", flags: RST, seq: B + 50, is: "est+rpl+trk", state: "CLOSE" },
  ]);
  run([
    { dir: ">", flags: ACK, seq: A, ack: B, size: 10, is: "new+trk", state: "ESTABLISHED" },
    { dir: "<", flags: ACK, seq: B, ack: A, size: 10, is: "est+rpl+trk", state: "ESTABLISHED" },
    { dir: ">", flags: ACK, seq: A + 10, ack: B, is: "est+trk", state: "ESTABLISHED" },
    { dir: "<", flags: RST, seq: B + 50, is: "est+rpl+trk", state: "ESTABLISHED" },
  ]);
});

Deno.test("TcpTracker: nonsense opens nothing", () => {
  for (
    const [flags, is] of [
      [0, "tcp-flags"],
      [SYN | FIN, "tcp-flags"],
      [SYN | RST, "tcp-flags"],
      [FIN, "tcp-flags"],
      [0x3f, "tcp-flags"],
      [SYN | ACK, "tcp-new"],
      [FIN | ACK, "tcp-new"],
      [RST, "tcp-new"],
      [RST | ACK, "tcp-new"],
    ] as const
  ) run([{ dir: ">", flags, seq: A, is, state: "" }]);
});

Deno.test("TcpTracker: a client that restarts gets through to the server's answer", () => {
  run([
    ...HANDSHAKE,
    // The SYN is let through; the server's challenge makes the client reset the old connection.
    { dir: ">", flags: SYN, seq: 70000, is: "est+trk", state: "ESTABLISHED" },
    { dir: "<", flags: ACK, seq: B + 1, ack: A + 1, is: "est+rpl+trk", state: "ESTABLISHED" },
    { dir: ">", flags: RST, seq: A + 1, is: "est+trk", state: "CLOSE" },
    { dir: ">", flags: SYN, seq: 70000, is: "new+trk", state: "SYN_SENT" },
  ]);
  // A server that has lost the connection answers the SYN at once.
  run([
    ...HANDSHAKE,
    { dir: ">", flags: SYN, seq: 70000, is: "est+trk", state: "ESTABLISHED" },
    { dir: "<", flags: SYN | ACK, seq: 1, ack: 70001, is: "est+rpl+trk", state: "SYN_RECV" },
    { dir: ">", flags: ACK, seq: 70001, ack: 2, is: "est+trk", state: "ESTABLISHED" },
    { dir: ">", flags: ACK, seq: 70001, ack: 2, size: 100, is: "est+trk" },
  ]);
});

Deno.test("TcpTracker: a flood of half-open connections is bounded and spares the assured", () => {
  const lab = new Lab({ connectionsMax: 64 });
  const host = (sport: number): PacketSpec => ({ src: "10.0.0.1", dst: "10.0.0.2", sport });
  const back = (dport: number): PacketSpec => ({
    src: "10.0.0.2",
    dst: "10.0.0.1",
    sport: 80,
    dport,
  });
  for (let port = 1; port <= 16; port++) {
    lab.run(makePacket({ ...host(port), flags: SYN, seq: A }), COMMIT);
    lab.run(makePacket({ ...back(port), flags: SYN | ACK, seq: B, ack: A + 1 }), COMMIT);
    lab.run(makePacket({ ...host(port), flags: ACK, seq: A + 1, ack: B + 1 }), COMMIT);
  }
  for (let port = 2000; port < 6000; port++) {
    lab.run(makePacket({ ...host(port), flags: SYN, seq: A }), COMMIT);
    assert.ok(lab.tracker.table.count <= 64);
  }
  for (let port = 1; port <= 16; port++) {
    const packet = makePacket({ ...host(port), flags: ACK, seq: A + 1, ack: B + 1, payload: "x" });
    assert.equal(lab.state(packet, LOOK), "est+trk");
  }
});
