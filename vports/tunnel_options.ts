/**
 * Options of tunnel ports, spelled as in ovs-vswitchd.conf.db(5), "Tunnel Options". `flow` leaves a
 * value to set(tunnel(…)) and, on reception, takes any. The rest are defaults for what a flow's
 * set(tunnel(…)) does not say, so that a tunnel between two hosts needs none.
 */
import { OptionError } from "../datapath/errors.ts";
import { addressBytes, type Carrier, type Family } from "../netdev/tunnel_socket.ts";
import { optionReader } from "./options.ts";

/** What packets a port carries: frames, packets without Ethernet header, or both. */
export type PacketKind = "legacy_l2" | "legacy_l3" | "ptap";

/** What a type's options may be. */
export interface TunnelTraits {
  readonly type: string;
  readonly carrier: Carrier;
  /** Largest key. */
  readonly keyMax: number;
  /** UDP destination port; undefined: it has none. */
  readonly port: number | undefined;
  /** Words of exts=. */
  readonly extensions: readonly string[];
  /** Whether seq= is known. */
  readonly hasSequence: boolean;
  /** Words of packet_type=, the default first. Undefined: depends on the extensions. */
  readonly packetKinds: readonly PacketKind[];
}

export interface TunnelOptions {
  /** Address as text; undefined: flow. */
  readonly remote: string | undefined;
  /** Address as text; undefined: the host's choice. */
  readonly local: string | "flow" | undefined;
  /** Undefined: packets without key, or with 0. */
  readonly inKey: number | "flow" | undefined;
  /** Undefined: none (0 where there must be one). */
  readonly outKey: number | "flow" | undefined;
  readonly dstPort: number;
  /** DSCP in the upper 6 bits. ECN is always the inner header's. */
  readonly tos: number | "inherit";
  readonly ttl: number | "inherit";
  /** Undefined: as Open vSwitch, over IPv6 only; but trains of segments have one. */
  readonly csum: boolean | undefined;
  readonly dfDefault: boolean;
  /** skb_mark of outer packets; 0: none. */
  readonly mark: number;
  readonly sequence: boolean;
  /** Sorted. */
  readonly extensions: readonly string[];
  readonly packetKind: PacketKind;
}

const COMMON: readonly string[] = [
  "remote_ip",
  "local_ip",
  "key",
  "in_key",
  "out_key",
  "tos",
  "ttl",
  "csum",
  "df_default",
  "egress_pkt_mark",
];
const TTL_DEFAULT = 64;

/** The names of a type's options. */
export function optionNames(traits: TunnelTraits): string[] {
  const names = [...COMMON];
  if (traits.port !== undefined) names.push("dst_port");
  if (traits.hasSequence) names.push("seq");
  if (traits.extensions.length > 0) names.push("exts");
  if (traits.packetKinds.length > 1) names.push("packet_type");
  return names;
}

/** Throws OptionError naming key and value. */
export function parseTunnelOptions(
  raw: ReadonlyMap<string, string>,
  traits: TunnelTraits,
): TunnelOptions {
  optionReader.only(raw, optionNames(traits));
  const remote = parseRemote(optionReader.required(raw, "remote_ip"));
  const local = parseLocal(raw.get("local_ip"), remote);
  const keyOf = (name: string): number | "flow" | undefined => {
    const key = raw.has(name) ? name : "key";
    return parseKey(raw.get(key), key, traits.keyMax);
  };
  const extensions = parseExtensions(raw, traits);
  return {
    remote,
    local,
    inKey: keyOf("in_key"),
    outKey: keyOf("out_key"),
    dstPort: traits.port === undefined
      ? 0
      : optionReader.integer(raw, "dst_port", { min: 1, max: 65535, fallback: traits.port }),
    tos: parseTos(raw.get("tos")),
    ttl: parseTtl(raw),
    csum: parseBoolean(raw, "csum"),
    dfDefault: parseBoolean(raw, "df_default") ?? true,
    mark: parseMark(raw.get("egress_pkt_mark")),
    sequence: parseBoolean(raw, "seq") ?? false,
    extensions,
    packetKind: parsePacketKind(raw, traits, extensions),
  };
}

/** Those that differ from the defaults. */
export function formatTunnelOptions(
  options: TunnelOptions,
  traits: TunnelTraits,
): ReadonlyMap<string, string> {
  const shown = new Map<string, string>();
  const { inKey, outKey } = options;
  if (inKey === outKey && inKey !== undefined) shown.set("key", `${inKey}`);
  else {
    if (inKey !== undefined) shown.set("in_key", `${inKey}`);
    if (outKey !== undefined) shown.set("out_key", `${outKey}`);
  }
  if (options.csum !== undefined) shown.set("csum", `${options.csum}`);
  if (!options.dfDefault) shown.set("df_default", "false");
  if (options.mark !== 0) shown.set("egress_pkt_mark", `${options.mark}`);
  if (traits.port !== undefined && options.dstPort !== traits.port) {
    shown.set("dst_port", `${options.dstPort}`);
  }
  if (options.extensions.length > 0) shown.set("exts", options.extensions.join(","));
  if (options.local !== undefined) shown.set("local_ip", options.local);
  if (options.packetKind !== traits.packetKinds[0]) shown.set("packet_type", options.packetKind);
  shown.set("remote_ip", options.remote ?? "flow");
  if (options.sequence) shown.set("seq", "true");
  if (options.tos !== 0) shown.set("tos", `${options.tos}`);
  if (options.ttl !== TTL_DEFAULT) shown.set("ttl", `${options.ttl}`);
  return shown;
}

