/**
 * The C library, by FFI: the only module that calls `Deno.dlopen`. Symbols are split by use and
 * opened on first use, because each costs about 0.25 ms. Every entry stands under its C prototype.
 *
 * Conventions for hot calls: pointers computed once, 64-bit values as BigInt constants (a JS number
 * where the signature says u64 costs 200 ns), results as i32 where the value fits.
 *
 * Tests put their own {@link Libc} in place with {@link replaceLibc}; objects keep the one that was
 * current when they were made.
 */

/** Descriptors. */
export interface FileCalls {
  /** `int open(const char *path, int flags, mode_t mode)` */
  open(path: BufferSource, flags: number, mode: number): number;
  /** `int close(int fd)` */
  close(fd: number): number;
  /** `ssize_t read(int fd, void *to, size_t size)` */
  read(fd: number, to: BufferSource, size: bigint): number;
  /** `ssize_t write(int fd, const void *from, size_t size)` */
  write(fd: number, from: BufferSource, size: bigint): number;
  /** `ssize_t readv(int fd, const struct iovec *iov, int count)` */
  readv(fd: number, iov: Deno.PointerValue, count: number): number;
  /** `ssize_t writev(int fd, const struct iovec *iov, int count)` */
  writev(fd: number, iov: Deno.PointerValue, count: number): number;
  /** `int ioctl(int fd, unsigned long request, void *argument)` */
  ioctl(fd: number, request: bigint, argument: BufferSource): number;
  /** `int ioctl(int fd, unsigned long request, unsigned long argument)` */
  ioctlValue(fd: number, request: bigint, argument: bigint): number;
}

/** Mappings. */
export interface MemoryCalls {
  /** `void *mmap(void *at, size_t size, int protection, int flags, int fd, off_t offset)`; all ones when it fails. */
  mmap(
    at: Deno.PointerValue,
    size: bigint,
    protection: number,
    flags: number,
    fd: number,
    offset: bigint,
  ): Deno.PointerValue;
}

/** Waiting. */
export interface PollCalls {
  /** `int epoll_create1(int flags)` */
  epoll_create1(flags: number): number;
  /** `int epoll_ctl(int epfd, int op, int fd, struct epoll_event *event)` */
  epoll_ctl(epfd: number, op: number, fd: number, event: BufferSource): number;
  /** `int epoll_wait(int epfd, struct epoll_event *events, int max, int timeout_ms)` */
  epoll_wait(epfd: number, events: Deno.PointerValue, max: number, timeoutMs: number): number;
  /** `int eventfd(unsigned initial, int flags)` */
  eventfd(initial: number, flags: number): number;
  /** `int usleep(useconds_t us)` */
  usleep(us: number): number;
}

/** Sockets. */
export interface SocketCalls {
  /** `int socket(int domain, int type, int protocol)` */
  socket(domain: number, type: number, protocol: number): number;
  /** `int bind(int fd, const struct sockaddr *address, socklen_t size)` */
  bind(fd: number, address: BufferSource, size: number): number;
  /** `int setsockopt(int fd, int level, int name, const void *value, socklen_t size)` */
  setsockopt(fd: number, level: number, name: number, value: BufferSource, size: number): number;
  /** `int getsockopt(int fd, int level, int name, void *value, socklen_t *size)` */
  getsockopt(
    fd: number,
    level: number,
    name: number,
    value: BufferSource,
    size: BufferSource,
  ): number;
  /** `ssize_t send(int fd, const void *from, size_t size, int flags)` */
  send(fd: number, from: BufferSource, size: bigint, flags: number): number;
  /** `ssize_t recv(int fd, void *to, size_t size, int flags)` */
  recv(fd: number, to: BufferSource, size: bigint, flags: number): number;
  /** `ssize_t recvmsg(int fd, struct msghdr *message, int flags)` */
  recvmsg(fd: number, message: Deno.PointerValue, flags: number): number;
  /** `int sendmmsg(int fd, struct mmsghdr *messages, unsigned count, int flags)` */
  sendmmsg(fd: number, messages: Deno.PointerValue, count: number, flags: number): number;
}

