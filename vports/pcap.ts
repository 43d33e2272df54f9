/**
 * Vport type `pcap`: a capture file is what the port receives, another records what it sends. No
 * device, no privileges.
 *
 * rx_pcap=FILE is replayed (pcap and pcapng; Ethernet and raw IP) from the moment the port exists, so
 * add the flows first: as fast as the switch takes it, or, with pace=original, at the capture's own
 * times; loop=N times over, 0 for ever. tx_pcap=FILE is made anew and gets every frame sent.
 */
import { type DropReason, dropReason } from "../datapath/drop_reasons.ts";
import { FRAME_SIZE_MAX, type Packet } from "../datapath/packet/packet.ts";
import { type CapturedPacket, readCapture } from "../datapath/capture/pcap.ts";
import { EFD_CLOEXEC, EFD_NONBLOCK } from "../netdev/abi.ts";
import { libc } from "../netdev/libc.ts";
import { SystemError } from "../netdev/system_error.ts";
import { optionReader } from "./options.ts";
import { PcapFile } from "./pcap_file.ts";
import type {
  Attachment,
  PortParams,
  Receiver,
  Vport,
  VportHost,
  VportOps,
  VportParams,
} from "./vport.ts";

export interface PcapOptions {
  readonly rxPcap: string | undefined;
  readonly txPcap: string | undefined;
  /** 0: for ever. */
  readonly loop: number;
  readonly pace: "full" | "original";
}

const FRAME_TOO_LONG = dropReason("frame-too-long");
const FRAME_TOO_SHORT = dropReason("frame-too-short");
const ETHERNET_SIZE = 14;
const ETH_P_IP = 0x0800;
const ETH_P_IPV6 = 0x86dd;

function parseOptions(raw: ReadonlyMap<string, string>): PcapOptions {
  optionReader.only(raw, ["rx_pcap", "tx_pcap", "loop", "pace"]);
  const pace = optionReader.choice(raw, "pace", ["full", "original"]);
  return {
    rxPcap: raw.get("rx_pcap"),
    txPcap: raw.get("tx_pcap"),
    loop: optionReader.integer(raw, "loop", { min: 0, max: 1_000_000_000, fallback: 1 }),
    pace: pace === "original" ? "original" : "full",
  };
}

function formatOptions(options: PcapOptions): ReadonlyMap<string, string> {
  const shown = new Map<string, string>();
  if (options.loop !== 1) shown.set("loop", `${options.loop}`);
  if (options.pace !== "full") shown.set("pace", options.pace);
  if (options.rxPcap !== undefined) shown.set("rx_pcap", options.rxPcap);
  if (options.txPcap !== undefined) shown.set("tx_pcap", options.txPcap);
  return shown;
}

/** Files that can't be read or written are refused here, with their names. */
function attach(params: PortParams<PcapOptions>): Attachment {
  const { rxPcap, txPcap } = params.options;
  if (rxPcap !== undefined) readAll(rxPcap);
  if (txPcap !== undefined) PcapFile.create(txPcap);
  return { detach: () => {} };
}

function readAll(path: string): CapturedPacket[] {
  return [...readCapture(Deno.readFileSync(path))];
}

class PcapVport implements Vport {
  readonly takesPartialChecksums = false;
  readonly takesSegmentTrains = false;
  readonly receiver: Receiver | undefined;
  readonly #host: VportHost;
  readonly #record: PcapFile | undefined;
  readonly #replay: Replay | undefined;

  constructor(params: VportParams<PcapOptions>) {
    const { rxPcap, txPcap } = params.options;
    this.#host = params.host;
    // One thread replays: the order of the file is kept.
    if (rxPcap !== undefined && params.thread === 0) {
      this.#replay = new Replay(readAll(rxPcap), params);
      this.receiver = this.#replay;
    }
    try {
      if (txPcap !== undefined) this.#record = PcapFile.append(txPcap);
    } catch (error) {
      this.#replay?.close();
      throw error;
    }
  }

