/**
 * What is asked of a kernel, as tests: flows of every attribute and lists of every action, both ways
 * between our netlink code and ovs-dpctl; verdicts on flows and actions that may be anything.
 */
import assert from "node:assert/strict";
import { FlowSyntaxError } from "../../datapath/errors.ts";
import { seededRandom } from "../../datapath/testing/flows.ts";
import { formatActions, parseActions } from "../../datapath/text/action_text.ts";
import { formatFlow, parseFlow } from "../../datapath/text/flow_text.ts";
import { anyCases, type KernelCase, validCases } from "./kernel_cases.ts";
import {
  type Difference,
  isKnown,
  KERNEL_FORGETS,
  KERNEL_MISJUDGES,
  KERNEL_REFUSES,
  OVS_CANNOT_SAY,
  OVS_CRASHES,
  WE_REFUSE,
  withoutOddSpellings,
  withoutZoneZero,
  withPlainSpellings,
} from "./kernel_differences.ts";
import type { DumpedFlow, GuestOutput } from "./kernel_guest.ts";
import { scriptFor } from "./kernel_script.ts";
import { type KernelKind, runGuest, whyNoKernel } from "./kernel_vm.ts";

/** Other cases with DENOVS_SEED=… in the environment: what the kernel does with all of them takes long to learn. */
const SEED = Number(Deno.env.get("DENOVS_SEED") ?? 3);
/** Cases of each attribute, and of each action; an emulated kernel is asked less. */
const EACH: Readonly<Record<KernelKind, number>> = { stable: 24, newer: 6 };
/** Differences shown when a test fails. */
const SHOWN_MAX = 10;

interface Flow {
  readonly flow: string;
  readonly actions: string;
}

interface Run {
  readonly kind: KernelKind;
  readonly valid: readonly KernelCase[];
  readonly any: readonly KernelCase[];
  readonly output: GuestOutput;
}

/** Registers the tests of one kernel; the first that runs starts the machine. */
export function kernelTests(kind: KernelKind): void {
  let run: Promise<Run> | undefined;
  const why = whyNoKernel(kind);
  const test = (name: string, judge: (run: Run) => void): void => {
    const note = why === undefined ? "" : ` [skipped: ${why}]`;
    Deno.test({
      name: `kernel ${kind}: ${name}${note}`,
      ignore: why !== undefined,
      sanitizeOps: false,
      sanitizeResources: false,
      fn: async () => {
        run ??= start(kind);
        judge(await run);
      },
    });
  };
  test("takes the flows and actions that we take", takesOurs);
  test("flows that we install are read back by us as they were", readsBack);
  test("flows that we install are read by ovs-dpctl as they were", readByOvs);
  test("flows that ovs-dpctl installs are read by us as they were", readsOvs);
  test("refuses what we refuse, with the same error, and nothing else", agrees);
  test("commands on system datapaths", speaks);
}

async function start(kind: KernelKind): Promise<Run> {
  const random = seededRandom(SEED);
  const valid = validCases(random, EACH[kind]);
  const any = anyCases(random, EACH[kind]);
  const output = await runGuest(kind, {
    ours: valid.map((item) => ({ ...item.raw, hidden: isKnown(OVS_CRASHES, item, kind) })),
    theirs: valid.filter((item) => !isKnown(OVS_CRASHES, item, kind)).map(forOvs).map((
      { flow, actions },
    ) => ({ flow, actions })),
    verdicts: any.map(({ raw }) => raw),
    script: scriptFor(kind).map(({ line }) => line),
  });
  return { kind, valid, any, output };
}

function takesOurs({ kind, valid, output }: Run): void {
  const faults = valid.flatMap((item, at) => {
    const verdict = output.ours.verdicts[at];
    if (verdict === "" || isKnown(KERNEL_REFUSES, item, kind)) return [];
    if (isKnown(KERNEL_MISJUDGES, item, kind)) return [];
    return [`${verdict}: ${item.flow} ${item.actions}`];
  });
  report(faults);
  const taken = output.ours.verdicts.filter((verdict) => verdict === "").length;
  assert.ok(taken > valid.length / 2, `only ${taken} of ${valid.length} were taken`);
}

function readsBack({ kind, valid, output }: Run): void {
  const ours = output.ours.ours.map(({ flow, actions }) => ({ flow, actions }));
  compare(valid, ours, [KERNEL_FORGETS], kind);
}

function readByOvs({ kind, valid, output }: Run): void {
  const { theirs, complaints } = output.ours;
  const shown = valid.filter((item, at) =>
    output.ours.verdicts[at] === "" && !isKnown(OVS_CRASHES, item, kind)
  );
  assert.equal(lineCount(theirs), shown.length, `flows in its dump ${complaints.slice(-2000)}`);
  compare(valid, readDump(theirs, valid, kind), [KERNEL_FORGETS, OVS_CANNOT_SAY], kind);
}

