/**
 * Sockets that tunnels are made of: UDP, or raw IP sockets of protocol GRE, over IPv4 or IPv6: opening
 * and binding them.
 */
import ipaddr from "ipaddr.js";
import {
  AF_INET,
  AF_INET6,
  BPF_ABS,
  BPF_ALU,
  BPF_JEQ,
  BPF_JMP,
  BPF_K,
  BPF_LD,
  BPF_MOD,
  BPF_RET,
  BPF_W,
  IP_MTU_DISCOVER,
  IP_PKTINFO,
  IP_PMTUDISC_DO,
  IP_PMTUDISC_DONT,
  IP_RECVTOS,
  IP_RECVTTL,
  IPPROTO_GRE,
  IPPROTO_IP,
  IPPROTO_IPV6,
  IPPROTO_UDP,
  IPV6_MTU_DISCOVER,
  IPV6_RECVHOPLIMIT,
  IPV6_RECVPKTINFO,
  IPV6_RECVTCLASS,
  IPV6_V6ONLY,
  SKF_AD_OFF,
  SKF_AD_RXHASH,
  SO_ATTACH_FILTER,
  SO_DETACH_FILTER,
  SO_NO_CHECK,
  SO_REUSEPORT,
  SOCK_CLOEXEC,
  SOCK_DGRAM,
  sock_filter,
  sock_fprog,
  SOCK_NONBLOCK,
  SOCK_RAW,
  sockaddr_in,
  sockaddr_in6,
  SOL_SOCKET,
  UDP_GRO,
  UDP_NO_CHECK6_RX,
  UDP_NO_CHECK6_TX,
} from "./abi.ts";
import { type Libc, libc } from "./libc.ts";
import { openSocket, setOption, setReceiveBuffer, setSendBuffer } from "./socket.ts";
import { SystemError } from "./system_error.ts";
import { joinSteering, type Steering } from "./tunnel_steering.ts";

/** IP version of the underlay. */
export type Family = 4 | 6;
/** What carries the tunnel. */
export type Carrier = "udp" | "gre";

const RECEIVE_BUFFER_SIZE = 8 << 20;
const SEND_BUFFER_SIZE = 4 << 20;
const KEEP_ALL = 0xffff_ffff;

export interface InputPlace {
  readonly carrier: Carrier;
  readonly family: Family;
  /** UDP port; 0 for GRE. */
  readonly port: number;
  /** This packet thread, of how many: each gets its share of what comes. */
  readonly thread: number;
  readonly threads: number;
  /** What tells UDP datagrams with a checksum from others; undefined: nothing does. */
  readonly steering?: Steering | undefined;
  /** Whether this socket is for those that have one; only with steering. */
  readonly hasChecksum?: boolean | undefined;
}

/** `bind(UDP port 4789)` and the like fail with this in front. */
function doingOf(place: { carrier: Carrier; family: Family; port: number }): string {
  const { carrier, family, port } = place;
  return carrier === "udp"
    ? `receive on UDP port ${port} over IPv${family}`
    : `receive GRE over IPv${family}`;
}

/** A plain socket; `doing` follows "Cannot". Throws SystemError. */
export function openCarrier(calls: Libc, carrier: Carrier, family: Family, doing: string): number {
  const kind = carrier === "udp" ? SOCK_DGRAM : SOCK_RAW;
  return openSocket(calls, {
    domain: family === 4 ? AF_INET : AF_INET6,
    type: kind | SOCK_NONBLOCK | SOCK_CLOEXEC,
    protocol: carrier === "udp" ? IPPROTO_UDP : IPPROTO_GRE,
    label: carrier === "udp" ? `UDP over IPv${family}` : `raw GRE over IPv${family}`,
    doing,
  });
}

/**
 * A bound socket for receiving, of all local addresses. Throws SystemError (EADDRINUSE: somebody else
 * has the port) and leaves nothing behind.
 */
