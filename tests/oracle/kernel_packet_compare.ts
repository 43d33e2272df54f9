/**
 * Whether the kernel and we have done the same with the frames of a case: the same bytes with the same
 * offload state on every port in the same order, and the same upcalls. What may differ is named here
 * and in kernel_packet_differences.ts, and counted.
 */
import { exactMask } from "../../datapath/fields/exact_mask.ts";
import { ATTRIBUTES } from "../../datapath/fields/fields.ts";
import { extractKey } from "../../datapath/extract/extract.ts";
import { DP_HASH_AT, ETH_P_802_2, ETH_TYPE_AT, KEY_WORDS } from "../../datapath/key.ts";
import { NetlinkCodecError } from "../../datapath/netlink/attributes.ts";
import { decodePacketMessage } from "../../datapath/netlink/packet_message.ts";
import { GSO_NONE, type Packet } from "../../datapath/packet/packet.ts";
import { PacketPool, SLOT_SIZE } from "../../datapath/packet/packet_pool.ts";
import { segment } from "../../datapath/packet/segment.ts";
import { frameOf, naiveSum, packetOf } from "../../datapath/testing/frames.ts";
import { formatActions } from "../../datapath/text/action_text.ts";
import { formatFlow } from "../../datapath/text/flow_text.ts";
import type { Upcall } from "../../daemon/upcalls/packet.ts";
import { type PacketCase, textOf } from "./kernel_packet_cases.ts";
import { CHANGES_HEADERS } from "./kernel_packet_differences.ts";
import { type PacketOutput, PI_SIZE, PORTS, VNET_SIZE } from "./kernel_packet_shape.ts";

export interface Comparison {
  /** What is not the same; none: all is. */
  readonly faults: readonly string[];
  /** Frames of which one was partial where the other was complete. */
  readonly completed: number;
}

/** A frame as a device has shown it, without what is only a hint (hdr_len). */
interface Shown {
  /** Ethernet type that an L3 device says, else 0. */
  type: number;
  flags: number;
  gsoType: number;
  gsoSize: number;
  csumStart: number;
  csumOffset: number;
  bytes: Uint8Array<ArrayBuffer>;
}

const NEEDS_CSUM = 1;
const DIALECT = { dialect: "kernel" } as const;
/** What only Open vSwitch's own datapath knows, and the hash. */
const OWN_FIELDS = [
  ...ATTRIBUTES.filter(({ only }) => only === "userspace").flatMap(({ fields }) => fields),
  { at: DP_HASH_AT, size: 4 },
];
/** Bytes of a frame around a difference that are shown. */
const AROUND = 16;

/** Compares what we have done with what the kernel has. */
export function compareCase(item: PacketCase, theirs: PacketOutput): Comparison {
  const { ours } = item;
  const text = textOf(item);
  const faults: string[] = theirs.refused === "" ? [] : [`the kernel refuses: ${theirs.refused}`];
  let completed = 0;
  PORTS.forEach(({ portNo, isL3 }, index) => {
    const [mine = [], others = []] = [ours.sent[index], theirs.sent[index]];
    if (mine.length !== others.length) {
      faults.push(`port ${portNo}: we send ${sizes(mine)}, the kernel ${sizes(others)}`);
      return;
    }
    mine.forEach((hex, at) => {
      if (hex === others[at]) return;
      const [our, their] = [shown(hex, isL3), shown(others[at]!, isL3)];
      if (our.flags !== their.flags) {
        completed++;
        agreeOnChecksum(our, their);
      }
      const difference = differenceOf(our, their);
      if (difference !== "") faults.push(`port ${portNo}, frame ${at}: ${difference}`);
    });
  });
  faults.push(...compareUpcalls(ours.upcalls, theirs.upcalls, !CHANGES_HEADERS.test(text)));
  return { faults, completed };
}

function sizes(frames: readonly string[]): string {
  if (frames.length === 0) return "nothing";
  const [first = ""] = frames;
  return `${frames.length} frames (${frames.slice(0, 8).map((hex) => hex.length / 2)} bytes: ${
    first.slice(0, 160)
  })`;
}

function shown(hex: string, isL3: boolean): Shown {
  const all = Uint8Array.fromHex(hex);
  const view = new DataView(all.buffer);
  const at = isL3 ? PI_SIZE : 0;
  return {
    type: isL3 ? view.getUint16(2) : 0,
    flags: all[at]!,
    gsoType: all[at + 1]!,
    gsoSize: view.getUint16(at + 4, true),
    csumStart: view.getUint16(at + 6, true),
    csumOffset: view.getUint16(at + 8, true),
    bytes: all.slice(at + VNET_SIZE),
  };
}

/** Completes the one checksum that is partial. */
function agreeOnChecksum(one: Shown, other: Shown): void {
  const partial = (one.flags & NEEDS_CSUM) !== 0 ? one : other;
  const { bytes, csumStart, csumOffset } = partial;
  const field = csumStart + csumOffset;
  if (field + 2 <= bytes.length) {
    const sum = ~naiveSum(bytes, csumStart, bytes.length) & 0xffff;
    new DataView(bytes.buffer).setUint16(field, sum === 0 ? 0xffff : sum);
  }
  partial.flags &= ~NEEDS_CSUM;
  partial.csumStart = 0;
  partial.csumOffset = 0;
}

