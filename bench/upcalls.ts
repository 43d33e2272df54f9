/**
 * Upcalls: flows that a handler sets up in a second, and what a flood of new flows does to packets
 * that have theirs.
 *
 *   deno run -A bench/upcalls.ts [--rounds N]
 *
 * One packet thread over dummy ports. The handler installs a flow for each packet's addresses and
 * ports and sends the packet on. Setups: 1,000 packets with random addresses at a time, the next when
 * all are done. Flood: 1,000 such packets after every 4,000 that have a flow, without a pause; alone:
 * the same, but the 1,000 have a flow, too. Both rows count the 4,000. Of the flood the handler takes
 * what it can, and the queue loses the rest, counted.
 */
import { parseArgs } from "node:util";
import { Datapath, fromSavedDatapath } from "../daemon/model.ts";
import { Log } from "../daemon/log.ts";
import { addDatapath, addPort, outputs, startSwitch } from "../daemon/switch/testing.ts";
import { DatapathUpcalls } from "../daemon/upcalls/datapath_upcalls.ts";
import { OfflineDatapath } from "../daemon/offline_backend.ts";
import { IN_PORT_AT, KEY_WORDS } from "../datapath/key.ts";
import { median, say } from "../tests/output.ts";

const HANDLER = `export default { apiVersion: 1, name: "eager", upcall(packet, key, host) {
  host.addFlow({ flow: key.text, actions: "2", idleTimeout: 60 });
  host.execute(packet, "2");
} };
`;
const BATCH = 1000;
const KNOWN = 4000;

/** A UDP frame; its addresses and ports are random. */
function randomFrame(): Uint8Array {
  const frame = new Uint8Array(60);
  frame.set([2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, 1, 8, 0, 0x45, 0, 0, 46]);
  frame[22] = 64;
  frame[23] = 17;
  crypto.getRandomValues(frame.subarray(26, 38));
  return frame;
}

const { rounds } = parseArgs({ options: { rounds: { type: "string", default: "5" } } }).values;
const folder = Deno.makeTempDirSync({ prefix: "denovs-bench-" });
const path = `${folder}/eager.ts`;
Deno.writeTextFileSync(path, HANDLER, { mode: 0o600 });
const { live } = await startSwitch();
const running = await addDatapath(live, { flowsMax: 1 << 18 });
for (const port of [1, 2, 3]) await addPort(running, port);
const { spec } = running;
const saved = { ...spec, ufidSeed: spec.ufidSeed.toHex(), settings: {} };
const record = fromSavedDatapath(saved);
const backend = Object.assign(Object.create(OfflineDatapath.prototype), {
  table: () => running.table,
});
const model = new Map([[spec.name, new Datapath(record, backend)]]);
let last: Promise<unknown> = Promise.resolve();
const upcalls = new DatapathUpcalls({
  live: running,
  turns: {
    model,
    exclusive: (work) => {
      const done = last.then(() => work(model));
      last = done.catch(() => {});
      return done;
    },
  },
  clock: live.clock,
  log: new Log(undefined, () => {}).module("upcalls"),
});

/** A flow for all of port 3, which the flood does not use. */
function addKnownFlow(): void {
  const key = new Int32Array(KEY_WORDS);
  const mask = new Int32Array(KEY_WORDS);
  new DataView(key.buffer).setUint16(IN_PORT_AT, 3);
  new DataView(mask.buffer).setUint16(IN_PORT_AT, 0xffff);
  running.table.insert({ ufid: "3".padStart(32, "0"), key, mask, actions: outputs(2) });
  running.table.commit();
}

async function settle(): Promise<void> {
  while (!upcalls.isIdle) await new Promise((done) => setTimeout(done, 1));
}

/** Packets with a flow a second; between them other packets come into a port. */
async function knownRate(otherPort: number): Promise<number> {
  const frames = [randomFrame()];
  const others = Array.from({ length: 20 }, batch);
  const since = performance.now();
  for (const each of others) {
    await running.command(3, "inject", { frames, repeat: KNOWN });
    await running.command(otherPort, "inject", { frames: each });
  }
  return others.length * KNOWN / (performance.now() - since) * 1000;
}

function batch(): Uint8Array[] {
  return Array.from({ length: BATCH }, randomFrame);
}

try {
  addKnownFlow();
  await upcalls.setHandler(path);
  const setups: number[] = [];
  const alone: number[] = [];
  const flooded: number[] = [];
  for (let round = 0; round < Number(rounds); round++) {
    const frames = Array.from({ length: 5 }, batch);
    const since = performance.now();
    for (const each of frames) {
      await running.command(1, "inject", { frames: each });
      await settle();
    }
    setups.push(5 * BATCH / (performance.now() - since) * 1000);
    alone.push(await knownRate(3));
    flooded.push(await knownRate(1));
    await settle();
  }
  const { missed, lost } = running.counters();
  const row = (name: string, value: number): void =>
    say(`${name.padEnd(44)} ${Math.round(value).toLocaleString("en").padStart(12)}`);
  row("flow setups a second", median(setups));
  row("packets with a flow a second, alone", median(alone));
  row("packets with a flow a second, in the flood", median(flooded));
  row("upcalls taken", missed - lost);
  row("upcalls lost and counted", lost);
  row("flows now", running.table.count);
} finally {
  await upcalls.close();
  await live.stop();
  Deno.removeSync(folder, { recursive: true });
}
