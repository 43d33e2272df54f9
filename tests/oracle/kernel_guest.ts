/**
 * What runs inside the virtual machine: installs flows in the kernel's openvswitch module by our
 * netlink code and by ovs-dpctl, reads them back with both, and runs command lines. Judges nothing:
 * FOLDER/in.json goes in, FOLDER/out.json comes out, and tests on the host compare.
 */
import { main } from "../../cli/main.ts";
import { TextOutput } from "../../cli/output.ts";
import { Kernel, type KernelDatapath } from "../../daemon/system/kernel.ts";
import { OVS_FLOW_CMD_NEW, OVS_FLOW_FAMILY } from "../../datapath/netlink/flow_message.ts";
import { beginOvsMessage } from "../../datapath/netlink/generic_message.ts";
import { formatActions } from "../../datapath/text/action_text.ts";
import { formatFlow } from "../../datapath/text/flow_text.ts";
import { NLM_F_CREATE, NLM_F_EXCL } from "../../netdev/abi.ts";
import { GenericNetlink } from "../../netdev/generic_netlink.ts";
import { SystemError } from "../../netdev/system_error.ts";

/** A flow as text. */
export interface FlowCase {
  readonly flow: string;
  readonly actions: string;
}

/** Payloads of a flow's attributes, hexadecimal: what text could not say. */
export interface RawCase {
  readonly key: string;
  readonly mask: string;
  readonly actions: string;
  /** Not while ovs-dpctl looks. */
  readonly hidden?: boolean;
}

export interface GuestInput {
  /** Installed by us in one datapath, so each needs an in_port of its own; read by both. */
  readonly ours: readonly RawCase[];
  /** The same, installed by `ovs-dpctl add-flows`. */
  readonly theirs: readonly FlowCase[];
  /** Offered to an empty table each. */
  readonly verdicts: readonly RawCase[];
  /** Command lines: `denovs …` and others, words separated by one blank, quotes as in a shell. */
  readonly script: readonly string[];
}

/** A flow that we have dumped, as text. */
export interface DumpedFlow {
  readonly flow: string;
  /** As dump-flows -m has it. */
  readonly verbose: string;
  readonly actions: string;
}

/** What came of installing some flows. */
export interface Installed {
  /** For each case the errno's name; "": it was taken. */
  readonly verdicts: readonly string[];
  readonly ours: readonly DumpedFlow[];
  /** Output of `ovs-dpctl dump-flows -m --no-names`. */
  readonly theirs: string;
  /** What ovs-dpctl complained about. */
  readonly complaints: string;
}

export interface Spoken {
  readonly status: number;
  readonly printed: string;
  readonly noted: string;
}

export interface GuestOutput {
  /** `uname -r`. */
  readonly kernel: string;
  readonly ours: Installed;
  readonly theirs: Installed;
  readonly verdicts: readonly string[];
  readonly script: readonly Spoken[];
}

const UFID_SIZE = 16;
const OVS_FLOW_ATTR_KEY = 1;
const OVS_FLOW_ATTR_ACTIONS = 2;
const OVS_FLOW_ATTR_MASK = 7;
const OVS_FLOW_ATTR_UFID = 9;

/** Runs a program; its status is −1 when it can't be started. */
function program(words: readonly string[]): Spoken {
  const [name = "", ...args] = words;
  try {
    const { code, stdout, stderr } = new Deno.Command(name, { args }).outputSync();
    const decoder = new TextDecoder();
    return { status: code, printed: decoder.decode(stdout), noted: decoder.decode(stderr) };
  } catch (error) {
    return { status: -1, printed: "", noted: String(error) };
  }
}

/** Offers flows to the kernel as they are, without a check of ours. */
class RawFlows {
  readonly #netlink: GenericNetlink;
  readonly #type: number;

  constructor() {
    this.#netlink = new GenericNetlink();
    const family = this.#netlink.family(OVS_FLOW_FAMILY.name);
    if (family === undefined) throw new Error("no openvswitch module");
    this.#type = family.id;
  }

