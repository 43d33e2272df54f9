/** What becomes of buffers that a receiver was given. */
import assert from "node:assert/strict";
import { TestHost } from "../tests/vport_host.ts";
import { makeReceiver } from "./receiver.ts";

Deno.test({
  name: "makeReceiver: buffers come back when nothing waits, and when the port throws",
  sanitizeResources: false, // libraries stay open
  fn: () => {
    const host = new TestHost();
    const free = host.pool.freeCount;
    let left = 2;
    const { receive } = makeReceiver({ host, portNo: 1, next: () => left-- > 0 });
    assert.equal(receive(5), 2);
    assert.equal(host.received.length, 2);
    assert.equal(host.pool.freeCount, free);
    const next = (): boolean => {
      throw new Error("no more");
    };
    assert.throws(() => makeReceiver({ host, portNo: 1, next }).receive(5), /no more/);
    assert.equal(host.pool.freeCount, free);
  },
});
