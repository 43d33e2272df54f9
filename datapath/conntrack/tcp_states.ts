/**
 * TCP states of a connection as somebody in the middle can know them, and which packet leads from
 * which to which. States and transitions are those of the kernel's tracker
 * (net/netfilter/nf_conntrack_proto_tcp.c), which follows RFC 9293 §3.3.2 seen from outside.
 */

export const TCP_NONE = 0;
export const TCP_SYN_SENT = 1;
export const TCP_SYN_RECV = 2;
export const TCP_ESTABLISHED = 3;
export const TCP_FIN_WAIT = 4;
export const TCP_CLOSE_WAIT = 5;
export const TCP_LAST_ACK = 6;
export const TCP_TIME_WAIT = 7;
export const TCP_CLOSE = 8;
/** Simultaneous open: both sides have sent a SYN. */
export const TCP_SYN_SENT2 = 9;
/** The packet is impossible in this state. */
export const TCP_INVALID = 10;
/** Perhaps the tracker is wrong, not the packet: let it pass and watch for the answer. */
export const TCP_IGNORE = 11;

export const TCP_STATE_NAMES = [
  "NONE",
  "SYN_SENT",
  "SYN_RECV",
  "ESTABLISHED",
  "FIN_WAIT",
  "CLOSE_WAIT",
  "LAST_ACK",
  "TIME_WAIT",
  "CLOSE",
  "SYN_SENT2",
] as const;

// Kinds of packets.
export const KIND_SYN = 0;
export const KIND_SYNACK = 1;
export const KIND_FIN = 2;
export const KIND_ACK = 3;
export const KIND_RST = 4;
export const KIND_NONE = 5;

/**
 * The new state for each old one (columns in the states' order), one letter each: n none, s SYN_SENT,
 * r SYN_RECV, e ESTABLISHED, f FIN_WAIT, w CLOSE_WAIT, l LAST_ACK, t TIME_WAIT, c CLOSE,
 * S SYN_SENT2, - impossible, ? ignored.
 */
const TRANSITIONS = [
  // From the original side.
  /* SYN     */ "ss?????ssS",
  /* SYN-ACK */ "--r------r",
  /* FIN     */ "--ffllltc-",
  /* ACK     */ "e-eewwttc-",
  /* RST     */ "-ccccccccc",
  /* none    */ "----------",
  // From the replying side.
  /* SYN     */ "-S-----s-S",
  /* SYN-ACK */ "-r???????r",
  /* FIN     */ "--ffllltc-",
  /* ACK     */ "-?rewwttc?",
  /* RST     */ "-ccccccccc",
  /* none    */ "----------",
];
const LETTERS = "nsrefwltcS-?";

const NEXT_STATE = new Uint8Array(2 * 6 * 10);
TRANSITIONS.forEach((row, at) => {
  for (let state = 0; state < 10; state++) {
    NEXT_STATE[at * 10 + state] = LETTERS.indexOf(row.charAt(state));
  }
});

/** The state after a packet of this kind; may be TCP_INVALID or TCP_IGNORE. */
export function nextState(direction: number, kind: number, state: number): number {
  return NEXT_STATE[(direction * 6 + kind) * 10 + state]!;
}

/** Kind of a segment by its flags (headers/tcp.ts). */
export function kindOf(flags: number): number {
  if ((flags & 0x04) !== 0) return KIND_RST;
  if ((flags & 0x02) !== 0) return (flags & 0x10) !== 0 ? KIND_SYNACK : KIND_SYN;
  if ((flags & 0x01) !== 0) return KIND_FIN;
  return (flags & 0x10) !== 0 ? KIND_ACK : KIND_NONE;
}

/** Whether a segment may have these flags together. PSH, ECE and CWR go with all. */
export function areFlagsValid(flags: number): boolean {
  switch (flags & 0x37) {
    case 0x02: // SYN
    case 0x22: // SYN URG
    case 0x12: // SYN ACK
    case 0x04: // RST
    case 0x14: // RST ACK
    case 0x11: // FIN ACK
    case 0x31: // FIN ACK URG
    case 0x10: // ACK
    case 0x30: // ACK URG
      return true;
    default:
      return false;
  }
}
