/**
 * Datapath actions as data: what action text, netlink and JSON mean, what is checked when a flow is
 * installed (validate_actions.ts) and what is compiled into an action program (action_program.ts).
 *
 * Plain objects of numbers, strings and byte strings. A byte string (cookie, userdata, prebuilt
 * header) is hexadecimal text, two digits a byte, lower case: it compares and prints as it is.
 * Actions lie in the order in which they run; nested lists belong to their action.
 */

export interface OutputAction {
  readonly type: "output";
  /** 0 … 65534. */
  readonly port: number;
}

/** Ends the list: the packet goes nowhere, on purpose. */
export interface DropAction {
  readonly type: "drop";
  /** enum xlate_error of Open vSwitch; 0: no reason given. Open vSwitch's text can't say it. */
  readonly reason: number;
}

export interface PushVlanAction {
  readonly type: "push_vlan";
  /** 0x8100 or 0x88a8. */
  readonly tpid: number;
  /** VLAN_PRESENT | pcp << 13 | vid. */
  readonly tci: number;
}

export interface PopVlanAction {
  readonly type: "pop_vlan";
}

/**
 * Rewrites the bits of one attribute that the mask has. A mask of all ones over the whole attribute is
 * Open vSwitch's plain `set`, anything else its masked set.
 */
export interface SetAction {
  readonly type: "set";
  /** Name of the attribute in fields.ts. */
  readonly attribute: string;
  /** KEY_WORDS words, laid out as a key; bits outside the mask are zero. */
  readonly value: Int32Array;
  /** KEY_WORDS words. */
  readonly mask: Int32Array;
}

/** Hands the packet to a handler in the control plane. */
export interface UserspaceAction {
  readonly type: "userspace";
  /** Netlink port of the handler; 0 in a datapath without netlink. */
  readonly pid: number;
  /** Whatever the handler wants to get back, hexadecimal; undefined: none. The cookies of Open vSwitch lie in it. */
  readonly userdata: string | undefined;
  /** The handler wants the flow's actions too. */
  readonly actions: boolean;
  /** Port whose tunnel header the handler wants to know. */
  readonly tunnelOutPort: number | undefined;
}

export interface PushMplsAction {
  readonly type: "push_mpls";
  /** label << 12 | tc << 9 | bos << 8 | ttl, unsigned. */
  readonly lse: number;
  /** 0x8847 or 0x8848. */
  readonly ethType: number;
}

export interface PopMplsAction {
  readonly type: "pop_mpls";
  /** Type of what is below. */
  readonly ethType: number;
}

/** Puts a label stack entry in front of the Ethernet header, or behind it. */
export interface AddMplsAction {
  readonly type: "add_mpls";
  /** As in push_mpls. */
  readonly lse: number;
  /** 0x8847 or 0x8848. */
  readonly ethType: number;
  /** OVS_MPLS_L3_TUNNEL_FLAG_MASK (1): the entry goes behind the Ethernet header. */
  readonly flags: number;
}

export interface PushEthAction {
  readonly type: "push_eth";
  /** 12 hexadecimal digits. */
  readonly src: string;
  /** 12 hexadecimal digits. */
  readonly dst: string;
}

export interface PopEthAction {
  readonly type: "pop_eth";
}

export interface PushNshAction {
  readonly type: "push_nsh";
  readonly flags: number;
  readonly ttl: number;
  /** 1 or 2. */
  readonly mdtype: number;
  /** Next protocol. */
  readonly np: number;
  /** Service path identifier << 8 | service index, unsigned. */
  readonly path: number;
  /** Context headers, hexadecimal: 16 bytes with mdtype 1, up to 244 with mdtype 2. */
  readonly metadata: string;
}

export interface PopNshAction {
  readonly type: "pop_nsh";
}

/** Runs the nested list on a copy of some packets. */
export interface SampleAction {
  readonly type: "sample";
  /** Chance of each packet in 2^32: 0 none, 2^32 − 1 all. */
  readonly probability: number;
  readonly actions: readonly Action[];
}

/** Sends the packet through the flow table again. */
export interface RecircAction {
  readonly type: "recirc";
  /** Unsigned, 32 bits. */
  readonly id: number;
}

/** Computes dp_hash. */
export interface HashAction {
  readonly type: "hash";
  /** OVS_HASH_ALG_L4 and _SYM_L4. */
  readonly algorithm: "l4" | "sym_l4";
  /** Unsigned, 32 bits. */
  readonly basis: number;
}

