/**
 * Opening the sockets that packets are received by: the ring's (packet_socket.ts) with its geometry
 * and mapping, the side queue's (packet_queue.ts); their filters and fanout groups.
 */
import {
  AF_PACKET,
  EINVAL,
  ENOSYS,
  EPERM,
  ETH_P_ALL,
  PACKET_AUXDATA,
  PACKET_COPY_THRESH,
  PACKET_FANOUT,
  PACKET_FANOUT_FLAG_IGNORE_OUTGOING,
  PACKET_FANOUT_HASH,
  PACKET_IGNORE_OUTGOING,
  PACKET_RESERVE,
  PACKET_RX_RING,
  PACKET_VERSION,
  PACKET_VNET_HDR,
  SO_ATTACH_BPF,
  SO_ATTACH_FILTER,
  SOCK_CLOEXEC,
  sock_filter,
  sock_fprog,
  SOCK_NONBLOCK,
  SOCK_RAW,
  sockaddr_ll,
  SOL_PACKET,
  SOL_SOCKET,
  tpacket_req,
  TPACKET_V2,
} from "./abi.ts";
import { loadProgram } from "./bpf.ts";
import { gsoFilter } from "./gso_filter.ts";
import type { Libc } from "./libc.ts";
import { allocateBuffer, type MappedBuffer, mapRing, recycleBuffer, unmapRing } from "./memory.ts";
import { ifindexFilter } from "./packet_filter.ts";
import { openSocket, setOption, setReceiveBuffer } from "./socket.ts";
import { SystemError } from "./system_error.ts";

/** A block: physically contiguous memory, a power of two of pages. */
export const BLOCK_SIZE = 65536;
/** An odd multiple of 64 bytes, so that the frames' headers fall into different cache sets. */
export const FRAME_SIZE = 1984;
export const FRAMES_PER_BLOCK = 33;
/** Where the last frame of a block ends; the rest of the block is unused. */
export const BLOCK_END: number = FRAME_SIZE * FRAMES_PER_BLOCK;
/**
 * Kernel's tp_reserve. The frame starts at 76 + reserve (no address of ours in front), the
 * virtio_net_hdr 10 bytes earlier at a multiple of 64: it and the headers of a small packet lie in
 * one cache line. What is between the ring's own headers and the frame is headroom.
 */
export const RESERVE = 254;
/** The ring's own headers (tpacket2_hdr, sockaddr_ll) end before this byte of a frame. */
export const HEADERS_END = 64;
/** Bytes of copied frames that may wait in the socket's receive queue: 64 KiB frames by the hundred. */
const QUEUE_SIZE = 16 << 20;

/** Fanout: which of a process's sockets gets a frame. */
export interface Fanout {
  /** Any 16-bit number; the same for all threads of a switch, and of no other in the namespace. */
  readonly group: number;
}

export interface RingSocket {
  readonly fd: number;
  readonly area: MappedBuffer;
  /** `classic`: we may not use bpf(2), so trains that stop a ring (gso_filter.ts) are not kept out. */
  readonly filter: "bpf" | "classic";
}

/** Tells the group of the side queues from that of the rings. */
const QUEUE_GROUP = 0x8000;
/** Room for the longest classic program. */
const CLASSIC_SIZE_MAX = 4096 * sock_filter.size;
const DOING = "receive from packet sockets";

function packetOption(name: number, label: string): Parameters<typeof setOption>[2] {
  return { level: SOL_PACKET, name, label, doing: DOING };
}

/** Opens a ring of `blocks` blocks that keeps no frame yet. Throws SystemError and leaves nothing behind. */
export function openRingSocket(
  calls: Libc,
  options: { blocks: number; fanout?: Fanout | undefined },
): RingSocket {
  const fd = openPacketSocket(calls);
  let area: MappedBuffer | undefined;
  try {
    setOption(calls, fd, packetOption(PACKET_VERSION, "PACKET_VERSION"), TPACKET_V2);
    setOption(calls, fd, packetOption(PACKET_VNET_HDR, "PACKET_VNET_HDR"), 1);
    setOption(calls, fd, packetOption(PACKET_RESERVE, "PACKET_RESERVE"), RESERVE);
    setOption(calls, fd, packetOption(PACKET_COPY_THRESH, "PACKET_COPY_THRESH"), 1);
    setOption(calls, fd, packetOption(PACKET_IGNORE_OUTGOING, "PACKET_IGNORE_OUTGOING"), 1);
    setReceiveBuffer(calls, fd, QUEUE_SIZE);
    const filter = attachFirstFilter(calls, fd);
    const ring = packetOption(PACKET_RX_RING, "PACKET_RX_RING");
    setOption(calls, fd, ring, ringRequest(options.blocks));
    area = mapRing(fd, options.blocks * BLOCK_SIZE);
    bindToAll(calls, fd);
    if (options.fanout !== undefined) joinFanout(calls, fd, options.fanout.group);
    return { fd, area, filter };
  } catch (error) {
    if (area !== undefined) unmapQuietly(area);
    calls.file.close(fd);
    throw error;
  }
}

