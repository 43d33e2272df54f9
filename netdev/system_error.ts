/**
 * Errors of the operating system: which call failed, with which errno, and what that means to a
 * user. Callers switch on `code`, never on the message.
 */

/** Linux errno values, generic numbering (x86-64 and arm64): number, name, what a user is told. */
const ERRNOS: readonly (readonly [number, string, string])[] = [
  [1, "EPERM", "not permitted: root, or CAP_NET_ADMIN and CAP_NET_RAW, is needed"],
  [2, "ENOENT", "no such file or directory"],
  [3, "ESRCH", "no such process"],
  [4, "EINTR", "interrupted system call"],
  [5, "EIO", "I/O error"],
  [6, "ENXIO", "no such device or address"],
  [7, "E2BIG", "argument list too long"],
  [9, "EBADF", "bad file descriptor"],
  [10, "ECHILD", "no child processes"],
  [11, "EAGAIN", "try again"],
  [12, "ENOMEM", "out of memory"],
  [13, "EACCES", "permission denied"],
  [14, "EFAULT", "bad address"],
  [16, "EBUSY", "device is in use"],
  [17, "EEXIST", "file exists"],
  [18, "EXDEV", "invalid cross-device link"],
  [19, "ENODEV", "no such device"],
  [20, "ENOTDIR", "not a directory"],
  [21, "EISDIR", "is a directory"],
  [22, "EINVAL", "invalid argument"],
  [23, "ENFILE", "too many open files in system"],
  [24, "EMFILE", "too many open files"],
  [25, "ENOTTY", "inappropriate ioctl for device"],
  [27, "EFBIG", "file too large"],
  [28, "ENOSPC", "no space left on device"],
  [29, "ESPIPE", "illegal seek"],
  [30, "EROFS", "read-only file system"],
  [31, "EMLINK", "too many links"],
  [32, "EPIPE", "broken pipe"],
  [33, "EDOM", "numerical argument out of domain"],
  [34, "ERANGE", "numerical result out of range"],
  [35, "EDEADLK", "resource deadlock avoided"],
  [36, "ENAMETOOLONG", "file name too long"],
  [38, "ENOSYS", "function not implemented"],
  [39, "ENOTEMPTY", "directory not empty"],
  [61, "ENODATA", "no data available"],
  [75, "EOVERFLOW", "value too large for defined data type"],
  [77, "EBADFD", "file descriptor in bad state"],
  [87, "EUSERS", "too many users"],
  [88, "ENOTSOCK", "socket operation on non-socket"],
  [89, "EDESTADDRREQ", "destination address required"],
  [90, "EMSGSIZE", "message too long"],
  [91, "EPROTOTYPE", "protocol wrong type for socket"],
  [92, "ENOPROTOOPT", "protocol not available"],
  [93, "EPROTONOSUPPORT", "protocol not supported"],
  [94, "ESOCKTNOSUPPORT", "socket type not supported"],
  [95, "EOPNOTSUPP", "operation not supported"],
  [97, "EAFNOSUPPORT", "address family not supported by protocol"],
  [98, "EADDRINUSE", "address already in use"],
  [99, "EADDRNOTAVAIL", "cannot assign requested address"],
  [100, "ENETDOWN", "network is down"],
  [101, "ENETUNREACH", "network is unreachable"],
  [102, "ENETRESET", "network dropped connection on reset"],
  [103, "ECONNABORTED", "software caused connection abort"],
  [104, "ECONNRESET", "connection reset by peer"],
  [105, "ENOBUFS", "no buffer space available"],
  [106, "EISCONN", "transport endpoint is already connected"],
  [107, "ENOTCONN", "transport endpoint is not connected"],
  [110, "ETIMEDOUT", "connection timed out"],
  [111, "ECONNREFUSED", "connection refused"],
  [112, "EHOSTDOWN", "host is down"],
  [113, "EHOSTUNREACH", "no route to host"],
  [114, "EALREADY", "operation already in progress"],
  [115, "EINPROGRESS", "operation now in progress"],
  [125, "ECANCELED", "operation canceled"],
];

const BY_NUMBER: ReadonlyMap<number, readonly [number, string, string]> = new Map(
  ERRNOS.map((row) => [row[0], row]),
);

/** `16` → `"EBUSY"`; a number without a name → `"E999"`. */
export function errnoName(errno: number): string {
  return BY_NUMBER.get(errno)?.[1] ?? `E${errno}`;
}

/** `16` → `"device is in use"`. */
export function errnoText(errno: number): string {
  return BY_NUMBER.get(errno)?.[2] ?? "unknown error";
}

/** What is known about a failed call. */
export interface Failure {
  /** What was to be done, to follow "Cannot": `open tap "tap0"`. */
  readonly doing: string;
  /** The call, with what tells it from others of its name: `ioctl(TUNSETIFF)`. */
  readonly syscall: string;
  /** Positive errno. */
  readonly errno: number;
  /** Replaces the errno's general text: the kernel's own words, or what the user can do. */
  readonly hint?: string | undefined;
}

/** A system call failed. Message: `Cannot open tap "tap0": ioctl(TUNSETIFF) returned EBUSY (device is in use)`. */
export class SystemError extends Error {
  override readonly name = "SystemError";
  /** Errno's name, `"EBUSY"`. */
  readonly code: string;
  readonly errno: number;
  readonly syscall: string;
  /** What the errno means here: the kernel's own words where it has any. */
  readonly reason: string;

  constructor(failure: Failure, options?: ErrorOptions) {
    const code = errnoName(failure.errno);
    const why = failure.hint ?? errnoText(failure.errno);
    super(`Cannot ${failure.doing}: ${failure.syscall} returned ${code} (${why})`, options);
    this.code = code;
    this.errno = failure.errno;
    this.syscall = failure.syscall;
    this.reason = why;
  }
}