/** Address and port translation of a ct action. */
export interface CtNat {
  /** undefined: translate as the connection already is. */
  readonly direction: "src" | "dst" | undefined;
  /** Hexadecimal, 4 or 16 bytes; undefined: keep the address. */
  readonly addressMin: string | undefined;
  /** Undefined: as addressMin. */
  readonly addressMax: string | undefined;
  /** Undefined: keep the port. */
  readonly portMin: number | undefined;
  /** Undefined: as portMin. */
  readonly portMax: number | undefined;
  readonly persistent: boolean;
  readonly hash: boolean;
  readonly random: boolean;
}

/** Sends the packet through connection tracking. */
export interface CtAction {
  readonly type: "ct";
  readonly commit: boolean;
  readonly forceCommit: boolean;
  /** Undefined: zone 0, by default. */
  readonly zone: number | undefined;
  readonly mark: { readonly value: number; readonly mask: number } | undefined;
  /** 16 bytes each, hexadecimal. */
  readonly label: { readonly value: string; readonly mask: string } | undefined;
  /** `ftp`, `tftp`. */
  readonly helper: string | undefined;
  readonly nat: CtNat | undefined;
  /** Bitmap of the events that listeners of the connection get. Open vSwitch's text can't say it. */
  readonly eventMask: number | undefined;
  /** Name of a timeout policy. */
  readonly timeout: string | undefined;
}

export interface CtClearAction {
  readonly type: "ct_clear";
}

/** The next output sends at most so many bytes. */
export interface TruncAction {
  readonly type: "trunc";
  readonly sizeMax: number;
}

/** Runs the nested list on a copy. */
export interface CloneAction {
  readonly type: "clone";
  readonly actions: readonly Action[];
}

export interface MeterAction {
  readonly type: "meter";
  /** Unsigned, 32 bits. */
  readonly id: number;
}

export interface CheckPktLenAction {
  readonly type: "check_pkt_len";
  /** 0 … 65535, bytes from the Ethernet header on. */
  readonly size: number;
  /** For packets longer than that. */
  readonly greater: readonly Action[];
  readonly lessEqual: readonly Action[];
}

export interface DecTtlAction {
  readonly type: "dec_ttl";
  /** For packets whose TTL was 1 or 0; they end there. */
  readonly exceeded: readonly Action[];
}

/** Gives a sample to the kernel's psample listeners. */
export interface PsampleAction {
  readonly type: "psample";
  readonly group: number;
  /** Up to 16 bytes, hexadecimal; undefined: none. */
  readonly cookie: string | undefined;
}

/** Sends to one member of a bond (userspace datapath only). */
export interface LbOutputAction {
  readonly type: "lb_output";
  readonly bond: number;
}

/** Puts a prebuilt tunnel header in front and sends (userspace datapath only). */
export interface TunnelPushAction {
  readonly type: "tnl_push";
  readonly tunnelPort: number;
  readonly outPort: number;
  /** enum ovs_vport_type: 3 gre, 4 vxlan, 5 geneve, 107 erspan … */
  readonly tunnelType: number;
  /** At most 512 bytes, hexadecimal. */
  readonly header: string;
}

/** Strips the tunnel header and sends the packet through the table again (userspace datapath only). */
export interface TunnelPopAction {
  readonly type: "tnl_pop";
  readonly port: number;
}

/** An action that this version does not know, as it came by netlink. */
export interface UnknownAction {
  readonly type: "unknown";
  /** OVS_ACTION_ATTR_*. */
  readonly number: number;
  /** Payload, hexadecimal. */
  readonly payload: string;
}

export type Action =
  | OutputAction
  | DropAction
  | PushVlanAction
  | PopVlanAction
  | SetAction
  | UserspaceAction
  | PushMplsAction
  | PopMplsAction
  | AddMplsAction
  | PushEthAction
  | PopEthAction
  | PushNshAction
  | PopNshAction
  | SampleAction
  | RecircAction
  | HashAction
  | CtAction
  | CtClearAction
  | TruncAction
  | CloneAction
  | MeterAction
  | CheckPktLenAction
  | DecTtlAction
  | PsampleAction
  | LbOutputAction
  | TunnelPushAction
  | TunnelPopAction
  | UnknownAction;
