import assert from "node:assert/strict";
import { findPortidsFault, NO_DISPATCH, portidOf, quietPorts } from "./upcall_dispatch.ts";

const MISS = { inPort: 1, hash: 0xffff_fffe, thread: 0, pid: undefined };

Deno.test("portidOf: nothing set, a miss has none, and an action what it says", () => {
  assert.equal(portidOf(NO_DISPATCH, MISS), undefined);
  assert.equal(portidOf(NO_DISPATCH, { ...MISS, pid: 7 }), 7);
});

Deno.test("portidOf: the flow's hash chooses from the port's list, evenly", () => {
  const dispatch = { ...NO_DISPATCH, ports: { 1: [11, 12, 13], 2: [21] } };
  const counts = new Map<number | undefined, number>();
  for (let hash = 0xffff_ff00; hash < 0xffff_ff00 + 30; hash++) {
    const portid = portidOf(dispatch, { ...MISS, hash });
    counts.set(portid, (counts.get(portid) ?? 0) + 1);
  }
  assert.deepEqual([...counts].sort(), [[11, 10], [12, 10], [13, 10]]);
  assert.equal(portidOf(dispatch, { ...MISS, inPort: 2 }), 21);
  assert.equal(portidOf(dispatch, { ...MISS, inPort: 3 }), undefined);
  // What a userspace action says goes before the port's list.
  assert.equal(portidOf(dispatch, { ...MISS, pid: 7 }), 7);
});

Deno.test("portidOf: per CPU, the thread chooses, also for actions", () => {
  const dispatch = { ports: { 1: [11] }, cpus: [5, 6], isPerCpu: true };
  assert.equal(portidOf(dispatch, MISS), 5);
  assert.equal(portidOf(dispatch, { ...MISS, thread: 1, pid: 7 }), 6);
  assert.equal(portidOf(dispatch, { ...MISS, thread: 2 }), 5);
  assert.equal(portidOf({ ...dispatch, cpus: [] }, MISS), 11);
});

Deno.test("quietPorts: those whose list is 0, unless CPUs decide", () => {
  const dispatch = { ...NO_DISPATCH, ports: { 0: [0], 7: [1], 9: [0] } };
  assert.deepEqual(quietPorts(dispatch), [0, 9]);
  assert.deepEqual(quietPorts({ ...dispatch, isPerCpu: true, cpus: [1] }), []);
});

Deno.test("findPortidsFault: names the value", () => {
  assert.equal(findPortidsFault([0]), undefined);
  assert.equal(findPortidsFault([1, 0xffff_ffff]), undefined);
  assert.match(findPortidsFault([4294967296])!, /4294967296 is not a portid/);
  assert.match(findPortidsFault([1, 0])!, /0, which stops upcalls/);
  assert.match(findPortidsFault(new Array(65).fill(1))!, /65 portids are too many/);
});
