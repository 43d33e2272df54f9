/** An example of each difference in kernel_packet_differences.ts: a frame, flows, and what both make of it. */
import {
  checksumField,
  ethernetFrame,
  labelStack,
  makeFrame,
  naiveCrc32c,
} from "../../datapath/testing/frames.ts";
import { GSO_TCPV4, GSO_TCPV6 } from "../../datapath/packet/packet.ts";
import { deviceBytes } from "./kernel_packet_frames.ts";
import { UPCALL_PID } from "./kernel_packet_shape.ts";

/** What a port is sent: how many frames, or each in the form of PacketOutput. */
export type Frames = number | readonly (string | RegExp)[];

/** What one of the two makes of an example. */
export interface Seen {
  /** By port number; the others are sent nothing. */
  readonly sent?: Readonly<Record<number, Frames>>;
  /** In the keys of the upcalls, as text. */
  readonly upcalls?: readonly RegExp[];
  /** In their packets, hexadecimal. */
  readonly packets?: readonly RegExp[];
  /** What the kernel says to a flow that it does not take. */
  readonly refused?: string;
}

export interface PacketExample {
  readonly inPort: number;
  /** In the form of PacketInput. */
  readonly frame: string;
  /** Match and actions, as text. */
  readonly flows: readonly (readonly [string, string])[];
  readonly ours: Seen;
  readonly theirs: Seen;
}

const IP = "eth_type(0x0800),ipv4(frag=no)";
const FROM_1 = `recirc_id(0),in_port(1),eth(),${IP}`;
const ANY = "recirc_id(0),in_port(1),eth()";
const PUSH_MPLS = "push_mpls(label=148,tc=0,ttl=64,bos=1,eth_type=0x8847)";
const LABEL = 148 << 12 | 0x100 | 64;
const MAC = "src=02:00:00:00:00:01,dst=02:00:00:00:00:02";
const MAC_BYTES = "020000000002020000000001";

const plain = makeFrame({ payloadSize: 60 }).bytes;
const tagged = makeFrame({ payloadSize: 60, tags: [0x81000005] }).bytes;
const TAGS_2 = [0x88a8e001, 0x81000064];
const TWO_TAGS =
  `recirc_id(0),in_port(1),eth(),eth_type(0x88a8),vlan(vid=1,pcp=7),encap(eth_type(0x8100),` +
  `vlan(vid=100,pcp=0),encap(${IP}))`;
const THREE_TAGS = "in_port(1),eth(),eth_type(0x8100),vlan(vid=3,pcp=0),encap(" +
  "eth_type(0x88a8),vlan(vid=1,pcp=7),encap())";
const TAGGED = "in_port(1),eth(),eth_type(0x8100),vlan(vid=5,pcp=0),encap()";
const TAGS_3 = [0x81000003, ...TAGS_2];
const twoTags = makeFrame({ tags: TAGS_2 });
const partial = makeFrame({ checksum: "partial" });
const NSH = "0fc60103" + "123456ff" + "11111111" + "22222222" + "33333333" + "44444444";
const PUSH_NSH = "push_nsh(flags=0,ttl=63,mdtype=1,np=3,spi=0x123456,si=255,c1=0x11111111," +
  "c2=0x22222222,c3=0x33333333,c4=0x44444444)";

/** A train of three segments. */
function train(options: Parameters<typeof makeFrame>[0] = {}): string {
  const frame = makeFrame({ ...options, payloadSize: 3000, checksum: "partial" });
  return deviceBytes(frame.bytes, {
    csumStart: frame.l4,
    csumOffset: 16,
    gsoType: options.isIpv6 === true ? GSO_TCPV6 : GSO_TCPV4,
    gsoSize: 1000,
    headersSize: frame.payload,
  });
}

/** What an L3 device is sent of a type. */
function l3(type: number, hex: string): string {
  return deviceBytes(Uint8Array.fromHex(hex), {}, type);
}

function labelled(frame: Uint8Array): Uint8Array<ArrayBuffer> {
  return ethernetFrame(0x8847, [...labelStack([LABEL]), ...frame.subarray(14)]);
}