export function openInput(place: InputPlace): number {
  const calls = libc();
  const { carrier, family, port, threads } = place;
  const doing = doingOf(place);
  const fd = openCarrier(calls, carrier, family, doing);
  const set = (level: number, name: number, label: string, value = 1): void =>
    setOption(calls, fd, { level, name, label, doing }, value);
  try {
    if (family === 4) {
      // A raw socket gives the IP header itself.
      if (carrier === "udp") {
        set(IPPROTO_IP, IP_PKTINFO, "IP_PKTINFO");
        set(IPPROTO_IP, IP_RECVTOS, "IP_RECVTOS");
        set(IPPROTO_IP, IP_RECVTTL, "IP_RECVTTL");
      }
    } else {
      if (carrier === "udp") set(IPPROTO_IPV6, IPV6_V6ONLY, "IPV6_V6ONLY");
      set(IPPROTO_IPV6, IPV6_RECVPKTINFO, "IPV6_RECVPKTINFO");
      set(IPPROTO_IPV6, IPV6_RECVTCLASS, "IPV6_RECVTCLASS");
      set(IPPROTO_IPV6, IPV6_RECVHOPLIMIT, "IPV6_RECVHOPLIMIT");
    }
    setReceiveBuffer(calls, fd, RECEIVE_BUFFER_SIZE);
    if (carrier === "gre") {
      if (threads > 1) attachShare(calls, fd, { ...place, doing });
      return fd;
    }
    set(IPPROTO_UDP, UDP_GRO, "UDP_GRO");
    if (family === 6) set(IPPROTO_UDP, UDP_NO_CHECK6_RX, "UDP_NO_CHECK6_RX");
    const { steering, thread, hasChecksum = false } = place;
    if (threads > 1 || steering !== undefined) set(SOL_SOCKET, SO_REUSEPORT, "SO_REUSEPORT");
    // Nothing gets in before it is certain to be the right socket's.
    if (steering !== undefined) attachNothing(calls, fd, doing);
    bindTo(calls, fd, { family, port, doing });
    if (steering !== undefined) {
      joinSteering(calls, fd, { steering, thread, hasChecksum });
      set(SOL_SOCKET, SO_DETACH_FILTER, "SO_DETACH_FILTER");
    }
    return fd;
  } catch (error) {
    calls.file.close(fd);
    throw error;
  }
}

/** Whether the port can be had: binds and closes. Throws SystemError if not. Raw sockets have no ports. */
export function probePort(family: Family, port: number): void {
  const calls = libc();
  const doing = doingOf({ carrier: "udp", family, port });
  const fd = openCarrier(calls, "udp", family, doing);
  try {
    if (family === 6) {
      const option = { level: IPPROTO_IPV6, name: IPV6_V6ONLY, label: "IPV6_V6ONLY", doing };
      setOption(calls, fd, option, 1);
    }
    bindTo(calls, fd, { family, port, doing });
  } finally {
    calls.file.close(fd);
  }
}

function bindTo(
  calls: Libc,
  fd: number,
  where: { family: Family; port: number; doing: string },
): void {
  const { family, port, doing } = where;
  const address = socketAddress(family, new Uint8Array(family === 4 ? 4 : 16), port);
  if (calls.socket.bind(fd, address, address.length) < 0) {
    const errno = calls.errno();
    throw new SystemError({ doing, syscall: `bind(port ${port})`, errno });
  }
}

/**
 * Every raw socket gets every packet: each thread's keeps those whose hash is its own. Packets that
 * came without a hash all belong to thread 0.
 */
function attachShare(calls: Libc, fd: number, place: InputPlace & { doing: string }): void {
  const program: readonly (readonly [number, number, number, number])[] = [
    [BPF_LD | BPF_W | BPF_ABS, 0, 0, (SKF_AD_OFF + SKF_AD_RXHASH) >>> 0],
    [BPF_ALU | BPF_MOD | BPF_K, 0, 0, place.threads],
    [BPF_JMP | BPF_JEQ | BPF_K, 0, 1, place.thread],
    [BPF_RET | BPF_K, 0, 0, KEEP_ALL],
    [BPF_RET | BPF_K, 0, 0, 0],
  ];
  const filter = new DataView(new ArrayBuffer(program.length * sock_filter.size));
  program.forEach(([code, jt, jf, k], index) => {
    const at = index * sock_filter.size;
    filter.setUint16(at + sock_filter.code, code, true);
    filter.setUint8(at + sock_filter.jt, jt);
    filter.setUint8(at + sock_filter.jf, jf);
    filter.setUint32(at + sock_filter.k, k, true);
  });
  const header = new DataView(new ArrayBuffer(sock_fprog.size));
  header.setUint16(sock_fprog.len, program.length, true);
  const address = Deno.UnsafePointer.value(Deno.UnsafePointer.of(filter));
  header.setBigUint64(sock_fprog.filter, BigInt(address), true);
  const option = {
    level: SOL_SOCKET,
    name: SO_ATTACH_FILTER,
    label: "SO_ATTACH_FILTER",
    doing: place.doing,
  };
  setOption(calls, fd, option, new Uint8Array(header.buffer));
}

