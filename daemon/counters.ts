/** Counters as the control socket tells them: plain JSON, like all of daemon/api.ts. */

/** Packets and bytes of one port since it was attached. */
export interface PortCounters {
  /** Packets received. */
  readonly rxPackets: number;
  /** Bytes received. */
  readonly rxBytes: number;
  /** Packets that could not be received. */
  readonly rxDropped: number;
  /** Packets sent. */
  readonly txPackets: number;
  /** Bytes sent. */
  readonly txBytes: number;
  /** Packets that could not be sent. */
  readonly txDropped: number;
  /** Packets from this port that went to who takes upcalls. */
  readonly upcalls?: number;
  /** Upcalls that were lost. */
  readonly upcallErrors?: number;
  /** Faulty packets received; only of system datapaths. */
  readonly rxErrors?: number;
  /** Sending that failed; only of system datapaths. */
  readonly txErrors?: number;
  /** Drop reason → packets, only nonzero ones. */
  readonly drops: Readonly<Record<string, number>>;
}

/** How often packets of one datapath were looked up since it was made. */
export interface LookupCounters {
  /** Packets that matched a flow. */
  readonly hit: number;
  /** Packets that matched none. */
  readonly missed: number;
  /** Of those, the ones dropped for it. */
  readonly lost: number;
  /** Masks tried in all lookups together. */
  readonly maskHit: number;
  /** Lookups answered by the signature cache; in the kernel by the masks cache. */
  readonly cacheHit: number;
}

/** Packets of one datapath since the switch started. */
export interface DatapathCounters extends LookupCounters {
  /** received + generated + copied = sent + dropped + consumed + held when the threads are quiescent. */
  readonly received: number;
  /** Packets made by the switch, such as the segments of a train. */
  readonly generated: number;
  /** Copies made for further outputs. */
  readonly copied: number;
  /** Packets handed to ports. */
  readonly sent: number;
  /** Packets dropped, for whatever reason. */
  readonly dropped: number;
  /** Packets replaced by others, such as a train by its segments. */
  readonly consumed: number;
  /** Packets inside the switch now. */
  readonly held: number;
  /** Drop reason → packets, only nonzero ones. */
  readonly drops: Readonly<Record<string, number>>;
}
