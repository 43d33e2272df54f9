/** Text of flows and their statistics, in the shape of `ovs-dpctl dump-flows` (lib/dpctl.c). Pure. */
import type { FlowInfo, FlowStats } from "../api.ts";

// Order and letters of OVS's packet_format_tcp_flags(); 0x100, 0x200 … are printed as numbers.
const TCP_FLAG_LETTERS: readonly (readonly [number, string])[] = [
  [0x002, "S"],
  [0x001, "F"],
  [0x008, "P"],
  [0x004, "R"],
  [0x020, "U"],
  [0x010, "."],
  [0x040, "E"],
  [0x080, "C"],
  [0x100, "N"],
  [0x200, "[200]"],
  [0x400, "[400]"],
  [0x800, "[800]"],
];

export interface FlowRenderOptions {
  /** As dump-flows -m: the UFID in front, wildcarded fields too, the layer that forwards. */
  readonly more?: boolean | undefined;
}

/** TCP flags as letters; `none` when there are none. */
export function formatTcpFlags(flags: number): string {
  if (flags === 0) return "none";
  let text = "";
  for (const [bit, letter] of TCP_FLAG_LETTERS) {
    if ((flags & bit) !== 0) text += letter;
  }
  return text;
}

/** `packets:3, bytes:294, used:0.120s, flags:S.` */
export function formatStats(stats: FlowStats): string {
  const used = stats.usedMs === null ? "never" : `${(stats.usedMs / 1000).toFixed(3)}s`;
  const flags = stats.tcpFlags === 0 ? "" : `, flags:${formatTcpFlags(stats.tcpFlags)}`;
  return `packets:${stats.packets}, bytes:${stats.bytes}, used:${used}${flags}`;
}

/** One flow on one line, without the newline. */
export function formatFlowInfo(flow: FlowInfo, options: FlowRenderOptions = {}): string {
  const more = options.more === true;
  const head = more ? `ufid:${flow.ufid}, ${flow.flowVerbose ?? flow.flow}` : flow.flow;
  return `${head}, ${formatStats(flow)}${more ? ", dp:ovs" : ""}, actions:${flow.actions}`;
}

/** All flows, a line each; empty when there are none. */
export function renderFlows(flows: readonly FlowInfo[], options: FlowRenderOptions = {}): string {
  let text = "";
  for (const flow of flows) text += formatFlowInfo(flow, options) + "\n";
  return text;
}

/** The flows in the form that flow-load reads: `add FLOW ACTIONS`, with the UFIDs that users gave. */
export function renderFlowFile(title: string, flows: readonly FlowInfo[]): string {
  let text = `# ${title}\n`;
  for (const flow of flows) {
    const ufid = flow.givenUfid ? `ufid:${flow.ufid},` : "";
    text += `add ${ufid}${flow.flow} ${flow.actions}\n`;
  }
  return text;
}