function differenceOf(our: Shown, their: Shown): string {
  const said = (each: Shown): string => {
    const { type, flags, gsoType, gsoSize, csumStart, csumOffset } = each;
    return `type ${
      type.toString(16)
    } flags ${flags} gso ${gsoType}/${gsoSize} csum ${csumStart}+${csumOffset}`;
  };
  if (said(our) !== said(their)) return `we say ${said(our)}, the kernel ${said(their)}`;
  const [mine, others] = [our.bytes, their.bytes];
  if (mine.length !== others.length) {
    return `we send ${mine.length} bytes, the kernel ${others.length}:\n` +
      `    ${mine.subarray(0, 80).toHex()}\n    ${others.subarray(0, 80).toHex()}`;
  }
  const at = mine.findIndex((byte, index) => byte !== others[index]);
  if (at < 0) return "";
  const around = (bytes: Uint8Array): string =>
    bytes.subarray(Math.max(0, at - AROUND), at + AROUND).toHex();
  return `byte ${at} of ${mine.length} differs: …${around(mine)}…, the kernel …${
    around(others)
  }…\n    ${mine.subarray(0, 120).toHex()}\n    ${others.subarray(0, 120).toHex()}`;
}

/** What an upcall says, as lines that must be equal. */
function compareUpcalls(
  ours: readonly Upcall[],
  theirs: readonly string[],
  withKeys: boolean,
): string[] {
  const mine = ours.flatMap((upcall) =>
    packetsOf(upcall).map((packet) => sayOurs(upcall, packet, withKeys))
  );
  const others = theirs.map((hex) => sayTheirs(Uint8Array.fromHex(hex), withKeys));
  if (mine.length !== others.length) {
    return [
      `we hand over ${mine.length} upcalls, the kernel ${others.length}\n` +
      `    ${mine[0]?.slice(0, 500)}\n    ${others[0]?.slice(0, 500)}`,
    ];
  }
  return mine.flatMap((said, at) =>
    said === others[at] ? [] : [
      `upcall ${at}: we say\n    ${said.slice(0, 900)}\n  the kernel\n    ${
        others[at]!.slice(0, 900)
      }`,
    ]
  );
}

/** What the kernel makes of a train before it hands it over, by our own segmentation. */
function packetsOf({ injected, packet: { bytes } }: Upcall): Uint8Array[] {
  const { offload, l3EthType } = injected;
  if (offload.gsoType === GSO_NONE) return [bytes];
  const train = packetOf(bytes, {
    ...offload,
    isL3: l3EthType !== undefined,
    ethType: l3EthType ?? 0,
  });
  extractKey(train, new Int32Array(KEY_WORDS), 0);
  const pool = new PacketPool(new ArrayBuffer(2 * SLOT_SIZE), 0, 2);
  const found: Uint8Array[] = [];
  const emit = (packet: Packet): void => {
    found.push(frameOf(packet));
    pool.free(packet);
  };
  segment(train, { allocate: () => pool.allocate(), emit, recycle: (packet) => pool.free(packet) });
  return found;
}

function sayOurs({ packet, key }: Upcall, bytes: Uint8Array, withKeys: boolean): string {
  return [
    packet.reason,
    withKeys || packet.reason === "miss" ? sayKey(key.words) : "",
    bytes.toHex(),
    packet.bytes.length === packet.length ? "" : `of ${packet.length}`,
    packet.userdata?.toHex() ?? "",
    packet.actions ?? "",
    packet.mru,
  ].join(" ");
}

function sayTheirs(payload: Uint8Array, withKeys: boolean): string {
  const { command, packet, decodedKey, size, userdata, actions, mru } = decodePacketMessage(
    payload,
    DIALECT,
  );
  return [
    command === 1 ? "miss" : "action",
    withKeys || command === 1 ? sayKey(decodedKey!.key) : "",
    packet!.toHex(),
    size === undefined || size === packet!.length ? "" : `of ${size}`,
    userdata ?? "",
    actions === undefined ? "" : formatActions(actions),
    mru ?? 0,
  ].join(" ");
}

/** An upcall as far as examples look at it. */
export interface SeenUpcall {
  /** Text, hashes included. */
  readonly key: string;
  /** Hexadecimal. */
  readonly packet: string;
}

/** Our upcalls. */
export function ourUpcalls(upcalls: readonly Upcall[]): SeenUpcall[] {
  return upcalls.map(({ key, packet }) => ({
    key: formatFlow(key.words, exactMask(key.words)),
    packet: packet.bytes.toHex(),
  }));
}

/** The kernel's; the key of one that makes no sense is what is wrong with it. */
export function theirUpcalls(upcalls: readonly string[]): SeenUpcall[] {
  return upcalls.map((hex) => {
    try {
      const { packet, decodedKey } = decodePacketMessage(Uint8Array.fromHex(hex), DIALECT);
      const { key } = decodedKey!;
      return { key: formatFlow(key, exactMask(key)), packet: packet!.toHex() };
    } catch (error) {
      if (error instanceof NetlinkCodecError) return { key: error.message, packet: "" };
      throw error;
    }
  });
}

/** A packet's key without what only one of us has, or has a value of its own for. */
function sayKey(words: Int32Array): string {
  const key = words.slice();
  const bytes = new Uint8Array(key.buffer);
  for (const { at, size } of OWN_FIELDS) bytes.fill(0, at, at + size);
  // Of a frame without an Ethernet type the kernel tells none (flow_netlink.c, __ovs_nla_put_key).
  if (bytes[ETH_TYPE_AT] === 0 && bytes[ETH_TYPE_AT + 1] === ETH_P_802_2) {
    bytes[ETH_TYPE_AT + 1] = 0;
  }
  return formatFlow(key, exactMask(key));
}
