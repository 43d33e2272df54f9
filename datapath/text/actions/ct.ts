/** Text of ct, which sends the packet through connection tracking. */
import type { CtAction } from "../../actions/actions.ts";
import { OPEN, type Scanner, SLASH } from "../scanner.ts";
import { formatWide, scanWide } from "../wide_numbers.ts";
import { type ActionText, actionText, type ScanContext } from "./form.ts";
import { formatNat, scanNat } from "./ct_nat.ts";
import { bytesToHex, hex, hexToBytes, scanDecimal, scanHex, scanParts } from "./parts.ts";

/** Longest names: NF_CT_HELPER_NAME_LEN and CTNL_TIMEOUT_NAME_MAX without the byte at their end. */
const HELPER_MAX = 15;
const TIMEOUT_MAX = 31;
const LABEL_SIZE = 16;
const EXACT_LABEL = "ff".repeat(LABEL_SIZE);
const NAME = /[^\s,()]*/y;

type Found = { -readonly [Key in keyof CtAction]: CtAction[Key] };

function scanCt({ scanner }: ScanContext): CtAction {
  const found: Found = {
    type: "ct",
    commit: false,
    forceCommit: false,
    zone: undefined,
    mark: undefined,
    label: undefined,
    helper: undefined,
    nat: undefined,
    eventMask: undefined,
    timeout: undefined,
  };
  if (scanner.peek() !== OPEN) return found;
  const commit = (isForced: boolean) => (what: string): void => {
    const isSecond = isForced ? found.commit : found.forceCommit;
    if (isSecond) {
      scanner.fail(scanner.at - what.length + 3, "ct has commit or force_commit, not both");
    }
    if (isForced) found.forceCommit = true;
    else found.commit = true;
  };
  scanParts(scanner, "ct", {
    values: {
      zone: (what) => void (found.zone = scanDecimal(scanner, 16, what)),
      mark: (what) => void (found.mark = scanMark(scanner, what)),
      label: (what) => void (found.label = scanLabel(scanner, what)),
      helper: (what) => void (found.helper = scanName(scanner, what, HELPER_MAX)),
      timeout: (what) => void (found.timeout = scanName(scanner, what, TIMEOUT_MAX)),
      eventmask: (what) => void (found.eventMask = scanner.number(32, what)),
    },
    flags: {
      commit: commit(false),
      force_commit: commit(true),
      nat: () => void (found.nat = scanNat(scanner)),
    },
  });
  return found;
}

function scanMark(scanner: Scanner, what: string): { value: number; mask: number } {
  const value = scanHex(scanner, 32, what);
  const mask = scanner.take(SLASH) ? scanHex(scanner, 32, `${what} mask`) : 0xffffffff;
  return { value, mask };
}

function scanLabel(scanner: Scanner, what: string): { value: string; mask: string } {
  const bytes = new Uint8Array(LABEL_SIZE);
  scanWide(scanner, bytes, 0, { size: LABEL_SIZE, what });
  const value = bytesToHex(bytes);
  if (!scanner.take(SLASH)) return { value, mask: EXACT_LABEL };
  scanWide(scanner, bytes, 0, { size: LABEL_SIZE, what: `${what} mask` });
  return { value, mask: bytesToHex(bytes) };
}

function scanName(scanner: Scanner, what: string, lengthMax: number): string {
  const from = scanner.at;
  NAME.lastIndex = from;
  const name = NAME.exec(scanner.text)?.[0] ?? "";
  if (name === "" || name.length > lengthMax) {
    scanner.fail(from, `${what} must be a name of 1 to ${lengthMax} characters`);
  }
  scanner.at += name.length;
  return name;
}

function formatCt(action: CtAction): string {
  const { mark, label, nat } = action;
  const parts: string[] = [];
  if (action.commit) parts.push("commit");
  if (action.forceCommit) parts.push("force_commit");
  if (action.zone !== undefined) parts.push(`zone=${action.zone}`);
  if (mark !== undefined) parts.push(`mark=${hex(mark.value)}/${hex(mark.mask)}`);
  if (label !== undefined) {
    const mask = label.mask === EXACT_LABEL ? "" : `/${wide(label.mask)}`;
    parts.push(`label=${wide(label.value)}${mask}`);
  }
  if (action.helper !== undefined) parts.push(`helper=${action.helper}`);
  if (action.timeout !== undefined) parts.push(`timeout=${action.timeout}`);
  if (action.eventMask !== undefined) parts.push(`eventmask=${hex(action.eventMask)}`);
  if (nat !== undefined) parts.push(formatNat(nat));
  return parts.length === 0 ? "ct" : `ct(${parts.join(",")})`;
}

function wide(bytes: string): string {
  return formatWide(hexToBytes(bytes), 0, LABEL_SIZE);
}

export const CT: ActionText = actionText("ct", {
  name: "ct",
  summary: "Sends the packet through connection tracking: looks its connection up, and, with " +
    "commit, keeps it, with mark, label, helper and timeout policy, and translates addresses.",
  example: "ct(commit,zone=5,mark=0x1/0xff,nat(src=192.0.2.1-192.0.2.9:1024-2047,random))",
  scan: scanCt,
  format: formatCt,
});
