/**
 * Text of tnl_push, which puts a prebuilt header in front of the packet: Ethernet, IP, and one kind
 * of tunnel (tunnel_tails.ts). Bytes that this text can't say are written as they are, in data(…).
 */
import type { TunnelPushAction } from "../../actions/actions.ts";
import { FlowSyntaxError } from "../../errors.ts";
import { ETH_P_IP } from "../../fields/fields.ts";
import { formatIpv4, formatIpv6, formatMac, scanIpv4, scanIpv6, scanMac } from "../addresses.ts";
import { failOpen } from "../parentheses.ts";
import { CLOSE, OPEN, Scanner } from "../scanner.ts";
import { type ActionText, actionText, type FormatContext, type ScanContext } from "./form.ts";
import {
  bytesToHex,
  hex,
  hexToBytes,
  scanBytePairs,
  scanHex,
  scanParts,
  scanSingle,
} from "./parts.ts";
import { ANY_PORT, formatPort, scanPort } from "./ports.ts";
import { type Tail, TAILS, word } from "./tunnel_tails.ts";

/** TNL_PUSH_HEADER_SIZE. */
const HEADER_MAX = 512;
const ETH_SIZE = 14;
const IPV4_SIZE = 20;
const IPV6_SIZE = 40;
const UDP_SIZE = 8;
const IPPROTO_ROUTING = 43;

/** What was found of a header, hexadecimal; "": not there. */
interface Found {
  size: number;
  type: number;
  eth: string;
  dlType: number;
  ipv4: string;
  ipv6: string;
  udp: string;
  tail: string;
  tailKind: Tail | undefined;
  data: string | undefined;
}

type HeaderBytes = Pick<TunnelPushAction, "tunnelType" | "header">;

/** Reads `(size=…,type=…,eth(…),…)`. */
function scanHeader(scanner: Scanner): HeaderBytes {
  const openAt = scanner.at;
  const found: Found = {
    size: 0,
    type: 0,
    eth: "",
    dlType: 0,
    ipv4: "",
    ipv6: "",
    udp: "",
    tail: "",
    tailKind: undefined,
    data: undefined,
  };
  const places = { size: openAt, type: openAt };
  const number = (name: "size" | "type") => (what: string): void => {
    places[name] = scanner.at;
    found[name] = scanner.number(32, what);
  };
  const tails = TAILS.map((kind) => [kind.name, () => {
    if (found.tailKind !== undefined) {
      scanner.fail(scanner.at - kind.name.length, "a header has one kind of tunnel");
    }
    found.tailKind = kind;
    found.tail = kind.scan(scanner);
  }]);
  scanParts(scanner, "header", {
    values: { size: number("size"), type: number("type") },
    flags: {
      eth: () => scanEth(scanner, found),
      ipv4: () => void (found.ipv4 = scanIpv4Header(scanner)),
      ipv6: () => void (found.ipv6 = scanIpv6Header(scanner)),
      udp: () => void (found.udp = scanUdp(scanner)),
      data: () => void (found.data = scanData(scanner)),
      ...Object.fromEntries(tails),
    },
    needed: ["size", "type"],
  });
  const header = found.data ?? buildHeader(scanner, openAt, found);
  checkSize(scanner, places.size, found.size, header);
  const { tailKind } = found;
  if (tailKind !== undefined && found.data === undefined) {
    const type = found.ipv4 === "" ? tailKind.types.ipv6 : tailKind.types.ipv4;
    if (found.type !== type) {
      scanner.fail(places.type, `header type must be ${type}, as the header has ${tailKind.name}`);
    }
  }
  return { tunnelType: found.type, header };
}

function checkSize(scanner: Scanner, at: number, size: number, header: string): void {
  if (2 * size !== header.length) {
    scanner.fail(at, `header size must be ${header.length / 2}, as its parts are`);
  }
  if (size > HEADER_MAX) scanner.fail(at, `a header has at most ${HEADER_MAX} bytes`);
}

