/** The sockets that the tunnel ports of a packet thread send through, opened when they are first needed. */
import { TunnelOutput } from "../netdev/tunnel_output.ts";
import { SystemError } from "../netdev/system_error.ts";
import type { OutputKind } from "../netdev/tunnel_socket.ts";
import type { Sender } from "./vport.ts";

/** Name under which ports share it. */
export const SENDERS = "tunnel.senders";
/** UDP source ports per thread that a kind of packets is spread over. A power of 2. */
const SPREAD = 16;
/** Kinds: carrier, family, don't-fragment, checksum. */
const KINDS = 16;

export class TunnelSenders implements Sender {
  readonly #outputs: (TunnelOutput | undefined)[] = new Array(KINDS * SPREAD).fill(undefined);
  /** Those that may have something queued. */
  readonly #used: TunnelOutput[] = [];

  /** The socket for packets of a kind with this hash. Undefined: it can't be opened, now (no descriptor is left) or ever (no IPv6). */
  choose(kind: OutputKind, hash: number): TunnelOutput | undefined {
    const isUdp = kind.carrier === "udp";
    const number = (isUdp ? 8 : 0) | (kind.family === 6 ? 4 : 0) | (kind.dontFragment ? 2 : 0) |
      (isUdp && kind.checksum ? 1 : 0);
    // A raw socket has no port to spread by.
    const at = number * SPREAD + (isUdp ? hash & (SPREAD - 1) : 0);
    const output = this.#outputs[at] ??= openOutput(kind);
    if (output !== undefined && !output.isUsed) {
      output.isUsed = true;
      this.#used.push(output);
    }
    return output;
  }

  flush(): void {
    const used = this.#used;
    for (let at = 0; at < used.length; at++) {
      used[at]!.isUsed = false;
      used[at]!.flush();
    }
    used.length = 0;
  }

  /** Never throws. */
  close(): void {
    for (const output of this.#outputs) output?.close();
    this.#outputs.fill(undefined);
    this.#used.length = 0;
  }
}

function openOutput(kind: OutputKind): TunnelOutput | undefined {
  try {
    return new TunnelOutput(kind);
  } catch (error) {
    if (error instanceof SystemError) return undefined;
    throw error;
  }
}
