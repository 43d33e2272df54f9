/**
 * Frames for the comparison of packets with the kernel: every kind of header that a flow knows, whole
 * and cut off, with complete and partial checksums, and segment trains.
 */
import type { Random } from "../../datapath/testing/flows.ts";
import {
  checksumField,
  ethernetFrame,
  type Frame,
  type FrameOptions,
  labelStack,
  makeFrame,
  NSH_TYPE_1,
} from "../../datapath/testing/frames.ts";
import { GSO_ECN, GSO_NONE, GSO_TCPV4, GSO_TCPV6 } from "../../datapath/packet/packet.ts";
import { PI_SIZE, VNET_SIZE } from "./kernel_packet_shape.ts";

/** A frame as a device takes it. */
export interface Specimen {
  readonly name: string;
  readonly inPort: number;
  /** In the form of PacketInput. */
  readonly bytes: string;
}

const PORT = 1;
const L3_PORT = 6;
const ETH_P_IP = 0x0800;
const ETH_P_IPV6 = 0x86dd;
const ETH_P_MPLS_UC = 0x8847;
const ETH_P_NSH = 0x894f;
const ETH_P_TEB = 0x6558;
const NEEDS_CSUM = 1;
const AUTHENTICATION = 51;
const TAGS: readonly (readonly number[])[] = [
  [],
  [],
  [],
  [0x8100b005],
  [0x88a81064],
  [0x88a8e001, 0x81000064],
  [0x81000001, 0x81002002, 0x81004003],
];
const PROTOCOLS = { tcp: 6, udp: 17, sctp: 132, icmp: 1 } as const;

interface Offload {
  readonly csumStart?: number;
  readonly csumOffset?: number;
  readonly gsoType?: number;
  readonly gsoSize?: number;
  readonly headersSize?: number;
}

function choose<T>(random: Random, from: readonly T[]): T {
  return from[random(from.length)]!;
}

/** struct virtio_net_hdr and a frame; with a type, tun_pi in front. */
export function deviceBytes(
  frame: Uint8Array,
  offload: Offload = {},
  l3Type: number | undefined = undefined,
): string {
  const { csumStart, csumOffset = 0, gsoType = GSO_NONE, gsoSize = 0, headersSize = 0 } = offload;
  const head = (l3Type === undefined ? 0 : PI_SIZE) + VNET_SIZE;
  const bytes = new Uint8Array(head + frame.length);
  const view = new DataView(bytes.buffer);
  if (l3Type !== undefined) view.setUint16(2, l3Type);
  const at = head - VNET_SIZE;
  bytes[at] = csumStart === undefined ? 0 : NEEDS_CSUM;
  bytes[at + 1] = gsoType;
  view.setUint16(at + 2, headersSize, true);
  view.setUint16(at + 4, gsoSize, true);
  view.setUint16(at + 6, csumStart ?? 0, true);
  view.setUint16(at + 8, csumOffset, true);
  bytes.set(frame, head);
  return bytes.toHex();
}

/** A random frame. */
export function randomSpecimen(random: Random): Specimen {
  const kind = random(20);
  if (kind < 8) return ipSpecimen(random, "full");
  if (kind < 11) return ipSpecimen(random, "partial");
  if (kind < 14) return trainSpecimen(random);
  if (kind < 17) return otherSpecimen(random);
  if (kind < 19) return l3Specimen(random);
  return cutSpecimen(random);
}

function randomIp(random: Random): FrameOptions {
  const isIpv6 = random(2) === 0;
  const extra: FrameOptions = random(4) > 0
    ? {}
    : isIpv6
    ? { extensions: choose(random, EXTENSIONS) }
    : { ipOptionsSize: 4 * (1 + random(10)) };
  return {
    isIpv6,
    protocol: choose(random, ["tcp", "tcp", "udp", "udp", "sctp", "icmp"] as const),
    tags: choose(random, TAGS),
    payloadSize: random(3) === 0 ? random(1400) : random(60),
    sourcePort: random(65536),
    destinationPort: random(65536),
    source: random(65536) * 65536 + random(65536),
    tcpFlags: random(4096) & 0x1ff,
    tcpOptionsSize: random(3) === 0 ? 4 * random(11) : 0,
    ...extra,
  };
}

type Extensions = NonNullable<FrameOptions["extensions"]>;

/** Hop-by-hop, destination options, routing with and without segments left, authentication. */
const EXTENSIONS: readonly Extensions[] = [
  [[0, [0, 1, 4, 0, 0, 0, 0]]],
  [[60, [0, 1, 4, 0, 0, 0, 0]], [60, [0, 1, 4, 0, 0, 0, 0]]],
  [[43, [2, 0, 1, 0, 0, 0, 0, ...new Array<number>(16).fill(0x11)]]],
  [[43, [2, 0, 0, 0, 0, 0, 0, ...new Array<number>(16).fill(0x11)]]],
  [[0, [0, 1, 4, 0, 0, 0, 0]], [43, [2, 0, 1, 0, 0, 0, 0, ...new Array<number>(16).fill(0x11)]]],
  [[AUTHENTICATION, [4, 0, 0, 0, 0, 0, 1, 0, 0, 0, 1, ...new Array<number>(12).fill(7)]]],
];

