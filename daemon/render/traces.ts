/** Traces as text for people; see datapath/trace/schema.ts. */
import type { PacketTrace } from "../api.ts";

type Pass = PacketTrace["passes"][number];
type Step = Pass["steps"][number];
type Output = PacketTrace["outputs"][number];
type Drop = PacketTrace["drops"][number];
type Mask = NonNullable<Pass["masks"]>[number];

/** Bytes of a packet that are shown; all of them with -m. */
const BYTES_MAX = 64;
const ROW_SIZE = 32;
const PORT_NONE = 65535;

export interface TraceTextOptions {
  /** Whole packets, whatever their size. */
  readonly more: boolean;
}

/** Packets one after the other, a blank line between them. */
export function renderTraces(traces: readonly PacketTrace[], options: TraceTextOptions): string {
  return traces.map((trace, at) =>
    `${lines(trace, traces.length > 1 ? at + 1 : undefined, options).join("\n")}\n`
  ).join("\n");
}

function lines(
  trace: PacketTrace,
  number: number | undefined,
  options: TraceTextOptions,
): string[] {
  const which = number === undefined ? "packet" : `packet ${number}`;
  const time = trace.time === undefined ? "" : ` at ${formatTime(trace.time)}`;
  const from = trace.inPort === PORT_NONE ? "no port" : portText(trace.inPort, trace.port);
  const where = trace.dp === undefined ? "" : ` of datapath ${trace.dp}`;
  const text = [
    `${which} from ${from}${where}${trace.l3 === true ? ", without Ethernet header" : ""}${time}`,
  ];
  for (const pass of trace.passes) text.push(...passLines(pass, options));
  if (trace.cut === true) text.push("  (further steps are left out)");
  text.push(...verdict(trace));
  return text;
}

function passLines(pass: Pass, options: TraceTextOptions): string[] {
  const text = [
    ...(pass.recircId === 0 ? [] : [`recirculated as ${pass.recircId}`]),
    ...hexLines(pass.packet, pass.size, options).map((row) => `  ${row}`),
    `  key: ${pass.key}`,
    ...(pass.masks ?? []).flatMap((mask, at) => maskLines(mask, at)),
  ];
  if (pass.flow !== null) {
    text.push(`  flow: ${pass.flow.flow}, actions:${pass.flow.actions}`);
    text.push(`    ufid:${pass.flow.ufid}`);
  }
  if (pass.note !== undefined) text.push(`  ${pass.note}`);
  text.push(...pass.steps.flatMap((step) => stepLines(step, options)).map((row) => `  ${row}`));
  text.push(...ends(pass, options).map((row) => `    ${row}`));
  return text;
}

function maskLines({ fields, matched, flows, closest }: Mask, at: number): string[] {
  const what = fields.length === 0 ? "every packet" : fields.join(" ");
  const count = flows === 1 ? "1 flow" : `${flows} flows`;
  const head = `  mask ${at + 1}, ${count}: ${what}: ${matched ? "match" : "no match"}`;
  if (closest === undefined) return [head];
  const differences = closest.differences.map(({ field, wanted, got }) =>
    `${field} is ${got ?? "absent"}, wanted ${wanted}`
  );
  return [head, `    ${flows === 1 ? "" : "closest: "}${differences.join("; ")}`];
}

function stepLines(step: Step, options: TraceTextOptions): string[] {
  const text = [`-> ${step.action}${step.note === undefined ? "" : `  (${step.note})`}`];
  for (const { field, from, to } of step.fields) {
    text.push(`     ${field}: ${from ?? "none"} -> ${to ?? "none"}`);
  }
  for (const { at, from, to } of step.bytes) text.push(`     ${byteText(at, from, to)}`);
  if (step.size !== undefined) text.push(`     size: ${step.size.from} -> ${step.size.to}`);
  if (step.tunnel !== undefined) text.push(`     sent through ${step.tunnel}`);
  text.push(...ends(step, options).map((row) => `     ${row}`));
  for (const inner of step.steps ?? []) {
    text.push(...stepLines(inner, options).map((row) => `   ${row}`));
  }
  if (step.pass !== undefined) {
    text.push(...passLines(step.pass, options).map((row) => `   ${row}`));
  }
  return text;
}

function byteText(at: number, from: string, to: string): string {
  if (from === "") return `byte ${at}: inserted ${to}`;
  if (to === "") return `byte ${at}: removed ${from}`;
  return `byte ${at}: ${from} -> ${to}`;
}

function ends(
  { outputs, drops }: { outputs: readonly Output[]; drops: readonly Drop[] },
  options: TraceTextOptions,
): string[] {
  return [
    ...outputs.flatMap((output) => [
      `to ${outputText(output)}`,
      ...(output.outer === undefined ? [] : [`  ${outerText(output.outer)}`]),
      ...(output.next === undefined ? [] : lines(output.next, undefined, options))
        .map((row) => `  ${row}`),
    ]),
    ...drops.map(({ reason }) => `dropped: ${reason}`),
  ];
}

function outputText({ portNo, port, size, tunnel }: Output): string {
  const through = tunnel === undefined ? "" : ` through ${tunnel}`;
  return `${portText(portNo, port)}: ${size} bytes${through}`;
}

function outerText(outer: NonNullable<Output["outer"]>): string {
  const { from, to, protocol, port, key, tos, ttl, flags, mark, header, size } = outer;
  const words = [
    `sent as ${from ?? "(no route)"} -> ${to}`,
    port === undefined ? protocol : `${protocol} port ${port}`,
    ...(key === undefined ? [] : [`key ${key}`]),
    `ttl ${ttl}`,
    ...(tos === 0 ? [] : [`tos 0x${tos.toString(16)}`]),
    ...(mark === undefined ? [] : [`mark ${mark}`]),
    ...flags,
    `header ${header}`,
    `${size} bytes`,
  ];
  return words.join(", ");
}

function dropText({ reason, meaning }: Drop): string {
  return `dropped: ${reason} (${meaning})`;
}

function verdict({ outputs, drops, upcalls }: PacketTrace): string[] {
  const reached = outputs.map(outputText);
  const text = [`reached: ${reached.length === 0 ? "no port" : reached.join("; ")}`];
  for (const drop of drops) text.push(dropText(drop));
  if (upcalls > 0) text.push(`upcalls: ${upcalls}`);
  return text;
}

function portText(portNo: number, port: string | undefined): string {
  return `port ${portNo}${port === undefined ? "" : ` (${port})`}`;
}

function hexLines(hex: string, size: number, { more }: TraceTextOptions): string[] {
  const shown = more ? hex : hex.slice(0, 2 * BYTES_MAX);
  const rows: string[] = [];
  for (let at = 0; at < shown.length; at += 2 * ROW_SIZE) {
    const row = shown.slice(at, at + 2 * ROW_SIZE).replace(/(.{4})(?=.)/g, "$1 ");
    rows.push(`${String(at / 2).padStart(4, "0")}: ${row}`);
  }
  const left = size - shown.length / 2;
  if (left > 0) rows.push(`      ... ${left} more bytes`);
  return rows;
}

function formatTime(seconds: number): string {
  return new Date(seconds * 1000).toISOString();
}
