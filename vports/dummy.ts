/**
 * Vport type `dummy`, as Open vSwitch's netdev class of that name: no device behind it. Frames are
 * injected by a command and what the switch sends is recorded, in memory and, if asked for, in
 * capture files. Needs no privileges; golden, oracle and loop tests stand on it.
 *
 * Commands (structured-clonable both ways):
 * - `inject` {@link DummyInject}: hands frames to the switch; returns when they are handled and flushed.
 * - `sent`: {@link DummySent}, what has been sent since the last `take`; `take`: the same, and forgets it.
 */
import { type DropReason, dropReason } from "../datapath/drop_reasons.ts";
import { setMetadataFromKey } from "../datapath/fields/key_metadata.ts";
import { KEY_WORDS } from "../datapath/key.ts";
import { FRAME_SIZE_MAX, type Packet, WIDE_METADATA_FROM } from "../datapath/packet/packet.ts";
import { optionReader } from "./options.ts";
import { PcapFile } from "./pcap_file.ts";
import type {
  Attachment,
  PortParams,
  Sender,
  Vport,
  VportHost,
  VportOps,
  VportParams,
} from "./vport.ts";

export interface DummyOptions {
  /** Capture file of what the switch sends. */
  readonly txPcap: string | undefined;
  /** Capture file of what is injected; may be the same file. */
  readonly rxPcap: string | undefined;
}

export interface DummyInject {
  readonly frames: readonly Uint8Array[];
  /** All frames so many times over; default 1. */
  readonly repeat?: number;
  /** Packet thread that receives them; default: chosen by the frame's addresses, as a NIC would. */
  readonly thread?: number;
  /** Offload state of every frame (datapath/packet/packet.ts). */
  readonly offload?: DummyOffload;
  /**
   * Metadata of each frame, the tunnel that it came through above all, as keys of KEY_WORDS words have
   * it; undefined: none.
   */
  readonly keys?: readonly (Int32Array | undefined)[];
}

export interface DummyOffload {
  readonly csumStart: number;
  readonly csumOffset: number;
  readonly gsoType?: number;
  readonly gsoSize?: number;
}

export interface DummySent {
  /** In the order of sending, over all threads. */
  readonly frames: Uint8Array[];
  /** For each frame the tunnel that set(tunnel) had said, as a key without anything else; undefined: none. */
  readonly tunnels: (Int32Array | undefined)[];
  /** Frames that did not fit into the record and are lost. */
  readonly forgotten: number;
}

/** What one thread has recorded. */
interface ThreadSent {
  readonly frames: RecordedFrame[];
  readonly forgotten: number;
}

interface RecordedFrame {
  readonly order: number;
  readonly frame: Uint8Array;
  readonly tunnel: Int32Array | undefined;
}

/** What `attach` passes to the threads. */
interface DummyData {
  /** One Int32 word: frames sent so far, over all threads. */
  readonly order: SharedArrayBuffer;
}

const OPTIONS = ["tx_pcap", "rx_pcap", "pcap"] as const;
const MTU = 1500;
const FRAME_TOO_LONG = dropReason("frame-too-long");
const POOL_EXHAUSTED = dropReason("pool-exhausted");

function parseOptions(raw: ReadonlyMap<string, string>): DummyOptions {
  optionReader.only(raw, OPTIONS);
  const both = raw.get("pcap");
  return { txPcap: raw.get("tx_pcap") ?? both, rxPcap: raw.get("rx_pcap") ?? both };
}

function formatOptions(options: DummyOptions): ReadonlyMap<string, string> {
  const { txPcap, rxPcap } = options;
  const shown = new Map<string, string>();
  if (txPcap !== undefined && txPcap === rxPcap) return shown.set("pcap", txPcap);
  if (txPcap !== undefined) shown.set("tx_pcap", txPcap);
  if (rxPcap !== undefined) shown.set("rx_pcap", rxPcap);
  return shown;
}