const FRAGMENTS_IPV6: readonly Extensions[] = [
  [[44, [0, 0, 1, 0, 0, 0, 9]]],
  [[44, [0, 0, 9, 0, 0, 0, 9]]],
  [[44, [0, 0, 8, 0, 0, 0, 9]]],
  [[44, [0, 0, 0, 0, 0, 0, 9]]],
];

function ipSpecimen(random: Random, checksum: "full" | "partial"): Specimen {
  let options = randomIp(random);
  if (checksum === "partial") {
    const protocol = choose(random, ["tcp", "udp"] as const);
    const frame = makeFrame({ ...options, protocol, checksum });
    return {
      name: `partial ${protocol}`,
      inPort: PORT,
      bytes: deviceBytes(frame.bytes, {
        csumStart: frame.l4,
        csumOffset: checksumField(PROTOCOLS[protocol]),
      }),
    };
  }
  if (random(5) === 0) {
    options = options.isIpv6 === true
      ? { ...options, extensions: choose(random, FRAGMENTS_IPV6) }
      : { ...options, fragment: choose(random, [0x2000, 0x2003, 0x0004]) };
  } else if (options.protocol === "udp" && random(4) === 0) {
    options = { ...options, checksum: "none" };
  }
  const { bytes } = makeFrame(options);
  // Padding behind the packet.
  const padded = random(4) === 0
    ? Uint8Array.from([...bytes, ...new Array<number>(1 + random(20)).fill(0xee)])
    : bytes;
  return {
    name: `${options.protocol}${padded === bytes ? "" : " padded"}`,
    inPort: PORT,
    bytes: deviceBytes(padded),
  };
}

function trainSpecimen(random: Random): Specimen {
  const base = randomIp(random);
  const isLong = random(12) === 0;
  const gsoSize = isLong ? 1000 + random(460) : choose(random, [100, 536, 1000, 1400, 1448]);
  const tags = base.tags ?? [];
  const options: FrameOptions = {
    ...base,
    tags: tags.slice(0, 2),
    protocol: "tcp",
    checksum: "partial",
    payloadSize: isLong ? 60000 + random(5000) : gsoSize + 1 + random(5000),
  };
  const frame = makeFrame(withoutAuthentication(options));
  const isIpv6 = options.isIpv6 === true;
  return {
    name: `train ${isIpv6 ? 6 : 4}${isLong ? " long" : ""}`,
    inPort: PORT,
    bytes: deviceBytes(frame.bytes, {
      csumStart: frame.l4,
      csumOffset: 16,
      gsoType: (isIpv6 ? GSO_TCPV6 : GSO_TCPV4) | (random(4) === 0 ? GSO_ECN : 0),
      gsoSize,
      headersSize: frame.payload,
    }),
  };
}

/** What follows authentication is no train to the kernel (net/ipv6/ip6_offload.c, ipv6_gso_pull_exthdrs). */
function withoutAuthentication(options: FrameOptions): FrameOptions {
  const has = options.extensions?.some(([type]) => type === AUTHENTICATION) === true;
  return has ? { ...options, extensions: [] } : options;
}

/** Label stack entries that end with the bottom of the stack, but for the last kinds. */
function labels(random: Random): number[] {
  const count = 1 + random(5);
  const entries = Array.from(
    { length: count },
    () => random(65536) * 65536 + (random(65536) & ~0x100) >>> 0,
  );
  if (random(8) > 0) entries[count - 1]! += 0x100;
  return entries;
}

function labelled(random: Random): Uint8Array<ArrayBuffer> {
  const frame = makeFrame({ ...randomIp(random), tags: [] });
  return Uint8Array.from([...labelStack(labels(random)), ...frame.bytes.subarray(14)]);
}

function nsh(random: Random): Uint8Array<ArrayBuffer> {
  const frame = makeFrame({ ...randomIp(random), tags: [] });
  const next = choose(random, [1, 2, 3, 5, 4, 0]);
  const inner = next === 3 ? frame.bytes : next === 5 ? labelled(random) : frame.bytes.slice(14);
  const header = random(3) === 0
    ? Uint8Array.fromHex("0fc40201" + "123456ff" + "0102030405060708")
    : NSH_TYPE_1.slice();
  header[3] = next;
  return Uint8Array.from([...header, ...inner]);
}

function arp(random: Random): Uint8Array<ArrayBuffer> {
  const operation = random(4) === 0 ? "0101" : "0002";
  return Uint8Array.fromHex(
    "000108000604" + operation + "010203040506" + "0a000001" + "0708090a0b0c" + "0a000002" +
      "00".repeat(18),
  );
}

