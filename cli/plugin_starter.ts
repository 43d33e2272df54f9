/** The files that `plugin-new` writes: a port type that works, and its test. */

export interface StarterOptions {
  /** A type with promises. */
  readonly isAsync: boolean;
}

/** File name and text of each. `name` is the type's. */
export function starterFiles(
  name: string,
  { isAsync }: StarterOptions,
): readonly (readonly [file: string, text: string])[] {
  const template = isAsync ? ASYNC_TYPE : SYNC_TYPE;
  return [
    [`${name}.ts`, template.replaceAll("NAME", name)],
    [`${name}_test.ts`, TEST.replaceAll("NAME", name)],
  ];
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

const LIMIT = { min: 1, max: 1000, fallback: 64 };

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
    parseOptions(raw) {
      api.options.only(raw, ["limit"]);
      return { limit: api.options.integer(raw, "limit", LIMIT) };
    },
    formatOptions({ limit }) {
      return new Map(limit === LIMIT.fallback ? [] : [["limit", \`\${limit}\`]]);
    },
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

const DELAY = { min: 0, max: 10_000, fallback: 1 };

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
    parseOptions(raw) {
      api.options.only(raw, ["delay"]);
      return { delay: api.options.integer(raw, "delay", DELAY) };
    },
    formatOptions({ delay }) {
      return new Map(delay === DELAY.fallback ? [] : [["delay", \`\${delay}\`]]);
    },
    open,
  };
}
`;

const TEST = `/**
 * Holds NAME.ts to the contract: deno test -A NAME_test.ts
 *
 * Needs the denovs sources, as "denovs" in deno.json: {"imports": {"denovs": "…/denovs/mod.ts"}}.
 * Add what only your type can show: a far end, options that must be refused.
 */
import { loadType, testVport } from "denovs";

testVport({
  ops: await loadType(new URL("./NAME.ts", import.meta.url)),
  name: "test0",
  options: {},
});
`;
