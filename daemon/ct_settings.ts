/**
 * How connections of a datapath are tracked: the requests ct-timeout-set, ct-timeout-del and
 * ct-timeout-get on timeout policies, ct-set and ct-show on TCP's sequence check and the reassembly of
 * fragments. All is saved with the datapath.
 */
import type { ConntrackStatus, Methods } from "./api.ts";
import { refuse } from "./command_errors.ts";
import type { ConntrackSettings, Datapath, Model } from "./model.ts";
import { findDatapath } from "./names.ts";
import type { Transaction } from "./transaction.ts";
import {
  FRAGMENT_COUNT_MAX,
  FRAGMENT_COUNTERS,
  FRAGMENT_SIZE_MIN_MAX,
  type FragmentCounter,
  type FragmentSettings,
} from "../datapath/conntrack/fragment_control.ts";
import { POLICIES_MAX } from "../datapath/conntrack/layout.ts";
import { FRAGMENTS_HELD_MAX } from "../datapath/conntrack/reassembly.ts";
import {
  allTimeouts,
  DEFAULT_POLICY,
  isPolicyName,
  parseTimeouts,
} from "../datapath/conntrack/timeouts.ts";

export function setTimeouts(
  transaction: Transaction,
  { dp, policy, seconds }: Methods["ct-timeout-set"]["params"],
): Methods["ct-timeout-set"]["result"] {
  const datapath = findDatapath(transaction.model, dp);
  const { timeouts } = datapath.record.conntrack;
  const doing = `cannot set timeout policy "${policy}" of ${datapath.record.name}`;
  if (!isPolicyName(policy)) {
    refuse("EINVAL", `${doing}: a name has 1 to 31 characters, no blanks and none of ,()=@`);
  }
  if (Object.keys(seconds).length === 0) {
    refuse("EINVAL", `${doing}: no timeout is given (tcp_established=SECONDS …)`);
  }
  const created = timeouts[policy] === undefined;
  if (created && Object.keys(timeouts).length >= POLICIES_MAX) {
    refuse("ENOSPC", `${doing}: there are ${POLICIES_MAX} policies, the most there can be`);
  }
  const number = datapath.backend.timeoutPolicy?.(policy);
  if (number === 0 && policy !== DEFAULT_POLICY) {
    refuse("ENOSPC", `${doing}: flows name ${POLICIES_MAX} others, which may come to be`);
  }
  const merged = { ...timeouts[policy], ...parseTimeouts(seconds) };
  change(transaction, datapath, { timeouts: { ...timeouts, [policy]: merged } });
  return { created };
}

/** Flows and connections that have the policy have the default timeouts from then on. */
export function deleteTimeouts(
  transaction: Transaction,
  { dp, policy, ifExists = false }: Methods["ct-timeout-del"]["params"],
): Methods["ct-timeout-del"]["result"] {
  const datapath = findDatapath(transaction.model, dp);
  const { [policy]: gone, ...timeouts } = datapath.record.conntrack.timeouts;
  if (gone === undefined) {
    if (ifExists) return { deleted: false };
    const { name } = datapath.record;
    refuse("ENOENT", `cannot delete timeout policy "${policy}": ${name} has no such policy`);
  }
  change(transaction, datapath, { timeouts });
  return { deleted: true };
}

/** The default policy first. */
export function showTimeouts(
  model: Model,
  { dp, policy }: Methods["ct-timeout-get"]["params"],
): Methods["ct-timeout-get"]["result"] {
  const { record } = findDatapath(model, dp);
  const { timeouts } = record.conntrack;
  const others = Object.keys(timeouts).filter((name) => name !== DEFAULT_POLICY).toSorted();
  const names = [DEFAULT_POLICY, ...others];
  if (policy !== undefined && !names.includes(policy)) {
    refuse("ENOENT", `${record.name} has no timeout policy "${policy}" (${names.join(", ")})`);
  }
  const defaults = timeouts[DEFAULT_POLICY];
  return {
    policies: names.filter((name) => policy === undefined || name === policy).map((name) => ({
      policy: name,
      set: { ...timeouts[name] },
      seconds: allTimeouts(timeouts[name] ?? {}, defaults),
    })),
  };
}

export function setConntrackOptions(
  transaction: Transaction,
  { dp, tcpSequenceCheck, ...given }: Methods["ct-set"]["params"],
): Methods["ct-set"]["result"] {
  const datapath = findDatapath(transaction.model, dp);
  const { conntrack } = datapath.record;
  const fragments: FragmentSettings = {
    ipv4: given.fragmentsIpv4 ?? conntrack.fragments.ipv4,
    ipv6: given.fragmentsIpv6 ?? conntrack.fragments.ipv6,
    sizeMinIpv4: given.fragmentSizeMinIpv4 ?? conntrack.fragments.sizeMinIpv4,
    sizeMinIpv6: given.fragmentSizeMinIpv6 ?? conntrack.fragments.sizeMinIpv6,
    countMax: given.fragmentsMax ?? conntrack.fragments.countMax,
  };
  const isNothing = tcpSequenceCheck === undefined &&
    Object.values(given).every((each) => each === undefined);
  if (isNothing) {
    refuse("EINVAL", "nothing to set (tcp-seq-chk, frags-v4, frags-v6, min-frag-v4 …)");
  }
  checkNumber("min-frag-v4", fragments.sizeMinIpv4, FRAGMENT_SIZE_MIN_MAX);
  checkNumber("min-frag-v6", fragments.sizeMinIpv6, FRAGMENT_SIZE_MIN_MAX);
  checkNumber("max-frags", fragments.countMax, FRAGMENT_COUNT_MAX);
  change(transaction, datapath, {
    fragments,
    tcpSequenceCheck: tcpSequenceCheck ?? conntrack.tcpSequenceCheck,
  });
  return {};
}

export function showConntrackOptions(
  model: Model,
  { dp }: Methods["ct-show"]["params"],
): ConntrackStatus {
  const { record, backend } = findDatapath(model, dp);
  const { tcpSequenceCheck, fragments } = record.conntrack;
  const live = backend.conntrack?.control;
  const room = FRAGMENTS_HELD_MAX * (live?.threads ?? 1);
  const status = live?.fragmentStatus();
  const nothing = Object.fromEntries(FRAGMENT_COUNTERS.map((name) => [name, 0])) as Record<
    FragmentCounter,
    number
  >;
  return {
    tcpSequenceCheck,
    fragments: {
      ...fragments,
      countMax: fragments.countMax === 0 ? room : Math.min(room, fragments.countMax),
      held: status?.held ?? 0,
      countersIpv4: status?.countersIpv4 ?? nothing,
      countersIpv6: status?.countersIpv6 ?? nothing,
    },
  };
}

function checkNumber(name: string, value: number, most: number): void {
  if (Number.isInteger(value) && value >= 0 && value <= most) return;
  refuse("EINVAL", `${name} must be 0 … ${most}, not ${value}`);
}

/** Stages a change of the datapath's settings of connection tracking. */
export function change(
  transaction: Transaction,
  datapath: Datapath,
  changes: Partial<ConntrackSettings>,
): void {
  const conntrack = { ...datapath.record.conntrack, ...changes };
  transaction.setDatapath(datapath, { conntrack });
}
