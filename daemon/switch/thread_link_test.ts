/** The control isolate's end of a packet thread, beside threads that answer as told. */
import assert from "node:assert/strict";
import { makeGrace } from "../../datapath/flow_table/grace.ts";
import { lock } from "../../datapath/spin_lock.ts";
import { newLockHolder } from "./lock_holders.ts";
import { ThreadLateError } from "./messages.ts";
import { openLibraries } from "./testing.ts";
import { ThreadLink } from "./thread_link.ts";

openLibraries();

/** Answers requests two by two: the first of each pair is late. */
const DAWDLES = `self.onmessage = ({ data: { port } }) => {
  const waiting = [];
  port.onmessage = ({ data }) => {
    waiting.push(data.id);
    if (waiting.length < 2) return;
    for (const id of waiting.splice(0)) port.postMessage({ kind: "answer", id, result: {} });
  };
  port.postMessage({ kind: "ready" });
};
self.postMessage("denovs-packet-thread");`;

async function withLink(use: (link: ThreadLink) => Promise<void>): Promise<void> {
  const link = await ThreadLink.start({
    threadUrl: `data:application/javascript,${encodeURIComponent(DAWDLES)}`,
    thread: 0,
    threads: 1,
    grace: makeGrace(1),
    clock: new SharedArrayBuffer(64),
    answerTimeoutMs: 20,
    onPortFailed: () => {},
    onTraced: () => {},
    onDied: () => {},
  });
  try {
    await use(link);
  } finally {
    link.takeOver("the test is over");
  }
}

async function lateRequest(link: ThreadLink): Promise<{ isOver: boolean; over: Promise<void> }> {
  const error = await link.request("report", {}).then(() => undefined, (error) => error);
  assert(error instanceof ThreadLateError, String(error));
  assert.match(error.message, /packet thread 0 does not answer to report/);
  const request = { isOver: false, over: error.over };
  error.over.then(() => request.isOver = true);
  await Promise.resolve();
  assert.equal(request.isOver, false);
  return request;
}

Deno.test("ThreadLink.request: one that is late is over when its answer comes after all", () =>
  withLink(async (link) => {
    const late = await lateRequest(link);
    await link.request("report", {}).catch(() => {});
    await late.over;
  }));

Deno.test("ThreadLink.request: one that is late is over when the thread is gone", () =>
  withLink(async (link) => {
    const late = await lateRequest(link);
    link.takeOver("it hangs");
    await late.over;
  }));

Deno.test("ThreadLink: the locks of a thread that is gone can be taken", () =>
  withLink((link) => {
    newLockHolder(); // names this isolate
    const words = new Int32Array(new SharedArrayBuffer(4)).fill(link.lockHolder);
    link.takeOver("it hangs");
    lock(words, 0);
    assert.notEqual(words[0], link.lockHolder);
    return Promise.resolve();
  }));
