/** What the switch's tests have in common: a switch whose log is kept, flows and frames in few words. */
import assert from "node:assert/strict";
import { END, OUTPUT } from "../../datapath/actions/action_program.ts";
import { IN_PORT_AT, KEY_WORDS } from "../../datapath/key.ts";
import { assertBalanced } from "../../datapath/testing/balance.ts";
import { libc } from "../../netdev/libc.ts";
import type { DummySent } from "../../vports/dummy.ts";
import { SwitchClock } from "./clock.ts";
import { type LiveDatapath, Switch, type SwitchOptions } from "./switch.ts";

export { assertBalanced };

const THREAD_URL = new URL("./thread_entry.ts", import.meta.url).href;

/** Opens the libraries, which stay open for the process, so that no test is blamed for them. */
export function openLibraries(): void {
  const { file, poll, memory, clock, socket, kernel, process } = libc();
  assert(file && poll && memory && clock && socket && kernel && process);
}

export interface TestSwitch {
  readonly live: Switch;
  readonly logged: string[];
}

/** Starts a switch. When it is stopped, the accounts of all its datapaths are checked. */
export async function startSwitch(options: Partial<SwitchOptions> = {}): Promise<TestSwitch> {
  const logged: string[] = [];
  const note = (text: string): void => void logged.push(text);
  const live = await Switch.start({
    threadUrl: THREAD_URL,
    threads: 1,
    plugins: [],
    log: { info: note, warn: note, error: note },
    clock: new SwitchClock(),
    ...options,
  });
  checkAtStop(live);
  return { live, logged };
}

/** Once the threads have ended everything is quiescent: also what was removed before must balance. */
function checkAtStop(live: Switch): void {
  const datapaths: LiveDatapath[] = [];
  const addDatapath = live.addDatapath.bind(live);
  const stop = live.stop.bind(live);
  live.addDatapath = async (spec) => {
    const datapath = await addDatapath(spec);
    datapaths.push(datapath);
    return datapath;
  };
  live.stop = async () => {
    const joined = await stop();
    // A thread that hangs may still come back and count.
    if (joined) { for (const datapath of datapaths) assertBalanced(datapath.counters()); }
    return joined;
  };
}

/** Starts a switch, uses it, stops it. */
export async function withSwitch(
  options: Partial<SwitchOptions>,
  use: (live: Switch, logged: string[]) => Promise<void>,
): Promise<void> {
  const { live, logged } = await startSwitch(options);
  try {
    await use(live, logged);
  } finally {
    assert(await live.stop(), "all threads end");
  }
}

/** Calls `use` with the path of a plug-in file. */
export async function withPlugin(
  text: string,
  use: (path: string) => Promise<void>,
): Promise<void> {
  const path = await Deno.makeTempFile({ suffix: ".js" });
  try {
    await Deno.writeTextFile(path, text);
    await use(path);
  } finally {
    await Deno.remove(path);
  }
}

/** Waits until something is so; says what it was that did not come. */
export async function eventually(is: () => boolean, what: () => string): Promise<void> {
  for (let left = 2000; !is(); left--) {
    assert(left > 0, `In vain waited for: ${what()}`);
    await new Promise((resolve) => setTimeout(resolve, 10));
  }
}

/** Adds a datapath; `name` also tells its id. */
export function addDatapath(
  live: Switch,
  options: {
    readonly name?: string;
    readonly type?: "netdev" | "dummy";
    readonly miss?: "drop" | "flood" | "learn";
    readonly flowsMax?: number;
  } = {},
): Promise<LiveDatapath> {
  const { name = "br0", type = "dummy", miss = "drop", flowsMax = 1000 } = options;
  const id = Array.from(name, (c) => c.charCodeAt(0).toString(16)).join("").padEnd(32, "0");
  return live.addDatapath({ id, name, type, miss, flowsMax, ufidSeed: new Uint8Array(16).fill(7) });
}

/** Adds a dummy port named after its number. */
export function addPort(datapath: LiveDatapath, portNo: number): Promise<unknown> {
  return datapath.addPort({ portNo, name: `p${portNo}`, type: "dummy", options: new Map() });
}

/** An action list of outputs. */
export function outputs(...ports: number[]): Int32Array {
  return Int32Array.from([...ports.flatMap((port) => [OUTPUT | 2 << 8, port]), END | 1 << 8]);
}

/** Installs "everything from one port goes out at others"; returns its UFID. */
export function addFlow(datapath: LiveDatapath, inPort: number, ports: readonly number[]): string {
  const key = new Int32Array(KEY_WORDS);
  const mask = new Int32Array(KEY_WORDS);
  new DataView(key.buffer).setUint16(IN_PORT_AT, inPort);
  new DataView(mask.buffer).setUint16(IN_PORT_AT, 0xffff);
  const ufid = `${inPort}`.padStart(32, "0");
  datapath.table.insert({ ufid, key, mask, actions: outputs(...ports) });
  datapath.table.commit();
  return ufid;
}

/** A UDP packet from 10.0.0.<host>, numbered. */
export function udpFrame(host: number, number: number, size = 60): Uint8Array {
  const frame = new Uint8Array(size);
  const view = new DataView(frame.buffer);
  frame.set([2, 0, 0, 0, 0, 2, 2, 0, 0, 0, 0, host, 8, 0, 0x45, 0]);
  view.setUint16(16, size - 14);
  frame[22] = 64;
  frame[23] = 17;
  frame.set([10, 0, 0, host, 10, 0, 0, 99], 26);
  view.setUint16(34, 1000);
  view.setUint16(36, 2000);
  view.setUint16(38, size - 34);
  view.setUint32(42, number);
  return frame;
}

/** Frames that a dummy port has sent since the last call. */
export async function taken(datapath: LiveDatapath, portNo: number): Promise<Uint8Array[]> {
  return (await datapath.command(portNo, "take", undefined) as DummySent).frames;
}

/** Bytes by which the heap of thread 0 has grown in each of several runs of `run`, ascending. */
export async function heapGrowth(live: Switch, run: () => Promise<unknown>): Promise<number[]> {
  const heapUsed = async (): Promise<number> => (await live.reports())[0]?.heapUsed ?? 0;
  const growth: number[] = [];
  for (let time = 0; time < 5; time++) {
    const before = await heapUsed();
    await run();
    growth.push(await heapUsed() - before);
  }
  return growth.sort((a, b) => a - b);
}

/** Runs until the thread's heap grows no more than `bytesMax` in a run: V8 compiles when it has time. */
export async function settledHeapGrowth(
  live: Switch,
  options: {
    /** Many more packets. */
    readonly warmUp: () => Promise<unknown>;
    readonly run: () => Promise<unknown>;
    readonly bytesMax: number;
  },
): Promise<void> {
  let growth: number[] = [];
  for (let attempt = 0; attempt < 15; attempt++) {
    await options.warmUp();
    growth = await heapGrowth(live, options.run);
    if (growth[2]! < options.bytesMax) return;
  }
  assert.fail(`heap grew by ${growth} bytes`);
}