function attach(params: PortParams<DummyOptions>): Attachment {
  const { txPcap, rxPcap } = params.options;
  for (const path of new Set([txPcap, rxPcap])) {
    if (path !== undefined) PcapFile.create(path);
  }
  const data: DummyData = { order: new SharedArrayBuffer(4) };
  const [high, low] = [params.portNo >> 8, params.portNo & 0xff];
  return {
    data,
    mac: params.mac ?? `aa:55:aa:55:${hex(high)}:${hex(low)}`,
    mtu: MTU,
    detach: () => {},
    command: async (name, command, toThread) => {
      if (name === "inject") return await inject(command as DummyInject, params.threads, toThread);
      return await gather(name, params.threads, toThread);
    },
  };
}

function hex(byte: number): string {
  return byte.toString(16).padStart(2, "0");
}

type ToThread = (thread: number, name: string, data: unknown) => Promise<unknown>;

/** Frames go to the threads in runs, one run after the other, so that their order is kept. */
async function inject(command: DummyInject, threads: number, toThread: ToThread): Promise<void> {
  const { frames, thread, keys } = command;
  for (let from = 0; from < frames.length;) {
    const place = thread ?? threadOf(frames[from]!, threads);
    let to = from + 1;
    while (to < frames.length && (thread ?? threadOf(frames[to]!, threads)) === place) to++;
    const run = { ...command, frames: frames.slice(from, to) };
    await toThread(place, "inject", keys ? { ...run, keys: keys.slice(from, to) } : run);
    from = to;
  }
}

/** A thread by MAC and IPv4 addresses, so that a flow's packets stay in order. */
function threadOf(frame: Uint8Array, threads: number): number {
  let hash = 0;
  for (let at = 0; at < Math.min(frame.length, 34); at++) {
    if (at < 12 || at >= 26) hash = Math.imul(hash ^ frame[at]!, 0x01000193);
  }
  return (hash >>> 8) % threads;
}

async function gather(name: string, threads: number, toThread: ToThread): Promise<DummySent> {
  const asked = Array.from({ length: threads }, (_, thread) => toThread(thread, name, undefined));
  const parts = await Promise.all(asked) as ThreadSent[];
  const records = parts.flatMap((part) => part.frames).sort((a, b) => a.order - b.order);
  return {
    frames: records.map((record) => record.frame),
    tunnels: records.map((record) => record.tunnel),
    forgotten: parts.reduce((sum, part) => sum + part.forgotten, 0),
  };
}

class DummyVport implements Vport {
  readonly takesPartialChecksums = false;
  readonly takesSegmentTrains = false;
  readonly sender: Sender | undefined;
  readonly #portNo: number;
  readonly #host: VportHost;
  readonly #sent: SentRecord;
  readonly #tx: PcapFile | undefined;
  readonly #rx: PcapFile | undefined;

  constructor(params: VportParams<DummyOptions>) {
    const { txPcap, rxPcap } = params.options;
    this.#portNo = params.portNo;
    this.#host = params.host;
    this.#sent = new SentRecord((params.data as DummyData).order);
    this.#tx = txPcap === undefined ? undefined : PcapFile.append(txPcap);
    this.#rx = rxPcap === undefined
      ? undefined
      : rxPcap === txPcap
      ? this.#tx
      : PcapFile.append(rxPcap);
  }

  send(packet: Packet): DropReason {
    this.#sent.add(packet);
    this.#tx?.write(packet.bytes.subarray(packet.start, packet.end), this.#host.wallUs());
    return 0;
  }

  command(name: string, data: unknown): unknown {
    switch (name) {
      case "inject":
        return this.#inject(data as DummyInject);
      case "sent":
        return this.#sent.list();
      case "take": {
        const sent = this.#sent.list();
        this.#sent.clear();
        return sent;
      }
      default:
        throw new Error(`A dummy port has no command "${name}" (commands: inject, sent, take)`);
    }
  }

  close(): void {
    this.#tx?.close();
    if (this.#rx !== this.#tx) this.#rx?.close();
  }

  #inject(command: DummyInject): void {
    const { frames, repeat = 1, offload, keys } = command;
    for (let time = 0; time < repeat; time++) {
      for (let at = 0; at < frames.length; at++) this.#receive(frames[at]!, offload, keys?.[at]);
    }
  }

