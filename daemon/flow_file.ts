/** Flow files: `[add|modify|delete] FLOW [ACTIONS]` per line, as of `ovs-dpctl add-flows`. */
import { CommandError, type Methods } from "./api.ts";
import { refuse, toCommandError } from "./command_errors.ts";
import {
  addFlow,
  deleteFlow,
  type FlowScope,
  modifyFlow,
  putFlow,
  removeFlow,
  ufidOf,
} from "./flows.ts";

export type LoadResult = Methods["flow-load"]["result"];

/** A line that says something. */
export interface FlowLine {
  /** 1 = first. */
  readonly line: number;
  readonly verb: "add" | "modify" | "delete";
  readonly flow: string;
  readonly actions: string | undefined;
}

const VERBS = ["add", "modify", "delete"] as const;

/** The lines of a flow file, without blank ones and comments (`#` at the start or after a blank). */
export function* flowLines(text: string): Generator<FlowLine> {
  let line = 0;
  for (let at = 0; at <= text.length;) {
    const newline = text.indexOf("\n", at);
    const end = newline < 0 ? text.length : newline;
    line++;
    const words = text.slice(at, end).replace(/(^|\s)#.*/, "").trim();
    if (words !== "") yield parseLine(line, words);
    at = end + 1;
  }
}

/** Stages a whole file; the error carries the line. */
export async function loadFlows(
  scope: FlowScope,
  text: string,
  replace: boolean,
): Promise<LoadResult> {
  let deleted = replace ? await removeOthers(scope, text) : 0;
  let added = 0;
  let modified = 0;
  for (const item of flowLines(text)) {
    try {
      if (item.verb === "delete") {
        deleteFlow(scope, item.flow);
        deleted++;
      } else if (item.verb === "modify") {
        modifyFlow(scope, item.flow, { actions: actionsOf(item) });
        modified++;
      } else if (replace) {
        if (putFlow(scope, item.flow, actionsOf(item)).created) added++;
        else modified++;
      } else {
        addFlow(scope, item.flow, actionsOf(item));
        added++;
      }
    } catch (error) {
      throw toCommandError(error, { line: item.line });
    }
    await scope.transaction.backend.rest();
  }
  return { added, modified, deleted };
}

/** Removes the flows that the file does not have, first, so that they are in nobody's way. */
async function removeOthers(scope: FlowScope, text: string): Promise<number> {
  const { datapath, table, transaction } = scope;
  const wanted = new Map<string, number>();
  for (const { line, verb, flow } of flowLines(text)) {
    try {
      if (verb !== "add") refuse("EINVAL", `"${verb}" has no sense where the file is the table`);
      const ufid = ufidOf(datapath, flow);
      const first = wanted.get(ufid);
      if (first !== undefined) refuse("EEXIST", `the same flow as in line ${first}`);
      wanted.set(ufid, line);
    } catch (error) {
      throw toCommandError(error, { line });
    }
    await transaction.backend.rest();
  }
  let removed = 0;
  for (const at of [...table.indexes()]) {
    if (wanted.has(table.ufid(at))) continue;
    removeFlow(scope, at);
    removed++;
    await transaction.backend.rest();
  }
  return removed;
}

function parseLine(line: number, words: string): FlowLine {
  let flow = takeWord(words);
  let rest = words.slice(flow.length).trimStart();
  let verb: FlowLine["verb"] = "add";
  if (/^[a-z]+$/.test(flow)) {
    const word = flow;
    const known = VERBS.find((one) => one.startsWith(word));
    if (known === undefined) {
      const message = `"${word}" is neither a flow nor ${VERBS.join(", ")}`;
      throw new CommandError("EINVAL", message, { line });
    }
    verb = known;
    flow = takeWord(rest);
    rest = rest.slice(flow.length).trimStart();
  }
  return { line, verb, flow, actions: rest === "" ? undefined : rest };
}

/** Up to the first blank outside parentheses. */
function takeWord(text: string): string {
  let depth = 0;
  for (let at = 0; at < text.length; at++) {
    const character = text[at];
    if (character === "(") depth++;
    else if (character === ")") depth--;
    else if (depth <= 0 && (character === " " || character === "\t" || character === "\r")) {
      return text.slice(0, at);
    }
  }
  return text;
}

function actionsOf(item: FlowLine): string {
  if (item.actions === undefined) {
    refuse("EINVAL", `the flow has no actions (${item.verb} FLOW ACTIONS; drop is one)`);
  }
  return item.actions;
}
