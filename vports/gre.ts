/**
 * Vport type `gre` (RFC 2784, RFC 2890): Ethernet frames (and, with packet_type=legacy_l3 or ptap, other
 * packets) straight in IP packets of protocol 47, with an optional 32-bit key, checksum and sequence
 * number. Sequence numbers are sent, and not looked at on reception.
 */
import { type DropReason, dropReason } from "../datapath/drop_reasons.ts";
import * as gre from "../datapath/headers/gre.ts";
import { TUN_FLAG_CSUM } from "../datapath/key.ts";
import type { ReceivedHeader, SentHeader, TunnelCodec } from "./tunnel_codec.ts";
import { checksumOffset, findInner, InnerLayout, pseudoOf } from "./tunnel_inner.ts";
import {
  formatTunnelOptions,
  parseTunnelOptions,
  type TunnelOptions,
  type TunnelTraits,
} from "./tunnel_options.ts";
import { TunnelPort } from "./tunnel_port.ts";
import { attachTunnel, type TunnelData } from "./tunnel_registry.ts";
import type { VportOps } from "./vport.ts";

const TRAITS: TunnelTraits = {
  type: "gre",
  carrier: "gre",
  keyMax: 0xffff_ffff,
  port: undefined,
  extensions: [],
  hasSequence: true,
  packetKinds: ["legacy_l2", "legacy_l3", "ptap"],
};
const MALFORMED = dropReason("tunnel-malformed");

class GreCodec implements TunnelCodec {
  readonly #layout: InnerLayout = new InnerLayout();
  readonly #hasSequence: boolean;
  /** The next number, of all the port's threads. */
  readonly #sequence: Int32Array;
  readonly #fields = { flags: 0, protocol: 0, key: 0, sequence: 0 };

  constructor(options: TunnelOptions, data: TunnelData) {
    this.#hasSequence = options.sequence;
    this.#sequence = data.sequence ?? new Int32Array(1);
  }

  read(view: DataView, at: number, end: number, into: ReceivedHeader): DropReason {
    if (!gre.fits(view, at, end)) return MALFORMED;
    const flags = gre.flags(view, at);
    into.reset(at + gre.sizeOf(flags));
    if ((flags & gre.FLAG_KEY) !== 0) {
      into.hasKey = true;
      into.key = gre.key(view, at);
    }
    if ((flags & gre.FLAG_CHECKSUM) !== 0) {
      into.flags = TUN_FLAG_CSUM;
    }
    const protocol = gre.protocol(view, at);
    into.etherType = protocol === gre.PROTOCOL_ETHERNET ? 0 : protocol;
    return gre.isChecksumRight(view, at, end) || this.#isUnfinished(view, at, end, into)
      ? 0
      : MALFORMED;
  }

  /**
   * A packet that has not left this machine counts on checksums that a device was to fill in: GRE's own
   * (0 so far) or the inner one (the pseudo-header's sum so far).
   */
  #isUnfinished(view: DataView, at: number, end: number, header: ReceivedHeader): boolean {
    if (gre.checksum(view, at) === 0) return true;
    const layout = this.#layout;
    return findInner(view, header.payloadAt, end, header.etherType, layout) &&
      view.getUint16(layout.l4 + checksumOffset(layout), true) === pseudoOf(view, layout);
  }

  size(header: SentHeader): number {
    return gre.sizeOf(this.#flags(header));
  }

  write(view: DataView, at: number, header: SentHeader): void {
    const fields = this.#fields;
    fields.flags = this.#flags(header);
    fields.protocol = header.etherType === 0 ? gre.PROTOCOL_ETHERNET : header.etherType;
    fields.key = header.key;
    if (this.#hasSequence) fields.sequence = Atomics.add(this.#sequence, 0, 1) >>> 0;
    gre.write(view, at, fields);
    if (header.checksum) gre.setChecksum(view, at, header.payloadSum);
  }

  sumsPayload(header: SentHeader): boolean {
    return header.checksum;
  }

  #flags(header: SentHeader): number {
    return (header.checksum ? gre.FLAG_CHECKSUM : 0) | (header.hasKey ? gre.FLAG_KEY : 0) |
      (this.#hasSequence ? gre.FLAG_SEQUENCE : 0);
  }
}

const greOps: VportOps<TunnelOptions> = {
  apiVersion: 1,
  type: TRAITS.type,
  summary: "a GRE tunnel (RFC 2784, 2890), with key, checksum and sequence number",
  headroom: 0,
  parseOptions: (raw) => parseTunnelOptions(raw, TRAITS),
  formatOptions: (options) => formatTunnelOptions(options, TRAITS),
  attach: (params) => attachTunnel(params, TRAITS),
  create: (params) => {
    const codec = new GreCodec(params.options, params.data as TunnelData);
    return new TunnelPort(params, TRAITS, codec);
  },
};

export { greOps as gre };
export default greOps;
