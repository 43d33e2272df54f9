/** Plays a scenario on our own datapath, as kernel_ct_guest.ts does on the kernel's. */
import { formatConnection } from "../../datapath/conntrack/dump_text.ts";
import { SwitchBench } from "../../datapath/conntrack/testing/switch_bench.ts";
import { exactMask } from "../../datapath/fields/exact_mask.ts";
import { seededRandom } from "../../datapath/testing/flows.ts";
import { RecordingPort } from "../../datapath/testing/ports.ts";
import { formatFlow } from "../../datapath/text/flow_text.ts";
import {
  CT_MTU,
  CT_PORTS,
  type CtOutcome,
  type CtScenario,
  type CtStep,
  isWhole,
  reflected,
} from "./kernel_ct_scenario.ts";

/** Records looked at by one sweep: all. */
const SWEEP = 4096;

/**
 * What we make of a scenario. `timesMs`: when the kernel's side has done each step, so that however
 * long a machine takes both have the same times; default all at once.
 */
export function playOurs(scenario: CtScenario, timesMs: readonly number[] = []): CtOutcome {
  const random = seededRandom(11);
  const ports = CT_PORTS.map((portNo) => new RecordingPort(portNo, { mtu: CT_MTU }));
  const bench = new SwitchBench(scenario.flows, {
    ports,
    takesUpcalls: true,
    random: () => random(0x1_0000_0000),
  });
  const last = new Map<number, Uint8Array>();
  const beginMs = bench.nowMs;
  /** What more time has passed here than there. */
  let aheadMs = 0;
  const setTime = (at: number, laterMs = 0): void => {
    const there = timesMs[at] ?? bench.nowMs - beginMs - aheadMs;
    bench.nowMs = beginMs + aheadMs + Math.round(there) + laterMs;
  };

  const receive = (portNo: number, frame: Uint8Array): string[] => {
    const sent = bench.receive(portNo, frame);
    for (const text of sent) {
      const [port = "", hex = ""] = text.split(": ");
      const left = Uint8Array.fromHex(hex);
      if (isWhole(left)) last.set(Number(port), left);
    }
    const shown = bench.upcalls().map(({ key, mru, bytes }) =>
      `up ${formatFlow(key, exactMask(key))} mru=${mru} ${bytes.toHex()}`
    );
    return [...shown, ...sent];
  };

  const take = (step: CtStep, at: number): string[] => {
    setTime(at);
    if ("frame" in step) return receive(step.port, Uint8Array.fromHex(step.frame));
    if ("reflect" in step) {
      const frame = last.get(step.reflect);
      return frame === undefined ? ["nothing to reflect"] : receive(step.reflect, reflected(frame));
    }
    if ("waitMs" in step) {
      const { waitMs, oursMs = waitMs } = step;
      setTime(at, oursMs);
      aheadMs += oursMs - waitMs;
      bench.conntrack.sweep(bench.nowMs, SWEEP);
      bench.pipeline.sweepFragments(bench.nowMs);
      return [];
    }
    if ("flows" in step) {
      bench.setFlows(step.flows);
      last.clear();
    } else {
      for (const { zone, limit } of step.limits) {
        if (zone < 0) bench.conntrack.defaultLimit = limit;
        else bench.conntrack.setZoneLimit(zone, limit);
      }
    }
    return [];
  };

  const events = scenario.steps.map(take);
  setTime(scenario.steps.length);
  const connections: string[] = [];
  bench.conntrack.dump(bench.nowMs, {}, 1, (one) => {
    connections.push(formatConnection(one, { verbose: true, statistics: true }));
  });
  return { events, connections, timesMs };
}
