/** The loops that take upcalls from the rings. */
import assert from "node:assert/strict";
import { extractKey } from "../../datapath/extract/extract.ts";
import { KEY_WORDS } from "../../datapath/key.ts";
import { makeFrame, packetOf } from "../../datapath/testing/frames.ts";
import { makeUpcallRing, UpcallProducer } from "../../datapath/upcall_ring.ts";
import { Log } from "../log.ts";
import { SwitchClock } from "../switch/clock.ts";
import type { LiveDatapath } from "../switch/live_datapath.ts";
import { DatapathUpcalls } from "./datapath_upcalls.ts";

function push(ring: SharedArrayBuffer): void {
  const packet = packetOf(makeFrame().bytes);
  const key = new Int32Array(KEY_WORDS);
  extractKey(packet, key, 0);
  assert(new UpcallProducer(ring).push(packet, key, 0, 65535, undefined));
}

async function until(what: string, isSo: () => boolean): Promise<void> {
  for (let left = 300; !isSo(); left--) {
    assert(left > 0, what);
    await new Promise((done) => setTimeout(done, 10));
  }
}

Deno.test("DatapathUpcalls: the ring of a thread that takes another's place is found", async () => {
  const modes: string[] = [];
  const live = {
    upcallRings: [makeUpcallRing()],
    spec: { id: "1", name: "br0" },
    setUpcalls: (mode: string): Promise<void> => {
      modes.push(mode);
      return Promise.resolve();
    },
  };
  const upcalls = new DatapathUpcalls({
    live: live as unknown as LiveDatapath,
    turns: { model: new Map(), exclusive: () => assert.fail("there is no handler") },
    clock: new SwitchClock(undefined, () => 0),
    log: new Log(undefined, () => {}).module("upcalls"),
  });
  let told = 0;
  const listener = (): void => void told++;
  await upcalls.listen(listener);
  push(live.upcallRings[0]!);
  await until("an upcall is told", () => told === 1);
  live.upcallRings[0] = makeUpcallRing();
  push(live.upcallRings[0]);
  await until("one of the new ring is told", () => told === 2);
  await upcalls.unlisten(listener);
  push(live.upcallRings[0]);
  await until("nothing is left", () => upcalls.isIdle);
  assert.equal(told, 2);
  // Again, beside the loop that is about to end.
  await upcalls.listen(listener);
  push(live.upcallRings[0]);
  await until("the next one is told", () => told >= 3);
  upcalls.close();
  assert.deepEqual(modes, ["watch", "off", "watch"]);
  await new Promise((done) => setTimeout(done, 10)); // the loop ends
});
