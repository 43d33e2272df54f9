/**
 * Tunnel ports as the control isolate knows them: ports of one type and UDP port share a socket, so
 * they must agree on extensions, and no two may have the same addresses and key.
 */
import { RuleError } from "../datapath/errors.ts";
import { probePort } from "../netdev/tunnel_socket.ts";
import { closeSteering, openSteering, type Steering } from "../netdev/tunnel_steering.ts";
import { SystemError } from "../netdev/system_error.ts";
import { familiesOf, type TunnelOptions, type TunnelTraits } from "./tunnel_options.ts";
import type { Attachment, PortParams } from "./vport.ts";

/** What `attach` passes to the threads. */
export interface TunnelData {
  /** IP versions that can be received over here. */
  readonly families: readonly (4 | 6)[];
  /** By IP version: what tells datagrams with a checksum from others. Absent: nothing does. */
  readonly steering?: Readonly<Partial<Record<4 | 6, Steering | undefined>>> | undefined;
  /** GRE's next sequence number, in memory that all threads share. Absent: none are sent. */
  readonly sequence?: Int32Array<SharedArrayBuffer> | undefined;
}

/** Of the ports that share a UDP port. */
interface Shared {
  readonly extensions: string;
  /** Port's name by what it matches. */
  readonly ports: Map<string, string>;
  /** Asked for once: sockets with and without would take each other's datagrams. */
  readonly steering: Partial<Record<4 | 6, Steering | undefined>>;
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
 * Notes the port and sees that its UDP port can be had. Throws RuleError EEXIST (same tunnel, other extensions) or SystemError; then nothing is left.
 */
export function attachTunnel(
  params: PortParams<TunnelOptions>,
  traits: TunnelTraits,
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
  const together: Shared = known ?? { extensions, ports: new Map(), steering: {} };
  const { ports, steering } = together;
  ports.set(match, name);
  shared.set(id, together);
  if (traits.carrier === "udp") {
    for (const family of families) {
      if (!(family in steering)) steering[family] = openSteering(params.threads);
    }
  }
  const sequence = options.sequence ? new Int32Array(new SharedArrayBuffer(4)) : undefined;
  const data: TunnelData = { families, steering, sequence };
  return {
    // No mtu: what is too long for the tunnel is answered by the port itself.
    data,
    detach: () => {
      ports.delete(match);
      if (ports.size > 0 || shared.get(id) !== together) return;
      shared.delete(id);
      for (const each of Object.values(steering)) if (each !== undefined) closeSteering(each);
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

/** What received packets it takes, as its options say it. */
function matchOf(options: TunnelOptions): string {
  const { remote = "flow", local, inKey } = options;
  const words = [`remote_ip=${remote}`];
  if (local !== undefined) words.push(`local_ip=${local}`);
  words.push(inKey === undefined ? "no in_key" : `in_key=${inKey}`);
  return words.join(", ");
}
