/** The texts of all actions: what parser, printer, hints and the reference are made of. */
import type { Action } from "../../actions/actions.ts";
import { CT } from "./ct.ts";
import { POP_ETH, PUSH_ETH } from "./eth.ts";
import type { ActionText } from "./form.ts";
import { CT_CLEAR, HASH, METER, PSAMPLE, TRUNC } from "./misc.ts";
import { ADD_MPLS, POP_MPLS, PUSH_MPLS } from "./mpls.ts";
import { CHECK_PKT_LEN, CLONE, DEC_TTL, SAMPLE } from "./nested.ts";
import { POP_NSH, PUSH_NSH } from "./nsh.ts";
import { DROP, LB_OUTPUT, OUTPUT, RECIRC, TUNNEL_POP, UNKNOWN } from "./output.ts";
import { SET } from "./set.ts";
import { TUNNEL_PUSH } from "./tunnel_push.ts";
import { USERSPACE } from "./userspace.ts";
import { POP_VLAN, PUSH_VLAN } from "./vlan.ts";

export type { ActionText } from "./form.ts";

/** One text for each type of action, which the compiler sees to. */
export const TEXT_OF: Readonly<Record<Action["type"], ActionText>> = {
  add_mpls: ADD_MPLS,
  check_pkt_len: CHECK_PKT_LEN,
  clone: CLONE,
  ct: CT,
  ct_clear: CT_CLEAR,
  dec_ttl: DEC_TTL,
  drop: DROP,
  hash: HASH,
  lb_output: LB_OUTPUT,
  meter: METER,
  output: OUTPUT,
  pop_eth: POP_ETH,
  pop_mpls: POP_MPLS,
  pop_nsh: POP_NSH,
  pop_vlan: POP_VLAN,
  psample: PSAMPLE,
  push_eth: PUSH_ETH,
  push_mpls: PUSH_MPLS,
  push_nsh: PUSH_NSH,
  push_vlan: PUSH_VLAN,
  recirc: RECIRC,
  sample: SAMPLE,
  set: SET,
  tnl_pop: TUNNEL_POP,
  tnl_push: TUNNEL_PUSH,
  trunc: TRUNC,
  unknown: UNKNOWN,
  userspace: USERSPACE,
};

/** Every type of action. */
export const ACTION_TYPES: readonly Action["type"][] = Object.values(TEXT_OF).map((each) =>
  each.type
);

/** All of them, by name. */
export const ACTION_TEXTS: readonly ActionText[] = Object.values(TEXT_OF).toSorted((a, b) =>
  a.name < b.name ? -1 : 1
);

/** What a text may begin with. `output` and `action` have a number in place of a name, or behind it. */
const BY_NAME: ReadonlyMap<string, ActionText> = new Map(
  ACTION_TEXTS.filter((each) => each !== OUTPUT && each !== UNKNOWN)
    .map((each) => [each.name, each]),
);

/** The text of actions that begin with this word. */
export function actionTextByName(name: string): ActionText | undefined {
  return BY_NAME.get(name) ?? (name.toLowerCase() === DROP.name ? DROP : undefined);
}

/** Names for hints. */
export const ACTION_NAMES: readonly string[] = [...BY_NAME.keys()];
