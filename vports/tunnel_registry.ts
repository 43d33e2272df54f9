/**
 * Tunnel ports as the control isolate knows them: ports of one type and UDP port share a socket, so
 * they must agree on extensions, and no two may have the same addresses and key. Also what the host's
 * routes say of the MTU inside a tunnel.
 */
import { RuleError } from "../datapath/errors.ts";
import { addressBytes, pathMtu, probePort } from "../netdev/tunnel_socket.ts";
import { SystemError } from "../netdev/system_error.ts";
import { familiesOf, type TunnelOptions, type TunnelTraits } from "./tunnel_options.ts";
import type { Attachment, PortParams } from "./vport.ts";

/** What `attach` passes to the threads. */
export interface TunnelData {
  /** IP versions that can be received over here. */
  readonly families: readonly (4 | 6)[];
  /** Bytes of an inner packet, without Ethernet header, that the way to the far end took; undefined: unknown. */
  readonly innerMtu: number | undefined;
}

interface Shared {
  readonly extensions: string;
  /** Port's name by what it matches. */
  readonly ports: Map<string, string>;
}

/** By type and UDP port. */
const shared: Map<string, Shared> = new Map();

/** EAFNOSUPPORT: no IPv6 here. */
const NO_FAMILY = "EAFNOSUPPORT";

/** Outer IP and UDP headers, in bytes. */
export function outerSize(family: 4 | 6, traits: TunnelTraits): number {
  return (family === 4 ? 20 : 40) + (traits.carrier === "udp" ? 8 : 0);
}

/**
 * Notes the port and sees that its UDP port can be had. `headerSize`: of the tunnel's header, for the
 * MTU. Throws RuleError EEXIST (same tunnel, other extensions) or SystemError; then nothing is left.
 */
export function attachTunnel(
  params: PortParams<TunnelOptions>,
  traits: TunnelTraits,
  headerSize: number,
): Attachment {
  const { options, name } = params;
  const id = `${traits.type} ${options.dstPort}`;
  const extensions = options.extensions.join(",");
  const known = shared.get(id);
  const match = matchOf(options);
  if (known !== undefined) {
    const other = known.ports.get(match);
    if (other !== undefined) {
      throw new RuleError("EEXIST", `Port "${other}" is the same tunnel: ${match}`);
    }
    if (known.extensions !== extensions) {
      const [first] = known.ports.values();
      throw new RuleError(
        "EEXIST",
        `Port "${first}" has exts=${known.extensions} on UDP port ${options.dstPort}: ports that ` +
          "share a UDP port must have the same",
      );
    }
  }
  const families = usableFamilies(options, traits, known !== undefined);
  const ports = known?.ports ?? new Map<string, string>();
  ports.set(match, name);
  shared.set(id, { extensions, ports });
  const mtu = innerMtu(options, traits, headerSize);
  const data: TunnelData = { families, innerMtu: mtu };
  return {
    // No mtu: what is too long for the tunnel is answered by the port itself.
    data,
    detach: () => {
      ports.delete(match);
      if (ports.size === 0) shared.delete(id);
    },
  };
}

/** Of the families wanted, those that this host has; SystemError when there is none. */
function usableFamilies(
  options: TunnelOptions,
  traits: TunnelTraits,
  isOpen: boolean,
): readonly (4 | 6)[] {
  const families = familiesOf(options);
  if (traits.carrier !== "udp") return families;
  return families.filter((family) => {
    try {
      // Somebody of ours has it: it is shared.
      if (!isOpen) probePort(family, options.dstPort);
      return true;
    } catch (error) {
      const isMissing = error instanceof SystemError && error.code === NO_FAMILY;
      if (isMissing && families.length > 1) return false;
      throw error;
    }
  });
}

/** Most bytes of an inner packet, without its Ethernet header, that the way to the far end takes now. */
function innerMtu(
  options: TunnelOptions,
  traits: TunnelTraits,
  headerSize: number,
): number | undefined {
  const remote = options.remote === undefined ? undefined : addressBytes(options.remote);
  const mtu = remote === undefined ? undefined : pathMtu(remote);
  if (mtu === undefined) return undefined;
  const ethernet = options.packetKind === "legacy_l3" ? 0 : 14;
  const family = remote?.length === 4 ? 4 : 6;
  return Math.max(0, mtu - outerSize(family, traits) - headerSize - ethernet);
}

/** What received packets it takes, as its options say it. */
function matchOf(options: TunnelOptions): string {
  const { remote = "flow", local, inKey } = options;
  const words = [`remote_ip=${remote}`];
  if (local !== undefined) words.push(`local_ip=${local}`);
  words.push(inKey === undefined ? "no in_key" : `in_key=${inKey}`);
  return words.join(", ");
}
