/** A packet that a flow takes: composed of its key (compose.ts), what the flow leaves open chosen so that there is one. */
import { RuleError } from "../errors.ts";
import { extractKey } from "../extract/extract.ts";
import { exactMask } from "../fields/exact_mask.ts";
import { ETH_P_IPV6 } from "../fields/fields.ts";
import * as at from "../key.ts";
import { Packet } from "../packet/packet.ts";
import { formatFlow, type PortNames } from "../text/flow_text.ts";
import { composeFrame } from "./compose.ts";

export interface ComposeOptions {
  /** Bytes of the frame; undefined: as many as its headers need, and a payload. */
  readonly size?: number | undefined;
  /** For the error. */
  readonly names?: PortNames | undefined;
}

export interface FlowFrame {
  readonly frame: Uint8Array<ArrayBuffer>;
  /** Ethernet type of a packet without an Ethernet header; undefined: it has one. */
  readonly l3EthType: number | undefined;
}

/** The bit of ipv6_exthdrs for a header that says that nothing follows. */
const NO_NEXT = 1;
/** Bytes of the key that come from the frame: [from, to). All else is metadata. */
const HEADERS: readonly (readonly [from: number, to: number])[] = [
  [at.ETH_DST_AT, at.CT_STATE_AT],
  [at.IPV6_SRC_AT, at.CT_MARK_AT],
  [at.ND_OPTIONS_TYPE_AT, at.TUN_ID_AT],
];

/**
 * Composes a packet whose key has the headers that a flow (KEY_WORDS words each) wants; metadata plays
 * no part. Throws RuleError EINVAL if headers don't fit into `size`, or no packet has such a key.
 */
export function composeFlowFrame(
  flow: { readonly key: Int32Array; readonly mask: Int32Array },
  { size, names }: ComposeOptions = {},
): FlowFrame {
  const key = flow.key.map((word, index) => word & flow.mask[index]!);
  chooseOpen(key, flow.mask);
  const view = new DataView(key.buffer);
  const isL3 = (view.getUint16(at.TCP_FLAGS_AT) & at.L3_PACKET) !== 0;
  const l3EthType = isL3 ? view.getUint16(at.ETH_TYPE_AT) : undefined;
  const frame = composeFrame(key, size);
  const found = keyOf(frame, l3EthType);
  if (!hasHeaders(found, key, flow.mask)) {
    const what = formatFlow(found, exactMask(found), { names });
    throw new RuleError("EINVAL", `no packet has this key: one with these headers is ${what}`);
  }
  return { frame, l3EthType };
}

/** What may not be zero though the flow leaves it open. */
function chooseOpen(key: Int32Array, mask: Int32Array): void {
  const view = new DataView(key.buffer);
  const maskView = new DataView(mask.buffer, mask.byteOffset);
  // Context words are those of metadata type 1.
  const hasContext = key.subarray(at.NSH_CONTEXT_AT / 4, at.NSH_CONTEXT_AT / 4 + 4).some(Boolean);
  if (hasContext && maskView.getUint8(at.NSH_MDTYPE_AT) === 0) view.setUint8(at.NSH_MDTYPE_AT, 1);
  if (view.getUint16(at.ETH_TYPE_AT) === ETH_P_IPV6 && maskView.getUint8(at.IP_PROTO_AT) === 0) {
    view.setUint8(at.IP_PROTO_AT, openProtocol(view, maskView));
  }
}

/** A protocol of IPv6 for a flow that leaves it open: 0 would be one more extension header. */
function openProtocol(key: DataView, mask: DataView): number {
  if (key.getUint8(at.IP_FRAG_AT) === at.FRAG_LATER) return 44;
  if (key.getUint8(at.IP_FRAG_AT) === 0 && mask.getUint16(at.IPV6_EXTHDRS_AT) === 0) return 0;
  return (key.getUint16(at.IPV6_EXTHDRS_AT) & NO_NEXT) !== 0 ? 59 : 253;
}

function keyOf(frame: Uint8Array<ArrayBuffer>, l3EthType: number | undefined): Int32Array {
  const packet = new Packet({ bytes: frame, view: new DataView(frame.buffer), address: 0 });
  packet.end = frame.length;
  packet.tailLimit = frame.length;
  packet.isL3 = l3EthType !== undefined;
  packet.ethType = l3EthType ?? 0;
  const key = new Int32Array(at.KEY_WORDS);
  extractKey(packet, key, 0);
  return key;
}

/** Whether a packet's key has the headers that a flow wants. */
function hasHeaders(found: Int32Array, wanted: Int32Array, mask: Int32Array): boolean {
  const differs = found.map((word, index) => (word ^ wanted[index]!) & mask[index]!);
  const bytes = new Uint8Array(differs.buffer);
  return HEADERS.every(([from, to]) => bytes.subarray(from, to).every((byte) => byte === 0));
}
