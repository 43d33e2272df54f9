/**
 * The contract between the switch and a vport type: `VportOps`, the kernel's `struct vport_ops`
 * (net/openvswitch/vport.h) in TypeScript, with the receive half that the kernel gets from the device.
 *
 * A type is one module whose default export is a `VportOps`, or a function from {@link PluginApi} to
 * one. It is loaded in the control isolate (options, and `attach`: what a port needs once) and in
 * every packet thread (`create`: one queue of the port).
 */
import type * as checksum from "../datapath/packet/checksum.ts";
import type * as ethernet from "../datapath/headers/ethernet.ts";
import type * as geneve from "../datapath/headers/geneve.ts";
import type * as gre from "../datapath/headers/gre.ts";
import type * as ipv4 from "../datapath/headers/ipv4.ts";
import type * as ipv6 from "../datapath/headers/ipv6.ts";
import type * as udp from "../datapath/headers/udp.ts";
import type * as vlan from "../datapath/headers/vlan.ts";
import type * as vxlan from "../datapath/headers/vxlan.ts";
import type { DropReason, DropReasonName } from "../datapath/drop_reasons.ts";
import type { Packet } from "../datapath/packet/packet.ts";
import type { TunnelKey } from "../datapath/packet/tunnel_key.ts";

export type { TunnelKey } from "../datapath/packet/tunnel_key.ts";

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
  /**
   * MTU of the device, in bytes: longer frames are dropped as over-mtu, but for segment trains. Looked
   * at again after each {@link check}, which may have changed it. Absent: `send` decides.
   */
  readonly mtu?: number | undefined;
  /** Index of the device now. */
  readonly ifindex?: number | undefined;
  /** This call has made the device: if the port can't be completed, it is deleted again. */
  readonly isNew?: boolean | undefined;
  /** Gives back what `attach` took. "close": the switch stops, devices that outlive it stay. "delete": the port is removed for good. Never throws. */
  detach(how: "close" | "delete"): void;
  /** One line about a port that is up, for dp-show; undefined: nothing needs to be said. */
  status?(): string | undefined;
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
  /** Counts a packet, or `count`, that could not be received; portNo PORT_NONE when it can't be told. */
  countRxDrop(portNo: number, reason: DropReason, count?: number): void;
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
  /** Whether `send` takes packets without Ethernet header (isL3). Absent: no; the switch drops them. */
  readonly takesL3Packets?: boolean | undefined;
  /**
   * Queues or sends one borrowed packet. Returns 0 when taken, else the drop reason. `tunnel` is what the
   * flow's set(tunnel(…)) has said, undefined if there was none; it is the packet's, not to be kept.
   */
  send(packet: Packet, tunnel: TunnelKey | undefined): DropReason;
  /** A command of the type's own, structured-clonable both ways; may hand packets to `host.receive`. Errors go back to the caller and don't fail the port. */
  command?(name: string, data: unknown): unknown;
  /** Gives back all that `create` took; never throws. */
  close(): void;
}

