/** Text of a ct action's nat part: `nat`, `nat(src=192.0.2.1-192.0.2.9:80-90,persistent,random)`. */
import type { CtNat } from "../../actions/actions.ts";
import { formatIpv4, formatIpv6, scanIpv4, scanIpv6 } from "../addresses.ts";
import { digitValue, EQUALS, MINUS, OPEN, type Scanner } from "../scanner.ts";
import { bytesToHex, hexToBytes, scanDecimal, scanParts } from "./parts.ts";

const COLON = 0x3a;
const OPEN_BRACKET = 0x5b;
const CLOSE_BRACKET = 0x5d;

type Found = { -readonly [Key in keyof CtNat]: CtNat[Key] };

const NOTHING: CtNat = {
  direction: undefined,
  addressMin: undefined,
  addressMax: undefined,
  portMin: undefined,
  portMax: undefined,
  persistent: false,
  hash: false,
  random: false,
};

/** Reads what follows `nat`. */
export function scanNat(scanner: Scanner): CtNat {
  if (scanner.peek() !== OPEN) return NOTHING;
  const found: Found = { ...NOTHING };
  const direction = (name: "src" | "dst") => (): void => {
    if (found.direction !== undefined) {
      scanner.fail(scanner.at - name.length, "nat translates src or dst, not both");
    }
    found.direction = name;
    if (scanner.take(EQUALS)) scanRange(scanner, found, `nat ${name}`);
  };
  const way = (name: "hash" | "random") => (): void => {
    if (name === "hash" ? found.random : found.hash) {
      scanner.fail(scanner.at - name.length, "nat chooses by hash or at random, not both");
    }
    found[name] = true;
  };
  scanParts(scanner, "nat", {
    flags: {
      src: direction("src"),
      dst: direction("dst"),
      persistent: () => void (found.persistent = true),
      hash: way("hash"),
      random: way("random"),
    },
  });
  // As in Open vSwitch: without src or dst the rest says nothing.
  return found.direction === undefined ? NOTHING : found;
}

/** Reads `address[-address][:port[-port]]`, or ports alone. */
function scanRange(scanner: Scanner, found: Found, what: string): void {
  const from = scanner.at;
  if (scanner.peek() !== COLON || scanner.text.charCodeAt(from + 1) === COLON) {
    found.addressMin = scanAddress(scanner, `${what} address`);
    if (scanner.take(MINUS)) {
      const maxAt = scanner.at;
      found.addressMax = scanAddress(scanner, `${what} address`);
      checkAddresses(scanner, maxAt, found.addressMin, found.addressMax);
    }
  }
  if (!scanner.take(COLON)) return;
  found.portMin = scanDecimal(scanner, 16, `${what} port`);
  if (!scanner.take(MINUS)) return;
  const maxAt = scanner.at;
  found.portMax = scanDecimal(scanner, 16, `${what} port`);
  if (found.portMax !== 0 && found.portMax < found.portMin) {
    scanner.fail(maxAt, "the last port must not be smaller than the first");
  }
}

function checkAddresses(scanner: Scanner, at: number, min: string, max: string): void {
  if (min.length !== max.length) {
    scanner.fail(at, "both addresses of a range must be IPv4 or both IPv6");
  }
  if (/[^0]/.test(max) && max < min) {
    scanner.fail(at, "the last address must not be smaller than the first");
  }
}

/** An IPv6 address may have brackets, and has to in front of a port. */
function scanAddress(scanner: Scanner, what: string): string {
  const bytes = new Uint8Array(16);
  if (scanner.take(OPEN_BRACKET)) {
    scanIpv6(scanner, bytes, 0, what);
    scanner.expect(CLOSE_BRACKET, `after ${what}`);
    return bytesToHex(bytes);
  }
  const next = scanner.peek();
  if (next !== COLON && digitValue(next) > 15) {
    scanner.fail(scanner.at, `${what} must be an address: 192.0.2.1 or 2001:db8::1`);
  }
  let to = scanner.at;
  while (digitValue(scanner.text.charCodeAt(to)) <= 9) to++;
  if (to > scanner.at && scanner.text[to] === ".") {
    // scanIpv4 is for text in which no port can follow.
    scanIpv4Here(scanner, bytes, what);
    return bytesToHex(bytes, 0, 4);
  }
  scanIpv6(scanner, bytes, 0, what);
  return bytesToHex(bytes);
}

const IPV4 = /[0-9.]+/y;

function scanIpv4Here(scanner: Scanner, bytes: Uint8Array, what: string): void {
  IPV4.lastIndex = scanner.at;
  const text = IPV4.exec(scanner.text)![0];
  const to = scanner.at + text.length;
  if (scanner.text.charCodeAt(to) !== COLON) return scanIpv4(scanner, bytes, 0, what);
  const parts = text.split(".");
  if (parts.length !== 4 || parts.some((part) => !/^[0-9]{1,3}$/.test(part) || +part > 255)) {
    scanner.fail(scanner.at, `${what} must be an IPv4 address, four numbers 0 … 255: 192.0.2.1`);
  }
  bytes.set(parts.map(Number));
  scanner.at = to;
}

export function formatNat(nat: CtNat): string {
  if (nat.direction === undefined) return "nat";
  const parts: string[] = [nat.direction + formatRange(nat)];
  if (nat.persistent) parts.push("persistent");
  if (nat.hash) parts.push("hash");
  if (nat.random) parts.push("random");
  return `nat(${parts.join(",")})`;
}

function formatRange({ addressMin, addressMax, portMin, portMax }: CtNat): string {
  if (addressMin === undefined && portMin === undefined) return "";
  let text = "=";
  if (addressMin !== undefined) text += formatAddress(addressMin, portMin !== undefined);
  if (addressMax !== undefined) text += "-" + formatAddress(addressMax, portMin !== undefined);
  if (portMin !== undefined) text += `:${portMin}`;
  if (portMax !== undefined) text += `-${portMax}`;
  return text;
}

function formatAddress(address: string, hasPort: boolean): string {
  const bytes = hexToBytes(address);
  if (bytes.length === 4) return formatIpv4(bytes, 0);
  return hasPort ? `[${formatIpv6(bytes, 0)}]` : formatIpv6(bytes, 0);
}
