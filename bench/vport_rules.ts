/**
 * `deno task bench:vports`: what the performance rules of docs/plugin-authoring.md are worth. Sends
 * the same frames to ports whose `send` does one thing more than the null type's, and prints
 * nanoseconds per packet and the difference.
 */
import { addDatapath, addFlow, addPort, startSwitch, udpFrame } from "../daemon/switch/testing.ts";
import { say } from "../tests/output.ts";

const PACKETS = 100_000;
const RUNS = 9;
const FRAME_SIZES = [64, 1500];

/** What `send` does with a packet, by name. */
const SENDS: Readonly<Record<string, string>> = {
  "nothing (null)": "return 0;",
  "reads two fields by packet.view":
    "sum += view(p).getUint16(p.start + 12); sum += view(p).getUint8(p.start + 23); return 0;",
  "makes a DataView of the packet":
    "const v = new DataView(p.bytes.buffer, p.start, p.end - p.start); sum += v.getUint16(12); return 0;",
  "makes a subarray of the packet": "sum += p.bytes.subarray(p.start, p.end).length; return 0;",
  "copies the packet (slice)": "kept = p.bytes.slice(p.start, p.end); return 0;",
  "copies into memory of its own":
    "for (let i = p.start, o = 0; i < p.end; i += 4, o += 4) copy.setInt32(o, p.view.getInt32(i)); return 0;",
  "makes an object per packet": "kept = { at: p.start, end: p.end, next: kept?.at }; return 0;",
  "throws and catches": "try { throw new Error('x'); } catch { return 0; }",
  "reads the clock (host.nowMs)": "sum += host.nowMs(); return 0;",
  "reads the clock (performance.now)": "sum += performance.now(); return 0;",
};

function plugin(type: string, body: string): string {
  return `const view = (p) => p.view;
let sum = 0, kept; const copy = new DataView(new ArrayBuffer(70000));
  export default {
  apiVersion: 1, type: ${JSON.stringify(type)}, summary: "for a benchmark", headroom: 0,
  parseOptions: () => ({}), formatOptions: () => new Map(),
  create: ({ host }) => ({
    takesPartialChecksums: true, takesSegmentTrains: true, close() {},
    send(p) { ${body} },
  }),
};`;
}

const ASYNC = `export default {
  apiVersion: 1, kind: "async", type: "asynchronous", summary: "for a benchmark",
  parseOptions: () => ({}), formatOptions: () => new Map(),
  open: () => ({ send() {}, close() {} }),
};`;

/** Nanoseconds per packet, the best of some runs. */
async function measure(name: string, text: string, size: number): Promise<number> {
  const path = await Deno.makeTempFile({ suffix: ".js" });
  await Deno.writeTextFile(path, text);
  const { live } = await startSwitch({ plugins: [path] });
  try {
    const type = live.types.names().at(-1)!;
    const datapath = await addDatapath(live);
    await addPort(datapath, 1);
    await datapath.addPort({ portNo: 2, name: "p2", type, options: new Map() });
    addFlow(datapath, 1, [2]);
    const frames = [udpFrame(1, 1, size)];
    const times: number[] = [];
    for (let run = 0; run <= RUNS; run++) {
      const begin = performance.now();
      await datapath.command(1, "inject", { frames, repeat: PACKETS });
      if (run > 0) times.push((performance.now() - begin) * 1e6 / PACKETS); // the first compiles
    }
    const dropped = datapath.portCounters(2).txDropped;
    if (dropped > 0 && name !== "asynchronous") throw new Error(`${name}: ${dropped} dropped`);
    return Math.min(...times);
  } finally {
    await live.stop();
    await Deno.remove(path);
  }
}

for (const size of FRAME_SIZES) {
  say(`${size}-byte frames, ns per packet through the switch`);
  let base = 0;
  for (const [name, body] of Object.entries(SENDS)) {
    const ns = await measure(name, plugin("bench", body), size);
    base ||= ns;
    say(`  ${name.padEnd(36)} ${ns.toFixed(0).padStart(6)}  +${(ns - base).toFixed(0)}`);
  }
  const ns = await measure("asynchronous", ASYNC, size);
  say(
    `  ${"asynchronous, dropping when full".padEnd(36)} ${ns.toFixed(0).padStart(6)}  +${
      (ns - base).toFixed(0)
    }`,
  );
}
Deno.exit(0);
