/**
 * The contract between the switch and a vport type: `VportOps`, the kernel's `struct vport_ops`
 * (net/openvswitch/vport.h) in TypeScript, with the receive half that the kernel gets from the device.
 *
 * A type is one module whose default export is a `VportOps`, or a function from {@link PluginApi} to
 * one. It is loaded in the control isolate (options, and `attach`: what a port needs once) and in
 * every packet thread (`create`: one queue of the port).
 */
import type { DropReason, DropReasonName } from "../datapath/drop_reasons.ts";
import type { Packet } from "../datapath/packet.ts";

/** Tunnel metadata of a packet. Filled in by tunnel types (an issue of their own). */
export interface TunnelKey {
  /** Tunnel key (VNI and the like). */
  readonly tunId: bigint;
}

/** What the switch is told about a port when it makes it, in the control isolate and in the threads. */
export interface PortParams<Options> {
  /** Datapath's name. */
  readonly datapath: string;
  /** Identifies the datapath in the state, for marks left on devices (ifalias). 32 hex digits. */
  readonly datapathId: string;
  /** Port's (and mostly the device's) name, 1 … 15 bytes. */
  readonly name: string;
  /** 0 … 65534. */
  readonly portNo: number;
  /** What `parseOptions` returned. */
  readonly options: Options;
  /** MAC saved for the port, `xx:xx:xx:xx:xx:xx`; types that make devices give it to them. */
  readonly mac: string | undefined;
  /** How many packet threads will each call `create`. */
  readonly threads: number;
}

/** A port as the control isolate holds it. */
export interface Attachment {
  /** Structured-clonable facts for `create` in every thread (an ifindex, say). */
  readonly data?: unknown;
  /** MAC of the device now, to be saved. */
  readonly mac?: string | undefined;
  /** MTU of the device now, in bytes. */
  readonly mtu?: number | undefined;
  /** Index of the device now. */
  readonly ifindex?: number | undefined;
  /** This call has made the device: if the port can't be completed, it is deleted again. */
  readonly isNew?: boolean | undefined;
  /** Gives back what `attach` took. "close": the switch stops, devices that outlive it stay. "delete": the port is removed for good. Never throws. */
  detach(how: "close" | "delete"): void;
  /** Called about once a second and at device events: a text if the port has become unusable (device gone), else undefined. */
  check?(): string | undefined;
  /**
   * A command of the type's own to a running port (class dummy's `inject`). `toThread` runs
   * {@link Vport.command} on one packet thread; it resolves when what the command handed over has
   * been handled and flushed. Absent: the command goes to thread 0 as it is.
   */
  command?(
    name: string,
    data: unknown,
    toThread: (thread: number, name: string, data: unknown) => Promise<unknown>,
  ): Promise<unknown>;
}

/** What a queue is given in a packet thread. */
export interface VportParams<Options> extends PortParams<Options> {
  /** This thread, 0 … threads − 1. */
  readonly thread: number;
  /** What `attach` returned as data. */
  readonly data: unknown;
  /** The switch. */
  readonly host: VportHost;
}

/** What the switch offers to a port on a packet thread. */
export interface VportHost {
  /**
   * Something that several ports share on this thread (a receiver, a socket): made by the first that
   * asks under this name, the same object for the rest, `close()`d when the last has released it.
   * Names are the thread's, over all types and datapaths: begin them with the type's name.
   */
  share<T extends { close(): void }>(name: string, make: () => T): T;
  /** Lets go of what {@link share} gave. */
  unshare(name: string): void;
  /** A free packet of the thread's pool with HEADROOM in front and room for FRAME_SIZE_MAX, start = end = HEADROOM + 2 past the slot's beginning; undefined: none free. The switch takes it back after it was handed to `receive`, or by `recycle`. */
  allocate(): Packet | undefined;
  /** Takes back a packet that was allocated and not handed over. */
  recycle(packet: Packet): void;
  /** Hands over one received packet. inPort and the offload fields must be set; the bytes stay valid until the receiver's `release`. */
  receive(portNo: number, packet: Packet): void;
  /** Counts a packet that could not be received; portNo PORT_NONE when it can't be told. */
  countRxDrop(portNo: number, reason: DropReason): void;
  /** Counts a packet that an earlier `send` had accepted and that the device then refused. */
  countTxDrop(portNo: number, reason: DropReason, size: number): void;
  /** Monotonic milliseconds, the virtual clock's where that is set. */
  nowMs(): number;
  /** Microseconds since 1970-01-01 UTC, the virtual clock's where that is set. */
  wallUs(): number;
}

/** A source of packets on a packet thread: one per port, or shared by many. */
export interface Receiver {
  /** Readable when `receive` has work: the thread sleeps on it. Absent: `receive` is called every round, and a thread with such a receiver never sleeps longer than 1 ms. */
  readonly fd?: number;
  /** Looking for packets costs no system call (a ring in shared memory): `receive` is called every round, whether the fd was reported or not. */
  readonly polled?: boolean;
  /** Hands up to `budget` packets to `host.receive`; returns how many. Must not block. */
  receive(budget: number): number;
  /** The round is over: nothing handed over since the last call is in use any more. */
  release?(): void;
}

/** A place where sends are gathered: one per port, or shared by many. */
export interface Sender {
  /** Everything queued by `send` goes out, in as few system calls as possible. */
  flush(): void;
}

