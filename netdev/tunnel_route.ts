/** What the host's routes say of the way to a tunnel's far end: its MTU, and our address on it. */
import {
  IP_MTU,
  IPPROTO_IP,
  IPPROTO_IPV6,
  IPV6_MTU,
  SO_MARK,
  sockaddr_in,
  sockaddr_in6,
  SOL_SOCKET,
} from "./abi.ts";
import { type Libc, libc } from "./libc.ts";
import { type Family, openCarrier, socketAddress } from "./tunnel_socket.ts";

export interface Route {
  /** Bytes that an outer packet may have, IP header included. */
  readonly mtu: number;
  /** The source address that the kernel would choose: 4 or 16 bytes. */
  readonly local: Uint8Array<ArrayBuffer>;
}

/** Any port will do: nothing is sent. */
const DISCARD = 9;

/**
 * The way to an address as the host knows it now; undefined: there is none, or no descriptor is left
 * to ask by. `address` is 4 or 16 bytes; `mark` is the skb_mark that routing rules may look at, 0 for
 * none. Five or six system calls.
 */
export function routeTo(address: Uint8Array, mark = 0): Route | undefined {
  const calls = libc();
  const family: Family = address.length === 4 ? 4 : 6;
  const fd = openOrNone(calls, family);
  if (fd < 0) return undefined;
  try {
    if (mark !== 0) {
      // Refused without CAP_NET_ADMIN: then the route is that of unmarked packets.
      const value = new Uint8Array(new Uint32Array([mark]).buffer);
      calls.socket.setsockopt(fd, SOL_SOCKET, SO_MARK, value, 4);
    }
    const end = socketAddress(family, address, DISCARD);
    if (calls.process.connect(fd, end, end.length) < 0) return undefined;
    const mtu = new Int32Array(1);
    const size = new Uint32Array([4]);
    const [level, name] = family === 4 ? [IPPROTO_IP, IP_MTU] : [IPPROTO_IPV6, IPV6_MTU];
    if (calls.socket.getsockopt(fd, level, name, mtu, size) < 0) return undefined;
    size[0] = end.length;
    if (calls.process.getsockname(fd, end, size) < 0) return undefined;
    const at = family === 4 ? sockaddr_in.sin_addr : sockaddr_in6.sin6_addr;
    return { mtu: mtu[0]!, local: end.slice(at, at + address.length) };
  } finally {
    calls.file.close(fd);
  }
}

function openOrNone(calls: Libc, family: Family): number {
  try {
    return openCarrier(calls, "udp", family, "look up a route");
  } catch {
    return -1;
  }
}
