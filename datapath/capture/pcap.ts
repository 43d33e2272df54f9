/**
 * Capture files: reads the classic pcap format (draft-ietf-opsawg-pcap: either byte order, micro- and
 * nanoseconds) and pcapng (draft-ietf-opsawg-pcapng), writes classic pcap. Bytes in, bytes out; whose
 * files they are is others' business (vports/pcap_file.ts, cli).
 */
import {
  type CapturedPacket,
  capturedPacket,
  CaptureError,
  checkLinkType,
  ethTypeOf,
  LINKTYPE_ETHERNET,
  LINKTYPE_RAW,
} from "./captured_packet.ts";
import { readPcapng } from "./pcapng.ts";

export { type CapturedPacket, CaptureError } from "./captured_packet.ts";

export const PCAP_HEADER_SIZE = 24;
export const PCAP_RECORD_HEADER_SIZE = 16;

const MAGIC_US = 0xa1b2c3d4;
const MAGIC_NS = 0xa1b23c4d;
const MAGIC_PCAPNG = 0x0a0d0d0a;
/** Bytes that a program should keep of a packet; ours keeps all. */
const SNAP_SIZE = 262144;

/** The packets of a capture file, which is a pcap or pcapng by its first bytes. Throws CaptureError, when it gets there. */
export function* readCapture(file: Uint8Array): Generator<CapturedPacket, void> {
  if (file.length < 4) throw new CaptureError("this is no capture: it is shorter than 4 bytes");
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  if (view.getUint32(0) === MAGIC_PCAPNG) return yield* readPcapng(file);
  for (const little of [false, true]) {
    const magic = view.getUint32(0, little);
    if (magic === MAGIC_US) return yield* readPcap(file, little, 1e6);
    if (magic === MAGIC_NS) return yield* readPcap(file, little, 1e9);
  }
  const found = view.getUint32(0).toString(16).padStart(8, "0");
  throw new CaptureError(`this is no pcap or pcapng capture: it begins with 0x${found}`);
}

function* readPcap(
  file: Uint8Array,
  little: boolean,
  unitsPerSecond: number,
): Generator<CapturedPacket, void> {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  if (file.length < PCAP_HEADER_SIZE) throw new CaptureError("the capture ends within its header");
  const linkType = view.getUint32(20, little) & 0xffff;
  checkLinkType(linkType);
  let at = PCAP_HEADER_SIZE;
  for (let number = 1; at < file.length; number++) {
    const from = at + PCAP_RECORD_HEADER_SIZE;
    const size = from <= file.length ? view.getUint32(at + 8, little) : 0;
    if (from + size > file.length) {
      throw new CaptureError(`the capture ends within packet ${number}`);
    }
    const time = view.getUint32(at, little) + view.getUint32(at + 4, little) / unitsPerSecond;
    const originalSize = view.getUint32(at + 12, little);
    yield capturedPacket(file.subarray(from, from + size), { linkType, time, originalSize });
    at = from + size;
  }
}

/**
 * A pcap file of the packets: link type Ethernet, or raw IP if they have no Ethernet header. Throws
 * CaptureError if there are both, because a pcap file has one link type, or an L3 packet is not IP.
 */
export function writePcap(packets: Iterable<CapturedPacket>): Uint8Array<ArrayBuffer> {
  const all = [...packets];
  const isRaw = all[0]?.isL3 ?? false;
  if (all.some((packet) => packet.isL3 !== isRaw)) {
    throw new CaptureError("a pcap file can't hold packets with and without an Ethernet header");
  }
  const strange = isRaw ? all.findIndex(({ bytes }) => ethTypeOf(LINKTYPE_RAW, bytes) === 0) : -1;
  if (strange >= 0) {
    throw new CaptureError(
      `packet ${
        strange + 1
      } has no Ethernet header and is neither IPv4 nor IPv6: no pcap file can hold it`,
    );
  }
  const sizeOf = (packet: CapturedPacket): number => PCAP_RECORD_HEADER_SIZE + packet.bytes.length;
  const size = all.reduce((sum, packet) => sum + sizeOf(packet), PCAP_HEADER_SIZE);
  const file = new Uint8Array(size);
  const view = new DataView(file.buffer);
  writePcapHeader(view, isRaw ? LINKTYPE_RAW : LINKTYPE_ETHERNET);
  let at = PCAP_HEADER_SIZE;
  for (const packet of all) {
    const { bytes, time = 0, originalSize = bytes.length } = packet;
    const wallUs = Math.round(time * 1e6);
    writePcapRecordHeader(view, at, { size: bytes.length, originalSize, wallUs });
    file.set(bytes, at + PCAP_RECORD_HEADER_SIZE);
    at += sizeOf(packet);
  }
  return file;
}

/** Writes the PCAP_HEADER_SIZE bytes that a file (microseconds, little-endian) begins with. */
export function writePcapHeader(view: DataView, linkType: number): void {
  view.setUint32(0, MAGIC_US, true);
  view.setUint16(4, 2, true);
  view.setUint16(6, 4, true);
  view.setUint32(8, 0, true);
  view.setUint32(12, 0, true);
  view.setUint32(16, SNAP_SIZE, true);
  view.setUint32(20, linkType, true);
}

/** Writes the PCAP_RECORD_HEADER_SIZE bytes in front of a packet. `wallUs`: microseconds since 1970. */
export function writePcapRecordHeader(
  view: DataView,
  at: number,
  packet: { readonly size: number; readonly originalSize: number; readonly wallUs: number },
): void {
  view.setUint32(at, Math.floor(packet.wallUs / 1e6), true);
  view.setUint32(at + 4, packet.wallUs % 1e6, true);
  view.setUint32(at + 8, packet.size, true);
  view.setUint32(at + 12, packet.originalSize, true);
}
