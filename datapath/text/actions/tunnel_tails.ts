/**
 * What follows the IP header in the prebuilt header of tnl_push, each kind between its text and its
 * bytes: `vxlan(flags=0x8000000,vni=0x1c7)` and so on. UDP's header stands beside, not within.
 */
import { KEY_SIZE, TUN_OPTIONS_AT, TUN_OPTIONS_SIZE_AT } from "../../key.ts";
import { OPTION_KINDS, setOptions } from "../../packet/tunnel_options.ts";
import { formatIpv6, scanIpv6 } from "../addresses.ts";
import { failOpen } from "../parentheses.ts";
import { CLOSE, EQUALS, OPEN, type Scanner } from "../scanner.ts";
import { formatOptions, scanOptions } from "../tunnel_options_text.ts";
import { bytesToHex, scanDecimal, scanHex, scanParts } from "./parts.ts";

/** One kind of tunnel. */
export interface Tail {
  readonly name: string;
  /** OVS_VPORT_TYPE_* over IPv4 and over IPv6; undefined: it is not over that. */
  readonly types: { readonly ipv4: number | undefined; readonly ipv6: number };
  /** Whether UDP carries it. */
  readonly overUdp: boolean;
  /** Reads what is behind the name; the header's bytes, hexadecimal. */
  readonly scan: (scanner: Scanner) => string;
  /** Text of those bytes, if they are a header of this kind. What the text can't say is not in it. */
  readonly format: (view: DataView) => string;
}

/** A number in so many bytes. */
export function word(value: number, size: number): string {
  return value.toString(16).padStart(2 * size, "0");
}

const VXLAN: Tail = {
  name: "vxlan",
  types: { ipv4: 4, ipv6: 4 },
  overUdp: true,
  scan: (scanner) => {
    const found = { flags: 0, vni: 0 };
    scanParts(scanner, "vxlan", {
      values: {
        flags: (what) => void (found.flags = scanHex(scanner, 32, what)),
        vni: (what) => void (found.vni = scanHex(scanner, 24, what)),
      },
      needed: ["flags", "vni"],
    });
    return word(found.flags, 4) + word(found.vni, 3) + "00";
  },
  format: (view) =>
    `vxlan(flags=0x${view.getUint32(0).toString(16)},vni=0x${
      (view.getUint32(4) >>> 8).toString(16)
    })`,
};

const GENEVE_OAM = 0x80;
const GENEVE_CRITICAL = 0x40;

const GENEVE: Tail = {
  name: "geneve",
  types: { ipv4: 5, ipv6: 5 },
  overUdp: true,
  scan: (scanner) => {
    let flags = 0;
    let vni = 0;
    let options = "";
    scanParts(scanner, "geneve", {
      flags: {
        oam: () => void (flags |= GENEVE_OAM),
        crit: () => void (flags |= GENEVE_CRITICAL),
        options: () => void (options = scanGeneveOptions(scanner)),
      },
      values: { vni: (what) => void (vni = scanner.number(24, what)) },
      needed: ["vni"],
    });
    return word(options.length / 8, 1) + word(flags, 1) + "6558" + word(vni, 3) + "00" + options;
  },
  format: (view) => {
    const flags = view.getUint8(1);
    const parts = [`vni=0x${(view.getUint32(4) >>> 8).toString(16)}`];
    if ((flags & GENEVE_CRITICAL) !== 0) parts.unshift("crit");
    if ((flags & GENEVE_OAM) !== 0) parts.unshift("oam");
    if (view.byteLength > 8) parts.push("options" + formatGeneveOptions(view));
    return `geneve(${parts.join(",")})`;
  },
};

/** The options of a tunnel's key are the same. */
function scanGeneveOptions(scanner: Scanner): string {
  const into = { key: new Uint8Array(KEY_SIZE), mask: new Uint8Array(KEY_SIZE) };
  scanOptions(scanner, "geneve", into, scanner.at - "options".length);
  const size = into.key[TUN_OPTIONS_SIZE_AT]! << 8 | into.key[TUN_OPTIONS_SIZE_AT + 1]!;
  return bytesToHex(into.key, TUN_OPTIONS_AT, TUN_OPTIONS_AT + size);
}

