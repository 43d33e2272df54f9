/** The part of api.ts that is about connections. */
import type { DpParams } from "./api.ts";
import type { PlainConnection, PlainExpected } from "../datapath/conntrack/connection_info.ts";
import type { FragmentStatus } from "../datapath/conntrack/fragment_control.ts";

/** How many connections there are. */
export interface ConnectionStats {
  /** All of them. */
  readonly total: number;
  /** By number of the IP protocol. */
  readonly byProtocol: Readonly<Record<string, number>>;
  /** TCP connections by state. */
  readonly byTcpState: Readonly<Record<string, number>>;
  /** What packets were found to be, and what became of connections, since the switch started. */
  readonly packets: Readonly<Record<string, number>>;
  /** Invalid packets by reason. */
  readonly invalid: Readonly<Record<string, number>>;
}

/** How connections are tracked. */
export interface ConntrackStatus {
  /** TCP segments are checked against the windows. */
  readonly tcpSequenceCheck: boolean;
  /** Reassembly of fragments; its counters are 0 when no daemon runs. */
  readonly fragments: FragmentStatus;
}

/** Which connections: those that meet everything given, in the syntax of ovs-dpctl flush-conntrack. */
export interface ConnectionParams extends DpParams {
  /** 0 … 65535. */
  readonly zone?: number | undefined;
  /** `VALUE[/MASK]`. */
  readonly mark?: string | undefined;
  /** `0xVALUE[/0xMASK]`. */
  readonly labels?: string | undefined;
  /** Tuple of the original direction: `ct_nw_src=10.0.0.1,ct_nw_proto=6`. */
  readonly original?: string | undefined;
  /** Tuple of the replies. */
  readonly reply?: string | undefined;
}

/** Methods on connections. */
export interface ConntrackMethods {
  /** Gives the connections that ct actions have committed, in pieces: a table may have millions. */
  "ct-dump": {
    params: ConnectionParams & {
      /** Where to go on: `next` of the piece before. */
      from?: number | undefined;
    };
    result: {
      connections: readonly PlainConnection[];
      /** Where to go on; absent: that was all. */
      next?: number;
    };
  };
  /** Gives the connections that helpers expect. */
  "ct-exp-dump": {
    params: DpParams & { zone?: number | undefined };
    result: { expected: readonly PlainExpected[] };
  };
  /** Removes connections. */
  "ct-flush": { params: ConnectionParams; result: { deleted: number } };
  /** Says how full the buckets of the connection table are. */
  "ct-bkts": {
    params: DpParams & {
      /** List buckets with more entries than that; default 0. */
      over?: number | undefined;
    };
    result: {
      buckets: number;
      /** Each has two entries. */
      connections: number;
      /** Bucket, entries. */
      filled: readonly (readonly [number, number])[];
      /** Buckets left out of the list, which would be too long. */
      unlisted: number;
    };
  };
  /** Counts connections. */
  "ct-stats": {
    params: DpParams & { zone?: number | undefined };
    result: ConnectionStats;
  };
  /** Sets the most connections of zones; 0: no limit. */
  "ct-limit-set": {
    params: DpParams & {
      /** Of zones without a limit of their own. */
      defaultLimit?: number | undefined;
      zones?: readonly { readonly zone: number; readonly limit: number }[] | undefined;
    };
    result: Record<string, never>;
  };
  /** Takes limits back. */
  "ct-limit-del": {
    params: DpParams & {
      isDefault?: boolean | undefined;
      zones?: readonly number[] | undefined;
    };
    result: Record<string, never>;
  };
  /** Gives limits and connections of zones: of those named or, when none is, of those with a limit. */
  "ct-limit-get": {
    params: DpParams & { zones?: readonly number[] | undefined };
    result: {
      defaultLimit: number;
      zones: readonly { readonly zone: number; readonly limit: number; readonly count: number }[];
    };
  };
  /** Sets timeouts of a policy, which it makes if it is not there; `default` is that of all others. */
  "ct-timeout-set": {
    params: DpParams & {
      policy: string;
      /** Seconds by name of the timeout. */
      seconds: Readonly<Record<string, number>>;
    };
    result: { created: boolean };
  };
  /** Deletes a timeout policy; `default` is as the kernel's then. */
  "ct-timeout-del": {
    params: DpParams & { policy: string; ifExists?: boolean | undefined };
    result: { deleted: boolean };
  };
  /** Gives one timeout policy, or all. */
  "ct-timeout-get": {
    params: DpParams & { policy?: string | undefined };
    result: {
      policies: readonly {
        readonly policy: string;
        /** Seconds that were set. */
        readonly set: Readonly<Record<string, number>>;
        /** All of them. */
        readonly seconds: Readonly<Record<string, number>>;
      }[];
    };
  };
  /** Changes how connections are tracked; absent settings stay. */
  "ct-set": {
    params: DpParams & {
      tcpSequenceCheck?: boolean | undefined;
      fragmentsIpv4?: boolean | undefined;
      fragmentsIpv6?: boolean | undefined;
      fragmentSizeMinIpv4?: number | undefined;
      fragmentSizeMinIpv6?: number | undefined;
      fragmentsMax?: number | undefined;
    };
    result: Record<string, never>;
  };
  /** Says how connections are tracked. */
  "ct-show": { params: DpParams; result: ConntrackStatus };
  /** Gives the most connections and how many there are. */
  "ct-maxconns": { params: DpParams; result: { max: number; count: number } };
  /** Sets the most connections. */
  "ct-maxconns-set": { params: DpParams & { max: number }; result: Record<string, never> };
}
