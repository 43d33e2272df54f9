/**
 * Connection tracking against the kernel's: openvswitch.ko with nf_conntrack and nf_nat in a virtual
 * machine is given the same flows and the same packets. Compared are, for every packet, the frames
 * that leave by each port, what userspace is shown of it behind ct (the whole key with state, mark,
 * label and original tuple, the packet and its mru), and in the end the connections with their states,
 * flags, counters and timeouts. What may differ is in kernel_ct_differences.ts.
 */
import assert from "node:assert/strict";
import { say } from "../output.ts";
import { beginComparison, compareOutcomes } from "./kernel_ct_compare.ts";
import { CT_DIFFERENCES } from "./kernel_ct_differences.ts";
import { playOurs } from "./kernel_ct_ours.ts";
import type { CtOutcome, CtScenario } from "./kernel_ct_scenario.ts";
import { type KernelKind, runInGuest, whyNoKernel } from "./kernel_vm.ts";

const GUEST = new URL("kernel_ct_guest.ts", import.meta.url).pathname;
const MODULES = ["nf_nat_ftp", "nf_nat_tftp", "nf_conntrack_netlink"];
/** Only scenarios whose names it matches. */
const ONLY = Deno.env.get("DENOVS_SCENARIO");
/** Faults shown. */
const SHOWN_MAX = 12;

/** What a suite must come to, so that it can't pass with nothing compared. */
export interface LeastCounts {
  readonly packets: number;
  readonly connections: number;
  /** Different values of ct_state. */
  readonly states: number;
}

/** Registers the test of one kernel. */
export function conntrackTest(
  kind: KernelKind,
  scenarios: readonly CtScenario[],
  least: LeastCounts,
): void {
  const why = whyNoKernel(kind);
  const note = why === undefined ? "" : ` [skipped: ${why}]`;
  Deno.test({
    name: `kernel ${kind}: connection tracking, packet by packet${note}`,
    ignore: why !== undefined,
    fn: () => compareAll(kind, scenarios, least),
  });
}

async function compareAll(
  kind: KernelKind,
  scenarios: readonly CtScenario[],
  least: LeastCounts,
): Promise<void> {
  const chosen = scenarios.filter(({ name }) => ONLY === undefined || new RegExp(ONLY).test(name));
  const task = { script: GUEST, input: chosen, modules: MODULES };
  const outcomes = await runInGuest<CtOutcome[]>(kind, task);
  const comparison = beginComparison();
  for (const [at, scenario] of chosen.entries()) {
    const theirs = outcomes[at]!;
    compareOutcomes(comparison, scenario, playOurs(scenario, theirs.timesMs), theirs);
  }
  const { packets, connections, states, met, faults } = comparison;
  say(
    `${packets} packets of ${chosen.length} scenarios, ${connections} connections, ` +
      `${states.size} states, ${met.size} differences`,
  );
  const shown = faults.slice(0, SHOWN_MAX).join("\n");
  assert.ok(faults.length === 0, `${faults.length} differ:\n${shown}`);
  const expected = CT_DIFFERENCES.filter(({ scenario }) =>
    chosen.some(({ name }) => scenario.test(name))
  );
  assert.deepEqual(expected.filter((each) => !met.has(each)).map(({ what }) => what), []);
  if (ONLY !== undefined) return;
  const counts = { packets, connections, states: states.size };
  for (const name of ["packets", "connections", "states"] as const) {
    assert.ok(counts[name] >= least[name], `only ${counts[name]} ${name}`);
  }
}
