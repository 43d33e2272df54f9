/**
 * What a tunnel port would send: a port of the type's own code (tunnel_port.ts) that has no socket and
 * no endpoint, and notes the outer header of a packet instead of sending it. For traces.
 */
import type { DropReason } from "../datapath/drop_reasons.ts";
import type { Packet } from "../datapath/packet/packet.ts";
import type { Envelope } from "../netdev/tunnel_output.ts";
import { routeTo } from "../netdev/tunnel_route.ts";
import type { OutputKind } from "../netdev/tunnel_socket.ts";
import type { TunnelData } from "./tunnel_registry.ts";
import { SENDERS } from "./tunnel_senders.ts";
import type { PortParams, TunnelKey, Vport, VportHost, VportOps } from "./vport.ts";

/** Types whose ports this is for. */
export const TUNNEL_TYPES: readonly string[] = ["vxlan", "geneve", "gre"];

/** The outer header of a packet, and what becomes of the packet in it. */
export interface OuterHeader extends OutputKind {
  /** 4 or 16 bytes; undefined: the host knows no way there. */
  readonly source: Uint8Array | undefined;
  /** 4 or 16 bytes. */
  readonly destination: Uint8Array;
  /** UDP destination port; 0: the type has none. */
  readonly port: number;
  readonly tos: number;
  readonly ttl: number;
  /** skb_mark of the outer packet; 0: none. */
  readonly mark: number;
  /** The tunnel's own header. */
  readonly header: Uint8Array;
}

/** More than any tunnel's header. */
const HEADER_MAX = 512;

/** In the place of netdev/tunnel_output.ts. */
class NotedOutput {
  readonly view: DataView<ArrayBuffer> = new DataView(new ArrayBuffer(HEADER_MAX));
  isUsed = false;
  kind: OutputKind | undefined;
  noted: OuterHeader | undefined;
  #headerSize = 0;

  beginPacket(): void {
    this.noted = undefined;
  }

  beginMessage(): void {}

  reserve(size: number): number {
    this.#headerSize = size;
    return 0;
  }

  append(): void {}

  endMessage(envelope: Envelope): void {
    const kind = this.kind!;
    const size = kind.family === 4 ? 4 : 16;
    const bytes = (view: DataView): Uint8Array => new Uint8Array(view.buffer, 0, size).slice();
    const destination = bytes(envelope.remote);
    const { remotePort: port, tos, ttl, mark } = envelope;
    this.noted = {
      ...kind,
      source: envelope.hasLocal ? bytes(envelope.local) : routeTo(destination, mark)?.local,
      destination,
      port: kind.carrier === "udp" ? port : 0,
      tos,
      ttl,
      mark,
      header: new Uint8Array(this.view.buffer, 0, this.#headerSize).slice(),
    };
  }

  flush(): void {}

  close(): void {}
}

/** In the place of tunnel_senders.ts. */
class NotedSenders {
  readonly output: NotedOutput = new NotedOutput();

  choose(kind: OutputKind): NotedOutput {
    this.output.kind = { ...kind };
    return this.output;
  }

  flush(): void {}

  close(): void {}
}

/** A switch without packets: nothing is handed over or counted, and nobody is told that a packet is too big. */
class NotedHost implements VportHost {
  readonly senders: NotedSenders = new NotedSenders();
  now = 0;

  share<T extends { close(): void }>(name: string, make: () => T): T {
    const things: { close(): void } = name === SENDERS ? this.senders : make();
    return things as T;
  }

  unshare(): void {}

  allocate(): undefined {
    return undefined;
  }

  recycle(): void {}
  receive(): void {}
  countRxDrop(): void {}
  countTxDrop(): void {}

  nowMs(): number {
    return this.now;
  }

  wallUs(): number {
    return 0;
  }
}

/** One port. Needs no closing. */
export class TunnelPreview {
  readonly #host: NotedHost = new NotedHost();
  readonly #vport: Vport;

  /** Throws OptionError. */
  constructor(ops: VportOps, params: PortParams<unknown>) {
    // No endpoint: it receives nothing.
    const data: TunnelData = { families: [] };
    this.#vport = ops.create({ ...params, thread: 0, threads: 1, data, host: this.#host });
  }

  get takesL3Packets(): boolean {
    return this.#vport.takesL3Packets === true;
  }

  /** What the port would answer to a packet, not a segment train, and, if it would take it, what it would put around it. */
  send(
    packet: Packet,
    tunnel: TunnelKey | undefined,
    nowMs: number,
  ): { readonly reason: DropReason; readonly outer: OuterHeader | undefined } {
    this.#host.now = nowMs;
    const reason = this.#vport.send(packet, tunnel);
    const { noted } = this.#host.senders.output;
    return { reason, outer: reason === 0 ? noted : undefined };
  }
}
