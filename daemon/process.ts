/** What a daemon needs of the operating system besides devices: peers, descriptors, its supervisor. */
import { AF_UNIX, SOCK_CLOEXEC, SOCK_DGRAM } from "../netdev/abi.ts";
import { libc } from "../netdev/libc.ts";

const SOL_SOCKET = 1;
const SO_PEERCRED = 17;
/** struct ucred: pid, uid, gid, 32 bits each. */
const UCRED_SIZE = 12;
const UCRED_UID = 1;
/** sun_path of struct sockaddr_un. */
const SUN_PATH_SIZE = 108;
const O_RDWR = 2;

/** User id of the process that made the connection `fd`; undefined when the kernel does not tell. */
export function peerUid(fd: number): number | undefined {
  const credentials = new Uint32Array(UCRED_SIZE / 4);
  const size = new Uint32Array([UCRED_SIZE]);
  if (libc().socket.getsockopt(fd, SOL_SOCKET, SO_PEERCRED, credentials, size) < 0) {
    return undefined;
  }
  return credentials[UCRED_UID];
}

/** Standard input, output and error go nowhere from now on: whoever started us may have closed them. */
export function detachStandardStreams(): void {
  const { file, process } = libc();
  const fd = file.open(new TextEncoder().encode("/dev/null\0"), O_RDWR, 0);
  if (fd < 0) return;
  for (const stream of [0, 1, 2]) process.dup2(fd, stream);
  if (fd > 2) file.close(fd);
}

/**
 * sd_notify(3): tells the supervisor that started us (`READY=1`, `STOPPING=1`). Does nothing
 * without NOTIFY_SOCKET; a supervisor that can't be told is not our trouble.
 */
export function notifySupervisor(state: string): boolean {
  const path = Deno.env.get("NOTIFY_SOCKET");
  if (path === undefined || !/^[@/]/.test(path)) return false;
  const name = new TextEncoder().encode(path);
  if (name.length >= SUN_PATH_SIZE) return false;
  const address = new Uint8Array(2 + name.length + 1);
  new DataView(address.buffer).setUint16(0, AF_UNIX, true);
  address.set(name, 2);
  // An abstract name begins with a zero byte, and ends where the address ends.
  const abstract = path.startsWith("@");
  if (abstract) address[2] = 0;
  const calls = libc();
  const fd = calls.socket.socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
  if (fd < 0) return false;
  try {
    const size = abstract ? address.length - 1 : address.length;
    if (calls.process.connect(fd, address, size) < 0) return false;
    const text = new TextEncoder().encode(state);
    return calls.socket.send(fd, text, BigInt(text.length), 0) === text.length;
  } finally {
    calls.file.close(fd);
  }
}
