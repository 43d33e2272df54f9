/** Counters of one tracker thread: positions in its block of the shared statistics (f64). */

/** Packets that belonged to a committed connection. */
export const STAT_FOUND = 0;
/** Packets that opened a connection, committed or not. */
export const STAT_NEW = 1;
export const STAT_INVALID = 2;
/** Connections committed. */
export const STAT_INSERT = 3;
/** Connections that could not be committed. */
export const STAT_INSERT_FAILED = 4;
/** Connections dropped to make room. */
export const STAT_EARLY_DROP = 5;
/** Connections that were expected. */
export const STAT_EXPECTED = 6;
/** ICMP errors about a connection. */
export const STAT_RELATED = 7;
/** Connections whose time was up, removed by a sweep. */
export const STAT_EXPIRED = 8;

/** Invalid packets by reason (reasons.ts): this and what follows it. */
export const STAT_INVALID_REASONS = 16;

/** Fragments now waiting: this, then counters by name (fragment_control.ts), IPv4's and IPv6's of each. */
export const STAT_FRAGMENTS = 40;

export const STAT_NAMES = [
  "found",
  "new",
  "invalid",
  "insert",
  "insert_failed",
  "early_drop",
  "expected",
  "related",
  "expired",
] as const;