export interface OutputKind {
  readonly carrier: Carrier;
  readonly family: Family;
  /** Outer packets must not be fragmented: longer ones than the way's MTU are refused (EMSGSIZE). */
  readonly dontFragment: boolean;
  /** UDP datagrams have a checksum. */
  readonly checksum: boolean;
}

/** A socket for sending; the kernel gives a UDP one a source port of its own. Throws SystemError and leaves nothing behind. */
export function openOutput(kind: OutputKind): number {
  const calls = libc();
  const { carrier, family, dontFragment, checksum } = kind;
  const doing = `send over IPv${family}`;
  const fd = openCarrier(calls, carrier, family, doing);
  const set = (level: number, name: number, label: string, value: number): void =>
    setOption(calls, fd, { level, name, label, doing }, value);
  try {
    const discover = dontFragment ? IP_PMTUDISC_DO : IP_PMTUDISC_DONT;
    if (family === 4) set(IPPROTO_IP, IP_MTU_DISCOVER, "IP_MTU_DISCOVER", discover);
    else set(IPPROTO_IPV6, IPV6_MTU_DISCOVER, "IPV6_MTU_DISCOVER", discover);
    if (!checksum && carrier === "udp") {
      if (family === 4) set(SOL_SOCKET, SO_NO_CHECK, "SO_NO_CHECK", 1);
      else set(IPPROTO_UDP, UDP_NO_CHECK6_TX, "UDP_NO_CHECK6_TX", 1);
    }
    setSendBuffer(calls, fd, SEND_BUFFER_SIZE);
    // A raw socket that only sends would get a copy of all that comes.
    if (carrier === "gre") attachNothing(calls, fd, doing);
    return fd;
  } catch (error) {
    calls.file.close(fd);
    throw error;
  }
}

/** Keeps everything out of a socket. */
function attachNothing(calls: Libc, fd: number, doing: string): void {
  const filter = new DataView(new ArrayBuffer(sock_filter.size));
  filter.setUint16(sock_filter.code, BPF_RET | BPF_K, true);
  const header = new DataView(new ArrayBuffer(sock_fprog.size));
  header.setUint16(sock_fprog.len, 1, true);
  const address = Deno.UnsafePointer.value(Deno.UnsafePointer.of(filter));
  header.setBigUint64(sock_fprog.filter, BigInt(address), true);
  const option = { level: SOL_SOCKET, name: SO_ATTACH_FILTER, label: "SO_ATTACH_FILTER", doing };
  setOption(calls, fd, option, new Uint8Array(header.buffer));
}

/** `struct sockaddr_in` or `sockaddr_in6`. */
export function socketAddress(
  family: Family,
  address: Uint8Array,
  port: number,
): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(family === 4 ? sockaddr_in.size : sockaddr_in6.size);
  const view = new DataView(bytes.buffer);
  view.setUint16(sockaddr_in.sin_family, family === 4 ? AF_INET : AF_INET6, true);
  view.setUint16(sockaddr_in.sin_port, port);
  bytes.set(address, family === 4 ? sockaddr_in.sin_addr : sockaddr_in6.sin6_addr);
  return bytes;
}

/** The 4 or 16 bytes of an IPv4 or IPv6 address; undefined: the text is none. */
export function addressBytes(text: string): Uint8Array | undefined {
  if (ipaddr.IPv4.isValidFourPartDecimal(text)) {
    return new Uint8Array(ipaddr.IPv4.parse(text).toByteArray());
  }
  if (!ipaddr.IPv6.isValid(text) || text.includes("%")) return undefined;
  return new Uint8Array(ipaddr.IPv6.parse(text).toByteArray());
}
