/**
 * The contract between the switch and an upcall handler: who decides about packets that match no flow
 * (what ovs-vswitchd is to the kernel's datapath).
 *
 * A handler is one module whose default export is an {@link UpcallHandler}, or a function that makes
 * one. It imports nothing but types and runs in a Worker of its own, so it may use all of Deno's API. It
 * should not block: its upcalls wait meanwhile, and what finds no room is lost and counted; after 2 s it
 * is started anew and has forgotten everything. `dp-set DP upcall-handler=FILE` sets it.
 */
import type { JsonFlow } from "../../datapath/json/flow_json.ts";

/** What an upcall handler module exports. */
export interface UpcallHandler {
  /** Version of this contract. */
  readonly apiVersion: 1;
  /** For messages; 1 … 40 characters. */
  readonly name: string;
  /**
   * Called for each packet without a flow, and for each that a userspace action hands over. Whoever
   * does nothing drops the packet. What it throws is logged, what it asked for in that call is not done,
   * and the packet is gone. Nothing waits for a promise that it may return.
   */
  upcall(packet: UpcallPacket, key: FlowKey, host: UpcallHost): unknown;
  /** The handler goes: it is replaced, or the datapath or the daemon ends. `host` does nothing any more. It has a second. */
  close?(): void;
}

/** The packet of an upcall. It is the handler's to keep. */
export interface UpcallPacket {
  /** Why it is here: no flow matched, or a userspace action was met. */
  readonly reason: "miss" | "action";
  /** Port that it came from; 65535: none. */
  readonly inPort: number;
  /** Whom it is for, as `port-set upcall=`, `dp-set upcall=` or the userspace action says; undefined: nothing does. */
  readonly portid: number | undefined;
  /** From the Ethernet header on. Less than `length` if a trunc action has cut it. A train of segments comes as one. */
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** Bytes that the packet had. */
  readonly length: number;
  /** It has no Ethernet header. */
  readonly isL3: boolean;
  /** Hash of addresses and ports: the same for all packets of a connection's direction. Unsigned 32 bits. */
  readonly hash: number;
  /** Largest fragment of a packet that was reassembled; 0: it came whole. */
  readonly mru: number;
  /** What the userspace action had, byte for byte. */
  readonly userdata: Uint8Array<ArrayBuffer> | undefined;
  /** The userspace action, and the list it stands in if it asked for that, as text. */
  readonly action: string | undefined;
  /** See `action`. */
  readonly actions: string | undefined;
  /** The tunnel that it is to be sent through, as text; only if the action asked for it. */
  readonly egressTunnel: string | undefined;
}

/** The flow key of a packet, in whichever form suits. */
export interface FlowKey {
  /** KEY_WORDS words in network byte order. */
  readonly words: Int32Array<ArrayBuffer>;
  /** As a flow that matches exactly this packet. */
  readonly text: string;
  /** The same as JSON (`denovs flow-parse --json` shows it). */
  readonly json: JsonFlow;
  /** One field, by its path in `json`: `get("eth.src")` is "02:00:00:00:00:01". Undefined: the packet has no such field. */
  get(path: string): string | number | undefined;
}

/** A port as handlers see it. */
export interface HandlerPort {
  /** 0: the datapath's own. */
  readonly portNo: number;
  /** Name of the port. */
  readonly name: string;
  /** Its type. */
  readonly type: string;
}

/** A flow to install. */
export interface HandlerFlow {
  /** In the syntax of flow-add. */
  readonly flow: string;
  /** Likewise. */
  readonly actions: string;
  /** Seconds without a packet after which it goes; default: never. */
  readonly idleTimeout?: number | undefined;
  /** Seconds after which it goes; default: never. */
  readonly hardTimeout?: number | undefined;
}

/**
 * What a handler can do. All of it is done soon after, in the order in which it was asked for; what then
 * fails is logged. Text that can't be read, or actions that the flow does not allow, throw at once.
 */
export interface UpcallHost {
  /** The datapath's name. */
  readonly datapath: string;
  /** Ports of the datapath, in order of number, as they were when the upcall was taken. Number 0 is the datapath's own. */
  ports(): readonly HandlerPort[];
  /** Installs a flow, or changes the actions of the same temporary one. Never saved. Users' flows stay as they are. */
  addFlow(flow: HandlerFlow): void;
  /** Removes a temporary flow, if there is one. */
  deleteFlow(flow: string): void;
  /** Runs actions on the packet of an upcall, as if a flow had had them; may be done more than once. */
  execute(packet: UpcallPacket, actions: string): void;
  /** Milliseconds of the switch's clock, which tests may stop and warp. */
  nowMs(): number;
  /** One line in the daemon's log. */
  log(text: string): void;
}
