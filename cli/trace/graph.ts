/** A packet's way as a graph in Graphviz's language: received, flows, actions, ports, drops. */
import type { PacketTrace } from "../../daemon/api.ts";

type Pass = PacketTrace["passes"][number];
type Step = Pass["steps"][number];
type Ends = Pick<Step, "outputs" | "drops">;

/** Changed fields that are named at an action. */
const FIELDS_MAX = 6;
/** Letters of a line. */
const LINE_MAX = 60;
const PORT_NONE = 65535;

/** One graph for all packets. */
export function toDot(traces: readonly PacketTrace[]): string {
  const graph = new Graph();
  traces.forEach((trace) => graph.add(trace));
  return graph.text();
}

class Graph {
  readonly #lines: string[] = [];
  #nodes = 0;

  text(): string {
    const style = 'node [shape=box, fontname="Helvetica", fontsize=10, style=rounded];';
    const lines = [
      "rankdir=TB;",
      style,
      'edge [fontname="Helvetica", fontsize=9];',
      ...this.#lines,
    ];
    return `digraph trace {\n${lines.map((line) => `  ${line}\n`).join("")}}\n`;
  }

  /** `before`: the node of the patch port that it came through. */
  add({ dp, inPort, port, passes, drops }: PacketTrace, before?: string): void {
    const from = inPort === PORT_NONE ? "no port" : portLabel(inPort, port);
    const where = dp === undefined ? "" : `\nof datapath ${dp}`;
    const start = this.#node(`from ${from}${where}`, "shape=cds");
    if (before !== undefined) this.#edge(before, start, "");
    for (const pass of passes) this.#pass(pass, start);
    if (passes.length === 0) this.#ends({ outputs: [], drops }, start);
  }

  #pass(pass: Pass, from: string, label = ""): void {
    const { flow, note, recircId } = pass;
    const rows = flow === null ? [note ?? "no flow"] : wrap(flow.flow);
    const title = recircId === 0 ? "flow" : `flow of recirculation ${recircId}`;
    const node = this.#node([flow === null ? "" : title, ...rows].filter(Boolean).join("\n"), "");
    this.#edge(from, node, label);
    this.#steps(pass.steps, node);
    this.#ends(pass, node);
  }

  #steps(steps: readonly Step[], from: string, label = ""): void {
    let last = from;
    let text = label;
    for (const step of steps) {
      last = this.#step(step, last, text);
      text = "";
    }
  }

  #step(step: Step, from: string, label: string): string {
    const isOutput = /^\d+$/.test(step.action) && step.outputs.length > 0;
    if (isOutput) {
      this.#ends(step, from, label);
      return from;
    }
    const head = step.steps === undefined ? step.action : step.action.replace(/\(.*$/, "");
    const changes = step.fields.slice(0, FIELDS_MAX).map(({ field, from: old, to }) =>
      `${field}: ${old ?? "none"} -> ${to ?? "none"}`
    );
    const rows = [...wrap(head), ...(step.note === undefined ? [] : [step.note]), ...changes];
    const node = this.#node(rows.join("\n"), "");
    this.#edge(from, node, label);
    if (step.steps !== undefined) this.#steps(step.steps, node, "actions");
    if (step.pass !== undefined) this.#pass(step.pass, node, "recirculates");
    this.#ends(step, node);
    return node;
  }

  #ends({ outputs, drops }: Ends, from: string, label = ""): void {
    for (const { portNo, port, size, outer, next } of outputs) {
      const rows = [portLabel(portNo, port), `${size} bytes`];
      if (outer !== undefined) {
        const key = outer.key === undefined ? "" : `, key ${outer.key}`;
        rows.push(`${outer.from ?? "(no route)"} -> ${outer.to}${key}`);
      }
      const node = this.#node(rows.join("\n"), "shape=cds, color=green");
      this.#edge(from, node, label);
      if (next !== undefined) this.add(next, node);
    }
    for (const { reason } of drops) {
      const node = this.#node(`dropped: ${reason}`, "shape=octagon, style=solid, color=red");
      this.#edge(from, node, label);
    }
  }

  #node(label: string, style: string): string {
    const name = `n${this.#nodes++}`;
    this.#lines.push(`${name} [label=${quote(label)}${style === "" ? "" : `, ${style}`}];`);
    return name;
  }

  #edge(from: string, to: string, label: string): void {
    this.#lines.push(`${from} -> ${to}${label === "" ? "" : ` [label=${quote(label)}]`};`);
  }
}

function portLabel(portNo: number, port: string | undefined): string {
  return `port ${portNo}${port === undefined ? "" : ` (${port})`}`;
}

/** Breaks behind commas. */
function wrap(text: string): string[] {
  const lines: string[] = [""];
  for (const part of text.split(/(?<=,)/)) {
    if (lines.at(-1)!.length + part.length > LINE_MAX && lines.at(-1) !== "") lines.push("");
    lines[lines.length - 1] += part;
  }
  return lines;
}

function quote(text: string): string {
  return `"${text.replaceAll("\\", "\\\\").replaceAll('"', '\\"').replaceAll("\n", "\\n")}"`;
}
