/** packet-make: a frame that has the key of a flow. */
import { toCommandError } from "../../daemon/command_errors.ts";
import { composeFrame } from "../../datapath/compose/compose.ts";
import { RuleError } from "../../datapath/errors.ts";
import { ETH_P_IPV6 } from "../../datapath/fields/fields.ts";
import * as at from "../../datapath/key.ts";
import { formatFlow, parseFlow, type PortNames } from "../../datapath/text/flow_text.ts";
import { exactMask } from "../../datapath/fields/exact_mask.ts";
import { keyOf } from "./packet_parse.ts";

export interface MadePacket {
  readonly frame: Uint8Array<ArrayBuffer>;
  /** It has no Ethernet header. */
  readonly isL3: boolean;
}

interface MakeOptions {
  readonly names?: PortNames | undefined;
  /** Bytes of the frame; undefined: as many as its headers need, and a payload. */
  readonly size?: number | undefined;
}

/** The bit of ipv6_exthdrs for a header that says that nothing follows. */
const NO_NEXT = 1;

/** Throws CommandError: a flow that is wrong, or headers that don't fit into `size` bytes. */
export function makePacket(flow: string, options: MakeOptions): MadePacket {
  try {
    return make(flow, options);
  } catch (error) {
    throw toCommandError(error);
  }
}

function make(flow: string, options: MakeOptions): MadePacket {
  const { key, mask } = parseFlow(flow, { names: options.names });
  for (let word = 0; word < key.length; word++) key[word]! &= mask[word]!;
  const view = new DataView(key.buffer);
  const maskView = new DataView(mask.buffer);
  const isL3 = (view.getUint16(at.TCP_FLAGS_AT) & at.L3_PACKET) !== 0;
  // Context words are those of metadata type 1, which a flow may leave open.
  const hasContext = key.subarray(at.NSH_CONTEXT_AT / 4, at.NSH_CONTEXT_AT / 4 + 4).some(Boolean);
  const isTypeOpen = maskView.getUint8(at.NSH_MDTYPE_AT) === 0;
  if (hasContext && isTypeOpen) view.setUint8(at.NSH_MDTYPE_AT, 1);
  if (view.getUint16(at.ETH_TYPE_AT) === ETH_P_IPV6 && maskView.getUint8(at.IP_PROTO_AT) === 0) {
    view.setUint8(at.IP_PROTO_AT, openProtocol(view, maskView));
  }
  const frame = composeFrame(key, options.size);
  const found = keyOf({ bytes: frame, isL3, ethType: view.getUint16(at.ETH_TYPE_AT) });
  if (!hasHeaders(found, key, mask)) {
    const what = formatFlow(found, exactMask(found), { names: options.names });
    throw new RuleError("EINVAL", `no packet has this key: one with these headers is ${what}`);
  }
  return { frame, isL3 };
}

/** A protocol of IPv6 for a flow that leaves it open: 0 would be one more extension header. */
function openProtocol(key: DataView, mask: DataView): number {
  if (key.getUint8(at.IP_FRAG_AT) === at.FRAG_LATER) return 44;
  if (key.getUint8(at.IP_FRAG_AT) === 0 && mask.getUint16(at.IPV6_EXTHDRS_AT) === 0) return 0;
  return (key.getUint16(at.IPV6_EXTHDRS_AT) & NO_NEXT) !== 0 ? 59 : 253;
}

/** Bytes of the key that come from the frame: [from, to). All else is metadata. */
const HEADERS: readonly (readonly [from: number, to: number])[] = [
  [at.ETH_DST_AT, at.CT_STATE_AT],
  [at.IPV6_SRC_AT, at.CT_MARK_AT],
  [at.ND_OPTIONS_TYPE_AT, at.TUN_ID_AT],
];

/** Whether a packet's key has the headers that a flow wants. */
function hasHeaders(found: Int32Array, wanted: Int32Array, mask: Int32Array): boolean {
  const differs = found.map((word, index) => (word ^ wanted[index]!) & mask[index]!);
  const bytes = new Uint8Array(differs.buffer);
  return HEADERS.every(([from, to]) => bytes.subarray(from, to).every((byte) => byte === 0));
}