/** The frame with a TTL of one less, and the checksum that goes with it. */
function withLessTtl(frame: Uint8Array, at: number): Uint8Array {
  const copy = frame.slice();
  copy[at + 8]!--;
  copy[at + 10]!++;
  return copy;
}

/** SCTP's checksum as the kernel has it after the source port was set, padding included. */
function paddedSctp(): { frame: Uint8Array; ours: Uint8Array; theirs: Uint8Array } {
  const of = (sourcePort: number): Uint8Array => {
    const { bytes } = makeFrame({ protocol: "sctp", payloadSize: 4, sourcePort });
    return Uint8Array.from([...bytes, ...new Array<number>(10).fill(0xee)]);
  };
  const field = 34 + checksumField(132);
  const sum = (bytes: Uint8Array): number => {
    const zeroed = bytes.slice(34);
    zeroed.fill(0, 8, 12);
    return naiveCrc32c(zeroed);
  };
  const [frame, ours] = [of(1000), of(1)];
  const theirs = ours.slice();
  const old = new DataView(frame.buffer).getUint32(field, true);
  new DataView(theirs.buffer).setUint32(field, old ^ sum(frame) ^ sum(ours), true);
  return { frame, ours, theirs };
}

const taggedLabel = ethernetFrame(
  0x8847,
  [...labelStack([LABEL]), ...plain.subarray(14)],
  [0x81000005],
);
const sctp = paddedSctp();
const long = makeFrame({ payloadSize: 300 }).bytes;

type ExampleName =
  | "tagInFront"
  | "twoTags"
  | "threeTags"
  | "tagOnL3"
  | "trainOnL3"
  | "trainBehindTags"
  | "trainBehindAuthentication"
  | "trainUnderLabels"
  | "cutTrain"
  | "cutChecksum"
  | "truncBeforePush"
  | "bottomSet"
  | "frameBelowLabel"
  | "shortFrame"
  | "malformedNsh"
  | "popLlc"
  | "sctpPadding"
  | "cutTag"
  | "cutIpv6"
  | "nestedList"
  | "partialChecksum"
  | "staleKey"
  | "upcallByReference"
  | "longOnL3"
  | "upcallOfTrain"
  | "hash"
  | "headersSize";

