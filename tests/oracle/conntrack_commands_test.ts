/**
 * ovs-appctl dpctl/… on connections, to Debian's ovs-vswitchd and to denovs: both track the same
 * packets, and what the commands print must be the same, but for the values of fields that say what a
 * tracker is and not what the packets were.
 */
import assert from "node:assert/strict";
import { ACK, makePacket, type PacketSpec, SYN } from "../../datapath/conntrack/testing/packets.ts";
import { frameOf } from "../../datapath/testing/frames.ts";
import { Denovs } from "../e2e/denovs.ts";
import { eventually, run } from "../e2e/process.ts";
import { say } from "../output.ts";
import { OvsControl } from "./ovs_control.ts";
import { hasOvs, OVS_DATAPATH, OvsDummy } from "./ovs_dummy.ts";

const OUR_DATAPATH = "dummy@dp0";
const COMMIT = "ct(commit,zone=5,mark=0x7/0xff,label=0x1/0xf)";
const FLOWS: readonly (readonly [string, string])[] = [
  ["in_port(1),recirc_id(0),eth(),eth_type(0x0800),ipv4(frag=no)", `${COMMIT},2`],
  ["in_port(2),recirc_id(0),eth(),eth_type(0x0800),ipv4(frag=no)", "ct(zone=5),1"],
  ["in_port(1),recirc_id(0),eth(),eth_type(0x86dd),ipv6(frag=no)", "ct(commit,zone=6),2"],
];

const A = { src: "10.0.0.1", dst: "10.0.0.2", sport: 5, dport: 80 };
const B = { src: "10.0.0.2", dst: "10.0.0.1", sport: 80, dport: 5 };
/** No ICMPv6: ct-stats-show of Open vSwitch has it in the total and in no line. */
const PACKETS: readonly (readonly [port: 1 | 2, spec: PacketSpec])[] = [
  [1, { ...A, flags: SYN, seq: 1 }],
  [2, { ...B, flags: SYN | ACK, seq: 1, ack: 2 }],
  [1, { ...A, flags: ACK, seq: 2, ack: 2 }],
  [1, { ...A, sport: 6, flags: SYN, seq: 1 }],
  [1, { ...A, protocol: 1, type: 8, id: 7 }],
  [1, { ...A, protocol: 47 }],
  ...[11, 12, 13, 14].map((sport) => [1, { ...A, protocol: 17, sport, payload: "x" }] as const),
  [1, { src: "fd00::1", dst: "fd00::2", protocol: 17, sport: 9, dport: 10, payload: "x" }],
];
const CONNECTIONS = 9;

/** A switch by its control socket, and the name of its datapath. */
class Asked {
  readonly #control: OvsControl;
  readonly #datapath: string;

  constructor(control: OvsControl, datapath: string) {
    this.#control = control;
    this.#datapath = datapath;
  }

  static async open(socket: string, datapath: string): Promise<Asked> {
    return new Asked(await OvsControl.open(socket), datapath);
  }

