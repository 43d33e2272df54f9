/** Any actions on any bytes: nothing throws, nothing outside the frame is read or written, nothing is lost. */
import assert from "node:assert/strict";
import type { Action } from "./actions.ts";
import { GSO_TCPV4, GSO_UDP_L4, type Packet } from "../packet/packet.ts";
import { ACTION_TYPES, randomAction } from "../testing/actions.ts";
import { type Random, seededRandom } from "../testing/flows.ts";
import { CANARY, makeFrame, makeTunnelFrame, packetOf, ROOM } from "../testing/frames.ts";
import { RecordingPort } from "../testing/ports.ts";
import { runActions } from "../testing/run_actions.ts";
import { cases } from "../testing/cases.ts";

/** Those that packet threads can't run are here too: they drop. */
const TYPES = ACTION_TYPES.any;

function randomFrame(random: Random): Uint8Array {
  const isIpv6 = random(2) === 0;
  const protocol = (["tcp", "udp", "sctp", "icmp"] as const)[random(4)]!;
  const tags = [[], [0x81000005], [0x88a80001, 0x81000002]][random(3)]!;
  const made = makeFrame({ isIpv6, protocol, tags, payloadSize: random(60) });
  let { bytes } = made;
  const kind = random(8);
  if (kind === 0) bytes = makeTunnelFrame(bytes, { kind: "vxlan", isIpv6 }).bytes;
  if (kind === 1) bytes.set([0x88, [0x47, 0x48][random(2)]!], made.l3 - 2);
  if (kind === 2) bytes.set([0x89, 0x4f, 0, random(64), 1, 3], made.l3 - 2);
  if (kind === 3) bytes.set([0x08, 0x06, 0, 1, 8, 0, 6, 4, 0, 1], made.l3 - 2);
  if (kind === 4 && protocol === "icmp") bytes[made.l4] = 135 + random(2);
  for (let flips = random(3); flips > 0; flips--) bytes[random(bytes.length)] = random(256);
  return random(3) === 0 ? bytes.slice(0, 14 + random(bytes.length - 13)) : bytes.slice();
}

/** A packet with no room around it: whatever is written there shows. */
function randomPacket(random: Random): Packet {
  const frame = randomFrame(random);
  const packet = packetOf(frame);
  packet.headLimit = packet.start;
  packet.tailLimit = packet.end;
  if (random(3) === 0) {
    const csumStart = random(frame.length);
    Object.assign(packet, { needsCsum: true, csumStart, csumOffset: [2, 6, 8, 16][random(4)] });
    const gsoType = [0, GSO_TCPV4, GSO_UDP_L4][random(3)]!;
    if (gsoType !== 0) Object.assign(packet, { gsoType, gsoSize: 1 + random(100) });
  }
  if (random(10) === 0) {
    Object.assign(packet, { isL3: true, ethType: [0x800, 0x8847, 0x894f][random(3)] });
  }
  return packet;
}

function randomList(random: Random): Action[] {
  const list: Action[] = [];
  for (let count = 1 + random(6); count > 0; count--) {
    const kind = random(3);
    const type = kind === 0 ? "output" : kind === 1 ? "set" : TYPES[random(TYPES.length)]!;
    const action = randomAction(random, type, { depthMax: 2 });
    list.push(action.type === "output" ? { type: "output", port: 1 + random(3) } : action);
  }
  return list;
}

Deno.test("execute: any actions on any bytes", () => {
  const random = seededRandom(8);
  for (let run = 0; run < cases(20_000); run++) {
    const packet = randomPacket(random);
    const { bytes } = packet;
    const end = bytes.length - ROOM;
    const list = randomList(random);
    const takes = random(2) === 0;
    const port = new RecordingPort(1, { partial: takes, trains: takes, l3: takes });
    const ports = [port, new RecordingPort(2)];
    runActions(packet, list, { ports, flows: { 0: randomList(random) } });
    const around = [...bytes.subarray(0, ROOM), ...bytes.subarray(end)];
    assert(around.every((byte) => byte === CANARY), JSON.stringify(list));
  }
});
