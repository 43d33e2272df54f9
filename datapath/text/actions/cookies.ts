/**
 * What Open vSwitch puts into the userdata of userspace actions, `struct user_action_cookie` of its
 * lib/odp-util.h: 48 bytes in the host's byte order but for those named big-endian.
 *
 *     0 type (2 bytes)    4 OpenFlow port    8 UUID of the bridge (16 bytes)    24 by type:
 *     sFlow        24 TCI (2, big-endian)  28 output
 *     slow_path    28 reasons, a bit each
 *     flow_sample  24 probability (2)  28 collector set  32 domain  36 point  40 port  44 direction
 *     ipfix        24 port
 *     controller   24 don't send (1)  25 continuation (1)  26 reason (2)  28 recirculation id
 *                  32 cookie of the rule (8, big-endian)  40 controller (2)  42 length (2)
 *
 * The text has neither the port nor the bridge; those of a cookie from text are OFPP_NONE and zero.
 */
import { VLAN_PRESENT } from "../../key.ts";
import { CLOSE, type Scanner } from "../scanner.ts";
import type { FormatContext, ScanContext } from "./form.ts";
import {
  bytesToHex,
  hexToBytes,
  type ReadPart,
  scanDecimal,
  scanDigits,
  scanParts,
} from "./parts.ts";
import { ANY_PORT, formatPort, scanPort } from "./ports.ts";

const SIZE = 48;
const PORT_AT = 4;
const OFPP_NONE = 0xffff;
const LITTLE = new Uint8Array(new Uint16Array([1]).buffer)[0] === 1;

/** The name of each bit of a slow path's reasons, lowest first. */
const SLOW_PATH_REASONS: readonly string[] = [
  "cfm",
  "bfd",
  "lacp",
  "stp",
  "lldp",
  "action",
  "match",
];

interface Cookie {
  readonly type: number;
  readonly scan: (context: ScanContext, view: DataView) => void;
  readonly format: (view: DataView, context: FormatContext) => string;
}

/** Numbers at fixed places, in text order. `text`: C's `%i`, decimal, or hexadecimal for big-endian ones. */
interface Place {
  readonly name: string;
  readonly at: number;
  readonly size: 1 | 2 | 4;
  readonly read: (scanner: Scanner, bits: number, what: string) => number;
}

const anyBase = (scanner: Scanner, bits: number, what: string): number =>
  scanner.number(bits, what);

const FLOW_SAMPLE: readonly Place[] = [
  { name: "probability", at: 24, size: 2, read: anyBase },
  { name: "collector_set_id", at: 28, size: 4, read: anyBase },
  { name: "obs_domain_id", at: 32, size: 4, read: anyBase },
  { name: "obs_point_id", at: 36, size: 4, read: anyBase },
];
const CONTROLLER: readonly Place[] = [
  { name: "reason", at: 26, size: 2, read: scanDecimal },
  { name: "dont_send", at: 24, size: 1, read: scanDecimal },
  { name: "continuation", at: 25, size: 1, read: scanDecimal },
  { name: "recirc_id", at: 28, size: 4, read: scanDecimal },
];
const CONTROLLER_END: readonly Place[] = [
  { name: "controller_id", at: 40, size: 2, read: scanDecimal },
  { name: "max_len", at: 42, size: 2, read: scanDecimal },
];

function put(view: DataView, { at, size }: Pick<Place, "at" | "size">, value: number): void {
  if (size === 1) view.setUint8(at, value);
  else if (size === 2) view.setUint16(at, value, LITTLE);
  else view.setUint32(at, value, LITTLE);
}

function get(view: DataView, { at, size }: Place): number {
  if (size === 1) return view.getUint8(at);
  return size === 2 ? view.getUint16(at, LITTLE) : view.getUint32(at, LITTLE);
}

function readers(
  scanner: Scanner,
  view: DataView,
  places: readonly Place[],
): Record<string, ReadPart> {
  return Object.fromEntries(places.map((place) => [place.name, (what: string) => {
    const value = place.read(scanner, place.size * 8, what);
    // The single bytes are yes or no.
    put(view, place, place.size === 1 ? Math.min(value, 1) : value);
  }]));
}

function texts(view: DataView, places: readonly Place[]): string[] {
  return places.map((place) => `${place.name}=${get(view, place)}`);
}

function portReader(context: ScanContext, view: DataView, at: number): ReadPart {
  return (what) => view.setUint32(at, scanPort(context, what, ANY_PORT), LITTLE);
}

const SFLOW: Cookie = {
  type: 1,
  scan: ({ scanner }, view) => {
    let tci = 0;
    scanParts(scanner, "sFlow", {
      values: {
        vid: (what) => void (tci |= scanner.number(12, what)),
        pcp: (what) => void (tci |= scanner.number(3, what) << 13),
        output: (what) => view.setUint32(28, scanner.number(32, what), LITTLE),
      },
      needed: ["vid", "pcp", "output"],
    });
    view.setUint16(24, tci === 0 ? 0 : tci | VLAN_PRESENT);
  },
  format: (view) => {
    const tci = view.getUint16(24);
    return `vid=${tci & 0xfff},pcp=${tci >> 13},output=${view.getUint32(28, LITTLE)}`;
  },
};

const SLOW_PATH: Cookie = {
  type: 2,
  scan: ({ scanner }, view) => view.setUint32(28, scanReasons(scanner), LITTLE),
  format: (view) => {
    const reasons = view.getUint32(28, LITTLE);
    const names = SLOW_PATH_REASONS.filter((_, bit) => (reasons >>> bit & 1) !== 0);
    return names.length === 0 ? "0" : names.join(",");
  },
};