/** Opens the socket of a side queue that keeps no frame yet. Throws SystemError and leaves nothing behind. */
export function openQueueSocket(calls: Libc, fanout: Fanout | undefined): number {
  const fd = openPacketSocket(calls);
  try {
    setOption(calls, fd, packetOption(PACKET_VNET_HDR, "PACKET_VNET_HDR"), 1);
    setOption(calls, fd, packetOption(PACKET_AUXDATA, "PACKET_AUXDATA"), 1);
    setOption(calls, fd, packetOption(PACKET_IGNORE_OUTGOING, "PACKET_IGNORE_OUTGOING"), 1);
    setReceiveBuffer(calls, fd, QUEUE_SIZE);
    attachFilter(calls, fd, { place: "queue", ifindexes: [] });
    bindToAll(calls, fd);
    if (fanout !== undefined) joinFanout(calls, fd, fanout.group ^ QUEUE_GROUP);
    return fd;
  } catch (error) {
    calls.file.close(fd);
    throw error;
  }
}

/** Gives the ring's memory back. If that fails the mapping keeps the socket, which receives nothing, alive. Never throws. */
export function unmapQuietly(area: MappedBuffer): void {
  try {
    unmapRing(area);
  } catch (error) {
    if (!(error instanceof SystemError)) throw error;
  }
}

/** Lets only what is for `place` of these devices through, at once for all. Throws SystemError. */
export function attachFilter(
  calls: Libc,
  fd: number,
  filter: { readonly place: "ring" | "queue"; readonly ifindexes: Iterable<number> },
): void {
  const program = loadProgram(calls, gsoFilter(filter.ifindexes, filter.place), DOING);
  try {
    const label = "SO_ATTACH_BPF";
    const option = { level: SOL_SOCKET, name: SO_ATTACH_BPF, label, doing: DOING };
    setOption(calls, fd, option, program);
  } finally {
    calls.file.close(program);
  }
}

/** Lets only frames of these devices through, trains of any kind too. Throws SystemError. */
export function attachClassicFilter(
  calls: Libc,
  fd: number,
  ifindexes: Iterable<number>,
): void {
  const program = ifindexFilter(ifindexes);
  const memory = allocateBuffer(CLASSIC_SIZE_MAX);
  memory.buffer.bytes.set(program);
  const fprog = new DataView(new ArrayBuffer(sock_fprog.size));
  fprog.setUint16(sock_fprog.len, program.length / sock_filter.size, true);
  fprog.setBigUint64(sock_fprog.filter, BigInt(memory.buffer.address), true);
  const label = "SO_ATTACH_FILTER";
  const option = { level: SOL_SOCKET, name: SO_ATTACH_FILTER, label, doing: DOING };
  try {
    setOption(calls, fd, option, new Uint8Array(fprog.buffer));
  } finally {
    recycleBuffer(memory);
  }
}

/** Drops everything, and finds out which kind of filter we may use. */
function attachFirstFilter(calls: Libc, fd: number): RingSocket["filter"] {
  try {
    attachFilter(calls, fd, { place: "ring", ifindexes: [] });
    return "bpf";
  } catch (error) {
    if (!(error instanceof SystemError) || (error.errno !== EPERM && error.errno !== ENOSYS)) {
      throw error;
    }
    attachClassicFilter(calls, fd, []);
    return "classic";
  }
}

function openPacketSocket(calls: Libc): number {
  const type = SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC;
  const kind = { domain: AF_PACKET, type, protocol: 0, label: "AF_PACKET", doing: DOING };
  return openSocket(calls, kind);
}

function ringRequest(blocks: number): Uint8Array<ArrayBuffer> {
  const view = new DataView(new ArrayBuffer(tpacket_req.size));
  view.setUint32(tpacket_req.tp_block_size, BLOCK_SIZE, true);
  view.setUint32(tpacket_req.tp_block_nr, blocks, true);
  view.setUint32(tpacket_req.tp_frame_size, FRAME_SIZE, true);
  view.setUint32(tpacket_req.tp_frame_nr, blocks * FRAMES_PER_BLOCK, true);
  return new Uint8Array(view.buffer);
}

function bindToAll(calls: Libc, fd: number): void {
  const address = new DataView(new ArrayBuffer(sockaddr_ll.size));
  address.setUint16(sockaddr_ll.sll_family, AF_PACKET, true);
  address.setUint16(sockaddr_ll.sll_protocol, ETH_P_ALL, false);
  if (calls.socket.bind(fd, address, sockaddr_ll.size) < 0) {
    throw new SystemError({ doing: DOING, syscall: "bind(AF_PACKET)", errno: calls.errno() });
  }
}

/** Before Linux 6.4 the flag is unknown; then only the filter keeps our own frames out, at a price. */
function joinFanout(calls: Libc, fd: number, anyGroup: number): void {
  const option = packetOption(PACKET_FANOUT, "PACKET_FANOUT");
  const group = anyGroup & 0xffff;
  const flags = PACKET_FANOUT_HASH | PACKET_FANOUT_FLAG_IGNORE_OUTGOING;
  try {
    setOption(calls, fd, option, group | (flags << 16));
  } catch (error) {
    if (!(error instanceof SystemError) || error.errno !== EINVAL) throw error;
    setOption(calls, fd, option, group | (PACKET_FANOUT_HASH << 16));
  }
}
