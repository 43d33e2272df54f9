/**
 * Vport type `vxlan` (RFC 7348): Ethernet frames in UDP datagrams with a 24-bit network identifier.
 *
 * exts=gbp carries a group policy (`tunnel(vxlan(gbp(id=…,flags=…)))` in flows) in otherwise reserved
 * bits; exts=gpe says in the header what is carried, so that packets without Ethernet header can be
 * (packet_type=legacy_l3 or ptap). Reserved bits are ignored on reception, as the RFC has it.
 */
import { type DropReason, dropReason } from "../datapath/drop_reasons.ts";
import * as vxlan from "../datapath/headers/vxlan.ts";
import { TUN_FLAG_OAM, TUN_OPTIONS_VXLAN } from "../datapath/key.ts";
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
  type: "vxlan",
  carrier: "udp",
  keyMax: 0xff_ffff,
  port: vxlan.PORT,
  extensions: ["gbp", "gpe"],
  hasSequence: false,
  packetKinds: ["legacy_l2", "legacy_l3", "ptap"],
};
const ETH_P_IP = 0x0800;
const ETH_P_IPV6 = 0x86dd;
const ETH_P_NSH = 0x894f;
const MALFORMED = dropReason("tunnel-malformed");

class VxlanCodec implements TunnelCodec {
  readonly #hasPolicy: boolean;
  readonly #isGpe: boolean;

  constructor(options: TunnelOptions) {
    this.#hasPolicy = options.extensions.includes("gbp");
    this.#isGpe = options.extensions.includes("gpe");
  }

  read(view: DataView, at: number, end: number, into: ReceivedHeader): DropReason {
    if (!vxlan.fits(view, at, end)) return MALFORMED;
    into.reset(at + vxlan.SIZE);
    into.hasKey = true;
    into.key = vxlan.vni(view, at);
    const flags = vxlan.flags(view, at);
    if (this.#hasPolicy && (flags & vxlan.FLAG_POLICY) !== 0) {
      into.optionsKind = TUN_OPTIONS_VXLAN;
      into.policy = vxlan.policy(view, at);
    }
    if (!this.#isGpe) return 0;
    if ((flags & vxlan.GPE_VERSION_MASK) !== 0) return MALFORMED;
    if ((flags & vxlan.FLAG_OAM) !== 0) into.flags |= TUN_FLAG_OAM;
    if ((flags & vxlan.FLAG_NEXT_PROTOCOL) === 0) return 0;
    into.etherType = etherTypeOf(vxlan.nextProtocol(view, at));
    return into.etherType < 0 ? MALFORMED : 0;
  }

  size(header: SentHeader): number {
    return this.#isGpe && header.etherType !== 0 && nextProtocolOf(header.etherType) === 0
      ? 0
      : vxlan.SIZE;
  }

  write(view: DataView, at: number, header: SentHeader): void {
    const policy = header.options?.vxlanPolicy ?? 0;
    if (this.#isGpe) {
      const { etherType } = header;
      const next = etherType === 0 ? vxlan.NEXT_ETHERNET : nextProtocolOf(etherType);
      vxlan.writeGpe(view, at, header.key, next);
    } else if (this.#hasPolicy && policy !== 0) {
      vxlan.writePolicy(view, at, header.key, policy);
    } else {
      vxlan.write(view, at, header.key);
    }
  }

  sumsPayload(): boolean {
    return false;
  }
}

/** 0: a frame; −1: not known. */
function etherTypeOf(nextProtocol: number): number {
  switch (nextProtocol) {
    case vxlan.NEXT_ETHERNET:
      return 0;
    case vxlan.NEXT_IPV4:
      return ETH_P_IP;
    case vxlan.NEXT_IPV6:
      return ETH_P_IPV6;
    case vxlan.NEXT_NSH:
      return ETH_P_NSH;
    default:
      return -1;
  }
}

/** 0: GPE has no number for it. */
function nextProtocolOf(etherType: number): number {
  switch (etherType) {
    case ETH_P_IP:
      return vxlan.NEXT_IPV4;
    case ETH_P_IPV6:
      return vxlan.NEXT_IPV6;
    case ETH_P_NSH:
      return vxlan.NEXT_NSH;
    default:
      return 0;
  }
}

const vxlanOps: VportOps<TunnelOptions> = {
  apiVersion: 1,
  type: TRAITS.type,
  summary: "a VXLAN tunnel (RFC 7348), with exts=gbp or gpe",
  headroom: 0,
  parseOptions: (raw) => parseTunnelOptions(raw, TRAITS),
  formatOptions: (options) => formatTunnelOptions(options, TRAITS),
  attach: (params) => attachTunnel(params, TRAITS),
  create: (params) => new TunnelPort(params, TRAITS, new VxlanCodec(params.options)),
};

export { vxlanOps as vxlan };
export default vxlanOps;
