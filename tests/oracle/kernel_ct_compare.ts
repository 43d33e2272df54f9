/** Comparing what the kernel and we make of scenarios: everything must be equal but what is listed. */
import { TIMEOUTS } from "../../datapath/conntrack/timeouts.ts";
import { CT_DIFFERENCES, type CtDifference } from "./kernel_ct_differences.ts";
import { joined } from "./kernel_ct_joined.ts";
import type { CtOutcome, CtScenario } from "./kernel_ct_scenario.ts";

/** What came of comparing. */
export interface CtComparison {
  /** Packets whose outcomes were compared. */
  packets: number;
  /** Connections that were compared. */
  connections: number;
  /** By text of ct_state: how many packets had it. */
  readonly states: Map<string, number>;
  readonly met: Set<CtDifference>;
  readonly faults: string[];
}

export function beginComparison(): CtComparison {
  return { packets: 0, connections: 0, states: new Map(), met: new Set(), faults: [] };
}

/** Faults of one scenario that are told: those behind the first may be in its wake. */
const FAULTS_MAX = 3;
/** Characters of a line in a fault. */
const LINE_MAX = 600;

/** Compares one scenario. */
export function compareOutcomes(
  into: CtComparison,
  scenario: CtScenario,
  ours: CtOutcome,
  theirs: CtOutcome,
): void {
  const known = CT_DIFFERENCES.filter((difference) => difference.scenario.test(scenario.name));
  const meet = (difference: CtDifference, isMet: boolean): boolean => {
    if (isMet) into.met.add(difference);
    return isMet;
  };
  let told = 0;
  for (const [at, step] of scenario.steps.entries()) {
    if ("frame" in step || "reflect" in step) into.packets++;
    const kernel = theirs.events[at] ?? ["nothing is told"];
    for (const event of kernel) count(into.states, stateOf(event));
    const found = ours.events[at] ?? [];
    const mine = found.map((event) =>
      known.reduce((text, difference) => {
        const changed = difference.event?.(text) ?? text;
        meet(difference, changed !== text);
        return changed;
      }, event)
    );
    const passes = known.some((difference) =>
      (difference.passes?.includes(at) ?? false) &&
      meet(difference, mine.length === 0 && kernel.length > 0)
    );
    if (passes) continue;
    const a = mine.map((event) => settled(event, scenario));
    const b = kernel.map((event) => settled(event, scenario));
    if (JSON.stringify(a) === JSON.stringify(b)) continue;
    const isCutOtherwise = known.some((difference) =>
      difference.isCutOtherwise === true &&
      meet(difference, JSON.stringify(joined(mine)) === JSON.stringify(joined(kernel)))
    );
    if (isCutOtherwise || ++told > FAULTS_MAX) continue;
    into.faults.push(
      `${scenario.name}, step ${at}: ${JSON.stringify(step).slice(0, LINE_MAX)}\n` +
        `  kernel ${shown(kernel)}\n  ours   ${shown(mine)}`,
    );
  }
  if (told > 0) return;
  const { chosen } = scenario;
  const settle = (lines: readonly string[]): string[] =>
    lines.map((line) => chosen === undefined ? plainLine(line) : chosen(withoutReply(line)))
      .filter((line) =>
        !known.some((difference) => meet(difference, difference.connections?.test(line) ?? false))
      ).toSorted();
  const mine = settle(ours.connections);
  const kernel = settle(theirs.connections);
  into.connections += kernel.length;
  if (JSON.stringify(mine) === JSON.stringify(kernel)) return;
  into.faults.push(
    `${scenario.name}: connections\n` +
      `  kernel ${shown(kernel.filter((line) => !mine.includes(line)))}\n` +
      `  ours   ${shown(mine.filter((line) => !kernel.includes(line)))}`,
  );
}

function count(map: Map<string, number>, name: string | undefined): void {
  if (name !== undefined) map.set(name, (map.get(name) ?? 0) + 1);
}

/** `est|rpl|trk` of an upcall. */
function stateOf(event: string): string | undefined {
  const flags = /ct_state\(([^)]*)\)/.exec(event)?.[1];
  return flags?.match(/\+\w+/g)?.map((flag) => flag.slice(1)).join("|");
}

/** All timeouts that there are, ascending, s. */
const SECONDS = [...new Set(TIMEOUTS.map(([, , seconds]) => seconds))].toSorted((a, b) => a - b);

/** A line without what is never equal; of the seconds left, the timeout that they are left of. */
function plainLine(line: string): string {
  return line.replace(/,(start|id)=[^,()]*(?=,(zone|status|timeout|id)=)/g, "")
    .replace(
      /timeout=(\d+)/,
      (_, left: string) => `timeout=${SECONDS.find((seconds) => seconds >= Number(left))}`,
    );
}

/** The same where the translation is chosen at random. */
function withoutReply(line: string): string {
  return plainLine(line).replace(/,reply=.*?\)/, "");
}

/** An event without what is left to chance: identifications of IPv6 fragments that are made, ports of a range. */
function settled(event: string, { chosen }: CtScenario): string {
  const text = event.replace(/^(\d: .{24}86dd.{8}.{4}2c.{66})(.{8})(.{8})/, "$1$2--------");
  return chosen === undefined ? text : chosen(text);
}

function shown(lines: readonly string[]): string {
  return lines.map((line) => line.slice(0, LINE_MAX)).join("\n         ");
}
