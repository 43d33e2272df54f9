/**
 * How long a lookup takes: flows × masks, uniform traffic over all flows, bursts of 32.
 *
 *   deno run -A bench/lookup.ts [--seconds S] [--flows 1000,100000,1000000] [--masks 1,8,64]
 *   deno run -A bench/lookup.ts --insert      what an insertion costs while the table grows
 *
 * Nanoseconds per lookup, `median (best)` of many short rounds; making the keys is measured apart
 * and subtracted. `cache`: as packet threads look up; `+ count`: with the packet counted and the
 * first action word read; `masks`: without the signature cache; `interpreted`: without generated code
 * either. Each row begins and ends with a check of all answers.
 */
import process from "node:process";
import { parseArgs } from "node:util";
import { KEY_WORDS } from "../datapath/key.ts";
import { type FlowTableBuffers, makeFlowTableBuffers } from "../datapath/flow_table/layout.ts";
import { FlowTableReader } from "../datapath/flow_table/reader.ts";
import { FlowTableWriter } from "../datapath/flow_table/writer.ts";
import { median, say, table as lines } from "../tests/output.ts";

const BURST = 32;
const SEED = new Uint8Array(16).map((_, at) => at * 37 + 11);
const ACTIONS = new Int32Array([1 | 2 << 8, 1, 0]);

/** Writes the key of a packet of flow `id` to keys[at …]: words 4, 10, 12 … 14 as an IPv4 flow has. */
function writeKey(keys: Int32Array, at: number, id: number): void {
  keys[at + 4] = 1;
  keys[at + 5] = 0x0102;
  keys[at + 7] = 0x0304;
  keys[at + 10] = 0x0008;
  keys[at + 11] = 0x40000006;
  keys[at + 12] = swap(Math.imul(id, 0x9e3779b1) | 0);
  keys[at + 13] = swap((id << 8) | (Math.imul(id, 0x85ebca6b) >>> 24));
  keys[at + 14] = 0x5000bb01;
}

/** Words of network byte order as the host reads them. */
function swap(word: number): number {
  return (word << 24) | ((word & 0xff00) << 8) | ((word >>> 8) & 0xff00) | (word >>> 24);
}

/** Mask n: port, type, protocol and two address prefixes of differing length. */
function makeMask(n: number): Int32Array {
  const mask = new Int32Array(KEY_WORDS);
  mask[4] = 0xffff;
  mask[10] = 0xffff;
  mask[11] = 0xff;
  mask[12] = swap(-1 << (n & 7));
  mask[13] = swap(-1 << ((n >> 3) & 7));
  return mask;
}

interface Subject {
  readonly buffers: FlowTableBuffers;
  readonly table: FlowTableWriter;
}

function makeTable(flows: number, masks: number): Subject {
  const flowsMax = Math.max(flows, 1 << 20);
  const buffers = makeFlowTableBuffers({ flowsMax, threads: 1, seed: SEED });
  const table = new FlowTableWriter(buffers, undefined, { publishBuckets: () => {} });
  const maskList = Array.from({ length: masks }, (_, n) => makeMask(n));
  const key = new Int32Array(KEY_WORDS);
  for (let id = 0; id < flows; id++) {
    writeKey(key, 0, id);
    const ufid = id.toString(16).padStart(32, "0");
    table.insert({ ufid, key, mask: maskList[id % masks]!, actions: ACTIONS });
    if ((id & 0xfff) === 0xfff) table.commit();
  }
  table.commit();
  return { buffers, table };
}

const keys = new Int32Array(BURST * KEY_WORDS);
const found = new Int32Array(BURST);
let random = 12345;
let checksum = 0;

/** One round over `count` packets of random flows; without a reader only makes the keys. */
function round(
  reader: FlowTableReader | undefined,
  flows: number,
  count: number,
  counted = false,
): void {
  for (let at = 0; at < count; at += BURST) {
    for (let n = 0; n < BURST; n++) {
      random ^= random << 13;
      random ^= random >>> 17;
      random ^= random << 5;
      writeKey(keys, n * KEY_WORDS, Math.floor((random >>> 0) * flows / 2 ** 32));
    }
    if (reader === undefined) {
      checksum ^= keys[random & 31]!;
      continue;
    }
    reader.lookupBurst(keys, BURST, found);
    checksum ^= found[0]!;
    if (!counted) continue;
    for (let n = 0; n < BURST; n++) {
      const flow = found[n]!;
      reader.count(flow, 64, 1, 0);
      checksum ^= reader.actionWords[reader.actionsAt(flow)]!;
    }
  }
}