/**
 * One queue of a port on a packet thread. Whatever a callback throws takes the port down and is
 * reported: a SystemError as a lost device, which may be attached again, all else as broken code.
 */
export interface Vport {
  /** Where its packets come from; absent: it only sends. */
  readonly receiver?: Receiver | undefined;
  /** A second source, for what the first can't take. Shared like the first. */
  readonly sideReceiver?: Receiver | undefined;
  /** Where its packets are gathered; absent: `send` sends at once. */
  readonly sender?: Sender | undefined;
  /** Whether `send` takes packets with needsCsum set. False: the switch completes checksums first. */
  readonly takesPartialChecksums: boolean;
  /** Whether `send` takes packets with a gsoType (of which needsCsum is then a part). False: the switch segments first. */
  readonly takesSegmentTrains: boolean;
  /** Queues or sends one borrowed packet. Returns 0 when taken, else the drop reason. */
  send(packet: Packet, tunnel: TunnelKey | undefined): DropReason;
  /** A command of the type's own, structured-clonable both ways; may hand packets to `host.receive`. Errors go back to the caller and don't fail the port. */
  command?(name: string, data: unknown): unknown;
  /** Gives back all that `create` took; never throws. */
  close(): void;
}

/** A vport type. */
export interface VportOps<Options = unknown> {
  /** Version of this contract. */
  readonly apiVersion: 1;
  /** Name after `--type`. Lower case, unique among the registered types. */
  readonly type: string;
  /** One line for lists. */
  readonly summary: string;
  /** Bytes in front of a packet's `start` that `send` may write: they are there, and lent as the frame is. At most HEADROOM − 64. */
  readonly headroom: number;
  /** Checks `key=value` options and fills in defaults. Touches nothing outside. Throws OptionError naming the key. */
  parseOptions(raw: ReadonlyMap<string, string>): Options;
  /** Options as they are shown and saved; only those that differ from the defaults. */
  formatOptions(options: Options): ReadonlyMap<string, string>;
  /** Control isolate, once per port: takes possession of the device, or throws SystemError (or OptionError) and leaves nothing behind. Absent: the type needs nothing of the kind. */
  attach?(params: PortParams<Options>): Attachment;
  /** Packet thread: opens one queue of the port, or throws SystemError and leaves nothing behind. */
  create(params: VportParams<Options>): Vport;
}

/**
 * What a plug-in module gets by argument, so that it needs no import of the switch's code (which a
 * single-file executable could not resolve), only `import type`.
 */
export interface PluginApi {
  /** Version of the contract that the switch speaks. */
  readonly apiVersion: 1;
  /** For `parseOptions`: `new api.OptionError(key, message)`; the message names key and value and says what is allowed. */
  readonly OptionError: new (option: string, message: string) => Error;
  /** Index of a named drop reason, for `send` and `countRxDrop`. */
  dropReason(name: DropReasonName): DropReason;
  /** Helpers for `parseOptions`. */
  readonly options: OptionReader;
  /** Whether a text is an IPv4 or IPv6 address. */
  isAddress(text: string): boolean;
  /** Binds a UDP socket, non-blocking, on a packet thread. Throws SystemError. */
  openUdp(options: UdpOptions): UdpPort;
}

/** Readers for `key=value` options, with errors in one wording. All throw OptionError. */
export interface OptionReader {
  /** Refuses keys that are not among `known`. */
  only(raw: ReadonlyMap<string, string>, known: readonly string[]): void;
  /** Refuses the absence of `key`. */
  required(raw: ReadonlyMap<string, string>, key: string): string;
  /** A whole number in [min, max]; `fallback` when absent. */
  integer(
    raw: ReadonlyMap<string, string>,
    key: string,
    range: { min: number; max: number; fallback: number },
  ): number;
  /** One of a few words; the first when absent. */
  choice(raw: ReadonlyMap<string, string>, key: string, allowed: readonly string[]): string;
}

/** `address` is IPv4 or IPv6 without brackets. */
export interface UdpEnd {
  /** IPv4 or IPv6, without brackets. */
  readonly address: string;
  /** 0 … 65535. */
  readonly port: number;
}

/** What {@link PluginApi.openUdp} takes. */
export interface UdpOptions {
  /** Where to receive. */
  readonly local: UdpEnd;
  /** Of the same address family. Datagrams of others are ignored. */
  readonly remote: UdpEnd;
  /** Several threads bind the same local port (SO_REUSEPORT). */
  readonly shared: boolean;
  /** Told of each queued datagram that the kernel refused: hand it to `host.countTxDrop`. */
  refused(reason: DropReason, size: number): void;
}

/** A UDP socket with one peer: datagrams in and out, in packets' own memory. Fits {@link Sender}. */
export interface UdpPort {
  /** Readable when datagrams wait. */
  readonly fd: number;
  /** Reads one datagram to [packet.start, packet.end), setting `end`. Returns its size; -1: none waits. */
  receive(packet: Packet): number;
  /** Queues [start, end) as one datagram, lent until `flush`. Returns 0. */
  send(packet: Packet): DropReason;
  /** Sends what is queued. */
  flush(): void;
  /** Closes the socket. Never throws. */
  close(): void;
}
