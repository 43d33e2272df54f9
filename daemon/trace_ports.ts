/**
 * Ports as a trace has them: patch ports answer as the real ones do, and tunnel ports say what they
 * would send a packet in. What goes out at them in the end is told by {@link TracePorts.behind}.
 */
import type { Datapath, Model, PortRecord } from "./model.ts";
import { dropReason } from "../datapath/drop_reasons.ts";
import type { Packet } from "../datapath/packet/packet.ts";
import type { PortBehaviour, TracedPort } from "../datapath/trace/tracer.ts";
import type { TracedOuter } from "../datapath/trace/schema.ts";
import * as geneve from "../datapath/headers/geneve.ts";
import * as gre from "../datapath/headers/gre.ts";
import * as vxlan from "../datapath/headers/vxlan.ts";
import { formatIpv4, formatIpv6 } from "../datapath/text/addresses.ts";
import { PATCH_HOPS_MAX } from "../vports/patch.ts";
import type { VportRegistry } from "../vports/registry.ts";
import { type OuterHeader, TUNNEL_TYPES, TunnelPreview } from "../vports/tunnel_preview.ts";

const NO_PEER = dropReason("patch-no-peer");
const LOOP = dropReason("patch-loop");
/** Outer IP header, and UDP's. */
const IPV4_SIZE = 20;
const IPV6_SIZE = 40;
const UDP_SIZE = 8;

/** The other end of a patch port. */
export interface PatchEnd {
  readonly datapath: Datapath;
  readonly port: PortRecord;
}

export interface TracePortsOptions {
  readonly datapath: Datapath;
  /** All datapaths. */
  readonly model: Model;
  readonly types: VportRegistry;
  nowMs(): number;
}

/** Of one datapath, for one tracer. */
export class TracePorts {
  readonly #options: TracePortsOptions;
  /** By number. */
  readonly #previews: Map<number, TunnelPreview> = new Map();
  /** What tunnel ports have taken, in order. */
  #outers: OuterHeader[] = [];

  constructor(options: TracePortsOptions) {
    this.#options = options;
  }

  /** What the tracer is to have. */
  list(): TracedPort[] {
    const { datapath } = this.#options;
    const mtus = datapath.backend.traceFacts?.().mtus;
    return datapath.ports().filter(({ state }) => state !== "absent").map((port) => ({
      portNo: port.portNo,
      failed: port.state === "failed",
      mtu: mtus?.get(port.portNo),
      behaviour: this.#behaviour(port),
    }));
  }

  /** A packet is about to be traced. */
  begin(): void {
    this.#outers = [];
  }

  /** What lies behind a port that took a packet of `size` bytes; to be asked for each, in order. */
  behind(portNo: number, size: number): { outer?: TracedOuter; peer?: PatchEnd } {
    const port = this.#options.datapath.port(portNo);
    if (port === undefined) return {};
    if (port.type === "patch") {
      const peer = this.#peerOf(port);
      return peer === undefined ? {} : { peer };
    }
    const outer = TUNNEL_TYPES.includes(port.type) ? this.#outers.shift() : undefined;
    return outer === undefined ? {} : { outer: describeOuter(outer, port.type, size) };
  }

  #behaviour(port: PortRecord): PortBehaviour | undefined {
    const takesAll = { takesPartialChecksums: true, takesSegmentTrains: true };
    if (port.type === "patch") {
      return {
        ...takesAll,
        takesL3Packets: true,
        send: (packet) =>
          packet.patchHops >= PATCH_HOPS_MAX
            ? LOOP
            : this.#peerOf(port) === undefined
            ? NO_PEER
            : 0,
      };
    }
    if (!TUNNEL_TYPES.includes(port.type)) return undefined;
    return {
      takesPartialChecksums: false,
      takesSegmentTrains: false,
      takesL3Packets: port.options.packet_type !== undefined &&
        port.options.packet_type !== "legacy_l2",
      send: (packet) => this.#sendTunnel(port, packet),
    };
  }

  #peerOf(port: PortRecord): PatchEnd | undefined {
    const name = port.options.peer ?? "";
    for (const datapath of this.#options.model.values()) {
      const peer = datapath.portNamed(name);
      if (peer === undefined || peer.type !== "patch" || isDown(peer)) continue;
      if (peer.options.peer === port.name) return { datapath, port: peer };
    }
    return undefined;
  }

  #sendTunnel(port: PortRecord, packet: Packet): number {
    const tunnel = packet.hasEgress ? packet.metadata().egress : undefined;
    const preview = this.#preview(port);
    if (preview === undefined) return 0;
    const { reason, outer } = preview.send(packet, tunnel, this.#options.nowMs());
    if (outer !== undefined) this.#outers.push(outer);
    return reason;
  }

  #preview(port: PortRecord): TunnelPreview | undefined {
    const known = this.#previews.get(port.portNo);
    if (known !== undefined) return known;
    const { datapath, types } = this.#options;
    const ops = types.get(port.type);
    if (ops === undefined) return undefined;
    const { id, name } = datapath.record;
    const made = new TunnelPreview(ops, {
      datapath: name,
      datapathId: id,
      name: port.name,
      portNo: port.portNo,
      options: ops.parseOptions(new Map(Object.entries(port.options))),
      mac: undefined,
      threads: 1,
    });
    this.#previews.set(port.portNo, made);
    return made;
  }
}

function isDown({ state }: PortRecord): boolean {
  return state === "absent" || state === "failed";
}

function formatAddress(bytes: Uint8Array): string {
  return bytes.length === 4 ? formatIpv4(bytes, 0) : formatIpv6(bytes, 0);
}

function describeOuter(outer: OuterHeader, type: string, size: number): TracedOuter {
  const { source, destination, carrier, family, port, tos, ttl, mark, header } = outer;
  const key = keyOf(header, type);
  const outerSize = (family === 4 ? IPV4_SIZE : IPV6_SIZE) + (carrier === "udp" ? UDP_SIZE : 0);
  return {
    from: source === undefined ? null : formatAddress(source),
    to: formatAddress(destination),
    protocol: carrier,
    ...(port === 0 ? {} : { port }),
    ...(key === undefined ? {} : { key }),
    tos,
    ttl,
    flags: [...(outer.dontFragment ? ["df"] : []), ...(outer.checksum ? ["csum"] : [])],
    ...(mark === 0 ? {} : { mark }),
    header: header.toHex(),
    size: outerSize + header.length + size,
  };
}

/** The key that a tunnel's header has. */
function keyOf(header: Uint8Array, type: string): number | undefined {
  const view = new DataView(header.buffer, header.byteOffset, header.length);
  if (type === "vxlan") return vxlan.vni(view, 0);
  if (type === "geneve") return geneve.vni(view, 0);
  return (gre.flags(view, 0) & gre.FLAG_KEY) === 0 ? undefined : gre.key(view, 0);
}
