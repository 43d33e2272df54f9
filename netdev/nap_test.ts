import assert from "node:assert/strict";
import { libc, replaceLibc } from "./libc.ts";
import { openNap } from "./nap.ts";
import { libcTest } from "./testing.ts";

libcTest("openNap: sleeps at least as long as asked", () => {
  const nap = openNap();
  const begin = performance.now();
  for (let time = 0; time < 20; time++) nap(500);
  assert.ok(performance.now() - begin >= 10);
});

libcTest("openNap: works where the slack can't be set", () => {
  const real = libc();
  const slept: number[] = [];
  const { file, memory, socket, clock, process } = real;
  const poll = { ...real.poll, usleep: (us: number) => slept.push(us) };
  const kernel = { ...real.kernel, prctl: () => -1 };
  replaceLibc({ file, memory, poll, socket, clock, kernel, process, errno: () => 1 });
  try {
    openNap()(60);
  } finally {
    replaceLibc(undefined);
  }
  assert.deepEqual(slept, [60]);
});
