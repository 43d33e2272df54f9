/** Unique flow identifiers as text: a UUID's form, 32 hexadecimal digits inside the switch. */
import type { Scanner } from "./scanner.ts";

const UFID =
  /^([0-9a-f]{8})-?([0-9a-f]{4})-?([0-9a-f]{4})-?([0-9a-f]{4})-?([0-9a-f]{12})(?![0-9a-f])/i;
/** Characters of a UFID with dashes. */
const LENGTH = 36;

/** Reads what stands behind `ufid`: a colon and a UUID, with or without dashes. Returns 32 lower-case digits. */
export function scanUfid(scanner: Scanner): string {
  const from = ++scanner.at;
  const found = UFID.exec(scanner.text.slice(from, from + LENGTH + 1));
  if (found === null) {
    scanner.fail(from, "ufid: must be followed by 8-4-4-4-12 hexadecimal digits");
  }
  scanner.at = from + found[0].length;
  return found.slice(1).join("").toLowerCase();
}

/** 32 hexadecimal digits as 8-4-4-4-12. */
export function formatUfid(ufid: string): string {
  return [
    ufid.slice(0, 8),
    ufid.slice(8, 12),
    ufid.slice(12, 16),
    ufid.slice(16, 20),
    ufid.slice(20),
  ].join("-");
}

/** 32 lower-case digits of a UUID, or undefined. */
export function parseUfid(text: string): string | undefined {
  const found = UFID.exec(text);
  if (found === null || found[0].length !== text.length) return undefined;
  return found.slice(1).join("").toLowerCase();
}
