/**
 * What a flow may do, by the rules of net/openvswitch (flow_netlink.c: __ovs_nla_copy_actions;
 * conntrack.c: ovs_ct_copy_action) against its masked key: what passes is safe for every packet that
 * the flow can match. Pushes and pops are followed, as what comes behind them sees other headers.
 *
 * Stricter than the kernel in three points. The fields that choose a set action's header must be
 * matched exactly, and a flow of later fragments can't set ports: the kernel looks at the masked
 * values alone and would write into whatever lies there. Behind push_nsh and pop_nsh the headers that
 * the flow has matched can't be set any more. And ct needs them in place, with NAT addresses of their
 * IP version.
 *
 * What this version's packet threads can run of it is a question of its own: {@link checkExecutable}.
 */
import { ACTIONS_SIZE_MAX, actionsSize } from "../actions/action_size.ts";
import type { Action, AddMplsAction, CtAction, CtNat, PushNshAction } from "../actions/actions.ts";
import { type ErrorCode, RuleError } from "../errors.ts";
import {
  ETH_P_8021AD,
  ETH_P_8021Q,
  ETH_P_ARP,
  ETH_P_IP,
  ETH_P_IPV6,
  ETH_P_MPLS_MC,
  ETH_P_MPLS_UC,
  ETH_P_NSH,
  ETH_P_RARP,
  SETTABLE,
} from "../fields/fields.ts";
import {
  ETH_TYPE_AT,
  IP_PROTO_AT,
  KEY_SIZE,
  L3_PACKET,
  NSH_NP_AT,
  PORT_MAX,
  TCP_FLAGS_AT,
  VLAN_PRESENT,
  VLAN_TCI_AT,
} from "../key.ts";
import { wantedLabels } from "../fields/label_count.ts";
import { checkSet, type PacketState, type RuleSet } from "./validate_set.ts";

export type { RuleSet } from "./validate_set.ts";

/** OVS_COPY_ACTIONS_MAX_DEPTH: lists within lists. */
export const DEPTH_MAX = 16;
/** ETH_HLEN: what trunc must leave. */
const TRUNC_MIN = 14;
const PSAMPLE_COOKIE_MAX = 16;
const ETH_P_TEB = 0x6558;
/** OVS_MPLS_L3_TUNNEL_FLAG_MASK. */
const MPLS_L3_TUNNEL = 1;
/** Next protocols of a network service header, by Ethernet type (net/tun_proto.h). */
const NSH_PROTOCOLS: ReadonlyMap<number, number> = new Map([
  [ETH_P_IP, 1],
  [ETH_P_IPV6, 2],
  [ETH_P_TEB, 3],
  [ETH_P_NSH, 4],
  [ETH_P_MPLS_UC, 5],
]);
const NSH_ETHERNET = 3;
const NSH_METADATA_MAX = 244;

function refuse(problem: string, code: ErrorCode = "EINVAL"): never {
  throw new RuleError(code, problem);
}

/**
 * Checks the actions of a flow with this key (masked or not) and mask. Throws RuleError: EOVERFLOW for
 * lists nested too deeply, EMSGSIZE for a list of more than ACTIONS_SIZE_MAX bytes, else EINVAL.
 * `rules` is whose datapath it is; default: the kernel's.
 */
export function checkActions(
  actions: readonly Action[],
  key: Int32Array,
  mask: Int32Array,
  { rules = "kernel" }: { readonly rules?: RuleSet } = {},
): void {
  checkDepth(actions, 0);
  const size = actionsSize(actions);
  if (size > ACTIONS_SIZE_MAX) {
    refuse(`the actions have ${size} bytes, at most ${ACTIONS_SIZE_MAX} are allowed`, "EMSGSIZE");
  }
  checkList(actions, stateOf(key, mask), rules);
}

/** First of all: nothing else may recurse into a list of any depth. */
function checkDepth(actions: readonly Action[], depth: number): void {
  if (depth > DEPTH_MAX) {
    refuse(`actions may be nested ${DEPTH_MAX} levels deep, not deeper`, "EOVERFLOW");
  }
  for (const action of actions) {
    for (const list of nestedLists(action)) checkDepth(list, depth + 1);
  }
}