/** IP versions that a port receives over, and that it may have to send over. */
export function familiesOf(options: TunnelOptions): readonly Family[] {
  const { remote, local } = options;
  const known = remote ?? (local === "flow" ? undefined : local);
  if (known === undefined) return [4, 6];
  return [known.includes(":") ? 6 : 4];
}

function refuse(key: string, value: string, wanted: string): never {
  throw new OptionError(key, `Option ${key} must be ${wanted}: it is "${value}"`);
}

function parseRemote(text: string): string | undefined {
  if (text === "flow") return undefined;
  const bytes = addressBytes(text);
  if (bytes === undefined) refuse("remote_ip", text, 'an IPv4 or IPv6 address, or "flow"');
  const isGroup = bytes.length === 4 ? bytes[0]! >>> 4 === 0xe : bytes[0] === 0xff;
  if (isGroup) refuse("remote_ip", text, "one host's address, not a multicast group's");
  if (bytes.every((byte) => byte === 0)) refuse("remote_ip", text, "an address that is not zero");
  return text;
}

function parseLocal(text: string | undefined, remote: string | undefined): string | undefined {
  if (text === undefined) return undefined;
  if (text === "flow") {
    if (remote !== undefined) {
      refuse("local_ip", text, 'an address, unless remote_ip is "flow" too');
    }
    return text;
  }
  const bytes = addressBytes(text);
  if (bytes === undefined) refuse("local_ip", text, 'an IPv4 or IPv6 address, or "flow"');
  if (remote !== undefined && remote.includes(":") !== text.includes(":")) {
    refuse("local_ip", text, "an address of the same family as remote_ip");
  }
  return text;
}

function parseKey(
  text: string | undefined,
  name: string,
  max: number,
): number | "flow" | undefined {
  if (text === undefined || text === "flow") return text;
  const value = /^(\d{1,20}|0[xX][0-9a-fA-F]{1,16})$/.test(text) ? Number(text) : NaN;
  if (!(value <= max)) refuse(name, text, `a number from 0 to ${max}, or "flow"`);
  return value;
}

function parseTos(text: string | undefined): number | "inherit" {
  if (text === undefined || text === "inherit") return text ?? 0;
  const value = /^(\d{1,3}|0[xX][0-9a-fA-F]{1,2})$/.test(text) ? Number(text) : NaN;
  if (!(value <= 252) || value % 4 !== 0) {
    refuse("tos", text, 'a multiple of 4 from 0 to 252 (DSCP in the upper 6 bits), or "inherit"');
  }
  return value;
}

function parseMark(text = "0"): number {
  const value = /^(\d{1,10}|0[xX][0-9a-fA-F]{1,8})$/.test(text) ? Number(text) : NaN;
  if (!(value <= 0xffff_ffff)) refuse("egress_pkt_mark", text, "a number from 0 to 4294967295");
  return value;
}

/** 0 stands for the default, as in Open vSwitch. */
function parseTtl(raw: ReadonlyMap<string, string>): number | "inherit" {
  if (raw.get("ttl") === "inherit") return "inherit";
  return optionReader.integer(raw, "ttl", { min: 0, max: 255, fallback: 0 }) || TTL_DEFAULT;
}

function parseBoolean(raw: ReadonlyMap<string, string>, key: string): boolean | undefined {
  if (!raw.has(key)) return undefined;
  return optionReader.choice(raw, key, ["true", "false"]) === "true";
}

function parseExtensions(raw: ReadonlyMap<string, string>, traits: TunnelTraits): string[] {
  const text = raw.get("exts");
  if (text === undefined) return [];
  const words = [...new Set(text.split(",").filter((word) => word !== ""))].sort();
  for (const word of words) {
    if (traits.extensions.includes(word)) continue;
    refuse("exts", text, `a list of ${traits.extensions.join(", ")}`);
  }
  if (words.length > 1) refuse("exts", text, `one of ${words.join(", ")}: they use the same bits`);
  return words;
}

/** Packets without Ethernet header need a header that can say what they are. */
function parsePacketKind(
  raw: ReadonlyMap<string, string>,
  traits: TunnelTraits,
  extensions: readonly string[],
): PacketKind {
  const kind = traits.packetKinds.find((word) => word === (raw.get("packet_type") ?? "legacy_l2"));
  const text = raw.get("packet_type") ?? "";
  if (kind === undefined) refuse("packet_type", text, traits.packetKinds.join(", "));
  if (kind !== "legacy_l2" && traits.extensions.includes("gpe") && !extensions.includes("gpe")) {
    refuse("packet_type", text, "legacy_l2 without exts=gpe");
  }
  return kind;
}
