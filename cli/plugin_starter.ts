/** The files that `plugin-new` writes: a port type that works, and its test. */

export interface StarterOptions {
  /** A type with promises. */
  readonly isAsync: boolean;
  /** denovs runs from its sources, which the test can import. */
  readonly hasSources: boolean;
}

/** File name and text of each. `name` is the type's. */
export function starterFiles(
  name: string,
  { isAsync, hasSources }: StarterOptions,
): readonly (readonly [file: string, text: string])[] {
  const template = isAsync ? ASYNC_TYPE : SYNC_TYPE;
  const test = hasSources ? TEST : TEST_BY_COMMAND;
  return [
    [`${name}.ts`, template.replaceAll("NAME", name)],
    [`${name}_test.ts`, test.replaceAll("NAME", name)],
  ];
}

/** The `imports` that deno.json must have for modules that import "denovs": mod.ts, and what it imports itself. `root`: where main.ts lies. */
export async function importsOfSources(root: URL): Promise<Readonly<Record<string, string>>> {
  const config = JSON.parse(await Deno.readTextFile(new URL("deno.json", root)));
  return { denovs: new URL("mod.ts", root).href, ...config.imports };
}

const SYNC_TYPE = `/**
 * A port type for denovs: a loop. What is sent to a port comes back from it.
 *
 *     denovs plugin-check NAME.ts
 *     denovs plugin-add NAME.ts
 *     denovs port-add br0 loop0 --type NAME limit=8
 */
import type { PluginApi, Vport, VportOps, VportParams } from "denovs";

interface Options {
  /** Frames that may wait. */
  readonly limit: number;
}

export default function makeType(api: PluginApi): VportOps<Options> {
  const QUEUE_FULL = api.dropReason("tx-queue-full");

  /** Runs on a packet thread: opens one queue of the port. */
  function create({ host, portNo, options }: VportParams<Options>): Vport {
    const waiting: Uint8Array[] = [];
    return {
      takesPartialChecksums: false, // the switch completes checksums before send
      takesSegmentTrains: false, // and cuts trains of segments into frames
      send(packet) {
        if (waiting.length >= options.limit) return QUEUE_FULL;
        waiting.push(packet.bytes.slice(packet.start, packet.end)); // packets are borrowed
        return 0;
      },
      receiver: {
        receive(budget) {
          let count = 0;
          for (; count < budget && waiting.length > 0; count++) {
            const packet = host.allocate();
            if (packet === undefined) break; // no buffer is free: the rest waits
            const frame = waiting.shift()!;
            packet.bytes.set(frame, packet.start);
            packet.end = packet.start + frame.length;
            host.receive(portNo, packet);
          }
          return count;
        },
      },
      close() {
        waiting.length = 0;
      },
    };
  }

  return {
    apiVersion: 1,
    type: "NAME",
    summary: "what is sent to the port comes back from it",
    headroom: 0,
    ...api.options.table<Options>({
      limit: api.options.form.integer({ min: 1, max: 1000, fallback: 64 }),
    }),
    create,
  };
}
`;

const ASYNC_TYPE = `/**
 * A port type for denovs, with promises: a loop that takes its time. What is sent to a port comes
 * back from it a little later.
 *
 *     denovs plugin-check NAME.ts
 *     denovs plugin-add NAME.ts
 *     denovs port-add br0 loop0 --type NAME delay=5
 */
import type { AsyncVport, AsyncVportOps, AsyncVportParams, PluginApi } from "denovs";

interface Options {
  /** Milliseconds. */
  readonly delay: number;
}

export default function makeType(api: PluginApi): AsyncVportOps<Options> {
  /** Runs in the port's own Worker. */
  function open({ host, options }: AsyncVportParams<Options>): Promise<AsyncVport> {
    const timers = new Set<ReturnType<typeof setTimeout>>();
    return Promise.resolve({
      send(frame) {
        const timer = setTimeout(() => {
          timers.delete(timer);
          host.receive(frame);
        }, options.delay);
        timers.add(timer);
      },
      close() {
        for (const timer of timers) clearTimeout(timer);
      },
    });
  }

  return {
    apiVersion: 1,
    kind: "async",
    type: "NAME",
    summary: "what is sent to the port comes back from it later",
    ...api.options.table<Options>({
      delay: api.options.form.integer({ min: 0, max: 10_000, fallback: 1 }), // ms
    }),
    open,
  };
}
`;

const TEST = `/**
 * Holds NAME.ts to the contract: deno test -A NAME_test.ts
 *
 * deno.json says where "denovs" is. Add what only your type can show: options that must be refused
 * (badOptions), a far end to exchange frames with (openPeer).
 */
import { loadType, testVport } from "denovs";

testVport({
  ops: await loadType(new URL("./NAME.ts", import.meta.url)),
  name: "test0",
  options: {},
});
`;

/** For who has the executable only. */
const TEST_BY_COMMAND = `/**
 * Holds NAME.ts to the contract: deno test -A NAME_test.ts
 *
 * Each check of "denovs plugin-check" is a step. Set DENOVS if denovs is not in the PATH.
 */
/** Of the ports that are made: key=value. */
const OPTIONS: string[] = [];

interface Result {
  name: string;
  status: "passed" | "failed" | "skipped";
  message?: string;
}

Deno.test("NAME keeps the contract", async (t) => {
  const file = new URL("./NAME.ts", import.meta.url).pathname;
  const { stdout, stderr } = await new Deno.Command(Deno.env.get("DENOVS") ?? "denovs", {
    args: ["plugin-check", "--json", file, ...OPTIONS],
  }).output();
  const text = new TextDecoder().decode(stdout);
  if (text === "") throw new Error(new TextDecoder().decode(stderr));
  const { results, fault }: { results: Result[]; fault?: string } = JSON.parse(text);
  if (fault !== undefined) throw new Error(fault);
  for (const { name, status, message } of results) {
    await t.step({
      name,
      ignore: status === "skipped",
      fn: () => {
        if (status === "failed") throw new Error(message);
      },
    });
  }
});
`;
