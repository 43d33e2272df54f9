/** A TCP conversation written down as lines, with the numbers that each side counts. */
import { ACK, FIN, PSH, SYN } from "../../datapath/conntrack/testing/packets.ts";
import { send } from "./kernel_ct_frames.ts";
import type { FrameStep } from "./kernel_ct_scenario.ts";

export interface Ends {
  /** As the client has them. */
  readonly client: string;
  readonly clientPort: number;
  readonly server: string;
  readonly serverPort: number;
  /** How the server sees the client, and the client's packets the server; default the same. */
  readonly seenClient?: string;
  readonly seenServer?: string;
  /** The port that the connection begins at, 1 or 2. Default 1. */
  readonly port?: 1 | 2;
}

/** Steps of one connection. What helpers add to texts on their way is told by `growth`. */
export class Talk {
  readonly #ends: Ends;
  /** Next numbers of client and server, as their peers count them too, but for the growth. */
  #client: number;
  #server: number;
  /** What the client's and the server's texts have grown by. */
  #clientGrowth = 0;
  #serverGrowth = 0;

  constructor(ends: Ends, client = 1000, server = 5000) {
    this.#ends = ends;
    this.#client = client;
    this.#server = server;
  }

  /** SYN, SYN-ACK, ACK. */
  open(): FrameStep[] {
    const steps = [this.#fromClient(SYN, "")];
    this.#client++;
    steps.push(this.#fromServer(SYN | ACK, ""));
    this.#server++;
    return [...steps, this.#fromClient(ACK, "")];
  }

  /** The client says something. `growth`: bytes that it arrives with more. */
  ask(text: string, growth = 0): FrameStep {
    const step = this.#fromClient(ACK | PSH, text);
    this.#client += text.length;
    this.#clientGrowth += growth;
    return step;
  }

  /** The server says something. */
  answer(text: string, growth = 0): FrameStep {
    const step = this.#fromServer(ACK | PSH, text);
    this.#server += text.length;
    this.#serverGrowth += growth;
    return step;
  }

  /** The client acknowledges, the server does. */
  confirm(): FrameStep[] {
    return [this.#fromClient(ACK, ""), this.#fromServer(ACK, "")];
  }

  close(): FrameStep[] {
    const steps = [this.#fromClient(FIN | ACK, "")];
    this.#client++;
    steps.push(this.#fromServer(FIN | ACK, ""));
    this.#server++;
    return [...steps, this.#fromClient(ACK, "")];
  }

  #fromClient(flags: number, payload: string): FrameStep {
    const { client, clientPort, server, serverPort, port = 1 } = this.#ends;
    return send(port, {
      src: client,
      dst: server,
      sport: clientPort,
      dport: serverPort,
      seq: this.#client,
      ack: (flags & ACK) === 0 ? 0 : this.#server + this.#serverGrowth,
      flags,
      payload,
    });
  }

  #fromServer(flags: number, payload: string): FrameStep {
    const { client, clientPort, server, serverPort, port = 1 } = this.#ends;
    return send(3 - port, {
      src: this.#ends.seenServer ?? server,
      dst: this.#ends.seenClient ?? client,
      sport: serverPort,
      dport: clientPort,
      seq: this.#server,
      ack: this.#client + this.#clientGrowth,
      flags,
      payload,
    });
  }
}