function nestedLists(action: Action): (readonly Action[])[] {
  switch (action.type) {
    case "sample":
    case "clone":
      return [action.actions];
    case "check_pkt_len":
      return [action.greater, action.lessEqual];
    case "dec_ttl":
      return [action.exceeded];
    default:
      return [];
  }
}

function read16(bytes: Uint8Array, at: number): number {
  return bytes[at]! << 8 | bytes[at + 1]!;
}

function stateOf(key: Int32Array, mask: Int32Array): PacketState {
  const masked = new Int32Array(key.length);
  for (let word = 0; word < key.length; word++) masked[word] = key[word]! & mask[word]!;
  const bytes = new Uint8Array(masked.buffer);
  const maskBytes = new Uint8Array(mask.buffer, mask.byteOffset, KEY_SIZE);
  const ethType = read16(bytes, ETH_TYPE_AT);
  return {
    key: bytes,
    mask: maskBytes,
    hasEthernet: (read16(bytes, TCP_FLAGS_AT) & L3_PACKET) === 0,
    ethType,
    hasTag: (read16(bytes, VLAN_TCI_AT) & VLAN_PRESENT) !== 0,
    labelCount: isMpls(ethType) ? wantedLabels(bytes, maskBytes) : 0,
    isHidden: false,
  };
}

function isMpls(ethType: number): boolean {
  return ethType === ETH_P_MPLS_UC || ethType === ETH_P_MPLS_MC;
}

/** `state` is the list's own: what it does to it, nobody behind it sees. */
function checkList(actions: readonly Action[], state: PacketState, rules: RuleSet): void {
  for (let index = 0; index < actions.length; index++) {
    const action = actions[index]!;
    if (action.type === "drop" && index < actions.length - 1) {
      refuse("drop must be the last action");
    }
    checkAction(action, state, rules);
    for (const list of nestedLists(action)) checkList(list, { ...state }, rules);
  }
}

function checkAction(action: Action, state: PacketState, rules: RuleSet): void {
  switch (action.type) {
    case "output":
      return checkPort(action.port, "an output port");
    case "userspace":
      if (action.pid === 0 && rules === "kernel") refuse("userspace: pid must not be 0");
      return;
    case "set":
      return checkSet(action, state, rules);
    case "check_pkt_len":
      if (action.size === 0) refuse("check_pkt_len: size can't be 0");
      return;
    case "trunc":
      if (action.sizeMax < TRUNC_MIN) refuse(`trunc must leave at least ${TRUNC_MIN} bytes`);
      return;
    case "psample": {
      const size = action.cookie === undefined ? 1 : action.cookie.length / 2;
      if (size >= 1 && size <= PSAMPLE_COOKIE_MAX) return;
      return refuse(`psample: a cookie has 1 … ${PSAMPLE_COOKIE_MAX} bytes`);
    }
    case "ct":
      return checkCt(action, state);
    case "lb_output":
    case "tnl_push":
    case "tnl_pop":
      if (rules === "kernel") refuse(`${action.type}: the kernel has no such action`);
      return checkUserspaceOnly(action);
    case "unknown":
      return refuse(`action${action.number} is not known`);
    default:
      return checkHeaders(action, state);
  }
}

function checkPort(port: number, what: string): void {
  if (port > PORT_MAX || port < 0) refuse(`${what} must be 0 … ${PORT_MAX}`);
}

function checkUserspaceOnly(
  action: Extract<Action, { type: "lb_output" | "tnl_push" | "tnl_pop" }>,
): void {
  if (action.type === "tnl_pop") checkPort(action.port, "tnl_pop: the port");
  if (action.type !== "tnl_push") return;
  checkPort(action.tunnelPort, "tnl_push: tnl_port");
  checkPort(action.outPort, "tnl_push: out_port");
}