  /** The errno's name; "": the kernel took it. */
  add({ ifindex }: KernelDatapath, item: RawCase, at: number): string {
    const header = { command: OVS_FLOW_CMD_NEW, dpIfindex: ifindex };
    const ufid = new Uint8Array(UFID_SIZE);
    new DataView(ufid.buffer).setUint32(0, at + 1);
    const payload = beginOvsMessage(header, OVS_FLOW_FAMILY.version)
      .attribute(OVS_FLOW_ATTR_UFID, ufid)
      .attribute(OVS_FLOW_ATTR_KEY, Uint8Array.fromHex(item.key))
      .attribute(OVS_FLOW_ATTR_MASK, Uint8Array.fromHex(item.mask))
      .attribute(OVS_FLOW_ATTR_ACTIONS, Uint8Array.fromHex(item.actions))
      .bytes();
    const request = { type: this.#type, flags: NLM_F_CREATE | NLM_F_EXCL, payload };
    try {
      this.#netlink.request(request, { doing: "add the flow", label: "OVS_FLOW_CMD_NEW" });
      return "";
    } catch (error) {
      if (error instanceof SystemError) return error.code;
      throw error;
    }
  }
}

function dump(kernel: Kernel, datapath: KernelDatapath): DumpedFlow[] {
  return kernel.flows(datapath).map(({ key, mask, actions }) => ({
    flow: formatFlow(key, mask),
    verbose: formatFlow(key, mask, { verbose: true }),
    actions: formatActions(actions),
  }));
}

function withDatapath<T>(kernel: Kernel, name: string, use: (datapath: KernelDatapath) => T): T {
  kernel.addDatapath(name);
  try {
    const datapath = kernel.datapath(name);
    if (datapath === undefined) throw new Error(`datapath ${name} is not there`);
    return use(datapath);
  } finally {
    kernel.deleteDatapath(name);
  }
}

function dumpOf(name: string): { theirs: string; complaints: string } {
  const words = ["ovs-dpctl", "dump-flows", "-m", "--no-names", `system@${name}`];
  const { printed, noted } = program(words);
  return { theirs: printed, complaints: noted };
}

function installOurs(kernel: Kernel, raw: RawFlows, cases: readonly RawCase[]): Installed {
  return withDatapath(kernel, "ours", (datapath) => {
    const verdicts: string[] = [];
    const add = (hidden: boolean): void => {
      for (const [at, item] of cases.entries()) {
        if ((item.hidden ?? false) === hidden) verdicts[at] = raw.add(datapath, item, at);
      }
    };
    add(false);
    const seen = dumpOf("ours");
    add(true);
    return { verdicts, ours: dump(kernel, datapath), ...seen };
  });
}

function installTheirs(kernel: Kernel, cases: readonly FlowCase[]): Installed {
  return withDatapath(kernel, "theirs", (datapath) => {
    const file = Deno.makeTempFileSync();
    const lines = cases.map(({ flow, actions }) => `add ${flow} ${actions}\n`);
    Deno.writeTextFileSync(file, lines.join(""));
    const { noted } = program(["ovs-dpctl", "add-flows", "system@theirs", file]);
    const { theirs } = dumpOf("theirs");
    return { verdicts: [], ours: dump(kernel, datapath), theirs, complaints: noted };
  });
}

function judge(kernel: Kernel, raw: RawFlows, cases: readonly RawCase[]): string[] {
  return withDatapath(kernel, "judge", (datapath) =>
    cases.map((item, at) => {
      const verdict = raw.add(datapath, item, at);
      if (verdict === "") kernel.flushFlows(datapath);
      return verdict;
    }));
}

/** Words of a command line; single quotes hold blanks. */
function words(line: string): string[] {
  return [...line.matchAll(/(?:'[^']*'|[^ '])+/g)].map(([word]) => word.replaceAll("'", ""));
}

async function speak(line: string): Promise<Spoken> {
  const [name, ...args] = words(line);
  if (name !== "denovs") return program([name ?? "", ...args]);
  const output = new TextOutput();
  const status = await main(args, { output });
  return { status, printed: output.printed, noted: output.noted };
}

if (import.meta.main) {
  const folder = Deno.args[0] ?? ".";
  const input = JSON.parse(Deno.readTextFileSync(`${folder}/in.json`)) as GuestInput;
  Deno.env.set("DENOVS_STATE", `${Deno.makeTempDirSync()}/state.db`);
  using kernel = Kernel.open();
  const raw = new RawFlows();
  const script: Spoken[] = [];
  for (const line of input.script) script.push(await speak(line));
  const result: GuestOutput = {
    kernel: program(["uname", "-r"]).printed.trim(),
    ours: installOurs(kernel, raw, input.ours),
    theirs: installTheirs(kernel, input.theirs),
    verdicts: judge(kernel, raw, input.verdicts),
    script,
  };
  Deno.writeTextFileSync(`${folder}/out.json`, JSON.stringify(result));
}
