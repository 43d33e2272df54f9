/** Opening sockets and setting their options, with errors that name the call and the option. */
import { SO_RCVBUF, SO_RCVBUFFORCE, SO_SNDBUF, SO_SNDBUFFORCE, SOL_SOCKET } from "./abi.ts";
import type { Libc } from "./libc.ts";
import { SystemError } from "./system_error.ts";

/** What a socket is opened as. */
export interface SocketKind {
  readonly domain: number;
  readonly type: number;
  readonly protocol: number;
  /** For errors: `AF_PACKET`. */
  readonly label: string;
  /** For errors, to follow "Cannot". */
  readonly doing: string;
}

/** Opens a socket; throws SystemError. */
export function openSocket(calls: Libc, kind: SocketKind): number {
  const fd = calls.socket.socket(kind.domain, kind.type, kind.protocol);
  if (fd < 0) {
    const { doing, label } = kind;
    throw new SystemError({ doing, syscall: `socket(${label})`, errno: calls.errno() });
  }
  return fd;
}

/** One option of a socket. */
export interface SocketOption {
  readonly level: number;
  readonly name: number;
  /** For errors: `PACKET_VNET_HDR`. */
  readonly label: string;
  /** For errors, to follow "Cannot". */
  readonly doing: string;
}

/** Sets an option to bytes, or to an int; throws SystemError. */
export function setOption(
  calls: Libc,
  fd: number,
  option: SocketOption,
  value: number | Uint8Array<ArrayBuffer>,
): void {
  const bytes = typeof value === "number" ? new Uint8Array(new Int32Array([value]).buffer) : value;
  if (calls.socket.setsockopt(fd, option.level, option.name, bytes, bytes.length) < 0) {
    const { doing, label } = option;
    throw new SystemError({ doing, syscall: `setsockopt(${label})`, errno: calls.errno() });
  }
}

/** Asks for a receive buffer of `size` bytes; without CAP_NET_ADMIN the kernel's limit stays. */
export function setReceiveBuffer(calls: Libc, fd: number, size: number): void {
  setBuffer(calls, fd, [SO_RCVBUFFORCE, SO_RCVBUF], size);
}

/** Asks for a send buffer of `size` bytes; without CAP_NET_ADMIN the kernel's limit stays. */
export function setSendBuffer(calls: Libc, fd: number, size: number): void {
  setBuffer(calls, fd, [SO_SNDBUFFORCE, SO_SNDBUF], size);
}

function setBuffer(calls: Libc, fd: number, names: readonly number[], size: number): void {
  const bytes = new Uint8Array(new Int32Array([size]).buffer);
  for (const name of names) {
    if (calls.socket.setsockopt(fd, SOL_SOCKET, name, bytes, bytes.length) === 0) return;
  }
}
