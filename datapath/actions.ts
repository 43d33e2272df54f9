/**
 * Datapath actions as data: what action text means, what is checked when a flow is installed
 * (validate.ts) and what is compiled into an action program (action_program.ts).
 */
import type { SettableName } from "./fields.ts";

export interface OutputAction {
  readonly type: "output";
  /** 0 … 65534. */
  readonly port: number;
}

/** Ends the list: the packet goes nowhere, on purpose. */
export interface DropAction {
  readonly type: "drop";
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
 * Rewrites the bits of one header that the mask has. A mask of all ones over the whole attribute is
 * Open vSwitch's plain `set`, anything else its masked set.
 */
export interface SetAction {
  readonly type: "set";
  readonly attribute: SettableName;
  /** KEY_WORDS words, laid out as a key; bits outside the mask are zero. */
  readonly value: Int32Array;
  /** KEY_WORDS words. */
  readonly mask: Int32Array;
}

export type Action =
  | OutputAction
  | DropAction
  | PushVlanAction
  | PopVlanAction
  | SetAction;