function buildHeader(scanner: Scanner, openAt: number, found: Found): string {
  const { eth, dlType, ipv4, ipv6, udp, tail, tailKind } = found;
  if (eth === "") scanner.fail(openAt, "a header needs eth(…)");
  const isIpv4 = dlType === ETH_P_IP;
  const needed = isIpv4 ? "ipv4" : "ipv6";
  if ((isIpv4 ? ipv4 : ipv6) === "" || (isIpv4 ? ipv6 : ipv4) !== "") {
    scanner.fail(openAt, `a header with dl_type=0x${word(dlType, 2)} needs ${needed}(…)`);
  }
  if (tailKind === undefined) {
    const names = TAILS.map((kind) => kind.name).join(", ");
    return scanner.fail(openAt, `a header needs one kind of tunnel: ${names}`);
  }
  if (isIpv4 && tailKind.types.ipv4 === undefined) {
    scanner.fail(openAt, `${tailKind.name} needs ipv6(…)`);
  }
  // Open vSwitch reads gtpu without udp.
  const isOptional = tailKind.name === "gtpu";
  if (!isOptional && tailKind.overUdp !== (udp !== "")) {
    scanner.fail(openAt, `${tailKind.name} ${tailKind.overUdp ? "needs" : "has no"} udp(…)`);
  }
  const l4 = tailKind.overUdp ? udp.padEnd(2 * UDP_SIZE, "0") : "";
  if (tailKind.name !== "srv6") return eth + ipv4 + ipv6 + l4 + tail;
  return eth + ipv6.slice(0, 12) + word(IPPROTO_ROUTING, 1) + ipv6.slice(14) + tail;
}

function scanEth(scanner: Scanner, found: Found): void {
  const bytes = new Uint8Array(12);
  scanParts(scanner, "eth", {
    values: {
      dst: (what) => scanMac(scanner, bytes, 0, what),
      src: (what) => scanMac(scanner, bytes, 6, what),
      dl_type: (what) => void (found.dlType = scanHex(scanner, 16, what)),
    },
    needed: ["dst", "src", "dl_type"],
  });
  found.eth = bytesToHex(bytes) + word(found.dlType, 2);
}

function scanIpv4Header(scanner: Scanner): string {
  const bytes = new Uint8Array(IPV4_SIZE);
  const view = new DataView(bytes.buffer);
  view.setUint8(0, 0x45);
  const byte = (at: number) => (what: string): void => view.setUint8(at, scanner.number(8, what));
  scanParts(scanner, "ipv4", {
    values: {
      src: (what) => scanIpv4(scanner, bytes, 12, what),
      dst: (what) => scanIpv4(scanner, bytes, 16, what),
      proto: byte(9),
      tos: byte(1),
      ttl: byte(8),
      frag: (what) => view.setUint16(6, scanHex(scanner, 16, what)),
    },
    needed: ["src", "dst", "proto", "tos", "ttl", "frag"],
  });
  let sum = 0;
  for (let at = 0; at < IPV4_SIZE; at += 2) sum += view.getUint16(at);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
  view.setUint16(10, ~sum);
  return bytesToHex(bytes);
}

function scanIpv6Header(scanner: Scanner): string {
  const bytes = new Uint8Array(IPV6_SIZE);
  const view = new DataView(bytes.buffer);
  let first = 0x60000000;
  scanParts(scanner, "ipv6", {
    values: {
      src: (what) => scanIpv6(scanner, bytes, 8, what),
      dst: (what) => scanIpv6(scanner, bytes, 24, what),
      label: (what) => void (first |= scanner.number(20, what)),
      proto: (what) => view.setUint8(6, scanner.number(8, what)),
      tclass: (what) => void (first |= scanHex(scanner, 8, what) << 20),
      hlimit: (what) => view.setUint8(7, scanner.number(8, what)),
    },
    needed: ["src", "dst", "label", "proto", "tclass", "hlimit"],
  });
  view.setUint32(0, first);
  return bytesToHex(bytes);
}

function scanUdp(scanner: Scanner): string {
  const found = { src: 0, dst: 0, csum: 0 };
  scanParts(scanner, "udp", {
    values: {
      src: (what) => void (found.src = scanner.number(16, what)),
      dst: (what) => void (found.dst = scanner.number(16, what)),
      csum: (what) => void (found.csum = scanHex(scanner, 16, what)),
    },
    needed: ["src", "dst", "csum"],
  });
  return word(found.src, 2) + word(found.dst, 2) + "0000" + word(found.csum, 2);
}

function scanData(scanner: Scanner): string {
  const openAt = scanner.at;
  scanner.expect(OPEN, "after data");
  const bytes = scanBytePairs(scanner, "data");
  if (scanner.ended) failOpen(scanner, openAt, "data");
  scanner.expect(CLOSE, "after the bytes of data");
  return bytes;
}

/** `size=…,type=…,` and the header in words if they say all of it, else in bytes. */
function formatHeader({ tunnelType, header }: HeaderBytes): string {
  const head = `size=${header.length / 2},type=${tunnelType},`;
  const parts = formatParts(tunnelType, hexToBytes(header));
  if (parts !== undefined && readsBack(`(${head}${parts})`, header)) return head + parts;
  return `${head}data(${header})`;
}

