/**
 * Meters against Debian's ovs-vswitchd: both switches are given the same meters, and the same bursts
 * of frames at the same times of a virtual clock. The same frames must come out, and both must have
 * counted the same.
 */
import assert from "node:assert/strict";
import { seededRandom } from "../../datapath/testing/flows.ts";
import { Denovs } from "../e2e/denovs.ts";
import { run } from "../e2e/process.ts";
import { say } from "../output.ts";
import { GrowingCapture, OvsControl } from "./ovs_control.ts";
import { hasOvs, OVS_DATAPATH, OvsDummy } from "./ovs_dummy.ts";

const SEED = 11;
const METERS = 12;
const STEPS = 12;
const MATCH = "in_port(1),eth(),eth_type(0x88b5)";
/** Goes another way: what came before it is done. */
const SENTINEL = "ffffffffffff020000000001" + "88b6" + "5e".repeat(50);
const SENTINEL_MATCH = "in_port(1),eth(),eth_type(0x88b6)";

type Random = (below: number) => number;

interface Burst {
  /** Milliseconds since the burst before. */
  readonly afterMs: number;
  readonly frames: readonly string[];
}

/** A meter whose buckets fill in more than a millisecond (where the kernel and Open vSwitch round down). */
function randomMeter(random: Random): string {
  const unit = random(2) === 0 ? "kbps" : "pktps";
  const burst = random(2) === 0;
  const bands = Array.from({ length: 1 + random(3) }, () => {
    const rate = 1 + random(unit === "kbps" ? 200 : 50);
    return `type=drop rate=${rate}${burst ? ` burst_size=${1 + random(20)}` : ""}`;
  });
  return `${unit}${burst ? " burst" : ""} stats bands=${bands.join(" ")}`;
}

function randomBursts(random: Random): Burst[] {
  let number = 0;
  return Array.from({ length: STEPS }, () => ({
    afterMs: random(4) === 0 ? random(3000) : random(60),
    frames: Array.from({ length: 1 + random(40) }, () => {
      const head = `020000000002020000000001${"88b5"}`;
      return head + (number++).toString(16).padStart(8, "0") + "00".repeat(46 + random(1300));
    }),
  }));
}

/** A switch with a meter whose flow leads from port 1 to port 2, by its control socket. */
interface Metered {
  readonly control: OvsControl;
  readonly capture: GrowingCapture;
}

/** Frames that come out of port 2, by their numbers. */
async function passing({ control, capture }: Metered, burst: Burst): Promise<string[]> {
  if (burst.afterMs > 0) await control.command("time/warp", `${burst.afterMs}`, `${burst.afterMs}`);
  await control.command("netdev-dummy/receive", "p1", ...burst.frames, SENTINEL);
  const out: string[] = [];
  while (out.at(-1) !== SENTINEL) {
    out.push(...capture.next());
    if (out.at(-1) !== SENTINEL) await control.command("version");
  }
  return out.slice(0, -1).map((frame) => frame.slice(28, 36));
}

/** `packet_in_count:…` of the meter, and each band's line. */
function counts(text: string): string[] {
  return text.match(/packet_in_count:\d+ byte_in_count:\d+|packet_count:\d+ byte_count:\d+/g) ?? [];
}

async function ofctl(ovs: OvsDummy, command: string, ...words: string[]): Promise<string> {
  const bridge = `unix:${ovs.folder}/br0.mgmt`;
  const done = await run(["ovs-ofctl", "-O", "OpenFlow13", command, bridge, ...words]);
  if (done.code !== 0) throw new Error(`ovs-ofctl ${command} ${words.join(" ")}: ${done.stderr}`);
  return done.stdout;
}

/** Starts both; gives them back to `work`. */
async function withBoth(
  work: (ovs: OvsDummy, theirs: Metered, denovs: Denovs, ours: Metered) => Promise<void>,
): Promise<void> {
  const folder = Deno.makeTempDirSync({ prefix: "dnv-meters-" });
  const ovs = await OvsDummy.start(2);
  const denovs = new Denovs(folder);
  const controls: OvsControl[] = [];
  try {
    await denovs.start();
    await denovs.cli("dp-add", "dummy@dp0");
    await denovs.cli("port-add", "dp0", "p1", "--type", "dummy");
    await denovs.cli("port-add", "dp0", "p2", "--type", "dummy", `tx_pcap=${folder}/p2.pcap`);
    const theirs = await open(ovs.socket, ovs.txPcap(2), controls);
    const ours = await open(denovs.socket, `${folder}/p2.pcap`, controls);
    await theirs.control.command("revalidator/pause");
    await work(ovs, theirs, denovs, ours);
  } finally {
    for (const control of controls) control.close();
    await denovs.end();
    await ovs.stop();
    Deno.removeSync(folder, { recursive: true });
  }
}

async function open(socket: string, path: string, all: OvsControl[]): Promise<Metered> {
  const control = await OvsControl.open(socket);
  all.push(control);
  await control.command("time/stop");
  return { control, capture: new GrowingCapture(path) };
}

Deno.test({
  name: "meters: of bursts at the same times the same frames pass as in Open vSwitch",
  ignore: !hasOvs(),
  sanitizeOps: false,
  sanitizeResources: false,
  fn: () =>
    withBoth(async (ovs, theirs, denovs, ours) => {
      // Meters have numbers of their own in the datapath: the first is 0.
      for (const [match, actions] of [[MATCH, "meter(0),2"], [SENTINEL_MATCH, "2"]] as const) {
        await theirs.control.command("dpctl/add-flow", OVS_DATAPATH, match, actions);
        await ours.control.command("dpctl/add-flow", "dummy@dp0", match, actions);
      }
      const random = seededRandom(SEED);
      let frames = 0;
      let passed = 0;
      for (let round = 0; round < METERS; round++) {
        const meter = randomMeter(random);
        await ofctl(ovs, "add-meter", `meter=1 ${meter}`);
        await denovs.cli("meter-add", "dp0", `meter=0 ${meter}`);
        for (const burst of randomBursts(random)) {
          const wanted = await passing(theirs, burst);
          assert.deepEqual(await passing(ours, burst), wanted, meter);
          frames += burst.frames.length;
          passed += wanted.length;
        }
        const shown = await denovs.cli("meter-show", "dp0", "0");
        assert.deepEqual(counts(shown), counts(await ofctl(ovs, "meter-stats", "meter=1")), meter);
        await ofctl(ovs, "del-meter", "meter=1");
        await denovs.cli("meter-del", "dp0", "0");
      }
      assert.ok(passed > 0 && passed < frames);
      say(`${METERS} meters, ${frames} frames, of which ${passed} pass`);
    }),
});