  /** What `dpctl/COMMAND [OPTIONS] DATAPATH WORDS…` prints, or refuses with. */
  async dpctl(command: string, ...words: string[]): Promise<string> {
    const options = words.filter((word) => /^-[ms]$/.test(word));
    const rest = words.filter((word) => !options.includes(word));
    // With the name of a datapath Open vSwitch 3.1 takes no tuple.
    const name = command === "flush-conntrack" ? [] : [this.#datapath];
    return await this.#control.command(`dpctl/${command}`, ...options, ...name, ...rest);
  }

  async prepare(): Promise<void> {
    for (const [flow, actions] of FLOWS) await this.dpctl("add-flow", flow, actions);
    for (const [port, spec] of PACKETS) {
      const bytes = frameOf(makePacket(spec));
      bytes.set([2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2]);
      await this.#control.command("netdev-dummy/receive", `p${port}`, bytes.toHex());
    }
    await eventually(
      "all connections are there",
      async () => (await this.dpctl("ct-get-nconns")).trim() === `${CONNECTIONS}`,
    );
  }

  close(): void {
    this.#control.close();
  }
}

/** Lines in order of their text: neither switch promises another. */
function lines(text: string): string[] {
  return text.split("\n").filter((line) => line !== "").toSorted();
}

/** What only we count: Open vSwitch's own datapath tells neither packets nor when a connection began. */
function withoutCounters(line: string): string {
  return line.replaceAll(/,packets=\d+,bytes=\d+/g, "").replace(/,start=[^,]*/, "");
}

/** Fields that say what a tracker is: their names alone. */
function withoutValues(line: string): string {
  return withoutCounters(line).replace(/,id=\d+(?=,zone)/, ",id").replace(
    /,status=[^,]*/,
    ",status",
  )
    .replace(/,timeout=\d+/, ",timeout").replaceAll(/flags_(orig|reply)=[A-Z_|0]+/g, "flags_$1")
    // The kernel has one state for both sides, by its own names.
    .replaceAll(/state_(orig|reply)=\w+/g, "state_$1");
}

async function withBoth(work: (theirs: Asked, ours: Asked) => Promise<void>): Promise<void> {
  const folder = Deno.makeTempDirSync({ prefix: "dnv-ct-" });
  const ovs = await OvsDummy.start(2);
  const denovs = new Denovs(folder);
  const opened: Asked[] = [];
  try {
    await denovs.start();
    await denovs.cli("dp-add", OUR_DATAPATH);
    for (const port of ["p1", "p2"]) await denovs.cli("port-add", "dp0", port, "--type", "dummy");
    await ovs.appctl("revalidator/pause");
    for (const [socket, name] of [[ovs.socket, OVS_DATAPATH], [denovs.socket, OUR_DATAPATH]]) {
      opened.push(await Asked.open(socket!, name!));
    }
    await work(opened[0]!, opened[1]!);
    await listsTheSame(ovs, denovs);
  } finally {
    for (const each of opened) each.close();
    await denovs.end();
    await ovs.stop();
    Deno.removeSync(folder, { recursive: true });
  }
}

/** Every command on connections that Open vSwitch has, we have by that name. */
async function listsTheSame(ovs: OvsDummy, denovs: Denovs): Promise<void> {
  const names = (text: string): string[] =>
    [...text.matchAll(/dpctl\/(\S+)/g)].map(([, name]) => name!)
      .filter((name) => /^(ct|ipf)-|conntrack/.test(name));
  const theirs = names(await ovs.appctl("dpctl/list-commands"));
  const { stdout } = await run(["ovs-appctl", "-t", denovs.socket, "dpctl/list-commands"]);
  const ours = new Set(names(stdout));
  assert.ok(theirs.length > 15, `${theirs}`);
  assert.deepEqual(theirs.filter((name) => !ours.has(name)), []);
}

Deno.test({
  name: "dpctl commands on connections print what Open vSwitch's do",
  ignore: !hasOvs(),
  sanitizeOps: false,
  sanitizeResources: false,
  fn: () =>
    withBoth(async (theirs, ours) => {
      let compared = 0;
      const same = async (
        words: readonly [string, ...string[]],
        normal: (text: string) => unknown = (text) => text,
      ): Promise<void> => {
        const wanted = normal(await theirs.dpctl(...words));
        assert.deepEqual(normal(await ours.dpctl(...words)), wanted, words.join(" "));
        compared++;
      };
      // A limit counts from when it is set in Open vSwitch.
      await same(["ct-set-limits", "default=100", "zone=5,limit=50"]);
      await theirs.prepare();
      await ours.prepare();

      const dumped = (text: string): string[] => lines(text).map(withoutCounters);
      const shaped = (text: string): string[] => lines(text).map(withoutValues);
      const stateless = (text: string): string[] =>
        dumped(text).map((line) => line.replace(/,protoinfo=\(state=\w+\)/, ",protoinfo"));
      await same(["dump-conntrack"], stateless);
      await same(["dump-conntrack", "zone=6"], dumped);
      await same(["dump-conntrack", "zone=7"]);
      await same(["dump-conntrack", "-m"], shaped);
      await same(["dump-conntrack", "-s"], (text) => shaped(stateless(text).join("\n")));
      await same(["dump-conntrack", "-m", "-s"], shaped);
      await same(["ct-stats-show"]);
      await same(["ct-stats-show", "-m"]);
      await same(["ct-stats-show", "zone=6"]);
      await same(["ct-stats-show", "-m", "zone=9"]);
      // The header, and a row; buckets themselves are each switch's own.
      await same(["ct-bkts"], (text) =>
        text.replace(/Total Buckets: \d+/, "").replace(
          /\n +\d+\.\. *\d+ {3}\| [ .\d]+\n[^]*\n$/,
          "ROWS",
        ));
      await same(["ct-get-nconns"]);
      await same(["ct-get-limits"], (text) => text.replace(/count=\d+/, ""));
      await same(["ct-get-limits", "zone=5,6"], (text) => text.replace(/count=\d+/g, ""));
      await same(["ct-del-limits", "zone=5"]);
      await same(["ct-get-limits"]);
      await same(["ct-set-maxconns", "5000"]);
      await same(["ct-get-maxconns"]);

      await same(["ct-get-tcp-seq-chk"]);
      await same(["ct-disable-tcp-seq-chk"]);
      await same(["ct-get-tcp-seq-chk"]);
      await same(["ct-enable-tcp-seq-chk"]);
      await same(["ipf-set-disabled", "v6"]);
      await same(["ipf-set-min-frag", "v4", "1000"]);
      await same(["ipf-set-min-frag", "v6", "1300"]);
      await same(["ipf-set-max-nfrags", "700"]);
      await same(["ipf-get-status"]);
      await same(["ipf-set-enabled", "v6"]);
      await same(["ipf-get-status"]);

      for (
        const words of [
          [
            "zone=5",
            "ct_nw_src=10.0.0.1,ct_nw_dst=10.0.0.2,ct_nw_proto=17,ct_tp_src=11,ct_tp_dst=80",
          ],
          ["zone=5", "", "ct_nw_src=10.0.0.2,ct_nw_proto=6,ct_tp_dst=6"],
          [
            "zone=5",
            "ct_nw_src=10.0.0.1,ct_nw_dst=10.0.0.2,ct_nw_proto=1,icmp_type=8,icmp_code=0,icmp_id=7",
          ],
          [
            "zone=6",
            "ct_ipv6_src=fd00::1,ct_ipv6_dst=fd00::2,ct_nw_proto=17,ct_tp_src=9,ct_tp_dst=10",
          ],
          ["zone=6"],
          [],
        ]
      ) {
        await same(["flush-conntrack", ...words]);
        await same(["ct-stats-show", "-m"]);
      }
      await same(["ct-bkts"], (text) => text.replace(/Total Buckets: \d+/, ""));
      say(`${compared} answers compared`);
    }),
});
