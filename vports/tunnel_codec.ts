/**
 * What tells one tunnel type from another: reading and writing its header. Everything else (sockets,
 * addresses, keys, trains) is common to all and lies in tunnel_port.ts and tunnel_endpoint.ts.
 */
import type { DropReason } from "../datapath/drop_reasons.ts";
import type { TunnelKey } from "../datapath/packet/tunnel_key.ts";

/** What a received header said. One object, filled again for each packet. */
export class ReceivedHeader {
  /** Where the inner packet begins. */
  payloadAt = 0;
  /** Whether there is a key (VNI). */
  hasKey = false;
  key = 0;
  /** TUN_FLAG_OAM and TUN_FLAG_CSUM of key.ts. */
  flags = 0;
  /** TUN_OPTIONS_* of key.ts. */
  optionsKind = 0;
  /** Geneve's, as they lie in the packet. */
  optionsAt = 0;
  optionsSize = 0;
  /** Group policy: flags << 16 | identifier. */
  policy = 0;
  /** Ethernet type of a packet without Ethernet header; 0: a frame. */
  etherType = 0;

  /** Without key, flags and options, of a frame at payloadAt. */
  reset(payloadAt: number): void {
    this.payloadAt = payloadAt;
    this.hasKey = false;
    this.key = 0;
    this.flags = 0;
    this.optionsKind = 0;
    this.optionsAt = 0;
    this.optionsSize = 0;
    this.policy = 0;
    this.etherType = 0;
  }
}

/** What a header to be written says. One object, filled again for each packet. */
export class SentHeader {
  hasKey = false;
  key = 0;
  isOam = false;
  /** A checksum of the tunnel's own, not UDP's. */
  checksum = false;
  /** Where the options are; undefined: none. */
  options: TunnelKey | undefined = undefined;
  /** Ethernet type of a packet without Ethernet header; 0: a frame. */
  etherType = 0;
  /** Folded sum of what follows the header; only if the codec asked for it. */
  payloadSum = 0;
}

/** One port's. */
export interface TunnelCodec {
  /** Reads the header at [at, end). Returns 0, or why the packet is to be dropped. */
  read(view: DataView, at: number, end: number, into: ReceivedHeader): DropReason;
  /** Bytes of the header for this packet; 0: the type can't carry it. */
  size(header: SentHeader): number;
  /** Writes so many bytes at `at`. */
  write(view: DataView, at: number, header: SentHeader): void;
  /** Whether `write` needs header.payloadSum. */
  sumsPayload(header: SentHeader): boolean;
}