  #receive(
    frame: Uint8Array,
    offload: DummyOffload | undefined,
    key: Int32Array | undefined,
  ): void {
    this.#rx?.write(frame, this.#host.wallUs());
    if (frame.length > FRAME_SIZE_MAX) {
      this.#host.countRxDrop(this.#portNo, FRAME_TOO_LONG);
      return;
    }
    const packet = this.#host.allocate();
    if (packet === undefined) {
      this.#host.countRxDrop(this.#portNo, POOL_EXHAUSTED);
      return;
    }
    packet.bytes.set(frame, packet.start);
    packet.end = packet.start + frame.length;
    packet.inPort = this.#portNo;
    if (key !== undefined) setMetadataFromKey(packet, key);
    if (offload !== undefined) {
      packet.needsCsum = true;
      packet.csumStart = offload.csumStart;
      packet.csumOffset = offload.csumOffset;
      packet.gsoType = offload.gsoType ?? 0;
      packet.gsoSize = offload.gsoSize ?? 0;
    }
    this.#host.receive(this.#portNo, packet);
  }
}

/** Bytes of record per port and thread; pages that are not used cost nothing. */
const RECORD_SIZE = 4 << 20;
/** Order, size of the frame, words of the tunnel behind it. */
const RECORD_HEADER_SIZE = 12;

/** Frames sent, in one block of memory: to record one allocates nothing. */
class SentRecord {
  readonly #view: DataView = new DataView(new ArrayBuffer(RECORD_SIZE));
  readonly #order: Int32Array;
  #end = 0;
  #count = 0;
  #forgotten = 0;

  constructor(order: SharedArrayBuffer) {
    this.#order = new Int32Array(order);
  }

  /** A frame that no longer fits makes all before it forgotten. */
  add(packet: Packet): void {
    const size = packet.end - packet.start;
    const tunnel = packet.hasEgress ? packet.metadata().egressWords : undefined;
    const words = tunnel === undefined ? 0 : tunnel.length;
    if (this.#end + RECORD_HEADER_SIZE + size + 4 + 4 * words > RECORD_SIZE) {
      this.#forgotten += this.#count;
      this.#count = 0;
      this.#end = 0;
    }
    const view = this.#view;
    const source = packet.view;
    view.setInt32(this.#end, Atomics.add(this.#order, 0, 1));
    view.setInt32(this.#end + 4, size);
    view.setInt32(this.#end + 8, words);
    const to = this.#end + RECORD_HEADER_SIZE;
    let at = 0;
    for (; at + 4 <= size; at += 4) view.setInt32(to + at, source.getInt32(packet.start + at));
    for (; at < size; at++) view.setUint8(to + at, source.getUint8(packet.start + at));
    this.#end = to + ((size + 3) & ~3);
    for (let word = 0; word < words; word++) {
      view.setInt32(this.#end, tunnel![word]!);
      this.#end += 4;
    }
    this.#count++;
  }

  list(): ThreadSent {
    const frames: RecordedFrame[] = [];
    for (let at = 0; at < this.#end;) {
      const size = this.#view.getInt32(at + 4);
      const from = at + RECORD_HEADER_SIZE;
      const frame = new Uint8Array(this.#view.buffer.slice(from, from + size));
      const tunnelAt = from + ((size + 3) & ~3);
      const words = this.#view.getInt32(at + 8);
      const tunnel = words === 0 ? undefined : this.#tunnel(tunnelAt, words);
      frames.push({ order: this.#view.getInt32(at), frame, tunnel });
      at = tunnelAt + 4 * words;
    }
    return { frames, forgotten: this.#forgotten };
  }

  /** A key with the tunnel that was recorded there. */
  #tunnel(at: number, words: number): Int32Array {
    const key = new Int32Array(KEY_WORDS);
    for (let word = 0; word < words; word++) {
      key[WIDE_METADATA_FROM + word] = this.#view.getInt32(at + 4 * word);
    }
    return key;
  }

  clear(): void {
    this.#end = 0;
    this.#count = 0;
    this.#forgotten = 0;
  }
}

export const dummy: VportOps<DummyOptions> = {
  apiVersion: 1,
  type: "dummy",
  summary: "frames injected by command and recorded; no device, no privileges",
  headroom: 0,
  parseOptions,
  formatOptions,
  attach,
  create: (params) => new DummyVport(params),
};

export default dummy;
