/**
 * Reads pcapng captures (draft-ietf-opsawg-pcapng): section headers, interfaces with their time
 * resolution, enhanced and simple packets. Other blocks are skipped. See pcap.ts.
 */
import {
  type CapturedPacket,
  capturedPacket,
  CaptureError,
  checkLinkType,
} from "./captured_packet.ts";

const SECTION_HEADER = 0x0a0d0d0a;
const INTERFACE_DESCRIPTION = 1;
const SIMPLE_PACKET = 3;
const ENHANCED_PACKET = 6;
const BYTE_ORDER_MAGIC = 0x1a2b3c4d;
/** Type and size in front, size again behind. */
const BLOCK_OVERHEAD = 12;
const OPTION_END = 0;
const OPTION_TSRESOL = 9;
const OPTION_TSOFFSET = 14;

interface Interface {
  readonly linkType: number;
  /** Most bytes kept of a packet; 0: all. */
  readonly snapSize: number;
  readonly unitsPerSecond: bigint;
  readonly offsetSeconds: bigint;
}

/** A block's contents. */
interface Block {
  readonly view: DataView;
  readonly little: boolean;
  /** [at, end) without type and sizes. */
  readonly at: number;
  readonly end: number;
}

/** The packets of a pcapng file. Throws CaptureError, when it gets there. */
export function* readPcapng(file: Uint8Array): Generator<CapturedPacket, void> {
  const view = new DataView(file.buffer, file.byteOffset, file.byteLength);
  let interfaces: Interface[] = [];
  let little = false;
  for (let at = 0; at < file.length;) {
    if (at + BLOCK_OVERHEAD > file.length) throw cutOff(at);
    const type = view.getUint32(at, little);
    if (type === SECTION_HEADER) {
      little = isLittleEndian(view, at);
      interfaces = [];
    }
    const size = view.getUint32(at + 4, little);
    if (size < BLOCK_OVERHEAD || size % 4 !== 0) {
      throw new CaptureError(`the block at byte ${at} can't have a size of ${size} bytes`);
    }
    if (at + size > file.length) throw cutOff(at);
    const block: Block = { view, little, at: at + 8, end: at + size - 4 };
    if (type === INTERFACE_DESCRIPTION) interfaces.push(readInterface(block));
    else if (type === ENHANCED_PACKET) yield readEnhanced(file, block, interfaces);
    else if (type === SIMPLE_PACKET) yield readSimple(file, block, interfaces);
    at += size;
  }
}

function cutOff(at: number): CaptureError {
  return new CaptureError(`the capture ends within the block at byte ${at}`);
}

function isLittleEndian(view: DataView, at: number): boolean {
  if (view.getUint32(at + 8, true) === BYTE_ORDER_MAGIC) return true;
  if (view.getUint32(at + 8) === BYTE_ORDER_MAGIC) return false;
  throw new CaptureError(`the section at byte ${at} has no byte order magic`);
}

/** Throws unless the block's contents have `size` bytes. */
function need(block: Block, size: number): void {
  if (block.at + size <= block.end) return;
  throw new CaptureError(`the block at byte ${block.at - 8} is too small for what it must hold`);
}

function readInterface(block: Block): Interface {
  need(block, 8);
  const { view, little } = block;
  let unitsPerSecond = 1_000_000n;
  let offsetSeconds = 0n;
  let at = block.at + 8;
  while (at + 4 <= block.end) {
    const code = view.getUint16(at, little);
    const size = view.getUint16(at + 2, little);
    if (code === OPTION_END || at + 4 + size > block.end) break;
    if (code === OPTION_TSRESOL && size >= 1) unitsPerSecond = resolution(view.getUint8(at + 4));
    if (code === OPTION_TSOFFSET && size >= 8) offsetSeconds = view.getBigInt64(at + 4, little);
    at += 4 + ((size + 3) & ~3);
  }
  return {
    linkType: view.getUint16(block.at, little),
    snapSize: view.getUint32(block.at + 4, little),
    unitsPerSecond,
    offsetSeconds,
  };
}

/** if_tsresol: a negative power of 10, or of 2 if the highest bit is set. */
function resolution(value: number): bigint {
  return (value & 0x80) === 0 ? 10n ** BigInt(value) : 1n << BigInt(value & 0x7f);
}

function readEnhanced(
  file: Uint8Array,
  block: Block,
  interfaces: readonly Interface[],
): CapturedPacket {
  need(block, 20);
  const { view, little, at } = block;
  const source = interfaceOf(block, interfaces, view.getUint32(at, little));
  const units = BigInt(view.getUint32(at + 4, little)) << 32n |
    BigInt(view.getUint32(at + 8, little));
  const size = view.getUint32(at + 12, little);
  need(block, 20 + size);
  const perSecond = source.unitsPerSecond;
  const seconds = Number(units / perSecond + source.offsetSeconds);
  return capturedPacket(file.subarray(at + 20, at + 20 + size), {
    linkType: source.linkType,
    time: seconds + Number(units % perSecond) / Number(perSecond),
    originalSize: view.getUint32(at + 16, little),
  });
}

function readSimple(
  file: Uint8Array,
  block: Block,
  interfaces: readonly Interface[],
): CapturedPacket {
  need(block, 4);
  const { view, little, at, end } = block;
  const { linkType, snapSize } = interfaceOf(block, interfaces, 0);
  const originalSize = view.getUint32(at, little);
  const kept = snapSize === 0 ? originalSize : Math.min(originalSize, snapSize);
  const size = Math.min(kept, end - at - 4);
  return capturedPacket(file.subarray(at + 4, at + 4 + size), {
    linkType,
    time: undefined,
    originalSize,
  });
}

function interfaceOf(block: Block, interfaces: readonly Interface[], index: number): Interface {
  const found = interfaces[index];
  if (found === undefined) {
    throw new CaptureError(
      `the packet at byte ${block.at - 8} is of interface ${index}, which was not described`,
    );
  }
  checkLinkType(found.linkType);
  return found;
}
