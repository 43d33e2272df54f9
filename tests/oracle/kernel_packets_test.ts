/**
 * Packets against the kernel's openvswitch module: generated flows and frames, offload state included,
 * go through both, and every port and every upcall must show the same bytes. One virtual machine runs
 * all cases. Other cases: DENOVS_SEED=7; more of them: DENOVS_CASES=20000; 6.12: DENOVS_KERNEL=newer.
 */
import assert from "node:assert/strict";
import { seededRandom } from "../../datapath/testing/flows.ts";
import { makeFrame } from "../../datapath/testing/frames.ts";
import { say } from "../output.ts";
import { isKnown, KERNEL_MISJUDGES } from "./kernel_differences.ts";
import {
  describe,
  exampleCase,
  type PacketCase,
  randomCase,
  type TextCase,
  textOf,
} from "./kernel_packet_cases.ts";
import { compareCase, ourUpcalls, type SeenUpcall, theirUpcalls } from "./kernel_packet_compare.ts";
import { PACKET_DIFFERENCES } from "./kernel_packet_differences.ts";
import type { Frames, Seen } from "./kernel_packet_examples.ts";
import { deviceBytes } from "./kernel_packet_frames.ts";
import { OurSwitch } from "./kernel_packet_ours.ts";
import { type PacketGuestOutput, type PacketOutput, PORTS } from "./kernel_packet_shape.ts";
import { type KernelKind, runInGuest, whyNoKernel } from "./kernel_vm.ts";

const SEED = Number(Deno.env.get("DENOVS_SEED") ?? 4);
const KIND: KernelKind = Deno.env.get("DENOVS_KERNEL") === "newer" ? "newer" : "stable";
/** An emulated machine takes long. */
const CASES = Number(Deno.env.get("DENOVS_CASES") ?? (KIND === "newer" ? 400 : 4000));
const GUEST = new URL("kernel_packet_guest.ts", import.meta.url).pathname;
/** Segments trains under labels; nothing loads it. */
const MODULES = ["mpls_gso"];
/** Cases with faults that are shown when the test fails. */
const SHOWN_MAX = 5;

/** Eight frames of each kind against a meter of each unit: a tag does not count. */
const METERED: readonly TextCase[] = [
  { frame: makeFrame({ payloadSize: 60 }), burst: 3 },
  { frame: makeFrame({ payloadSize: 60, tags: [0x81000005] }), burst: 2 },
  { frame: makeFrame({ payloadSize: 1400, isIpv6: true }), burst: 50 },
].flatMap(({ frame, burst }) =>
  (["pps", "kbps"] as const).map((unit): TextCase => ({
    inPort: 1,
    frames: new Array<string>(8).fill(deviceBytes(frame.bytes)),
    meters: [{ id: 7, unit, burst: unit === "pps" ? 3 : burst }],
    flows: [[
      "in_port(1),eth()" + (frame.l3 > 14 ? ",eth_type(0x8100),vlan(vid=5,pcp=0),encap()" : ""),
      "meter(7),2",
    ]],
  }))
);

interface Run {
  readonly cases: readonly PacketCase[];
  readonly leftOut: ReadonlyMap<string, number>;
  /** In the order of PACKET_DIFFERENCES. */
  readonly examples: readonly PacketCase[];
  /** In the order of METERED. */
  readonly metered: readonly PacketCase[];
  /** Of all these, in this order. */
  readonly outputs: readonly PacketOutput[];
}

let running: Promise<Run> | undefined;

async function start(): Promise<Run> {
  const ours = new OurSwitch();
  const random = seededRandom(SEED);
  const leftOut = new Map<string, number>();
  const cases = Array.from({ length: CASES }, () => randomCase(random, ours, leftOut));
  const examples = Object.entries(PACKET_DIFFERENCES).map(([name, { example }]) => {
    const { inPort, frame, flows } = example;
    return exampleCase({ inPort, frames: [frame], flows }, name, ours);
  });
  const metered = METERED.map((item) => exampleCase(item, "metered", ours));
  const input = [...cases, ...examples, ...metered].map((item) => item.input);
  const output = await runInGuest<PacketGuestOutput>(KIND, {
    script: GUEST,
    input,
    modules: MODULES,
  });
  return { cases, leftOut, examples, metered, outputs: output.outputs };
}

