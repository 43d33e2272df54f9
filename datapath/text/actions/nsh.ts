/** Text of the actions on network service headers (RFC 8300). */
import type { PushNshAction } from "../../actions/actions.ts";
import { failOpen } from "../parentheses.ts";
import { CLOSE, OPEN } from "../scanner.ts";
import { type ActionText, actionText, type ScanContext } from "./form.ts";
import { formatHexBytes, scanHex, scanHexBytes, scanParts } from "./parts.ts";

/** Most bytes of context headers: 63 words of the whole header less its two fixed ones. */
const METADATA_MAX = 248;

function scanPush({ scanner }: ScanContext): PushNshAction {
  const found = { flags: 0, ttl: 63, mdtype: 1, np: 3, spi: 0, si: 255 };
  const context = [0, 0, 0, 0];
  let metadata: string | undefined;
  let contextAt = -1;
  let metadataAt = -1;
  const byte = (name: keyof typeof found) => (what: string): void => {
    const from = scanner.at;
    found[name] = scanner.number(8, what);
    if (name === "mdtype" && found.mdtype !== 1 && found.mdtype !== 2) {
      scanner.fail(from, "push_nsh mdtype must be 1 or 2");
    }
  };
  const word = (index: number) => (what: string): void => {
    contextAt = scanner.at;
    context[index] = scanHex(scanner, 32, what);
  };
  scanParts(scanner, "push_nsh", {
    values: {
      flags: byte("flags"),
      ttl: byte("ttl"),
      mdtype: byte("mdtype"),
      np: byte("np"),
      spi: (what) => void (found.spi = scanHex(scanner, 24, what)),
      si: byte("si"),
      c1: word(0),
      c2: word(1),
      c3: word(2),
      c4: word(3),
      md2: (what) => {
        metadataAt = scanner.at;
        metadata = wholeWords(scanHexBytes(scanner, what, METADATA_MAX));
      },
    },
  });
  if (found.mdtype === 1 && metadataAt >= 0) scanner.fail(metadataAt, "md2 needs mdtype=2");
  if (found.mdtype === 2 && contextAt >= 0) scanner.fail(contextAt, "c1 … c4 need mdtype=1");
  const { flags, ttl, mdtype, np, spi, si } = found;
  const words = context.map((value) => value.toString(16).padStart(8, "0")).join("");
  return {
    type: "push_nsh",
    flags,
    ttl,
    mdtype,
    np,
    path: (spi << 8 | si) >>> 0,
    metadata: mdtype === 1 ? words : metadata ?? "",
  };
}

/** Adds zeros behind. */
function wholeWords(bytes: string): string {
  return bytes.padEnd(Math.ceil(bytes.length / 8) * 8, "0");
}

function formatPush({ flags, ttl, mdtype, np, path, metadata }: PushNshAction): string {
  const parts = [
    `flags=${flags}`,
    `ttl=${ttl}`,
    `mdtype=${mdtype}`,
    `np=${np}`,
    `spi=0x${(path >>> 8).toString(16)}`,
    `si=${path & 0xff}`,
  ];
  if (mdtype === 1) {
    for (let index = 0; index < 4; index++) {
      const word = Number.parseInt(metadata.slice(8 * index, 8 * index + 8), 16);
      parts.push(`c${index + 1}=0x${word.toString(16)}`);
    }
  } else if (metadata !== "") {
    const padded = (digits: string): string =>
      wholeWords(digits.length % 2 === 0 ? digits : "0" + digits);
    parts.push(`md2=${formatHexBytes(metadata, padded)}`);
  }
  return `push_nsh(${parts.join(",")})`;
}

export const PUSH_NSH: ActionText = actionText("push_nsh", {
  name: "push_nsh",
  summary:
    "Puts a network service header in front of the packet: with mdtype=1 its context words " +
    "are c1 … c4, with mdtype=2 its context headers are md2.",
  example: "push_nsh(flags=0,ttl=63,mdtype=1,np=3,spi=0x10,si=255,c1=0x1,c2=0x2,c3=0x3,c4=0x4)",
  scan: scanPush,
  format: formatPush,
});

export const POP_NSH: ActionText = actionText("pop_nsh", {
  name: "pop_nsh",
  summary: "Takes the network service header off.",
  example: "pop_nsh()",
  scan: ({ scanner }) => {
    const openAt = scanner.at;
    if (!scanner.take(OPEN)) return { type: "pop_nsh" };
    if (scanner.ended) failOpen(scanner, openAt, "pop_nsh");
    scanner.expect(CLOSE, "after pop_nsh(");
    return { type: "pop_nsh" };
  },
  format: () => "pop_nsh()",
});