/** The clock. */
export interface ClockCalls {
  /** `int clock_gettime(clockid_t clock, struct timespec *time)` */
  clock_gettime(clock: number, time: Deno.PointerValue): number;
}

/** System calls that the C library has no function for, or that are rarely used. */
export interface KernelCalls {
  /** `long syscall(SYS_bpf, int command, union bpf_attr *attributes, unsigned size)`; the number comes first. */
  bpf(number: bigint, command: bigint, attributes: BufferSource, size: bigint): number;
  /** `int setns(int fd, int nstype)` */
  setns(fd: number, nstype: number): number;
  /** `int prctl(int option, unsigned long a, unsigned long b, unsigned long c, unsigned long d)` */
  prctl(option: number, a: bigint, b: bigint, c: bigint, d: bigint): number;
}

/** What a daemon does once. */
export interface ProcessCalls {
  /** `int connect(int fd, const struct sockaddr *address, socklen_t size)` */
  connect(fd: number, address: BufferSource, size: number): number;
  /** `int getsockname(int fd, struct sockaddr *address, socklen_t *size)` */
  getsockname(fd: number, address: BufferSource, size: BufferSource): number;
  /** `int dup2(int from, int to)` */
  dup2(from: number, to: number): number;
}

/** Everything, by use. A group is opened when it is first asked for. */
export interface Libc {
  readonly file: FileCalls;
  readonly memory: MemoryCalls;
  readonly poll: PollCalls;
  readonly socket: SocketCalls;
  readonly clock: ClockCalls;
  readonly kernel: KernelCalls;
  readonly process: ProcessCalls;
  /** errno of this thread: valid right after a call that returned −1, before any other call. */
  errno(): number;
}

const LIBC = "libc.so.6";

function openFile(): FileCalls {
  return Deno.dlopen(LIBC, {
    open: { parameters: ["buffer", "i32", "u32"], result: "i32" },
    close: { parameters: ["i32"], result: "i32" },
    read: { parameters: ["i32", "buffer", "usize"], result: "i32" },
    write: { parameters: ["i32", "buffer", "usize"], result: "i32" },
    readv: { parameters: ["i32", "pointer", "i32"], result: "i32" },
    writev: { parameters: ["i32", "pointer", "i32"], result: "i32" },
    ioctl: { parameters: ["i32", "u64", "buffer"], result: "i32" },
    ioctlValue: { name: "ioctl", parameters: ["i32", "u64", "u64"], result: "i32" },
  }).symbols;
}

function openMemory(): MemoryCalls {
  return Deno.dlopen(LIBC, {
    mmap: { parameters: ["pointer", "usize", "i32", "i32", "i32", "i64"], result: "pointer" },
  }).symbols;
}

function openPoll(): PollCalls {
  return Deno.dlopen(LIBC, {
    epoll_create1: { parameters: ["i32"], result: "i32" },
    epoll_ctl: { parameters: ["i32", "i32", "i32", "buffer"], result: "i32" },
    epoll_wait: { parameters: ["i32", "pointer", "i32", "i32"], result: "i32" },
    eventfd: { parameters: ["u32", "i32"], result: "i32" },
    usleep: { parameters: ["u32"], result: "i32" },
  }).symbols;
}

function openSocket(): SocketCalls {
  return Deno.dlopen(LIBC, {
    socket: { parameters: ["i32", "i32", "i32"], result: "i32" },
    bind: { parameters: ["i32", "buffer", "u32"], result: "i32" },
    setsockopt: { parameters: ["i32", "i32", "i32", "buffer", "u32"], result: "i32" },
    getsockopt: { parameters: ["i32", "i32", "i32", "buffer", "buffer"], result: "i32" },
    send: { parameters: ["i32", "buffer", "usize", "i32"], result: "i32" },
    recv: { parameters: ["i32", "buffer", "usize", "i32"], result: "i32" },
    recvmsg: { parameters: ["i32", "pointer", "i32"], result: "i32" },
    sendmmsg: { parameters: ["i32", "pointer", "u32", "i32"], result: "i32" },
  }).symbols;
}

function openClock(): ClockCalls {
  return Deno.dlopen(LIBC, {
    clock_gettime: { parameters: ["i32", "pointer"], result: "i32" },
  }).symbols;
}