/** Reads `(cfm,bfd)`, `(cfm|bfd)`, `(3)` or `(0)`. */
function scanReasons(scanner: Scanner): number {
  const openAt = scanner.at;
  scanner.expect(0x28, "after slow_path");
  let reasons = 0;
  for (;;) {
    scanner.skipSeparators();
    if (scanner.take(0x7c)) continue;
    if (scanner.ended) scanner.fail(openAt, 'the "(" after slow_path is never closed');
    if (scanner.take(CLOSE)) return reasons;
    if (scanner.atNumber) {
      reasons |= scanner.number(SLOW_PATH_REASONS.length, "slow_path");
      continue;
    }
    const from = scanner.at;
    const name = scanner.word();
    const bit = SLOW_PATH_REASONS.indexOf(name);
    if (bit < 0) {
      scanner.unknown(from, "reason of slow_path", name || scanner.text[from]!, SLOW_PATH_REASONS);
    }
    reasons |= 1 << bit;
  }
}

const DIRECTIONS = ["", ",ingress", ",egress"];

const COOKIES: Readonly<Record<string, Cookie>> = {
  sFlow: SFLOW,
  slow_path: SLOW_PATH,
  flow_sample: {
    type: 3,
    scan: (context, view) => {
      const { scanner } = context;
      scanParts(scanner, "flow_sample", {
        values: {
          ...readers(scanner, view, FLOW_SAMPLE),
          output_port: portReader(context, view, 40),
        },
        flags: {
          ingress: () => view.setUint32(44, 1, LITTLE),
          egress: () => view.setUint32(44, 2, LITTLE),
        },
        needed: [...FLOW_SAMPLE.map((each) => each.name), "output_port"],
      });
    },
    format: (view, context) => {
      const port = formatPort(view.getUint32(40, LITTLE), context);
      const direction = DIRECTIONS[view.getUint32(44, LITTLE)] ?? "";
      return `${texts(view, FLOW_SAMPLE).join(",")},output_port=${port}${direction}`;
    },
  },
  ipfix: {
    type: 4,
    scan: (context, view) =>
      scanParts(context.scanner, "ipfix", {
        values: { output_port: portReader(context, view, 24) },
        needed: ["output_port"],
      }),
    format: (view, context) => `output_port=${formatPort(view.getUint32(24, LITTLE), context)}`,
  },
  controller: {
    type: 5,
    scan: ({ scanner }, view) =>
      scanParts(scanner, "controller", {
        values: {
          ...readers(scanner, view, [...CONTROLLER, ...CONTROLLER_END]),
          rule_cookie: (what) => {
            const from = scanner.at;
            const digits = scanDigits(scanner, what).replace(/^0+/, "");
            if (digits.length > 16) scanner.fail(from, `${what} must have at most 64 bits`);
            view.setBigUint64(32, BigInt("0x0" + digits));
          },
        },
        needed: [...CONTROLLER, ...CONTROLLER_END].map((each) => each.name).concat("rule_cookie"),
      }),
    format: (view) => {
      const rule = view.getBigUint64(32);
      const cookie = `rule_cookie=${rule === 0n ? "0" : "0x" + rule.toString(16)}`;
      return [...texts(view, CONTROLLER), cookie, ...texts(view, CONTROLLER_END)].join(",");
    },
  },
};

/** Readers of each kind of cookie, which hand on its bytes. */
export function cookieReaders(
  context: ScanContext,
  take: (userdata: string) => void,
): Record<string, ReadPart> {
  return Object.fromEntries(
    Object.entries(COOKIES).map(([name, cookie]) => [name, () => {
      const view = emptyCookie(cookie);
      cookie.scan(context, view);
      take(bytesToHex(new Uint8Array(view.buffer)));
    }]),
  );
}

function emptyCookie(cookie: Cookie): DataView<ArrayBuffer> {
  const view = new DataView(new ArrayBuffer(SIZE));
  view.setUint16(0, cookie.type, LITTLE);
  view.setUint32(PORT_AT, OFPP_NONE, LITTLE);
  return view;
}

/** The text of a cookie, if its text says all that is in it; else undefined. */
export function formatCookie(userdata: string, context: FormatContext): string | undefined {
  if (userdata.length !== 2 * SIZE) return undefined;
  const view = new DataView(hexToBytes(userdata).buffer);
  const type = view.getUint16(0, LITTLE);
  for (const [name, cookie] of Object.entries(COOKIES)) {
    if (cookie.type !== type) continue;
    const known = emptyCookie(cookie);
    for (const at of SAID[name]!) known.setUint8(at, view.getUint8(at));
    if (!isReadable(name, view)) return undefined;
    if (bytesToHex(new Uint8Array(known.buffer)) !== userdata) return undefined;
    return `${name}(${cookie.format(view, context)})`;
  }
  return undefined;
}

const range = (from: number, to: number): number[] =>
  Array.from({ length: to - from }, (_, index) => from + index);

/** Bytes that the text has. */
const SAID: Readonly<Record<string, readonly number[]>> = {
  sFlow: [24, 25, ...range(28, 32)],
  slow_path: range(28, 32),
  flow_sample: [24, 25, ...range(28, SIZE)],
  ipfix: range(24, 28),
  controller: range(24, 44),
};

/** Whether the values are such as the text can have. */
function isReadable(name: string, view: DataView): boolean {
  switch (name) {
    case "sFlow": {
      const tci = view.getUint16(24);
      return (tci & VLAN_PRESENT) !== 0 ? tci !== VLAN_PRESENT : tci === 0;
    }
    case "slow_path":
      return view.getUint32(28, LITTLE) < 1 << SLOW_PATH_REASONS.length;
    case "flow_sample":
      return view.getUint32(44, LITTLE) < DIRECTIONS.length;
    case "controller":
      return view.getUint8(24) <= 1 && view.getUint8(25) <= 1;
    default:
      return true;
  }
}