function readsOvs({ kind, valid, output }: Run): void {
  const { ours, theirs } = output.theirs;
  assert.ok(
    ours.length > valid.length / 8,
    `ovs-dpctl installed only ${ours.length} flows:\n${output.theirs.complaints.slice(0, 2000)}`,
  );
  assert.equal(ours.length, lineCount(theirs));
  compare(valid.map(forOvs), ours.map(plain), [KERNEL_FORGETS, OVS_CANNOT_SAY], kind);
}

function lineCount(dump: string): number {
  return dump.split("\n").filter((line) => line.includes(", packets:")).length;
}

/** ovs-dpctl 3.1 makes of `drop` an action that only its own datapath knows. */
function forOvs(item: KernelCase): KernelCase {
  return item.actions === "drop" ? { ...item, actions: "7" } : item;
}

function plain({ flow, actions }: DumpedFlow): Flow {
  return { flow, actions };
}

function agrees({ kind, any, output }: Run): void {
  const faults = any.flatMap((item, at) => {
    const verdict = output.verdicts[at] ?? "missing";
    if (verdict === item.verdict) return [];
    if (item.verdict === "" && isKnown(KERNEL_REFUSES, item, kind)) return [];
    if (isKnown(KERNEL_MISJUDGES, item, kind)) return [];
    if (verdict === "" && isKnown(WE_REFUSE, item, kind)) return [];
    const says = `kernel ${verdict || "takes it"}, we ${item.verdict || "take it"} ${item.why}`;
    const { key, mask } = item.raw;
    return [`${says}: ${item.flow} ${item.actions}\n  key ${key}\n  mask ${mask}`];
  });
  report(faults);
}

function speaks({ kind, output }: Run): void {
  for (const [at, { line, status = 0, says }] of scriptFor(kind).entries()) {
    const spoken = output.script[at];
    // ovs-dpctl says much on standard error that is nobody's concern.
    const noted = line.startsWith("ovs-dpctl") ? "" : spoken?.noted ?? "";
    const text = ((spoken?.printed ?? "") + noted).trimEnd();
    assert.equal(spoken?.status, status, `${line}\n${text}`);
    if (typeof says === "string") assert.equal(text, says, line);
    else if (says !== undefined) assert.match(text, says, `${line}\n${text}`);
  }
}

/** Each dumped flow is the case with its in_port; what the tables name may differ. */
function compare(
  cases: readonly KernelCase[],
  dumped: readonly Flow[],
  differences: readonly (readonly Difference[])[],
  kind: KernelKind,
): void {
  const wanted = new Map(cases.map((item) => [portOf(item.flow), item]));
  let compared = 0;
  const faults = dumped.flatMap(({ flow, actions }) => {
    const item = wanted.get(portOf(flow));
    if (item === undefined) return [`nobody installed ${flow}`];
    if (differences.some((each) => isKnown(each, item, kind))) return [];
    compared++;
    const same = withoutZoneZero(actions) === withoutZoneZero(item.actions);
    if (flow === item.flow && same) return [];
    return [`${item.flow} ${item.actions}\n  came back as\n${flow} ${actions}`];
  });
  report(faults);
  assert.ok(compared > dumped.length / 5, `only ${compared} of ${dumped.length} were compared`);
}

function portOf(flow: string): string {
  return /\bin_port\((\d+)\)/.exec(flow)?.[1] ?? "none";
}

/** Lines of dump-flows -m, canonical by our parsers; one that they don't take is a failure. */
function readDump(text: string, cases: readonly KernelCase[], kind: KernelKind): Flow[] {
  const flows: Flow[] = [];
  const faults: string[] = [];
  const wanted = new Map(cases.map((item) => [portOf(item.flow), item]));
  for (const line of text.split("\n")) {
    const found = /^ufid:\S+ (.*), packets:.* actions:(.*?)(?:, dp-extra-info:.*)?$/.exec(line);
    if (found === null) continue;
    try {
      const { key, mask } = parseFlow(asKernels(withoutOddSpellings(found[1]!)));
      const actions = formatActions(parseActions(withPlainSpellings(found[2]!)));
      flows.push({ flow: formatFlow(masked(key, mask), mask), actions });
    } catch (error) {
      if (!(error instanceof FlowSyntaxError)) throw error;
      const item = wanted.get(portOf(found[1]!));
      if (item !== undefined && isKnown(OVS_CANNOT_SAY, item, kind)) continue;
      faults.push(`${error.message}\n${error.caret()}`);
    }
  }
  report(faults);
  return flows;
}

/** In the kernel's dumps no eth() means a packet without an Ethernet header; in text it goes without saying. */
function asKernels(flow: string): string {
  if (/(^|,)eth\(/.test(flow)) return flow;
  const type = /\beth_type\((0x[0-9a-f]+)\)/.exec(flow)?.[1] ?? "0";
  return `packet_type(ns=1,id=${type}),${flow}`;
}

function masked(key: Int32Array, mask: Int32Array): Int32Array {
  return key.map((word, at) => word & mask[at]!);
}

function report(faults: readonly string[]): void {
  if (faults.length === 0) return;
  const shown = faults.slice(0, SHOWN_MAX).join("\n");
  throw new Error(`${faults.length} differences (DENOVS_SEED=${SEED}):\n${shown}`);
}