function formatGeneveOptions(view: DataView): string {
  const size = view.byteLength - 8;
  const match = { key: new Uint8Array(KEY_SIZE), mask: new Uint8Array(KEY_SIZE) };
  setOptions(match, OPTION_KINDS.geneve.number, size);
  match.key.set(new Uint8Array(view.buffer, view.byteOffset + 8, size), TUN_OPTIONS_AT);
  match.mask.fill(0xff, TUN_OPTIONS_AT, TUN_OPTIONS_AT + size);
  const context = { offset: 0, names: undefined, verbose: false, plain: true };
  return formatOptions("geneve", match, context);
}

const GRE_CSUM = 0x8000;
const GRE_KEY = 0x2000;
const GRE_SEQ = 0x1000;

/** Reads `((flags=0x2000,proto=0x6558),key=0x1)`. */
function scanGre(scanner: Scanner): string {
  const openAt = scanner.at;
  scanner.expect(OPEN, "after gre");
  const head = { flags: 0, proto: 0 };
  scanParts(scanner, "gre(", {
    values: {
      flags: (what) => void (head.flags = scanHex(scanner, 16, what)),
      proto: (what) => void (head.proto = scanHex(scanner, 16, what)),
    },
    needed: ["flags", "proto"],
  });
  let text = word(head.flags, 2) + word(head.proto, 2);
  for (const { name, flag, size } of GRE_OPTIONS) {
    if ((head.flags & flag) === 0) continue;
    scanner.skipSeparators();
    const from = scanner.at;
    if (scanner.word() !== name) {
      scanner.fail(from, `gre with flags=0x${head.flags.toString(16)} needs ${name}= here`);
    }
    scanner.expect(EQUALS, `after gre ${name}`);
    text += word(scanHex(scanner, 8 * size, `gre ${name}`), size).padEnd(8, "0");
  }
  scanner.skipSeparators();
  if (scanner.ended) failOpen(scanner, openAt, "gre");
  scanner.expect(CLOSE, "after the parts of gre that its flags say");
  return text;
}

const GRE_OPTIONS = [
  { name: "csum", flag: GRE_CSUM, size: 2 },
  { name: "key", flag: GRE_KEY, size: 4 },
  { name: "seq", flag: GRE_SEQ, size: 4 },
] as const;

const GRE: Tail = {
  name: "gre",
  types: { ipv4: 3, ipv6: 109 },
  overUdp: false,
  scan: scanGre,
  format: (view) => {
    const flags = view.getUint16(0);
    let text = `gre((flags=0x${flags.toString(16)},proto=0x${view.getUint16(2).toString(16)})`;
    let at = 4;
    for (const { name, flag, size } of GRE_OPTIONS) {
      if ((flags & flag) === 0) continue;
      const value = size === 2 ? view.getUint16(at) : view.getUint32(at);
      text += `,${name}=0x${value.toString(16)}`;
      at += 4;
    }
    return text + ")";
  },
};

/** Behind a GRE header with a sequence number; the protocol says the version. */
const ERSPAN_GRE = ["", "100088be00000000", "100022eb00000000"];

function scanErspan(scanner: Scanner): string {
  const openAt = scanner.at;
  const found = { ver: 0, sid: 0, idx: 0, dir: 0, hwid: 0 };
  const seen = new Set<string>();
  const hex = (name: "sid" | "idx" | "hwid", bits: number) => (what: string): void => {
    seen.add(name);
    found[name] = scanHex(scanner, bits, what);
  };
  scanParts(scanner, "erspan", {
    values: {
      ver: (what) => {
        const from = scanner.at;
        found.ver = scanner.number(4, what);
        if (found.ver !== 1 && found.ver !== 2) scanner.fail(from, "erspan ver must be 1 or 2");
      },
      sid: hex("sid", 10),
      idx: hex("idx", 32),
      dir: (what) => {
        seen.add("dir");
        found.dir = scanDecimal(scanner, 1, what);
      },
      hwid: hex("hwid", 6),
    },
    needed: ["ver", "sid"],
  });
  const names = found.ver === 1 ? ["idx"] : ["dir", "hwid"];
  for (const name of ["idx", "dir", "hwid"]) {
    if (seen.has(name) === names.includes(name)) continue;
    const needs = names.includes(name) ? "needs" : "has no";
    scanner.fail(openAt, `erspan ver=${found.ver} ${needs} ${name}=`);
  }
  const head = `${ERSPAN_GRE[found.ver]!}${found.ver}000${word(found.sid, 2)}`;
  if (found.ver === 1) return head + word(found.idx, 4);
  return head + "00000000" + "0000" + word(found.hwid << 4 | found.dir << 3, 2);
}

