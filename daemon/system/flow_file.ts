/** flow-load of a kernel datapath: a file of flows, all or nothing. */
import { refuse, toCommandError } from "../command_errors.ts";
import { type FlowLine, flowLines, type LoadResult } from "../flow_file.ts";
import {
  addFlow,
  allFlows,
  deleteFlow,
  type FlowScope,
  modifyFlow,
  parseNamed,
  putFlow,
  removeFlow,
  ufidOf,
} from "./flows.ts";

/** Changes the table line by line; what it throws carries the line, and the caller takes all back. */
export function loadFlows(scope: FlowScope, text: string, replace: boolean): LoadResult {
  const result = { added: 0, modified: 0, deleted: 0 };
  if (replace) result.deleted = removeOthers(scope, text);
  for (const item of flowLines(text)) {
    try {
      result[loadLine(scope, item, replace)]++;
    } catch (error) {
      throw toCommandError(error, { line: item.line });
    }
  }
  return result;
}

function loadLine(scope: FlowScope, item: FlowLine, replace: boolean): keyof LoadResult {
  const { verb, flow } = item;
  if (verb === "delete") {
    deleteFlow(scope, { flow });
    return "deleted";
  }
  const { actions } = item;
  if (actions === undefined) {
    refuse("EINVAL", `the flow has no actions (${verb} FLOW ACTIONS; drop is one)`);
  }
  if (verb === "modify") {
    modifyFlow(scope, { flow, actions });
    return "modified";
  }
  if (replace) return putFlow(scope, { flow, actions }).created ? "added" : "modified";
  addFlow(scope, { flow, actions });
  return "added";
}

/** Removes the flows that the file does not have, first, so that they are in nobody's way. */
function removeOthers(scope: FlowScope, text: string): number {
  const wanted = new Map<string, number>();
  for (const { line, verb, flow } of flowLines(text)) {
    try {
      if (verb !== "add") refuse("EINVAL", `"${verb}" has no sense where the file is the table`);
      const { ufid } = parseNamed(scope, flow);
      const first = wanted.get(ufid);
      if (first !== undefined) refuse("EEXIST", `the same flow as in line ${first}`);
      wanted.set(ufid, line);
    } catch (error) {
      throw toCommandError(error, { line });
    }
  }
  const others = allFlows(scope).filter((flow) => !wanted.has(ufidOf(flow)));
  for (const flow of others) removeFlow(scope, flow);
  return others.length;
}