/** Actions that put headers on or take them off. */
function checkHeaders(action: Action, state: PacketState): void {
  switch (action.type) {
    case "push_vlan":
      if (action.tpid !== ETH_P_8021Q && action.tpid !== ETH_P_8021AD) {
        refuse("push_vlan: tpid must be 0x8100 or 0x88a8");
      }
      if ((action.tci & VLAN_PRESENT) === 0) refuse("push_vlan: cfi must be 1");
      needEthernet(state, action.type);
      state.hasTag = true;
      return;
    case "pop_vlan":
      needEthernet(state, action.type);
      state.hasTag = false;
      return;
    case "push_mpls":
      checkMplsType(action.ethType, action.type);
      needMplsPlace(state, action.type);
      state.labelCount = state.labelCount + 1 >>> 0;
      state.ethType = action.ethType;
      return;
    case "add_mpls":
      return checkAddMpls(action, state);
    case "pop_mpls":
      return checkPopMpls(action.ethType, state);
    case "push_eth":
      if (state.hasEthernet) refuse("push_eth: there is an Ethernet header already");
      state.hasEthernet = true;
      return;
    case "pop_eth":
      needEthernet(state, action.type);
      if (state.hasTag) refuse("pop_eth: there is a VLAN tag; pop_vlan must come before it");
      state.hasEthernet = false;
      return;
    case "push_nsh":
      return checkPushNsh(action, state);
    case "pop_nsh":
      return checkPopNsh(state);
  }
}

function needEthernet(state: PacketState, name: string): void {
  if (!state.hasEthernet) refuse(`${name}: there is no Ethernet header here`);
}

function checkMplsType(ethType: number, name: string): void {
  if (!isMpls(ethType)) refuse(`${name}: eth_type must be 0x8847 or 0x8848`);
}

const LABELLED: ReadonlySet<number> = new Set([
  ETH_P_IP,
  ETH_P_IPV6,
  ETH_P_ARP,
  ETH_P_RARP,
  ETH_P_MPLS_UC,
  ETH_P_MPLS_MC,
]);

/** Labels go in front of these alone, and not behind a tag: else the order is not known. */
function needMplsPlace(state: PacketState, name: string): void {
  if (state.hasTag) refuse(`${name}: there is a VLAN tag; pop_vlan must come before it`);
  if (!LABELLED.has(state.ethType)) {
    refuse(`${name} needs a flow that matches eth_type as IPv4, IPv6, ARP, RARP or MPLS`);
  }
}

function checkAddMpls(action: AddMplsAction, state: PacketState): void {
  checkMplsType(action.ethType, action.type);
  if ((action.flags & MPLS_L3_TUNNEL) !== 0) {
    needMplsPlace(state, action.type);
    state.labelCount = state.labelCount + 1 >>> 0;
  } else if (state.hasEthernet) {
    state.labelCount = 1;
    state.hasEthernet = false;
  } else {
    state.labelCount = state.labelCount + 1 >>> 0;
  }
  state.ethType = action.ethType;
}

/**
 * Behind the last label that is known nothing is known: its type could be anything. A flow that matches
 * no label may pop as many as it likes, as the kernel counts without a sign.
 */
function checkPopMpls(ethType: number, state: PacketState): void {
  if (state.hasTag) refuse("pop_mpls: there is a VLAN tag; pop_vlan must come before it");
  if (!isMpls(state.ethType)) {
    refuse("pop_mpls needs an MPLS label: eth_type(0x8847) or eth_type(0x8848), or push_mpls");
  }
  if (ethType === ETH_P_TEB && state.hasEthernet) {
    refuse("pop_mpls: a frame can't be below a label behind an Ethernet header");
  }
  state.labelCount = state.labelCount - 1 >>> 0;
  state.ethType = isMpls(ethType) && state.labelCount !== 0 ? ethType : 0;
}

function checkPushNsh({ mdtype, metadata }: PushNshAction, state: PacketState): void {
  if (!state.hasEthernet && !NSH_PROTOCOLS.has(state.ethType)) {
    refuse("push_nsh needs an Ethernet header, or a flow that matches IPv4, IPv6, NSH or MPLS");
  }
  const size = metadata.length / 2;
  if (mdtype !== 1 && mdtype !== 2) refuse("push_nsh: mdtype must be 1 or 2");
  if (mdtype === 1 && size !== 16) refuse("push_nsh: mdtype 1 has 16 bytes of metadata");
  if (mdtype === 2 && (size === 0 || size > NSH_METADATA_MAX || size % 4 !== 0)) {
    refuse(`push_nsh: mdtype 2 has 4 … ${NSH_METADATA_MAX} bytes of metadata, in whole words`);
  }
  state.hasEthernet = false;
  state.isHidden = true;
}

