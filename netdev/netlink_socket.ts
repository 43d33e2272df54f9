/** A netlink socket: requests with their answers, and multicast groups. Synchronous: the kernel has answered when the send returns. */
import {
  AF_NETLINK,
  EAGAIN,
  EINTR,
  MSG_DONTWAIT,
  NETLINK_ADD_MEMBERSHIP,
  NETLINK_CAP_ACK,
  NETLINK_EXT_ACK,
  NLM_F_DUMP_INTR,
  NLM_F_MULTI,
  NLMSG_DONE,
  NLMSG_ERROR,
  SOCK_CLOEXEC,
  SOCK_NONBLOCK,
  SOCK_RAW,
  sockaddr_nl,
  SOL_NETLINK,
} from "./abi.ts";
import { type Libc, libc } from "./libc.ts";
import {
  type MessageWriter,
  type NetlinkMessage,
  parseAcknowledgement,
  parseMessages,
} from "./netlink.ts";
import { openSocket, setOption, setReceiveBuffer } from "./socket.ts";
import { SystemError } from "./system_error.ts";

/** Two attributes of the largest size and what stands around them; dumps come in smaller pieces. */
const DATAGRAM_SIZE_MAX = 2 * 65536 + 4096;
/** How often a dump that the kernel interrupted is begun anew. */
const DUMP_TRIES_MAX = 10;

/** What a request is for, for errors. */
export interface RequestPurpose {
  /** To follow "Cannot". */
  readonly doing: string;
  /** Message's kernel name: `RTM_NEWLINK`. */
  readonly label: string;
}

export class NetlinkSocket {
  readonly fd: number;
  readonly #libc: Libc;
  readonly #buffer: Uint8Array<ArrayBuffer> = new Uint8Array(DATAGRAM_SIZE_MAX);
  #sequence = 0;
  #closed = false;

  /** Opens a socket of `protocol` (NETLINK_ROUTE …) and joins `groups`. Throws SystemError and leaves nothing behind. */
  constructor(protocol: number, groups: readonly number[] = []) {
    this.#libc = libc();
    const doing = "open a netlink socket";
    const type = SOCK_RAW | SOCK_NONBLOCK | SOCK_CLOEXEC;
    this.fd = openSocket(this.#libc, {
      domain: AF_NETLINK,
      type,
      protocol,
      label: "AF_NETLINK",
      doing,
    });
    try {
      this.#set(NETLINK_EXT_ACK, "NETLINK_EXT_ACK", 1);
      this.#set(NETLINK_CAP_ACK, "NETLINK_CAP_ACK", 1);
      if (groups.length > 0) setReceiveBuffer(this.#libc, this.fd, 1 << 20);
      const address = new Uint8Array(sockaddr_nl.size);
      address[sockaddr_nl.nl_family] = AF_NETLINK;
      if (this.#libc.socket.bind(this.fd, address, address.length) < 0) {
        throw new SystemError({ doing, syscall: "bind(AF_NETLINK)", errno: this.#libc.errno() });
      }
      // After the bind, which would reset them.
      for (const group of groups) {
        this.#set(NETLINK_ADD_MEMBERSHIP, "NETLINK_ADD_MEMBERSHIP", group);
      }
    } catch (error) {
      this.close();
      throw error;
    }
  }

  /**
   * Sends a request and returns the messages it is answered with, none for a plain acknowledgement.
   * Never waits: a kernel that has not answered when the send returns is an EAGAIN.
   * @throws SystemError with the kernel's own text.
   */
  request(writer: MessageWriter, purpose: RequestPurpose): NetlinkMessage[] {
    return this.#exchange(writer, purpose).answers;
  }

  /**
   * A request with NLM_F_DUMP whose answer is one state: begun anew when what is dumped changed
   * meanwhile. After ten such answers the last one is returned, as it is.
   */
  dump(makeWriter: () => MessageWriter, purpose: RequestPurpose): NetlinkMessage[] {
    for (let tries = 1;; tries++) {
      const { answers, interrupted } = this.#exchange(makeWriter(), purpose);
      if (!interrupted || tries === DUMP_TRIES_MAX) return answers;
    }
  }

  #exchange(
    writer: MessageWriter,
    purpose: RequestPurpose,
  ): { answers: NetlinkMessage[]; interrupted: boolean } {
    const sequence = ++this.#sequence;
    const message = writer.finish(sequence);
    const { doing, label } = purpose;
    const sent = this.#libc.socket.send(this.fd, message, BigInt(message.length), 0);
    if (sent < 0) {
      throw new SystemError({ doing, syscall: `send(${label})`, errno: this.#libc.errno() });
    }
    const answers: NetlinkMessage[] = [];
    let interrupted = false;
    for (;;) {
      for (const answer of this.#receive({ doing, label })) {
        if (answer.sequence !== sequence) continue;
        interrupted ||= (answer.flags & NLM_F_DUMP_INTR) !== 0;
        if (answer.type === NLMSG_ERROR || answer.type === NLMSG_DONE) {
          finish(answer, purpose);
          return { answers, interrupted };
        }
        answers.push(answer);
        if ((answer.flags & NLM_F_MULTI) === 0) return { answers, interrupted };
      }
    }
  }

  /** Messages of the next datagram, for sockets with groups; undefined when none waits. Throws SystemError: ENOBUFS when messages were lost. */
  receive(): NetlinkMessage[] | undefined {
    try {
      return this.#receive({ doing: "read network events", label: "events" });
    } catch (error) {
      if (error instanceof SystemError && error.errno === EAGAIN) return undefined;
      throw error;
    }
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#libc.file.close(this.fd);
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #receive({ doing, label }: RequestPurpose): NetlinkMessage[] {
    const { recv } = this.#libc.socket;
    for (;;) {
      const size = recv(this.fd, this.#buffer, BigInt(DATAGRAM_SIZE_MAX), MSG_DONTWAIT);
      if (size >= 0) return parseMessages(this.#buffer.subarray(0, size));
      const errno = this.#libc.errno();
      if (errno !== EINTR) throw new SystemError({ doing, syscall: `recv(${label})`, errno });
    }
  }

  #set(name: number, label: string, value: number): void {
    const doing = "open a netlink socket";
    setOption(this.#libc, this.fd, { level: SOL_NETLINK, name, label, doing }, value);
  }
}

/** Throws if the last message of an answer carries an error; NLMSG_DONE carries a dump's. */
function finish(answer: NetlinkMessage, { doing, label }: RequestPurpose): void {
  const acknowledgement = parseAcknowledgement(answer);
  let errno = acknowledgement?.errno ?? 0;
  if (answer.type === NLMSG_DONE && answer.payload.length >= 4) {
    errno = -new DataView(answer.payload.buffer).getInt32(0, true);
  }
  if (errno <= 0) return;
  throw new SystemError({ doing, syscall: label, errno, hint: acknowledgement?.text });
}
