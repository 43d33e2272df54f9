/** An upcall handler's Worker: loaded, asked, given up and started anew. */
import assert from "node:assert/strict";
import { extractKey } from "../../datapath/extract/extract.ts";
import { KEY_WORDS } from "../../datapath/key.ts";
import { makeFrame, packetOf } from "../../datapath/testing/frames.ts";
import { NO_DISPATCH } from "../../datapath/upcall_dispatch.ts";
import {
  makeUpcallRing,
  type RawUpcall,
  UpcallConsumer,
  UpcallProducer,
} from "../../datapath/upcall_ring.ts";
import { HandlerLink, type HandlerLinkOptions } from "./handler_link.ts";
import type { HandlerAsk } from "./handler_messages.ts";

/** An upcall as a packet thread makes it. */
function makeUpcall(): RawUpcall {
  const ring = makeUpcallRing();
  const packet = packetOf(makeFrame().bytes);
  const key = new Int32Array(KEY_WORDS);
  extractKey(packet, key, 0);
  assert(new UpcallProducer(ring).push(packet, key, 0, 65535, undefined));
  return new UpcallConsumer(ring).take()!;
}

interface Seen {
  readonly lines: string[];
  readonly asked: HandlerAsk[];
  readonly failures: string[];
}

/** Starts a handler whose object has `body`, and closes it in the end. */
async function withHandler(
  body: string,
  work: (link: HandlerLink, seen: Seen) => Promise<void>,
  options: Partial<HandlerLinkOptions> = {},
): Promise<void> {
  const folder = await Deno.makeTempDir();
  const path = `${folder}/handler.ts`;
  const text = `export default { apiVersion: 1, name: "h", ${body} };\n`;
  await Deno.writeTextFile(path, text, { mode: 0o600 });
  const seen: Seen = { lines: [], asked: [], failures: [] };
  try {
    const link = await HandlerLink.start({
      ...{ path, datapath: "dp0", clock: new SharedArrayBuffer(16) },
      log: (level, line) => void seen.lines.push(`${level}: ${line}`),
      onAsked: (asks) => void seen.asked.push(...asks),
      onFailed: (reason) => void seen.failures.push(reason),
      ...options,
    });
    link.setView({ ports: [{ portNo: 7, name: "p7", type: "dummy" }], dispatch: NO_DISPATCH });
    await work(link, seen);
    await link.close();
  } finally {
    await Deno.remove(folder, { recursive: true });
  }
}

async function until(what: string, isSo: () => boolean): Promise<void> {
  for (let left = 3000; !isSo(); left--) {
    assert(left > 0, what);
    await new Promise((done) => setTimeout(done, 10));
  }
}

/** Workers and libraries end when they can. */
function linkTest(name: string, fn: () => Promise<void>): void {
  Deno.test({ name: `HandlerLink: ${name}`, sanitizeOps: false, sanitizeResources: false, fn });
}

linkTest(
  "what is asked for comes with the answer; names of ports are understood",
  () =>
    withHandler(
      `upcall(packet, key, host) {
      host.addFlow({ flow: "in_port(p7)", actions: "p7", idleTimeout: 9 });
      host.execute(packet, String(host.ports()[0].portNo));
    }`,
      async (link) => {
        const [add, execute] = await link.handle(3, [makeUpcall()]);
        const flow = { flow: "in_port(p7)", actions: "p7", idleTimeout: 9, hardTimeout: 0 };
        assert.deepEqual(add, { op: "add", flow });
        assert(execute?.op === "execute" && execute.thread === 3 && execute.actions === "7");
        assert.deepEqual(execute.packet.bytes, makeUpcall().bytes);
        assert.equal(link.counts.upcalls, 1);
      },
    ),
);

linkTest(
  "mistakes throw where they are made, and take the upcall's requests with them",
  () =>
    withHandler(
      `upcall(packet, key, host) {
      host.execute(packet, "7");
      for (const wrong of ["p8", "set(nothing())"]) {
        try { host.execute(packet, wrong); } catch (error) { host.log(error.message); }
      }
      try { host.deleteFlow("in_port("); } catch (error) { host.log(error.message); }
      host.addFlow({ flow: "in_port(7)", actions: "push_vlan(vid=9999)" });
    }`,
      async (link, seen) => {
        assert.deepEqual(await link.handle(0, [makeUpcall()]), []);
        assert.equal(link.counts.thrown, 1);
        assert.equal(seen.lines.filter((line) => line.startsWith("info: ")).length, 3);
        assert.match(seen.lines.at(-1)!, /^warn: handler h threw .*; the upcall is dropped$/);
      },
    ),
);

linkTest("no more requests are taken than may wait, until they are done", () =>
  withHandler(
    `upcall(packet, key, host) {
      for (let count = 0;; count++) {
        try { host.execute(packet, "7"); } catch { return host.log("asked " + count); }
      }
    }`,
    async (link, seen) => {
      const counts: number[] = [];
      for (const done of [1000, 0]) {
        const asks = await link.handle(0, [makeUpcall()]);
        counts.push(asks.length);
        link.done(done);
      }
      assert.deepEqual(counts, [4096, 1000]);
      assert.deepEqual(seen.lines, ["info: asked 4096", "info: asked 1000"]);
    },
  ));

linkTest("one that hangs is started anew; after so many times it is left alone", () =>
  withHandler(
    `upcall(packet, key, host) { for (const end = Date.now() + 1500; Date.now() < end;); }`,
    async (link, seen) => {
      assert.deepEqual(await link.handle(0, [makeUpcall(), makeUpcall()]), []);
      assert.deepEqual([link.counts.lost, link.counts.restarts], [2, 1]);
      assert.deepEqual(await link.handle(0, [makeUpcall()]), []);
      await until("it fails", () => seen.failures.length > 0);
      assert.deepEqual(seen.failures, ["it has hung 2 times"]);
      assert.equal(link.counts.lost, 3);
      assert.match(seen.lines[0]!, /^error: .*not come back for 500 ms: it is started anew/);
      assert.match(seen.lines[1]!, /^error: .*has hung 1 times before: it is not started again$/);
      assert.deepEqual(await link.handle(0, [makeUpcall()]), []);
    },
    { hangMs: 500, restartsMax: 1 },
  ));

linkTest("one that ends its Worker is started anew", () =>
  withHandler(
    `upcall(packet, key, host) { self.close(); }`,
    async (link) => {
      void link.handle(0, [makeUpcall()]);
      await until("it is back", () => link.counts.restarts === 1);
    },
    { hangMs: 500 },
  ));