function readsBack(text: string, header: string): boolean {
  try {
    return scanHeader(new Scanner(text)).header === header;
  } catch (error) {
    if (error instanceof FlowSyntaxError) return false;
    throw error;
  }
}

function formatParts(tunnelType: number, bytes: Uint8Array<ArrayBuffer>): string | undefined {
  const view = new DataView(bytes.buffer);
  if (bytes.length < ETH_SIZE + IPV4_SIZE) return undefined;
  const dlType = view.getUint16(12);
  const isIpv4 = dlType === ETH_P_IP;
  let at = ETH_SIZE + (isIpv4 ? IPV4_SIZE : IPV6_SIZE);
  const tail = TAILS.find(({ types }) => (isIpv4 ? types.ipv4 : types.ipv6) === tunnelType);
  if (tail === undefined || bytes.length < at + (tail.overUdp ? UDP_SIZE : 0)) return undefined;
  let text = `eth(dst=${formatMac(bytes, 0)},src=${formatMac(bytes, 6)},dl_type=0x${
    word(dlType, 2)
  }),`;
  text += isIpv4 ? formatIpv4Header(view, bytes) : formatIpv6Header(view, bytes);
  if (tail.overUdp) {
    const checksum = view.getUint16(at + 6).toString(16);
    text += `,udp(src=${view.getUint16(at)},dst=${view.getUint16(at + 2)},csum=0x${checksum})`;
    at += UDP_SIZE;
  }
  try {
    return `${text},${tail.format(new DataView(bytes.buffer, at))}`;
  } catch (error) {
    if (error instanceof RangeError) return undefined; // the header is too short
    throw error;
  }
}

function formatIpv4Header(view: DataView, bytes: Uint8Array): string {
  const at = ETH_SIZE;
  return `ipv4(src=${formatIpv4(bytes, at + 12)},dst=${formatIpv4(bytes, at + 16)},proto=${
    view.getUint8(at + 9)
  },tos=${hex(view.getUint8(at + 1))},ttl=${view.getUint8(at + 8)},frag=0x${
    view.getUint16(at + 6).toString(16)
  })`;
}

function formatIpv6Header(view: DataView, bytes: Uint8Array): string {
  const at = ETH_SIZE;
  const first = view.getUint32(at);
  return `ipv6(src=${formatIpv6(bytes, at + 8)},dst=${formatIpv6(bytes, at + 24)},label=${
    first & 0xfffff
  },proto=${view.getUint8(at + 6)},tclass=0x${(first >>> 20 & 0xff).toString(16)},hlimit=${
    view.getUint8(at + 7)
  })`;
}

function scanPush(context: ScanContext): TunnelPushAction {
  const { scanner } = context;
  const openAt = scanner.at;
  const ports: { tunnel?: number; out?: number } = {};
  const headers: HeaderBytes[] = [];
  const port = (name: "tunnel" | "out", text: string) => (): void => {
    ports[name] = scanSingle(scanner, text, (what) => scanPort(context, what, ANY_PORT));
  };
  scanParts(scanner, "tnl_push", {
    flags: {
      tnl_port: port("tunnel", "tnl_port"),
      header: () => void headers.push(scanHeader(scanner)),
      out_port: port("out", "out_port"),
    },
  });
  const [header] = headers;
  if (ports.tunnel === undefined || header === undefined || ports.out === undefined) {
    return scanner.fail(openAt, "tnl_push needs tnl_port(…), header(…) and out_port(…)");
  }
  return { type: "tnl_push", tunnelPort: ports.tunnel, outPort: ports.out, ...header };
}

function formatPush(action: TunnelPushAction, context: FormatContext): string {
  const tunnelPort = formatPort(action.tunnelPort, context);
  const outPort = formatPort(action.outPort, context);
  return `tnl_push(tnl_port(${tunnelPort}),header(${formatHeader(action)}),out_port(${outPort}))`;
}

export const TUNNEL_PUSH: ActionText = actionText("tnl_push", {
  name: "tnl_push",
  summary: "Puts a prebuilt tunnel header in front of the packet and sends it to out_port " +
    "(userspace datapath only). Tunnels are " + TAILS.map((tail) => tail.name).join(", ") + ".",
  example: "tnl_push(tnl_port(6),header(size=50,type=4,eth(dst=02:00:00:00:00:02," +
    "src=02:00:00:00:00:01,dl_type=0x0800),ipv4(src=192.0.2.1,dst=192.0.2.2,proto=17,tos=0," +
    "ttl=64,frag=0x4000),udp(src=0,dst=4789,csum=0x0),vxlan(flags=0x8000000,vni=0x1c7))," +
    "out_port(1))",
  scan: scanPush,
  format: formatPush,
});