/** A vport type whose ports run on the packet threads: it waits on descriptors only and never blocks. */
export interface VportOps<Options = unknown> {
  /** Version of this contract. */
  readonly apiVersion: 1;
  /** Absent: "sync". Types with promises are {@link AsyncVportOps}. */
  readonly kind?: "sync";
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
 * A vport type with promises: WebSocket, QUIC, anything that Deno's own API does. Each of its ports
 * runs in a Worker of its own, joined to the packet threads by bounded rings in shared memory: what
 * blocks or throws there stops that port alone. Frames are copied on the way, and come without
 * offload state: the switch completes checksums and segments first.
 */
export interface AsyncVportOps<Options = unknown> {
  /** Version of this contract. */
  readonly apiVersion: 1;
  /** Tells it from {@link VportOps}. */
  readonly kind: "async";
  /** Name after `--type`. Lower case, unique among the registered types. */
  readonly type: string;
  /** One line for lists. */
  readonly summary: string;
  /** As in {@link VportOps}; runs in the control isolate and in the Worker. */
  parseOptions(raw: ReadonlyMap<string, string>): Options;
  /** As in {@link VportOps}. */
  formatOptions(options: Options): ReadonlyMap<string, string>;
  /**
   * Worker: opens the port. Until it resolves, frames to the port wait in the ring. What it throws
   * takes the port down: an error with a `code` (ECONNREFUSED, say) as a lost device, which is
   * opened again about once a second, all else as broken code.
   */
  open(params: AsyncVportParams<Options>): Promise<AsyncVport> | AsyncVport;
}

/** What {@link AsyncVportOps.open} is given. */
export interface AsyncVportParams<Options> {
  /** Datapath's name. */
  readonly datapath: string;
  /** Port's name. */
  readonly name: string;
  /** 0 … 65534. */
  readonly portNo: number;
  /** What `parseOptions` returned. */
  readonly options: Options;
  /** The switch. */
  readonly host: AsyncVportHost;
}

/** What the switch offers to an asynchronous port. */
export interface AsyncVportHost {
  /** Copies one received frame (14 to 65558 bytes) towards the packet threads. False: it was dropped and counted, because the ring is full or the size is not a frame's. */
  receive(frame: Uint8Array): boolean;
  /** One line about a port that is up, of what its user should know (not connected, and why; two far ends): dp-show shows it. */
  status(text: string): void;
  /** The far end is gone: the port goes down with this reason, is closed, and is opened again about once a second. */
  lost(reason: string): void;
  /** The port's code can't go on: it goes down with this reason and stays so until the user acts. For errors in callbacks that nobody else would see. */
  failed(thrown: unknown): void;
}

/** An open asynchronous port. */
export interface AsyncVport {
  /** Sends one frame, which is the port's to keep. False: there was nowhere to send it, and it is counted as dropped (`port-down`). While a returned promise is pending no other frame comes: the ring fills, and then the switch drops (`async-ring-full`). What it throws takes the port down. */
  send(frame: Uint8Array<ArrayBuffer>): void | boolean | Promise<void | boolean>;
  /** Gives back all that `open` took. Its Worker ends afterwards, whatever it does. */
  close(): void | Promise<void>;
}

/** Either kind of vport type: what a plug-in module's default export is, or makes. */
export type AnyVportOps<Options = unknown> = VportOps<Options> | AsyncVportOps<Options>;

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
  /** A type's options, as a table or read one by one. */
  readonly options: OptionHelpers;
  /** Readers and writers of protocol headers, one group per protocol. */
  readonly headers: HeaderHelpers;
  /** The Internet checksum, in full and incrementally. */
  readonly checksum: typeof checksum;
  /** Whether a text is an IPv4 or IPv6 address. */
  isAddress(text: string): boolean;
  /** A receiver that asks `next` for one packet after the other, up to the budget. */
  receiver(source: PacketSource): Receiver;
  /**
   * A whole port over a UDP socket, for {@link VportOps.create}: datagrams are frames behind a header
   * of your own. Binds the socket; throws SystemError.
   */
  udpVport(params: VportParams<unknown>, to: UdpEncapsulation): Vport;
  /** Binds a UDP socket, non-blocking, on a packet thread, for ports that {@link udpVport} does not fit. Throws SystemError. */
  openUdp(options: UdpOptions): UdpPort;
}

/**
 * Protocol headers: free functions over a DataView and the offset of a header's first byte, all of one
 * shape. `fits` says whether a whole header lies there, the fields' functions read, `write` sets every
 * byte. Only `write`'s argument allocates.
 */
export interface HeaderHelpers {
  /** Ethernet II. */
  readonly ethernet: typeof ethernet;
  /** Geneve (RFC 8926). */
  readonly geneve: typeof geneve;
  /** GRE (RFC 2784, RFC 2890). */
  readonly gre: typeof gre;
  /** IPv4 (RFC 791). */
  readonly ipv4: typeof ipv4;
  /** IPv6 (RFC 8200) and its extensions. */
  readonly ipv6: typeof ipv6;
  /** UDP (RFC 768). */
  readonly udp: typeof udp;
  /** 802.1Q tags. */
  readonly vlan: typeof vlan;
  /** VXLAN (RFC 7348). */
  readonly vxlan: typeof vxlan;
}