const ERSPAN: Tail = {
  name: "erspan",
  types: { ipv4: 107, ipv6: 108 },
  overUdp: false,
  scan: scanErspan,
  format: (view) => {
    const version = view.getUint8(8) >> 4;
    const session = `sid=0x${(view.getUint16(10) & 0x3ff).toString(16)}`;
    if (version === 1) return `erspan(ver=1,${session},idx=0x${view.getUint32(12).toString(16)})`;
    const last = view.getUint16(18);
    const hardware = (last >> 4 & 0x3f).toString(16);
    return `erspan(ver=2,${session},dir=${last >> 3 & 1},hwid=0x${hardware})`;
  },
};

const GTPU: Tail = {
  name: "gtpu",
  types: { ipv4: 110, ipv6: 110 },
  overUdp: true,
  scan: (scanner) => {
    const found = { flags: 0, msgtype: 0, teid: 0 };
    scanParts(scanner, "gtpu", {
      values: {
        flags: (what) => void (found.flags = scanner.number(8, what)),
        msgtype: (what) => void (found.msgtype = scanDecimal(scanner, 8, what)),
        teid: (what) => void (found.teid = scanHex(scanner, 32, what)),
      },
      needed: ["flags", "msgtype", "teid"],
    });
    return word(found.flags, 1) + word(found.msgtype, 1) + "0000" + word(found.teid, 4);
  },
  format: (view) =>
    `gtpu(flags=0x${view.getUint8(0).toString(16)},msgtype=${view.getUint8(1)},teid=0x${
      view.getUint32(4).toString(16)
    })`,
};

/** IPv6 routing header of type 4 (RFC 8754 §2). */
const SEGMENTS_MAX = 6;
const ROUTING_TYPE = 4;

function scanSrv6(scanner: Scanner): string {
  let left = -1;
  let segments: string[] = [];
  let segmentsAt = -1;
  const openAt = scanner.at;
  scanParts(scanner, "srv6", {
    values: {
      segments_left: (what) => {
        const from = scanner.at;
        left = scanDecimal(scanner, 8, what);
        if (left >= SEGMENTS_MAX) {
          scanner.fail(from, `srv6 segments_left must be 0 … ${SEGMENTS_MAX - 1}`);
        }
      },
    },
    flags: {
      segs: () => {
        segmentsAt = scanner.at;
        segments = scanSegments(scanner);
      },
    },
    needed: ["segments_left"],
  });
  if (segments.length !== left + 1) {
    const at = segmentsAt < 0 ? openAt : segmentsAt;
    scanner.fail(at, `srv6 with segments_left=${left} needs segs(…) with ${left + 1} addresses`);
  }
  const head = "00" + word(2 * (left + 1), 1) + word(ROUTING_TYPE, 1) + word(left, 1);
  return head + word(left, 1) + "000000" + segments.toReversed().join("");
}

function scanSegments(scanner: Scanner): string[] {
  const openAt = scanner.at;
  scanner.expect(OPEN, "after segs");
  const bytes = new Uint8Array(16);
  const segments: string[] = [];
  for (;;) {
    scanner.skipSeparators();
    if (scanner.ended) failOpen(scanner, openAt, "segs");
    if (scanner.take(CLOSE)) return segments;
    scanIpv6(scanner, bytes, 0, "srv6 segment");
    segments.push(bytesToHex(bytes));
  }
}

const SRV6: Tail = {
  name: "srv6",
  types: { ipv4: undefined, ipv6: 112 },
  overUdp: false,
  scan: scanSrv6,
  format: (view) => {
    const bytes = new Uint8Array(view.buffer, view.byteOffset, view.byteLength);
    const segments: string[] = [];
    for (let at = 8; at + 16 <= bytes.length; at += 16) segments.unshift(formatIpv6(bytes, at));
    return `srv6(segments_left=${view.getUint8(3)},segs(${segments.join(",")}))`;
  },
};

/** In the order of the reference. */
export const TAILS: readonly Tail[] = [VXLAN, GENEVE, GRE, ERSPAN, GTPU, SRV6];