export const EXAMPLES: Readonly<Record<ExampleName, PacketExample>> = {
  tagInFront: {
    inPort: 1,
    frame: deviceBytes(tagged),
    flows: [[
      `in_port(1),eth(),eth_type(0x8100),vlan(vid=5,pcp=0),encap(${IP})`,
      `${PUSH_NSH},6`,
    ]],
    ours: { sent: { 6: [l3(0x894f, NSH + tagged.toHex())] } },
    theirs: {
      sent: { 6: [l3(0x894f, `${NSH.slice(0, 24)}81000005${NSH.slice(24)}${plain.toHex()}`)] },
    },
  },
  twoTags: {
    inPort: 1,
    frame: deviceBytes(twoTags.bytes),
    flows: [[TWO_TAGS, "dec_ttl(le_1()),2"]],
    ours: { sent: { 2: [deviceBytes(withLessTtl(twoTags.bytes, twoTags.l3))] } },
    theirs: { sent: { 2: [deviceBytes(twoTags.bytes)] } },
  },
  threeTags: {
    inPort: 1,
    frame: deviceBytes(twoTags.bytes),
    flows: [
      [TWO_TAGS, "push_vlan(vid=3,pcp=0),recirc(1),set(ipv4(src=10.0.0.9)),2"],
      [`recirc_id(1),${THREE_TAGS}`, "9"],
    ],
    ours: { sent: { 2: [deviceBytes(makeFrame({ tags: TAGS_3, source: 0x0a000009 }).bytes)] } },
    theirs: { sent: { 2: [/0a000001/] } },
  },
  tagOnL3: {
    inPort: 1,
    frame: deviceBytes(taggedLabel),
    flows: [[TAGGED, "6"]],
    ours: { sent: { 6: [l3(0x6558, taggedLabel.toHex())] } },
    theirs: { sent: { 6: [l3(0x8100, taggedLabel.toHex())] } },
  },
  longOnL3: {
    inPort: 1,
    frame: deviceBytes(makeFrame({ payloadSize: 1460 }).bytes),
    flows: [[ANY, "2,6"]],
    ours: { sent: { 2: 1, 6: 1 } },
    theirs: { sent: { 2: 1 } },
  },
  trainOnL3: {
    inPort: 1,
    frame: train(),
    flows: [[ANY, "6"]],
    ours: { sent: { 6: 1 } },
    theirs: {},
  },
  trainBehindTags: {
    inPort: 1,
    frame: train({ tags: TAGS_3 }),
    flows: [[THREE_TAGS, "2"]],
    ours: { sent: { 2: 3 } },
    theirs: { sent: { 2: 1 } },
  },
  trainBehindAuthentication: {
    inPort: 1,
    frame: train({
      isIpv6: true,
      extensions: [[51, [4, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, ...new Array<number>(12).fill(7)]]],
    }),
    flows: [[ANY, "2"]],
    ours: { sent: { 2: 1 } },
    theirs: {},
  },
  trainUnderLabels: {
    inPort: 1,
    frame: train(),
    flows: [[
      FROM_1,
      `add_mpls(label=148,tc=0,ttl=64,bos=1,eth_type=0x8847),push_eth(${MAC}),4`,
    ]],
    ours: { sent: { 4: 3 } },
    theirs: {},
  },
  cutTrain: {
    inPort: 1,
    frame: train(),
    flows: [[ANY, "trunc(60),4"]],
    ours: { sent: { 4: [/^.{140}$/] } },
    theirs: {},
  },
  cutChecksum: {
    inPort: 1,
    frame: deviceBytes(partial.bytes, { csumStart: 34, csumOffset: 16 }),
    flows: [[ANY, "trunc(40),4"]],
    ours: { sent: { 4: [deviceBytes(partial.bytes.subarray(0, 40))] } },
    theirs: {},
  },
  truncBeforePush: {
    inPort: 1,
    frame: deviceBytes(plain),
    flows: [[FROM_1, `trunc(50),${PUSH_MPLS},2`]],
    ours: { sent: { 2: [deviceBytes(labelled(plain).subarray(0, 50))] } },
    theirs: { sent: { 2: [deviceBytes(labelled(plain).subarray(0, 54))] } },
  },
  bottomSet: {
    inPort: 1,
    // As a label, the first word of an IP header of more than 255 bytes has the bottom of the stack.
    frame: deviceBytes(labelled(long)),
    flows: [[
      "recirc_id(0),in_port(1),eth(),eth_type(0x8847),mpls(ttl=64)",
      "set(mpls(bos=0)),recirc(1)",
    ]],
    ours: { upcalls: [/mpls\(label=148,tc=0,ttl=64,bos=0,label=\d+,tc=\d,ttl=\d+,bos=1\)/] },
    theirs: { upcalls: [/mpls\(label=148,tc=0,ttl=64,bos=0\)/] },
  },
  frameBelowLabel: {
    inPort: 6,
    frame: l3(0x0800, plain.slice(14).toHex()),
    flows: [[
      "in_port(6),packet_type(ns=1,id=0x800),eth_type(0x0800)",
      `${PUSH_MPLS},pop_mpls(eth_type=0x6558),push_eth(${MAC}),2`,
    ]],
    ours: {},
    theirs: {
      sent: { 2: [deviceBytes(Uint8Array.fromHex(`${MAC_BYTES}6558${plain.slice(14).toHex()}`))] },
    },
  },
  shortFrame: {
    inPort: 6,
    frame: l3(0x8847, `${labelStack([LABEL]).toHex()}0102030405060708090a`),
    flows: [[
      "in_port(6),packet_type(ns=1,id=0x8847),eth_type(0x8847),mpls(ttl=64)",
      "pop_mpls(eth_type=0x6558),6",
    ]],
    ours: {},
    theirs: { sent: { 6: [l3(0x6558, "0102030405060708090a")] } },
  },
  malformedNsh: {
    inPort: 1,
    frame: deviceBytes(ethernetFrame(0x894f, Uint8Array.fromHex(NSH.slice(0, 24)))),
    flows: [[ANY, "2"]],
    ours: { sent: { 2: 1 } },
    theirs: {},
  },
  popLlc: {
    inPort: 1,
    frame: deviceBytes(ethernetFrame(46, Uint8Array.fromHex(`424203${"00".repeat(43)}`))),
    flows: [[ANY, "pop_eth,6"]],
    ours: {},
    theirs: { sent: { 6: [l3(0x0004, `424203${"00".repeat(43)}`)] } },
  },
  sctpPadding: {
    inPort: 1,
    frame: deviceBytes(sctp.frame),
    flows: [[
      "in_port(1),eth(),eth_type(0x0800),ipv4(proto=132,frag=no),sctp(src=1000)",
      "set(sctp(src=1)),2",
    ]],
    ours: { sent: { 2: [deviceBytes(sctp.ours)] } },
    theirs: { sent: { 2: [deviceBytes(sctp.theirs)] } },
  },
  cutTag: {
    inPort: 1,
    frame: deviceBytes(tagged.subarray(0, 16)),
    flows: [[ANY, "2"]],
    ours: { sent: { 2: 1 } },
    theirs: {},
  },
  cutIpv6: {
    inPort: 1,
    frame: deviceBytes(makeFrame({ isIpv6: true }).bytes.subarray(0, 34)),
    flows: [],
    ours: { upcalls: [/ipv6\(src=::,dst=::,label=0,proto=0,tclass=0,hlimit=0,frag=no\)/] },
    theirs: { upcalls: [/label/] },
  },
  nestedList: {
    inPort: 1,
    frame: deviceBytes(plain),
    flows: [[FROM_1, `pop_eth,clone(push_eth(${MAC}),2)`]],
    ours: { sent: { 2: [deviceBytes(plain)] } },
    theirs: { refused: "flow 0: EINVAL" },
  },
  partialChecksum: {
    inPort: 1,
    frame: deviceBytes(partial.bytes, { csumStart: 34, csumOffset: 16 }),
    flows: [[FROM_1, `${PUSH_MPLS},2`]],
    ours: {
      sent: { 2: [deviceBytes(labelled(partial.bytes), { csumStart: 38, csumOffset: 16 })] },
    },
    theirs: { sent: { 2: [deviceBytes(labelled(makeFrame().bytes))] } },
  },
  staleKey: {
    inPort: 1,
    frame: deviceBytes(plain),
    flows: [[FROM_1, `${PUSH_MPLS},userspace(pid=${UPCALL_PID})`]],
    ours: { upcalls: [/eth_type\(0x8847\),mpls\(label=148,/] },
    theirs: { upcalls: [/eth_type\(0x0800\),ipv4\(/] },
  },
  upcallOfTrain: {
    inPort: 1,
    frame: train(),
    flows: [],
    ours: { upcalls: [/tcp\(/], packets: [/^.{6108}$/] },
    theirs: {
      upcalls: [/tcp\(/, /tcp\(/, /tcp\(/],
      packets: [/^.{2108}$/, /^.{2108}$/, /^.{2108}$/],
    },
  },
  upcallByReference: {
    inPort: 1,
    frame: deviceBytes(makeFrame({ isIpv6: true, payloadSize: 1352 }).bytes),
    // So many that no room for the packet is left in the message.
    flows: [[
      "recirc_id(0),in_port(1),eth(),eth_type(0x86dd),ipv6(frag=no)",
      `userspace(pid=${UPCALL_PID},actions),${"hash(l4(1)),".repeat(5)}` +
      "set(eth(src=02:00:00:00:00:09)),2",
    ]],
    ours: { sent: { 2: 1 }, upcalls: [/eth_type/], packets: [/^020000000002020000000001/] },
    theirs: { sent: { 2: 1 }, upcalls: [/eth_type/], packets: [/^020000000002020000000009/] },
  },
  hash: {
    inPort: 1,
    frame: deviceBytes(plain),
    flows: [[ANY, "hash(l4(7)),recirc(1)"]],
    ours: { upcalls: [/recirc_id\(0x1\),dp_hash\(0x[1-9a-f]/] },
    theirs: { upcalls: [/recirc_id\(0x1\),dp_hash\(0x[1-9a-f]/] },
  },
  headersSize: {
    inPort: 1,
    frame: train(),
    flows: [[ANY, "2"]],
    ours: { sent: { 2: [/^01013600/] } },
    theirs: { sent: { 2: [/^0101(?!3600)/] } },
  },
};
