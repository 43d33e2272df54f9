/** Flows as the kernel shows them. */
import type { Action } from "../../datapath/actions/actions.ts";
import type { FlowMatch, FlowMessage } from "../../datapath/netlink/flow_message.ts";

/** By what the kernel knows a flow: its UFID, 32 hex digits as in text, or its key as it was installed, unmasked. */
export type FlowIdentity = { readonly ufid: string } | { readonly match: FlowMatch };

/** A flow to add. */
export interface FlowSpec {
  /** 32 hex digits. */
  readonly ufid: string;
  /** KEY_WORDS words. */
  readonly key: Int32Array;
  /** KEY_WORDS words. */
  readonly mask: Int32Array;
  readonly actions: readonly Action[];
}

/** A flow of the kernel's table. */
export interface KernelFlow {
  readonly identity: FlowIdentity;
  /** Key and mask as they came, with what this version doesn't know. */
  readonly match: FlowMatch;
  /** KEY_WORDS words, masked. */
  readonly key: Int32Array;
  /** KEY_WORDS words. */
  readonly mask: Int32Array;
  readonly actions: readonly Action[];
  readonly packets: number;
  readonly bytes: number;
  /** By the monotonic clock; null: never. */
  readonly usedAtMs: number | null;
  readonly tcpFlags: number;
}

/**
 * A UFID between text and netlink, either way. Open vSwitch prints its 16 bytes as four numbers of 32
 * bits in the machine's byte order; as little-endian bytes are, so is every group of eight digits.
 */
export function swapUfid(ufid: string): string {
  return ufid.replace(/(..)(..)(..)(..)/g, "$4$3$2$1");
}

export function readFlow(message: FlowMessage): KernelFlow {
  const { match, ufid, actions = [], stats, usedMs, tcpFlags = 0 } = message;
  if (match === undefined) throw new Error("the kernel shows a flow without its key");
  return {
    identity: ufid === undefined ? { match } : { ufid: swapUfid(ufid) },
    match,
    key: match.key.map((word, at) => word & match.mask[at]!),
    mask: match.mask,
    actions,
    packets: Number(stats?.packets ?? 0n),
    bytes: Number(stats?.bytes ?? 0n),
    usedAtMs: usedMs === undefined ? null : Number(usedMs),
    tcpFlags,
  };
}
