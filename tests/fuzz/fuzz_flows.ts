/** Random action lists for fuzzed packets: every kind of action, leading to ports and recirculations that exist. */
import { encodeActions } from "../../datapath/actions/action_program.ts";
import type { Action } from "../../datapath/actions/actions.ts";
import { ACTION_TYPES, randomAction } from "../../datapath/testing/actions.ts";
import type { Random } from "../../datapath/testing/flow_values.ts";
import type { FlowTableWriter } from "../../datapath/flow_table/writer.ts";
import { parseFlow } from "../../datapath/text/flow_text.ts";

/** Ports that there are: 1 … PORTS. Outputs go to one more, which there is not. */
export const PORTS = 10;
/** Recirculation ids that have flows: 0 … this − 1; actions use one more. */
const RECIRCULATIONS = 5;
const METERS = 3;
const LIST_MAX = 4;

type Plain = Readonly<Record<string, unknown>>;

/** The action with ports, recirculations and meters of this table, in nested lists too. */
function localized(action: Plain): Plain {
  const local: Record<string, unknown> = { ...action };
  if (action["type"] === "output") local["port"] = 1 + Number(action["port"]) % (PORTS + 1);
  else if (action["type"] === "recirc") local["id"] = Number(action["id"]) % (RECIRCULATIONS + 1);
  else if (action["type"] === "meter") local["id"] = Number(action["id"]) % (METERS + 1);
  for (const [name, value] of Object.entries(local)) {
    const isList = Array.isArray(value) && value.every((each) => typeof each === "object");
    if (isList) local[name] = value.map((each) => localized(each as Plain));
  }
  return local;
}

/** Up to five actions of any kind; most lists lead somewhere. */
export function randomList(random: Random): Action[] {
  const list: Action[] = [];
  for (let count = 1 + random(LIST_MAX); count > 0; count--) {
    const kind = random(6);
    const type = kind === 0
      ? "output"
      : kind === 1
      ? "set"
      : kind === 2
      ? "ct"
      : ACTION_TYPES.any[random(ACTION_TYPES.any.length)]!;
    list.push(randomAction(random, type, { depthMax: 2 }));
  }
  if (random(4) !== 0) list.push({ type: "output", port: random(65535) });
  return list.map((action) => localized({ ...action }) as unknown as Action);
}

/** A flow for each port and recirculation id, but for a few. Types of the actions on top go to `seen`. */
export function addFlows(table: FlowTableWriter, random: Random, seen: Set<string>): void {
  let number = 0;
  for (let port = 1; port <= PORTS; port++) {
    for (let id = 0; id < RECIRCULATIONS; id++) {
      if (random(16) === 0) continue;
      const { key, mask } = parseFlow(`recirc_id(${id}),in_port(${port})`);
      const list = randomList(random);
      for (const { type } of list) seen.add(type);
      const ufid = (++number).toString(16).padStart(32, "0");
      table.insert({ ufid, key, mask, actions: encodeActions(list) });
    }
  }
  table.commit();
}
