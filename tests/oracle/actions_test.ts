/**
 * Actions against Debian's ovs-vswitchd: its own datapath with dummy ports runs the same actions on
 * the same frames, and every port must be sent the same bytes in the same order.
 */
import assert from "node:assert/strict";
import type { Action } from "../../datapath/actions/actions.ts";
import { extractKey } from "../../datapath/extract/extract.ts";
import { KEY_WORDS } from "../../datapath/key.ts";
import { parseFlow } from "../../datapath/text/flow_text.ts";
import { seededRandom } from "../../datapath/testing/flows.ts";
import { packetOf } from "../../datapath/testing/frames.ts";
import { RecordingPort } from "../../datapath/testing/ports.ts";
import { runActions } from "../../datapath/testing/run_actions.ts";
import { parseActions } from "../../datapath/text/action_text.ts";
import { say } from "../output.ts";
import { actionsOf, randomSteps, specimens, textOf } from "./action_cases.ts";
import { DIFFERENCES, SAME } from "./action_differences.ts";
import { randomCase } from "./openflow_cases.ts";
import { GrowingCapture, OvsControl } from "./ovs_control.ts";
import { hasOvs, OVS_DATAPATH, OvsDummy } from "./ovs_dummy.ts";

const PORTS = [2, 3, 4];
const TIME_MS = 10_000;
/** A frame of a local experiment's type. */
const SENTINEL = "ffffffffffff020000000001" + "88b5" + "5e".repeat(50);

/** The switch, with what its ports are sent. */
class Oracle {
  readonly ovs: OvsDummy;
  readonly control: OvsControl;
  readonly #captures: GrowingCapture[];

  private constructor(ovs: OvsDummy, control: OvsControl) {
    this.ovs = ovs;
    this.control = control;
    this.#captures = PORTS.map((port) => new GrowingCapture(ovs.txPcap(port)));
  }

  static async start(): Promise<Oracle> {
    const ovs = await OvsDummy.start(4);
    await ovs.vsctl("set", "Open_vSwitch", ".", "other_config:vlan-limit=2");
    const oracle = new Oracle(ovs, await OvsControl.open(ovs.socket));
    await oracle.control.command("revalidator/pause");
    const flow = "in_port(1),eth(),eth_type(0x88b5)";
    await oracle.control.command("dpctl/add-flow", OVS_DATAPATH, flow, `${PORTS[0]}`);
    return oracle;
  }