  send(packet: Packet): DropReason {
    this.#record?.write(packet.bytes.subarray(packet.start, packet.end), this.#host.wallUs());
    return 0;
  }

  close(): void {
    this.#record?.close();
    this.#replay?.close();
  }
}

/** Hands over the packets of a capture. */
class Replay implements Receiver {
  /** Readable until the last packet has gone; absent at the capture's own pace, which the thread looks at every millisecond. */
  readonly fd?: number;
  readonly #packets: readonly CapturedPacket[];
  readonly #host: VportHost;
  readonly #portNo: number;
  readonly #isPaced: boolean;
  /** Times still to go; Infinity: for ever. */
  #left: number;
  #next = 0;
  #startedMs = -1;

  constructor(packets: readonly CapturedPacket[], params: VportParams<PcapOptions>) {
    const { loop, pace } = params.options;
    this.#packets = packets;
    this.#host = params.host;
    this.#portNo = params.portNo;
    this.#isPaced = pace === "original";
    this.#left = packets.length === 0 ? 0 : loop === 0 ? Infinity : loop;
    if (this.#isPaced) return;
    const calls = libc();
    this.fd = calls.poll.eventfd(this.#left === 0 ? 0 : 1, EFD_CLOEXEC | EFD_NONBLOCK);
    if (this.fd < 0) {
      throw new SystemError({
        doing: "replay a capture",
        syscall: "eventfd",
        errno: calls.errno(),
      });
    }
  }

  receive(budget: number): number {
    let count = 0;
    while (count < budget && this.#left > 0) {
      const captured = this.#packets[this.#next]!;
      if (this.#isPaced && !this.#isDue(captured)) return count;
      const packet = this.#host.allocate();
      if (packet === undefined) return count;
      this.#handOver(captured, packet);
      count++;
      if (++this.#next < this.#packets.length) continue;
      this.#next = 0;
      this.#startedMs = -1;
      if (--this.#left === 0) this.#end();
    }
    return count;
  }

  /** Never throws. */
  close(): void {
    if (this.fd !== undefined) libc().file.close(this.fd);
  }

  #isDue(captured: CapturedPacket): boolean {
    const nowMs = this.#host.nowMs();
    if (this.#startedMs < 0) this.#startedMs = nowMs;
    const first = this.#packets[0]!.time ?? 0;
    return (captured.time ?? first) - first <= (nowMs - this.#startedMs) / 1000;
  }

  /** Nothing is to come any more. */
  #end(): void {
    if (this.fd !== undefined) libc().file.read(this.fd, new Uint8Array(8), 8n);
  }

  #handOver(captured: CapturedPacket, packet: Packet): void {
    const { bytes, isL3 } = captured;
    const host = this.#host;
    if (bytes.length > FRAME_SIZE_MAX || bytes.length < (isL3 ? 1 : ETHERNET_SIZE)) {
      const isLong = bytes.length > FRAME_SIZE_MAX;
      host.countRxDrop(this.#portNo, isLong ? FRAME_TOO_LONG : FRAME_TOO_SHORT);
      host.recycle(packet);
      return;
    }
    packet.bytes.set(bytes, packet.start);
    packet.end = packet.start + bytes.length;
    packet.inPort = this.#portNo;
    packet.isL3 = isL3;
    packet.ethType = isL3 ? captured.ethType || etherTypeOf(bytes) : 0;
    host.receive(this.#portNo, packet);
  }
}

/** Of an IP packet, by its version. */
function etherTypeOf(bytes: Uint8Array): number {
  return bytes[0]! >>> 4 === 6 ? ETH_P_IPV6 : ETH_P_IP;
}

export const pcap: VportOps<PcapOptions> = {
  apiVersion: 1,
  type: "pcap",
  summary: "replays a capture file and records what is sent into another",
  headroom: 0,
  parseOptions,
  formatOptions,
  attach,
  create: (params) => new PcapVport(params),
};

export default pcap;