function checkPopNsh(state: PacketState): void {
  if (state.ethType !== ETH_P_NSH) refuse("pop_nsh needs a flow that matches eth_type(0x894f)");
  const next = state.key[NSH_NP_AT]!;
  if (![...NSH_PROTOCOLS.values()].includes(next)) {
    refuse("pop_nsh needs a flow that matches nsh(np=…) as 1 (IPv4), 2 (IPv6), 3, 4 or 5");
  }
  state.hasEthernet = next === NSH_ETHERNET;
  state.isHidden = true;
}

function checkCt(action: CtAction, state: PacketState): void {
  const { mark, label, nat } = action;
  const isIp = state.ethType === ETH_P_IP || state.ethType === ETH_P_IPV6;
  if (!isIp || state.isHidden) refuse("ct needs a flow that matches IPv4 or IPv6");
  const commits = action.commit || action.forceCommit;
  if (mark?.mask === 0) refuse("ct: the mask of mark can't be 0");
  if (label !== undefined && !/[^0]/.test(label.mask)) refuse("ct: the mask of label can't be 0");
  if (mark !== undefined && !commits) refuse("ct: mark needs commit");
  if (label !== undefined && !commits) refuse("ct: label needs commit");
  if (nat?.direction !== undefined && !commits) refuse("ct: nat(src) and nat(dst) need commit");
  if (nat !== undefined) checkNat(nat, state.ethType);
  checkHelper(action.helper, state);
}

/** The kernel looks helpers up by the protocol that the flow matches. */
function checkHelper(helper: string | undefined, state: PacketState): void {
  const protocol = helper === undefined ? undefined : HELPER_PROTOCOLS.get(helper);
  if (protocol === undefined || state.key[IP_PROTO_AT] === protocol[0]) return;
  refuse(`ct: helper ${helper} needs a flow that matches ${protocol[1]}`);
}

function checkNat(nat: CtNat, ethType: number): void {
  const { direction, addressMin, addressMax, portMin, portMax } = nat;
  const hasFlags = nat.persistent || nat.hash || nat.random;
  const hasRange = [addressMin, addressMax, portMin, portMax].some((each) => each !== undefined);
  if (direction === undefined && (hasFlags || hasRange)) refuse("ct: nat needs src or dst");
  if (nat.hash && nat.random) refuse("ct: nat chooses by hash or at random, not both");
  const size = ethType === ETH_P_IP ? 4 : 16;
  for (const address of [addressMin, addressMax]) {
    if (address !== undefined && address.length !== 2 * size) {
      refuse("ct: nat's addresses must be of the flow's IP version");
    }
  }
  if (addressMin === undefined && addressMax !== undefined) refuse("ct: nat has no first address");
  if (portMin === undefined && portMax !== undefined) refuse("ct: nat has no first port");
}

/** Actions that this version's packet threads can't run, by name; what takes one up leaves the list. */
export const NOT_EXECUTABLE: ReadonlySet<Action["type"]> = new Set<Action["type"]>([
  "lb_output",
  "tnl_pop",
  "tnl_push",
  "unknown",
]);

/** Protocols of the helpers that there are (conntrack/plan.ts). */
const HELPER_PROTOCOLS: ReadonlyMap<string, readonly [number, string]> = new Map([
  ["ftp", [6, "TCP"]],
  ["tftp", [17, "UDP"]],
]);

/** Attributes that this version's packet threads can set. */
export const EXECUTABLE_SETS: ReadonlySet<string> = new Set(
  [...SETTABLE.values()].map(({ name }) => name),
);

/**
 * Checks that this version's packet threads can run the actions. Throws RuleError with EOPNOTSUPP. Not
 * for flows of the kernel's own datapath.
 */
export function checkExecutable(actions: readonly Action[]): void {
  for (const action of actions) {
    if (NOT_EXECUTABLE.has(action.type)) {
      refuse(`this version's packet threads can't run ${action.type} yet`, "EOPNOTSUPP");
    }
    if (action.type === "ct" && action.helper !== undefined) checkHelperExists(action.helper);
    if (action.type === "set" && !EXECUTABLE_SETS.has(action.attribute)) {
      refuse(`this version's packet threads can't set ${action.attribute} yet`, "EOPNOTSUPP");
    }
    for (const list of nestedLists(action)) checkExecutable(list);
  }
}

function checkHelperExists(helper: string): void {
  if (HELPER_PROTOCOLS.has(helper)) return;
  refuse(`ct: unknown helper ${helper} (known: ${[...HELPER_PROTOCOLS.keys()].join(", ")})`);
}