  /** What each port is sent of a frame that port 1 receives: all that is sent before the sentinel behind it. */
  async frames(frame: string): Promise<string[][]> {
    await this.control.command("netdev-dummy/receive", "p1", frame, SENTINEL);
    const first: string[] = [];
    while (first.at(-1) !== SENTINEL) {
      first.push(...this.#captures[0]!.next());
      if (first.at(-1) !== SENTINEL) await this.control.command("version");
    }
    return [first.slice(0, -1), ...this.#captures.slice(1).map((capture) => capture.next())];
  }

  /** Installs a flow, has port 1 receive a frame, and removes the flow. */
  async run(match: string, actions: string, frame: string): Promise<string[][]> {
    const flow = `in_port(1),eth(),${match}`;
    await this.control.command("dpctl/add-flow", OVS_DATAPATH, flow, actions);
    const frames = await this.frames(frame);
    await this.control.command("dpctl/del-flow", OVS_DATAPATH, flow);
    return frames;
  }

  async stop(): Promise<void> {
    this.control.close();
    await this.ovs.stop();
  }
}

Deno.test({
  name: "actions that dpctl can install: every port is sent what Open vSwitch sends",
  ignore: !hasOvs(),
  fn: async () => {
    const oracle = await Oracle.start();
    let cases = 0;
    try {
      const random = seededRandom(5);
      const all = specimens();
      const until = performance.now() + TIME_MS;
      while (performance.now() < until) {
        const specimen = all[random(all.length)]!;
        const steps = randomSteps(random, specimen);
        const text = textOf(steps);
        const theirs = await oracle.run(specimen.flow, text, specimen.frame.toHex());
        const ports = PORTS.map((port) => new RecordingPort(port));
        runActions(packetOf(specimen.frame), actionsOf(steps), { ports });
        const ours = ports.map(({ sent }) => sent.map(({ frame }) => frame.toHex()));
        assert.deepEqual(ours, theirs, `${specimen.name}: ${specimen.frame.toHex()}\n${text}`);
        cases++;
      }
    } finally {
      await oracle.stop();
    }
    say(`${cases} cases`);
  },
});

/** Word of the key. */
const RECIRC_WORD = 3;
/** Cases whose flows are installed together. */
const BATCH = 400;
const OPENFLOW_TIME_MS = 4000;

interface DumpedFlow {
  readonly text: string;
  readonly key: Int32Array;
  readonly mask: Int32Array;
  readonly actions: readonly Action[];
}

/** The flows of Open vSwitch's datapath. */
function readDump(dump: string): DumpedFlow[] {
  const lines = dump.split("\n").filter((line) => line.includes("actions:"));
  return lines.map((text) => {
    // A tag of which nothing is matched is not printed.
    const match = text.replace(/, packets:.*/, "").replaceAll(
      /(\(0x8100\)|\(0x88a8\)),(?!vlan)/g,
      "$1,vlan(),",
    );
    const { key, mask } = parseFlow(match.trim());
    return { text, key, mask, actions: parseActions(text.replace(/.*actions:/, "").trim()) };
  });
}

function findFlow(flows: readonly DumpedFlow[], packetKey: Int32Array): number {
  return flows.findIndex(({ key, mask }) =>
    mask.every((bits, word) => ((key[word]! ^ packetKey[word]!) & bits) === 0)
  );
}

/** What our ports are sent when the actions that Open vSwitch has built run, and the flow that was found first. */
function oursOf(
  frame: Uint8Array,
  flows: readonly DumpedFlow[],
): { frames: string[][]; flow: string } {
  const packet = packetOf(frame, { inPort: 1 });
  const key = new Int32Array(KEY_WORDS);
  extractKey(packet, key, 0);
  const first = flows[findFlow(flows, key)];
  assert(first !== undefined, `no flow for ${frame.toHex()}`);
  const later = flows.filter(({ key }) => key[RECIRC_WORD] !== 0);
  const ports = PORTS.map((port) => new RecordingPort(port));
  runActions(packet, first.actions, {
    ports,
    inPort: 1,
    flows: later.map(({ actions }) => actions),
    find: (words) => findFlow(later, words),
  });
  const frames = ports.map(({ sent }) => sent.map((each) => each.frame.toHex()));
  return { frames, flow: first.text };
}

Deno.test({
  name: "actions that Open vSwitch builds from OpenFlow: every port is sent what it sends",
  ignore: !hasOvs(),
  fn: async () => {
    const oracle = await Oracle.start();
    const random = seededRandom(6);
    let count = 0;
    try {
      const { control, ovs } = oracle;
      const until = performance.now() + OPENFLOW_TIME_MS;
      for (; performance.now() < until; count += BATCH) {
        const cases = Array.from({ length: BATCH }, (_, index) => randomCase(random, index));
        const file = `${ovs.folder}/flows`;
        const lines = cases.map(({ match, actions }) => `in_port=1,${match},actions=${actions}`);
        lines.push(`in_port=1,dl_type=0x88b5,actions=output:${PORTS[0]}`);
        Deno.writeTextFileSync(file, lines.join("\n"));
        await control.command("revalidator/resume");
        await ovs.ofctl("OpenFlow15", "del-flows");
        await control.command("revalidator/purge");
        await ovs.ofctl("OpenFlow15", "add-flows", file);
        // Else they may still be at the tables' change, and take flows away that come meanwhile.
        await control.command("revalidator/wait");
        await control.command("revalidator/pause");
        const theirs: string[][][] = [];
        for (const { frame } of cases) theirs.push(await oracle.frames(frame.toHex()));
        const flows = readDump(await control.command("dpctl/dump-flows", OVS_DATAPATH));
        cases.forEach(({ frame, actions }, index) => {
          const { frames, flow } = oursOf(frame, flows);
          assert.deepEqual(frames, theirs[index], `${frame.toHex()}\n${actions}\n${flow}`);
        });
      }
    } finally {
      await oracle.stop();
    }
    say(`${count} cases`);
  },
});

Deno.test({
  name: "actions: the differences between the kernel and Open vSwitch are those of the table",
  ignore: !hasOvs(),
  fn: async () => {
    const oracle = await Oracle.start();
    try {
      const run = async (
        each: (typeof SAME)[number],
      ): Promise<{ ours: string[]; theirs: string[] }> => {
        const frame = each.frame.toHex();
        if (each.isOpenFlow !== true) {
          const theirs = await oracle.run(each.match, each.actions, frame);
          const ports = PORTS.map((port) => new RecordingPort(port));
          runActions(packetOf(each.frame), parseActions(each.actions), { ports });
          return { ours: ports[0]!.sent.map((sent) => sent.frame.toHex()), theirs: theirs[0]! };
        }
        const flow = `in_port=1,${each.match},actions=${each.actions}`;
        await oracle.ovs.ofctl("OpenFlow15", "add-flow", flow);
        const theirs = await oracle.frames(frame);
        const dump = await oracle.control.command("dpctl/dump-flows", OVS_DATAPATH);
        const { frames } = oursOf(each.frame, readDump(dump));
        return { ours: frames[0]!, theirs: theirs[0]! };
      };
      for (const each of DIFFERENCES) {
        const { ours, theirs } = await run(each);
        assert.deepEqual(theirs, [each.theirs], `theirs: ${each.what}`);
        assert.deepEqual(ours, [each.ours], `ours: ${each.what}`);
      }
      for (const each of SAME) {
        const { ours, theirs } = await run(each);
        assert.deepEqual(ours, theirs, each.what);
      }
    } finally {
      await oracle.stop();
    }
  },
});