function neighbourDiscovery(random: Random): Specimen {
  const target = "fe80" + "00".repeat(13) + "05";
  const source = "0101020000000009";
  const options = choose(random, [
    "",
    source,
    "0201020000000008",
    source + "0201020000000008",
    source + source,
  ]);
  const payload = Uint8Array.fromHex(target + options);
  const { bytes, l4 } = makeFrame({ isIpv6: true, protocol: "icmp", payload });
  const type = 135 + random(2);
  bytes[l4] = type;
  const view = new DataView(bytes.buffer);
  let sum = (~view.getUint16(l4 + 2) & 0xffff) + ((type - 128) << 8);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  view.setUint16(l4 + 2, ~sum & 0xffff);
  return { name: "nd", inPort: PORT, bytes: deviceBytes(bytes) };
}

function otherSpecimen(random: Random): Specimen {
  const tags = choose(random, TAGS).slice(0, 2);
  const of = (name: string, type: number, payload: Iterable<number>): Specimen => ({
    name,
    inPort: PORT,
    bytes: deviceBytes(ethernetFrame(type, payload, tags)),
  });
  switch (random(8)) {
    case 0:
    case 1:
    case 2:
      return of("mpls", ETH_P_MPLS_UC + random(2), labelled(random));
    case 3:
      return of("nsh", ETH_P_NSH, nsh(random));
    case 4:
      return of("arp", choose(random, [0x0806, 0x8035]), arp(random));
    case 5:
      return neighbourDiscovery(random);
    case 6:
      return of("llc", 46, [
        ...Uint8Array.fromHex(choose(random, LLC)),
        ...new Array<number>(38).fill(3),
      ]);
    default:
      return of(
        "unknown type",
        choose(random, [0x88b5, 0x0600, 0x9100]),
        new Array<number>(2 + random(60)).fill(9),
      );
  }
}

/** 802.2, SNAP with another organization, SNAP of Ethernet types, SNAP with a type that is a length. */
const LLC = [
  "4242030000000000",
  "aaaa0300000c2000",
  "aaaa030000000800",
  "aaaa030000000806",
  "aaaa030000000010",
];

function l3Specimen(random: Random): Specimen {
  const options = randomIp(random);
  const ip = makeFrame({ ...options, tags: [] }).bytes.slice(14);
  const type = options.isIpv6 === true ? ETH_P_IPV6 : ETH_P_IP;
  const of = (name: string, type: number, packet: Uint8Array): Specimen => ({
    name: `l3 ${name}`,
    inPort: L3_PORT,
    bytes: deviceBytes(packet, {}, type),
  });
  switch (random(8)) {
    case 0:
      return of("mpls", ETH_P_MPLS_UC, labelled(random));
    case 1:
      return of("nsh", ETH_P_NSH, nsh(random));
    case 2:
      return of("ethernet", ETH_P_TEB, makeFrame(options).bytes);
    case 3:
    case 4:
      return l3Partial(random, options, type);
    default:
      return of("ip", type, ip);
  }
}

function l3Partial(random: Random, options: FrameOptions, type: number): Specimen {
  const isTrain = random(2) === 0;
  const frame: Frame = makeFrame({
    ...withoutAuthentication(options),
    tags: [],
    protocol: "tcp",
    checksum: "partial",
    payloadSize: isTrain ? 2000 : 30,
  });
  const offload = {
    csumStart: frame.l4 - 14,
    csumOffset: 16,
    ...(isTrain
      ? {
        gsoType: type === ETH_P_IP ? GSO_TCPV4 : GSO_TCPV6,
        gsoSize: 700,
        headersSize: frame.payload - 14,
      }
      : {}),
  };
  return {
    name: `l3 ${isTrain ? "train" : "partial"}`,
    inPort: L3_PORT,
    bytes: deviceBytes(frame.bytes.subarray(14), offload, type),
  };
}

/** Bytes of the Ethernet header with its tags, and, behind a tag, two more. */
function linkSize(bytes: string): number {
  const tags = /^.{20}.{24}(?:(?:8100|88a8)....)*/.exec(bytes)?.[0].length ?? 0;
  const size = tags / 2 - VNET_SIZE;
  return size > 12 ? size + 4 : size + 2;
}

/**
 * A frame of which only the first bytes have come. Not within a tag, which no device of Linux receives
 * (net/core/skbuff.c, skb_vlan_untag). Not of IPv6 without its whole header: its label in
 * the kernel's key is what was on the stack (net/openvswitch/flow.c, key_extract_l3l4).
 */
function cutSpecimen(random: Random): Specimen {
  const whole = choose(random, [ipSpecimen, otherSpecimen] as const)(random, "full");
  const floor = linkSize(whole.bytes) + (whole.bytes.includes("86dd") ? 40 : 0);
  const size = Math.min(floor + random(70), whole.bytes.length / 2 - VNET_SIZE);
  return {
    ...whole,
    name: `cut ${whole.name}`,
    bytes: whole.bytes.slice(0, 2 * (VNET_SIZE + size)),
  };
}