function openKernel(): KernelCalls {
  return Deno.dlopen(LIBC, {
    bpf: { name: "syscall", parameters: ["i64", "i64", "buffer", "u64"], result: "i32" },
    setns: { parameters: ["i32", "i32"], result: "i32" },
    prctl: { parameters: ["i32", "u64", "u64", "u64", "u64"], result: "i32" },
  }).symbols;
}

function openProcess(): ProcessCalls {
  return Deno.dlopen(LIBC, {
    connect: { parameters: ["i32", "buffer", "u32"], result: "i32" },
    getsockname: { parameters: ["i32", "buffer", "buffer"], result: "i32" },
    dup2: { parameters: ["i32", "i32"], result: "i32" },
  }).symbols;
}

/** errno's address is fixed for a thread, and an isolate never leaves its thread: 11 ns instead of 90. */
function openErrno(): Int32Array {
  const { symbols } = Deno.dlopen(LIBC, {
    __errno_location: { parameters: [], result: "pointer" },
  });
  const at = symbols.__errno_location();
  if (at === null) throw new Error("__errno_location returned null");
  return new Int32Array(Deno.UnsafePointerView.getArrayBuffer(at, 4));
}

/** Told of each descriptor that is opened or closed. */
type DescriptorNote = (fd: number, isOpen: boolean) => void;

let note: DescriptorNote = () => {};

/** From now on `to` hears of every descriptor that this isolate opens or closes here (descriptors.ts). */
export function noteDescriptors(to: DescriptorNote): void {
  note = to;
}

function noted(fd: number): number {
  if (fd >= 0) note(fd, true);
  return fd;
}

// What opens and closes is no hot call; all others stay the symbols themselves.
function notingFile(calls: FileCalls): FileCalls {
  return {
    ...calls,
    open: (path, flags, mode) => noted(calls.open(path, flags, mode)),
    close: (fd) => {
      note(fd, false); // before: its number is another's at once
      return calls.close(fd);
    },
  };
}

function notingPoll(calls: PollCalls): PollCalls {
  return {
    ...calls,
    epoll_create1: (flags) => noted(calls.epoll_create1(flags)),
    eventfd: (initial, flags) => noted(calls.eventfd(initial, flags)),
  };
}

function notingSocket(calls: SocketCalls): SocketCalls {
  return {
    ...calls,
    socket: (domain, type, protocol) => noted(calls.socket(domain, type, protocol)),
  };
}

class RealLibc implements Libc {
  #file: FileCalls | undefined;
  #memory: MemoryCalls | undefined;
  #poll: PollCalls | undefined;
  #socket: SocketCalls | undefined;
  #clock: ClockCalls | undefined;
  #kernel: KernelCalls | undefined;
  #process: ProcessCalls | undefined;
  #errno: Int32Array | undefined;

  // errno's own symbol is opened with the first group: opening it after a failed call would lose errno.
  get file(): FileCalls {
    this.#errno ??= openErrno();
    return this.#file ??= notingFile(openFile());
  }
  get memory(): MemoryCalls {
    this.#errno ??= openErrno();
    return this.#memory ??= openMemory();
  }
  get poll(): PollCalls {
    this.#errno ??= openErrno();
    return this.#poll ??= notingPoll(openPoll());
  }
  get socket(): SocketCalls {
    this.#errno ??= openErrno();
    return this.#socket ??= notingSocket(openSocket());
  }
  get clock(): ClockCalls {
    this.#errno ??= openErrno();
    return this.#clock ??= openClock();
  }
  get kernel(): KernelCalls {
    this.#errno ??= openErrno();
    return this.#kernel ??= openKernel();
  }
  get process(): ProcessCalls {
    this.#errno ??= openErrno();
    return this.#process ??= openProcess();
  }
  errno(): number {
    this.#errno ??= openErrno();
    return this.#errno[0] ?? 0;
  }
}

const real: Libc = new RealLibc();
let current: Libc = real;

/** The C library, or what a test has put in its place. */
export function libc(): Libc {
  return current;
}

/** For tests: objects made from now on use `replacement`; undefined brings the real one back. */
export function replaceLibc(replacement: Libc | undefined): void {
  current = replacement ?? real;
}