/**
 * A type's `key=value` options. A table of forms gives `parseOptions` and `formatOptions`, which go
 * together by construction:
 *
 * ```ts
 * interface Options {
 *   readonly remote: UdpEnd;
 *   readonly limit: number;
 * }
 * const { form, table } = api.options;
 * const codec = table<Options>({
 *   remote: form.end(),
 *   limit: form.integer({ min: 1, max: 1000, fallback: 64 }),
 * });
 * ```
 *
 * For options that no table expresses there are the functions of {@link OptionReader}.
 */
export interface OptionHelpers extends OptionReader {
  /** Both functions for the options of these keys, to be spread into the type. Others are refused. */
  table<Options extends object>(
    forms: { readonly [Key in keyof Options]-?: OptionForm<Options[Key]> },
  ): OptionCodec<Options>;
  /** What an option may look like. */
  readonly form: OptionForms;
}

/** What {@link OptionHelpers.table} makes. */
export type OptionCodec<Options> = Pick<VportOps<Options>, "parseOptions" | "formatOptions">;

/** How one option is read and shown. Authors may write their own. */
export interface OptionForm<T> {
  /** The value of option `key`, or its default. Throws OptionError. */
  parse(raw: ReadonlyMap<string, string>, key: string): T;
  /** What parses to the same; undefined: it is the default, and left out. */
  format(value: T): string | undefined;
}

/** The forms that there are. An option without a default (`fallback`) is required. */
export interface OptionForms {
  /** A whole number in [min, max]. */
  integer(range: { min: number; max: number; fallback?: number }): OptionForm<number>;
  /** One of a few words; the first is the default. */
  choice<Word extends string>(words: readonly [Word, ...Word[]]): OptionForm<Word>;
  /** Any text. */
  text(options?: { fallback?: string }): OptionForm<string>;
  /** An address and a port, `192.0.2.7:5000` or `[2001:db8::7]:5000`. Required. */
  end(): OptionForm<UdpEnd>;
  /**
   * The near end of a socket whose far end is the option `to`: an address of the same family and a
   * port, or `:5000` for any address. Default: any address and `port`.
   */
  localEnd(options: { to: string; port: number }): OptionForm<UdpEnd>;
  /** The same, and undefined when it is absent. */
  optional<T>(form: OptionForm<T>): OptionForm<T | undefined>;
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
  /** An address and a port, `192.0.2.7:5000` or `[2001:db8::7]:5000`; undefined when absent. */
  end(raw: ReadonlyMap<string, string>, key: string): UdpEnd | undefined;
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

/** What {@link PluginApi.receiver} takes. */
export interface PacketSource {
  /** As {@link Receiver.fd}. */
  readonly fd?: number;
  /** Of the port. */
  readonly host: VportHost;
  /** The port's number. */
  readonly portNo: number;
  /** Fills a free packet: [start, end), and the offload fields if there are any. False: nothing waits. */
  next(packet: Packet): boolean;
}

/** What {@link PluginApi.udpVport} takes. */
export interface UdpEncapsulation {
  /** Where to receive; several threads share the port. */
  readonly local: UdpEnd;
  /** Of the same address family. Datagrams of others are ignored. */
  readonly remote: UdpEnd;
  /** In front of each frame; absent: a datagram is a frame. */
  readonly header?: EncapsulationHeader | undefined;
}

/** A header in front of a frame. Both functions run for every packet: they should not allocate. */
export interface EncapsulationHeader {
  /** In bytes, at most the type's `headroom`. */
  readonly size: number;
  /** Writes all bytes of the header at `at`. */
  write(view: DataView, at: number): void;
  /** Whether what lies there is a header of this port. Else the datagram is dropped and counted (`tunnel-not-a-port`). */
  accepts(view: DataView, at: number): boolean;
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
