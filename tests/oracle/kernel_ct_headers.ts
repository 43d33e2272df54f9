/** Scenarios of connection tracking: what stands between the IP header and the ports, rightly or not. */
import type { PacketSpec } from "../../datapath/conntrack/testing/packets.ts";
import { finish, sum } from "../../datapath/packet/checksum.ts";
import {
  A,
  A6,
  fragments,
  frameBytes,
  ICMP,
  send,
  sendWith,
  twoSides,
  UDP,
} from "./kernel_ct_frames.ts";
import type { CtScenario, CtStep, FrameStep } from "./kernel_ct_scenario.ts";

const L3 = 14;
const HOP = 0;
const ROUTING = 43;
const FRAGMENT = 44;
const AUTH = 51;
const NONE = 59;
const DESTINATION = 60;

/** An extension header: its number, and its bytes with the next header's number to be filled in. */
interface Extension {
  readonly number: number;
  readonly bytes: readonly number[];
}

/** Headers of options, `units` times 8 bytes and 8, padded (RFC 8200 §4.2). */
const options = (number: number, units = 0): Extension => ({
  number,
  bytes: [0, units, 1, 4 + units * 8, ...Array<number>(4 + units * 8).fill(0)],
});
const routing: Extension = { number: ROUTING, bytes: [0, 0, 4, 0, 0, 0, 0, 0] };
const atomic: Extension = { number: FRAGMENT, bytes: [0, 0, 0, 0, 0, 0, 0, 7] };
const auth: Extension = { number: AUTH, bytes: [0, 1, ...Array<number>(10).fill(0)] };

/** An IPv6 packet with extension headers in front of its ports. `cut`: bytes that are missing at its end. */
function extended(spec: PacketSpec, extensions: readonly Extension[], cut = 0): FrameStep {
  const whole = frameBytes(spec);
  const last = whole[L3 + 6]!;
  const chain = extensions.flatMap(({ bytes }, at) => {
    const [, ...rest] = bytes;
    return [extensions[at + 1]?.number ?? last, ...rest];
  });
  const bytes = new Uint8Array([...whole.slice(0, L3 + 40), ...chain, ...whole.slice(L3 + 40)]);
  bytes[L3 + 6] = extensions[0]?.number ?? last;
  const end = bytes.length - cut;
  new DataView(bytes.buffer).setUint16(L3 + 4, end - L3 - 40);
  return { port: 1, frame: bytes.slice(0, end).toHex() };
}

/** An IPv4 packet with options. */
function withOptions(spec: PacketSpec, bytes: readonly number[]): FrameStep {
  const whole = frameBytes(spec);
  const all = new Uint8Array([...whole.slice(0, L3 + 20), ...bytes, ...whole.slice(L3 + 20)]);
  const view = new DataView(all.buffer);
  all[L3] = 0x45 + bytes.length / 4;
  view.setUint16(L3 + 2, all.length - L3);
  view.setUint16(L3 + 10, 0);
  view.setUint16(L3 + 10, finish(sum(view, L3, L3 + 20 + bytes.length)), true);
  return { port: 1, frame: all.toHex() };
}

/** Each packet has a port of its own. */
function chains(): CtStep[] {
  let sport = 3000;
  const step = (extensions: readonly Extension[], cut = 0): CtStep =>
    extended({ ...A6, protocol: UDP, sport: sport++, dport: 53, payload: "x" }, extensions, cut);
  return [
    step([options(HOP)]),
    step([options(DESTINATION, 2)]),
    step([options(HOP), routing, options(DESTINATION)]),
    step([auth]),
    step([atomic]),
    step([options(HOP), atomic]),
    step([options(DESTINATION), options(HOP)]),
    step(Array.from({ length: 8 }, () => options(DESTINATION))),
    step(Array.from({ length: 20 }, () => options(DESTINATION))),
    step([{ number: NONE, bytes: [] }]),
    step([{ number: NONE, bytes: [0, 0, 0, 0, 0, 0, 0, 0] }]),
    step([{ number: HOP, bytes: [0, 200, 1, 4, 0, 0, 0, 0] }]),
    step([{ number: AUTH, bytes: [0, 200, 0, 0, 0, 0, 0, 0] }]),
    // Ends within an extension header, behind one, within the UDP header.
    step([options(HOP, 1)], 17),
    step([options(HOP, 1)], 9),
    step([options(HOP, 1)], 4),
    step([], 9),
    step([], 5),
  ];
}

function optionsOfIpv4(): CtStep[] {
  let sport = 3000;
  const step = (bytes: readonly number[]): CtStep =>
    withOptions({ ...A, protocol: UDP, sport: sport++, dport: 53, payload: "x" }, bytes);
  return [
    step([1, 1, 1, 0]),
    step([7, 7, 4, 0, 0, 0, 0, 0]),
    step([148, 4, 0, 0]),
    step([131, 200, 4, 0]),
    step(Array<number>(40).fill(1)),
  ];
}

/** A frame with tags in front of its IP packet. */
function tagged(step: FrameStep, tags: readonly string[]): FrameStep {
  return { ...step, frame: step.frame.slice(0, 24) + tags.join("") + step.frame.slice(24) };
}