/** Every flow, or 100,000 of them, once; throws on a wrong answer. */
function verify(reader: FlowTableReader, flows: number): void {
  const step = BURST * Math.max(1, Math.floor(flows / 100_000));
  for (let from = 0; from < flows; from += step) {
    const count = Math.min(BURST, flows - from);
    for (let n = 0; n < count; n++) writeKey(keys, n * KEY_WORDS, from + n);
    reader.lookupBurst(keys, count, found);
    for (let n = 0; n < count; n++) {
      if (found[n] !== from + n) throw new Error(`flow ${from + n}: found ${found[n]}`);
    }
  }
}

interface Cost {
  readonly median: number;
  readonly best: number;
}

/** Nanoseconds per packet of rounds of `count` packets. */
function measure(seconds: number, count: number, run: (count: number) => void): Cost {
  const rounds: number[] = [];
  const end = performance.now() + seconds * 1000;
  while (rounds.length < 5 || performance.now() < end) {
    const start = performance.now();
    run(count);
    rounds.push((performance.now() - start) * 1e6 / count);
  }
  rounds.sort((a, b) => a - b);
  return { median: median(rounds), best: rounds[Math.floor(rounds.length * 0.02)]! };
}

const VARIANTS = [
  { options: {}, counted: false },
  { options: {}, counted: true },
  { options: { cache: false }, counted: false },
  { options: { cache: false, compileAfter: Infinity }, counted: false },
];

function lookups(flows: number, masks: number, seconds: number): string[] {
  const { buffers, table } = makeTable(flows, masks);
  const cells = [String(flows), String(masks)];
  const base = measure(seconds / 2, 8192, (count) => round(undefined, flows, count));
  for (const { options, counted } of VARIANTS) {
    const reader = new FlowTableReader(buffers, 0, table.buckets, options);
    verify(reader, flows);
    const warm = options.cache === false ? 4 * 65536 : Math.max(65536, 16 * flows);
    for (let done = 0; done < warm; done += 65536) round(reader, flows, 65536, counted);
    const cost = measure(seconds, 8192, (count) => round(reader, flows, count, counted));
    verify(reader, flows);
    const ns = (which: keyof Cost): string => (cost[which] - base[which]).toFixed(0);
    cells.push(`${ns("median")} (${ns("best")})`);
  }
  return cells;
}

/** Microseconds per insertion, with the lookup that a command does before it, 100 to a commit. */
function insertions(): string[][] {
  const buffers = makeFlowTableBuffers({ flowsMax: 1 << 20, threads: 1, seed: SEED });
  const table = new FlowTableWriter(buffers, undefined, { publishBuckets: () => {} });
  const masks = Array.from({ length: 8 }, (_, n) => makeMask(n));
  const key = new Int32Array(KEY_WORDS);
  let from = 0;
  return [1000, 10_000, 100_000, 1_000_000].map((to) => {
    const start = performance.now();
    const cpu = process.cpuUsage().user;
    const batches: number[] = [];
    let last = start;
    for (let id = from; id < to; id++) {
      writeKey(key, 0, id);
      if (table.lookup(key) >= 0) throw new Error(`flow ${id} is there already`);
      const ufid = id.toString(16).padStart(8, "0").repeat(4);
      table.insert({ ufid, key, mask: masks[id & 7]!, actions: ACTIONS });
      if (id % 100 < 99) continue;
      table.commit();
      const now = performance.now();
      batches.push((now - last) * 10);
      last = now;
    }
    const rss = Deno.memoryUsage().rss / 2 ** 20;
    const perFlow = (total: number): string => (total / (to - from)).toFixed(2);
    const row = [
      String(to),
      perFlow((last - start) * 1000),
      perFlow(process.cpuUsage().user - cpu),
      median(batches).toFixed(2),
      (Math.max(...batches.slice(-5000)) / 10).toFixed(1),
      rss.toFixed(0),
    ];
    from = to;
    return row;
  });
}

if (import.meta.main) {
  const { values } = parseArgs({
    options: {
      seconds: { type: "string", default: "1" },
      flows: { type: "string", default: "1000,100000,1000000" },
      masks: { type: "string", default: "1,8,64" },
      insert: { type: "boolean", default: false },
    },
  });
  if (values.insert) {
    const head = [">flows", ">µs", ">µs CPU", ">µs median", ">slowest 100, ms", ">RSS MiB"];
    for (const line of lines(head, insertions())) say(line);
  } else {
    const row = (cells: readonly string[]): string =>
      cells.map((cell) => cell.padStart(14)).join("");
    say(row(["flows", "masks", "cache", "+ count", "masks", "interpreted"]));
    for (const flows of values.flows.split(",").map(Number)) {
      for (const masks of values.masks.split(",").map(Number)) {
        say(row(lookups(flows, masks, Number(values.seconds))));
      }
    }
  }
  if (checksum === 0.5) say("impossible"); // the checksum keeps the loops from being optimised away
}
