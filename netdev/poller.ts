/**
 * Waiting for descriptors: an epoll set whose members carry a number (token) of the caller's, and
 * eventfds, by which another thread ends the wait.
 */
import {
  EFD_CLOEXEC,
  EFD_NONBLOCK,
  EINTR,
  EPOLL_CLOEXEC,
  EPOLL_CTL_ADD,
  EPOLL_CTL_DEL,
  epoll_event_aarch64,
  epoll_event_x86_64,
  EPOLLIN,
} from "./abi.ts";
import { type Libc, libc } from "./libc.ts";
import { allocateBuffer, type MappedBuffer, pointerTo, recycleBuffer } from "./memory.ts";
import { SystemError } from "./system_error.ts";

const EVENT = Deno.build.arch === "x86_64" ? epoll_event_x86_64 : epoll_event_aarch64;

/** A set of descriptors to wait for; level-triggered, readable side only. */
export class Poller {
  readonly #libc: Libc;
  readonly #wait: Libc["poll"]["epoll_wait"];
  readonly #fd: number;
  readonly #events: MappedBuffer;
  readonly #view: DataView;
  readonly #pointer: Deno.PointerObject;
  readonly #eventsMax: number;
  readonly #event = new Uint8Array(EVENT.size);
  #closed = false;

  /** `eventsMax` bounds what one wait reports; the rest is reported by the next. Throws SystemError. */
  constructor(eventsMax = 64) {
    this.#libc = libc();
    this.#wait = this.#libc.poll.epoll_wait;
    this.#eventsMax = eventsMax;
    this.#fd = this.#libc.poll.epoll_create1(EPOLL_CLOEXEC);
    if (this.#fd < 0) this.#fail("make an epoll set", "epoll_create1");
    try {
      this.#events = allocateBuffer(eventsMax * EVENT.size);
    } catch (error) {
      this.#libc.file.close(this.#fd);
      throw error;
    }
    this.#view = this.#events.buffer.view;
    this.#pointer = pointerTo(this.#events.buffer);
  }

  /** Readable when one of its members is: a set may be a member of another. */
  get fd(): number {
    return this.#fd;
  }

  /** Waits for `fd` too; `token` is any unsigned 32-bit number. Throws SystemError. */
  add(fd: number, token: number): void {
    const event = new DataView(this.#event.buffer);
    event.setUint32(EVENT.events, EPOLLIN, true);
    event.setUint32(EVENT.data, token, true);
    if (this.#libc.poll.epoll_ctl(this.#fd, EPOLL_CTL_ADD, fd, this.#event) < 0) {
      this.#fail(`wait for descriptor ${fd}`, "epoll_ctl(EPOLL_CTL_ADD)");
    }
  }

  /** No longer waits for `fd`. One that is closed or was never added is no error. */
  remove(fd: number): void {
    this.#libc.poll.epoll_ctl(this.#fd, EPOLL_CTL_DEL, fd, this.#event);
  }

  /** Sleeps until a descriptor is readable (or failed) or `timeoutMs` has passed (−1: no limit); returns how many are ready. A signal counts as none. */
  wait(timeoutMs: number): number {
    const count = this.#wait(this.#fd, this.#pointer, this.#eventsMax, timeoutMs);
    if (count >= 0) return count;
    if (this.#libc.errno() === EINTR) return 0;
    this.#fail("wait for descriptors", "epoll_wait");
  }

  /** Token of the `at`-th ready descriptor of the last wait. */
  token(at: number): number {
    return this.#view.getUint32(at * EVENT.size + EVENT.data, true);
  }

  /** What it is ready for: EPOLLIN 1, EPOLLERR 8, EPOLLHUP 16. */
  events(at: number): number {
    return this.#view.getUint32(at * EVENT.size + EVENT.events, true);
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#libc.file.close(this.#fd);
    recycleBuffer(this.#events);
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #fail(doing: string, syscall: string): never {
    throw new SystemError({ doing, syscall, errno: this.#libc.errno() });
  }
}

const ONE = new Uint8Array(new BigUint64Array([1n]).buffer);

/** A doorbell between threads: any thread that knows the descriptor rings it. */
export class EventFd {
  readonly fd: number;
  readonly #libc: Libc;
  readonly #owned: boolean;
  readonly #count = new Uint8Array(8);
  #closed = false;

  /** Makes one (throws SystemError), or uses `fd` that another isolate of this process has made. */
  constructor(fd?: number) {
    this.#libc = libc();
    this.#owned = fd === undefined;
    this.fd = fd ?? this.#libc.poll.eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (this.fd < 0) {
      const errno = this.#libc.errno();
      throw new SystemError({ doing: "make an eventfd", syscall: "eventfd", errno });
    }
  }

  /** Makes it readable. Never blocks. */
  ring(): void {
    this.#libc.file.write(this.fd, ONE, 8n);
  }

  /** Makes it unreadable again. */
  clear(): void {
    this.#libc.file.read(this.fd, this.#count, 8n);
  }

  /** Closes it if this object made it. */
  close(): void {
    if (this.#closed || !this.#owned) return;
    this.#closed = true;
    this.#libc.file.close(this.fd);
  }

  [Symbol.dispose](): void {
    this.close();
  }
}