const VLAN = "in_port(1),eth(),eth_type(0x8100),vlan(vid=5,pcp=0),encap(eth_type(0x0800),ipv4())";

function inTags(): CtStep[] {
  const udp = { ...A, protocol: UDP, sport: 1, dport: 53, payload: "x" };
  const steps = [
    send(1, udp),
    ...fragments(1, { ...udp, sport: 2, payload: "x".repeat(2000) }, 9, [
      { from: 0, to: 1200 },
      { from: 1200 },
    ]),
    ...fragments(1, { ...udp, sport: 3, payload: "x".repeat(200) }, 10, [
      { from: 0, to: 104 },
      { from: 104, to: 152 },
      { from: 152 },
    ]),
  ];
  return steps.map((step) => tagged(step, ["81000005"]));
}

/** IPv4 headers whose lengths are not those of the packet. */
function lengths(): CtStep[] {
  const udp = (sport: number): PacketSpec => ({
    ...A,
    protocol: UDP,
    sport,
    dport: 53,
    payload: "0123456789",
  });
  return [
    // The packet is longer, by padding; shorter; as short as its header; the header is longer than it says.
    sendWith(1, udp(1), { 3: 30 }),
    sendWith(1, udp(2), { 3: 60 }),
    sendWith(1, udp(4), { 0: 0x4f }),
    sendWith(1, udp(5), { 2: 0xff, 3: 0xff }),
    // A wrong checksum of the header, no checksum at all.
    withSum(udp(6), 0x1234),
    withSum(udp(7), 0),
    withSum({ ...A, protocol: 253, payload: "x" }, 0x1234),
    withSum({ ...A, protocol: ICMP, type: 8, id: 5 }, 0x1234),
    // UDP is shorter than the IP packet, by its own length: with the sum of all, or of its part.
    ...[0, 1, 2].map((more) => shorterUdp(udp(8 + more), more)),
  ];
}

/** UDP without its last bytes, which the IP packet still has; `more`: added to its checksum. */
function shorterUdp(spec: PacketSpec, more: number): FrameStep {
  const whole = frameBytes(spec);
  const view = new DataView(whole.buffer);
  view.setUint16(L3 + 24, view.getUint16(L3 + 24) - 2);
  view.setUint16(L3 + 26, view.getUint16(L3 + 26) + more);
  return { port: 1, frame: whole.toHex() };
}

function withSum(spec: PacketSpec, value: number): FrameStep {
  const whole = frameBytes(spec);
  new DataView(whole.buffer).setUint16(L3 + 10, value);
  return { port: 1, frame: whole.toHex() };
}

export const HEADER_SCENARIOS: readonly CtScenario[] = [
  { name: "extension headers", flows: twoSides("ct(commit)", "ct", 6), steps: chains() },
  {
    name: "extension headers in front of what is translated",
    flows: twoSides("ct(commit,nat(src=2001:db8::1))", "ct(nat)", 6),
    steps: chains().filter((_, at) => at !== 8),
  },
  { name: "options of IPv4", flows: twoSides("ct(commit)", "ct"), steps: optionsOfIpv4() },
  {
    name: "options of IPv4 in front of what is translated",
    flows: twoSides("ct(commit,nat(src=192.0.2.1:7000))", "ct(nat)"),
    steps: optionsOfIpv4().slice(0, 1),
  },
  {
    name: "lengths and checksums of IPv4 headers",
    flows: twoSides("ct(commit)", "ct"),
    steps: lengths(),
  },
  {
    name: "packets in a VLAN",
    flows: [
      [`${VLAN},recirc_id(0)`, "ct(commit),recirc(100)"],
      [`${VLAN},recirc_id(0x64)`, "userspace(pid=1),2"],
    ],
    steps: inTags(),
  },
  {
    name: "packets in a VLAN that are translated",
    flows: [
      [`${VLAN},recirc_id(0)`, "ct(commit,nat(src=192.0.2.1)),recirc(100)"],
      [`${VLAN},recirc_id(0x64)`, "userspace(pid=1),2"],
    ],
    steps: inTags(),
  },
  {
    name: "packets in a VLAN that is popped",
    flows: [
      [`${VLAN},recirc_id(0)`, "ct(commit),recirc(100)"],
      [`${VLAN},recirc_id(0x64)`, "pop_vlan,userspace(pid=1),2"],
    ],
    steps: inTags(),
  },
  {
    name: "an IPv4 packet that ends within its ports",
    flows: twoSides("ct(commit)", "ct"),
    steps: [sendWith(1, { ...A, protocol: UDP, sport: 2, dport: 53 }, { 3: 21 })],
  },
  {
    name: "an IPv6 packet without a length",
    flows: twoSides("ct(commit)", "ct", 6),
    steps: [
      send(1, { ...A6, protocol: UDP, sport: 1, dport: 53, payload: "x" }),
      zeroLength({ ...A6, protocol: UDP, sport: 2, dport: 53, payload: "x" }),
    ],
  },
];

function zeroLength(spec: PacketSpec): FrameStep {
  const whole = frameBytes(spec);
  whole.fill(0, L3 + 4, L3 + 6);
  return { port: 1, frame: whole.toHex() };
}
