/**
 * What connection tracking knows of a packet: read by a later ct action, written by each. Whoever
 * calls the tracker copies it from and to where packets keep it (ct_* of the flow key).
 */
import {
  CT_LABEL_AT,
  CT_MARK_AT,
  CT_PROTO_AT,
  CT_TP_DST_AT,
  CT_TP_SRC_AT,
  CT_TUPLE_DST_AT,
  CT_TUPLE_SRC_AT,
} from "../key.ts";

// Bits of ct_state, OVS_CS_F_*.
export const CT_NEW = 0x01;
export const CT_ESTABLISHED = 0x02;
export const CT_RELATED = 0x04;
export const CT_REPLY = 0x08;
export const CT_INVALID = 0x10;
export const CT_TRACKED = 0x20;
export const CT_SRC_NAT = 0x40;
export const CT_DST_NAT = 0x80;
export const CT_NAT_MASK: number = CT_SRC_NAT | CT_DST_NAT;

/** Made once per thread or packet descriptor. */
export class CtMetadata {
  /** CT_* bits; 0: not tracked. */
  state = 0;
  zone = 0;
  /** Unsigned. */
  mark = 0;
  /** 128 bits as they lie in the key: four words, first byte lowest in the first word. */
  readonly label: Int32Array = new Int32Array(4);
  /** Protocol of the original tuple (of the master's, for an expected connection); 0: there is no tuple. */
  protocol = 0;
  /** Original tuple. Addresses as numbers, an IPv4 address in word 0 and zeros behind it. */
  readonly source: Int32Array = new Int32Array(4);
  readonly destination: Int32Array = new Int32Array(4);
  /** Ports, or type and code of ICMP. */
  sourcePort = 0;
  destinationPort = 0;

  /** The connection in the table, to be kept with the packet as it is; 0: none. */
  record = 0;
  /** Says whether `record` still holds it. */
  id = 0;

  /** Why the packet is invalid: an index into CT_INVALIDS. */
  invalidReason = 0;
  /** Whether the last `execute` changed bytes of the packet. */
  changed = false;
  /**
   * The packet was tracked before, and keeps in its key what was known then: the last `execute` has not
   * set mark, label and tuple, but for what it has committed ({@link hasMark}, {@link hasLabel}).
   */
  isKept = false;
  /** See isKept. */
  hasMark = false;
  /** See isKept. */
  hasLabel = false;

  /** What the ct_clear action does. */
  clear(): void {
    this.state = 0;
    this.zone = 0;
    this.forget();
  }

  /** Everything but state and zone. */
  forget(): void {
    this.mark = 0;
    // Word by word: fill() costs 10 ns each.
    for (let word = 0; word < 4; word++) {
      this.label[word] = 0;
      this.source[word] = 0;
      this.destination[word] = 0;
    }
    this.protocol = 0;
    this.sourcePort = 0;
    this.destinationPort = 0;
    this.record = 0;
    this.id = 0;
    this.invalidReason = 0;
  }
}

/**
 * Writes mark, label and original tuple where a flow key has them: key byte 0 lies at `at`, which may
 * be negative if the view begins behind it. State and zone are not written; of what is kept, nothing.
 */
export function writeCtKey(ct: CtMetadata, view: DataView, at: number): void {
  if (ct.isKept) {
    if (ct.hasMark) view.setUint32(at + CT_MARK_AT, ct.mark);
    for (let word = 0; ct.hasLabel && word < 4; word++) {
      view.setInt32(at + CT_LABEL_AT + word * 4, ct.label[word]!, true);
    }
    return;
  }
  view.setUint32(at + CT_MARK_AT, ct.mark);
  for (let word = 0; word < 4; word++) {
    view.setInt32(at + CT_LABEL_AT + word * 4, ct.label[word]!, true);
    view.setInt32(at + CT_TUPLE_SRC_AT + word * 4, ct.source[word]!);
    view.setInt32(at + CT_TUPLE_DST_AT + word * 4, ct.destination[word]!);
  }
  view.setUint16(at + CT_TP_SRC_AT, ct.sourcePort);
  view.setUint16(at + CT_TP_DST_AT, ct.destinationPort);
  view.setUint8(at + CT_PROTO_AT, ct.protocol);
}