function test(name: string, judge: (run: Run) => void): void {
  const why = whyNoKernel(KIND);
  const note = why === undefined ? "" : ` [skipped: ${why}]`;
  Deno.test({
    name: `kernel packets: ${name}${note}`,
    ignore: why !== undefined,
    sanitizeOps: false,
    sanitizeResources: false,
    fn: async () => judge(await (running ??= start())),
  });
}

test("every port is sent what the kernel sends, and every upcall says what its says", (run) => {
  const counts = { compared: 0, refused: 0, completed: 0 };
  const faulty: string[] = [];
  run.cases.forEach((item, at) => {
    const output = run.outputs[at]!;
    if (isMisjudged(item, output)) {
      counts.refused++;
      return;
    }
    const { faults, completed } = compareCase(item, output);
    counts.compared++;
    counts.completed += completed;
    if (faults.length > 0) faulty.push(`#${at} ${describe(item)}\n  ${faults.join("\n  ")}`);
  });
  const left = [...run.leftOut].map(([name, count]) => `${count} ${name}`).join(", ");
  say(
    `${counts.compared} cases compared; ${counts.refused} refused for nested lists, in ` +
      `${counts.completed} frames a checksum completed; left out: ${left}`,
  );
  const shown = faulty.slice(0, SHOWN_MAX).join("\n\n");
  assert.equal(faulty.length, 0, `${faulty.length} differences (DENOVS_SEED=${SEED}):\n${shown}`);
  assert.ok(counts.compared > CASES * 0.95, `only ${counts.compared} of ${CASES} were compared`);
});

/** Whether the kernel refuses one of the flows for what it takes its packets for. */
function isMisjudged(item: PacketCase, { refused }: PacketOutput): boolean {
  const flow = { flow: "", actions: textOf(item), why: "" };
  return refused.endsWith("EINVAL") && isKnown(KERNEL_MISJUDGES, flow, KIND);
}

test("as many packets pass a meter", ({ cases, examples, metered, outputs }) => {
  metered.forEach((item, index) => {
    const output = outputs[cases.length + examples.length + index]!;
    const { faults } = compareCase(item, output);
    assert.deepEqual(faults, [], describe(item));
    const [passed, all] = [item.ours.sent[1]!.length, item.input.frames.length];
    assert.ok(passed > 0 && passed < all, `${passed} of ${all} passed`);
  });
});

Object.entries(PACKET_DIFFERENCES).forEach(([name, { example }], index) => {
  test(`difference: ${name}`, ({ cases, examples, outputs }) => {
    const item = examples[index]!;
    const output = outputs[cases.length + index]!;
    const { sent, upcalls } = item.ours;
    assertSeen("ours", example.ours, { sent, seen: ourUpcalls(upcalls), refused: "" });
    const seen = theirUpcalls(output.upcalls);
    assertSeen("the kernel's", example.theirs, { ...output, seen });
  });
});

function assertSeen(
  whose: string,
  wanted: Seen,
  got: { sent: PacketOutput["sent"]; seen: readonly SeenUpcall[]; refused: string },
): void {
  assert.equal(got.refused, wanted.refused ?? "", `${whose} refusal`);
  PORTS.forEach(({ portNo }, index) => {
    assertFrames(`${whose} port ${portNo}`, wanted.sent?.[portNo] ?? 0, got.sent[index] ?? []);
  });
  const keys = wanted.upcalls ?? [];
  assert.equal(got.seen.length, keys.length, `${whose} upcalls: ${JSON.stringify(got.seen)}`);
  keys.forEach((pattern, at) => assert.match(got.seen[at]!.key, pattern, `${whose} upcall`));
  wanted.packets?.forEach((pattern, at) => {
    assert.match(got.seen[at]!.packet, pattern, `${whose} upcall's packet`);
  });
}

function assertFrames(which: string, wanted: Frames, got: readonly string[]): void {
  if (typeof wanted === "number") {
    assert.equal(got.length, wanted, `${which}: ${got.join("\n")}`);
    return;
  }
  assert.equal(got.length, wanted.length, `${which}: ${got.join("\n")}`);
  wanted.forEach((each, at) => {
    if (typeof each === "string") assert.equal(got[at], each, which);
    else assert.match(got[at]!, each, which);
  });
}
