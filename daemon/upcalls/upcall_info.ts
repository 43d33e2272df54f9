/** Upcalls as the control socket tells of them: plain JSON, like all of daemon/api.ts. */

/** An upcall handler as shown. */
export interface UpcallHandlerInfo {
  /** Its file. */
  readonly path: string;
  /** `failed`: it could not be loaded, and the miss policy holds. `offline`: no daemon runs. */
  readonly state: "running" | "failed" | "offline";
  /** Why it has failed. */
  readonly reason: string | null;
  /** Upcalls that it was given. */
  readonly upcalls: number;
  /** Upcalls in which it has thrown. */
  readonly thrown: number;
  /** Flows and packets that it could not install or send. */
  readonly refused: number;
  /** Upcalls that it had in hand when it did not come back. */
  readonly lost: number;
  /** How often it was started anew because of that. */
  readonly restarts: number;
}

/** One upcall as `upcalls` shows it. */
export interface UpcallInfo {
  /** No flow matched, or a userspace action was met. */
  readonly type: "miss" | "action";
  /** Seconds since 1970. */
  readonly time: number;
  /** Port that the packet came from. */
  readonly inPort: number;
  /** Whom it is for: what `port-set upcall=`, `dp-set upcall=` or the userspace action says. Absent: nothing does. */
  readonly portid?: number;
  /** The packet's flow key, as text. */
  readonly key: string;
  /** Its bytes, hexadecimal; less than `length` if it was cut. */
  readonly packet: string;
  /** Bytes that it had. */
  readonly length: number;
  /** It has no Ethernet header. */
  readonly l3?: boolean;
  /** Hash of its flow. */
  readonly hash: number;
  /** Largest fragment of a packet that was reassembled. */
  readonly mru?: number;
  /** The userspace action. */
  readonly action?: string;
  /** What the action had as user data, hexadecimal. */
  readonly userdata?: string;
  /** The actions of the flow, if the action asked for them. */
  readonly actions?: string;
  /** The tunnel that the packet is to be sent through, if the action asked for it. */
  readonly egressTunnel?: string;
  /** Upcalls that this client has not been given so far, because it was slow. */
  readonly lost: number;
}
