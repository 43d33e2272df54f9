/** A thread pushes upcalls as fast as it can, this one takes them: none is torn, doubled or out of order. */
import assert from "node:assert/strict";
import { makeUpcallRing, UpcallConsumer, WAITING } from "../../datapath/upcall_ring.ts";
import { type Done, sizeOf, type Task } from "./upcall_ring_threads_worker.ts";

const COUNT = 100_000;

Deno.test("upcall ring: nothing is torn or out of order between two threads", async () => {
  const ring = makeUpcallRing();
  const consumer = new UpcallConsumer(ring);
  const url = new URL("./upcall_ring_threads_worker.ts", import.meta.url);
  const worker = new Worker(url, { type: "module" });
  const done = new Promise<Done>((resolve, reject) => {
    worker.onmessage = ({ data }: MessageEvent<Done>): void => resolve(data);
    worker.onerror = (event): void => reject(new Error(event.message));
  });
  const task: Task = { ring, count: COUNT };
  worker.postMessage(task);
  let taken = 0;
  let waits = 0;
  while (taken < COUNT) {
    if (consumer.prepareWait()) {
      waits++;
      const wait = Atomics.waitAsync(consumer.control, WAITING, 1, 5000);
      if (wait.async) assert.equal(await wait.value, "ok", `after ${taken} packets`);
    }
    for (let upcall = consumer.take(); upcall !== undefined; upcall = consumer.take()) {
      const { bytes, key } = upcall;
      const view = new DataView(bytes.buffer);
      assert.equal(bytes.length, sizeOf(taken));
      assert.equal(view.getUint32(bytes.length - 4), ~taken >>> 0);
      if (bytes.length >= 8) assert.equal(view.getUint32(0), taken);
      assert.equal(key[0], taken);
      assert.equal(key[key.length - 1 - taken % 100], taken);
      taken++;
    }
  }
  const { pushed } = await done;
  assert.equal(pushed, COUNT);
  assert(waits > 0);
});
