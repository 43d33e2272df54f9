/** A command line under test: an executor that records what it is asked, and what was printed. */
import type { Executor, MethodName, Methods } from "../daemon/api.ts";
import { main } from "./main.ts";
import { TextOutput } from "./output.ts";

export interface Asked {
  readonly method: MethodName;
  readonly params: unknown;
}

export interface Outcome {
  readonly status: number;
  readonly printed: string;
  readonly noted: string;
  /** Requests with undefined parameters left out, as they go over the socket. */
  readonly asked: readonly Asked[];
}

/** Answers to requests: results by method, or errors to throw. */
export type Answers = { readonly [M in MethodName]?: Methods[M]["result"] | Error };

/** Runs one command line against canned answers. */
export async function runCli(
  words: readonly string[],
  answers: Answers = {},
  savedOffline = false,
): Promise<Outcome> {
  const output = new TextOutput();
  const asked: Asked[] = [];
  const canned: Readonly<Record<string, unknown>> = { ...DEFAULTS, ...answers };
  const executor: Executor & { savedOffline: boolean; close(): void } = {
    savedOffline,
    execute: (method, params) => {
      asked.push({ method, params: JSON.parse(JSON.stringify(params)) });
      const answer = canned[method];
      if (answer instanceof Error) return Promise.reject(answer);
      return Promise.resolve(answer as never);
    },
    close: () => {},
  };
  const status = await main(words, { output, open: () => Promise.resolve(executor) });
  return { status, printed: output.printed, noted: output.noted, asked };
}

const STATS = { packets: 3, bytes: 294, usedMs: 1500, tcpFlags: 0x12 };

const DEFAULTS: { readonly [M in MethodName]?: Methods[M]["result"] } = {
  "dp-add": { created: true },
  "dp-del": { deleted: true },
  "dp-set": {},
  "dp-list": { datapaths: [{ name: "br0", type: "netdev" }, { name: "dp1", type: "dummy" }] },
  "dp-show": { datapaths: [] },
  "port-add": { created: true, portNo: 1 },
  "port-set": { changed: true },
  "port-del": { deleted: true },
  "port-list": { ports: [] },
  "flow-add": { ufid: "00000000-0000-0000-0000-000000000001", created: true },
  "flow-mod": { ufid: "00000000-0000-0000-0000-000000000001", created: false, stats: STATS },
  "flow-del": { deleted: true, stats: STATS },
  "flow-dump": { flows: [] },
  "flow-flush": { deleted: 0 },
  "flow-load": { added: 0, modified: 0, deleted: 0 },
  "batch": { done: 0 },
  "stop": {},
};
