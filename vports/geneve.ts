/**
 * Vport type `geneve` (RFC 8926): Ethernet frames in UDP datagrams with a 24-bit network identifier
 * and options, which flows match and set whole: `tunnel(geneve({class=…,type=…,len=…,0x…}))`.
 */
import { type DropReason, dropReason } from "../datapath/drop_reasons.ts";
import * as geneve from "../datapath/headers/geneve.ts";
import { TUN_FLAG_OAM, TUN_OPTIONS_GENEVE } from "../datapath/key.ts";
import type { ReceivedHeader, SentHeader, TunnelCodec } from "./tunnel_codec.ts";
import {
  formatTunnelOptions,
  parseTunnelOptions,
  type TunnelOptions,
  type TunnelTraits,
} from "./tunnel_options.ts";
import { TunnelPort } from "./tunnel_port.ts";
import { attachTunnel } from "./tunnel_registry.ts";
import type { VportOps } from "./vport.ts";

const TRAITS: TunnelTraits = {
  type: "geneve",
  carrier: "udp",
  keyMax: 0xff_ffff,
  port: geneve.PORT,
  extensions: [],
  hasSequence: false,
  packetKinds: ["legacy_l2"],
};
const MALFORMED = dropReason("tunnel-malformed");

class GeneveCodec implements TunnelCodec {
  readonly #fields = { vni: 0, isOam: false, optionsSize: 0 };

  read(view: DataView, at: number, end: number, into: ReceivedHeader): DropReason {
    if (!geneve.fits(view, at, end)) return MALFORMED;
    if (geneve.protocol(view, at) !== geneve.PROTOCOL_ETHERNET) return MALFORMED;
    const optionsSize = geneve.optionsSize(view, at);
    into.reset(at + geneve.SIZE + optionsSize);
    into.hasKey = true;
    into.key = geneve.vni(view, at);
    if ((geneve.flags(view, at) & geneve.FLAG_OAM) !== 0) into.flags = TUN_FLAG_OAM;
    if (optionsSize > 0) {
      into.optionsKind = TUN_OPTIONS_GENEVE;
      into.optionsAt = at + geneve.SIZE;
      into.optionsSize = optionsSize;
    }
    return 0;
  }

  size(header: SentHeader): number {
    const optionsSize = optionsSizeOf(header);
    return optionsSize > geneve.OPTIONS_MAX ? 0 : geneve.SIZE + optionsSize;
  }

  write(view: DataView, at: number, header: SentHeader): void {
    const fields = this.#fields;
    fields.vni = header.key;
    fields.isOam = header.isOam;
    fields.optionsSize = optionsSizeOf(header);
    if (fields.optionsSize > 0) header.options!.copyOptions(view, at + geneve.SIZE);
    geneve.write(view, at, fields);
  }

  sumsPayload(): boolean {
    return false;
  }
}

function optionsSizeOf(header: SentHeader): number {
  const { options } = header;
  return options?.optionsKind === TUN_OPTIONS_GENEVE ? options.optionsSize : 0;
}

const geneveOps: VportOps<TunnelOptions> = {
  apiVersion: 1,
  type: TRAITS.type,
  summary: "a Geneve tunnel (RFC 8926), its options matched and set",
  headroom: 0,
  parseOptions: (raw) => parseTunnelOptions(raw, TRAITS),
  formatOptions: (options) => formatTunnelOptions(options, TRAITS),
  attach: (params) => attachTunnel(params, TRAITS),
  create: (params) => new TunnelPort(params, TRAITS, new GeneveCodec()),
};

export { geneveOps as geneve };
export default geneveOps;
