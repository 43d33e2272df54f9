import assert from "node:assert/strict";
import { Log, RateLimit } from "./log.ts";

function capture(): { log: Log; lines: string[] } {
  const lines: string[] = [];
  return { log: new Log(undefined, (line) => lines.push(line)), lines };
}

Deno.test("Log writes vlog's columns, at the level of the module", () => {
  const { log, lines } = capture();
  const ports = log.module("ports");
  ports.info("up");
  ports.debug(() => assert.fail("text of a silent level is not made"));
  assert.match(lines.join("\n"), /^\d{4}-\d\d-\d\dT[\d:.]+Z\|00001\|ports\|INFO\|up$/);
});

Deno.test("Log.set takes a level, a module, both, and vlog's three words", () => {
  const { log } = capture();
  const ports = log.module("ports");
  const other = log.module("other");
  log.set("ports:dbg");
  assert.deepEqual([ports.level, other.level], ["dbg", "info"]);
  log.set("ANY:console:warn");
  assert.deepEqual([ports.level, other.level, log.module("new").level], ["warn", "warn", "warn"]);
  log.set("other");
  assert.equal(other.level, "dbg");
  log.set("emer");
  assert.equal(ports.level, "err");
  assert.throws(() => log.set("nonsense"), /no log module or level "nonsense" \(modules: new, /);
  assert.throws(() => log.set("ports:loud"), /no log level "loud" \(levels: off, /);
});

Deno.test("RateLimit lets a burst through, then one per interval, and tells what it held back", () => {
  const limit = new RateLimit(2, 100);
  const start = performance.now();
  assert.deepEqual([0, 1, 2, 3].map((ms) => limit.take(start + ms)), [0, 0, -1, -1]);
  assert.equal(limit.take(start + 150), 2);
  assert.equal(limit.take(start + 151), -1);
});

Deno.test("Log.reopen goes on in a new file when the old one was moved away", async () => {
  const directory = await Deno.makeTempDir();
  try {
    const path = `${directory}/a.log`;
    const log = new Log(path);
    log.module("x").info("one");
    await Deno.rename(path, `${directory}/b.log`);
    log.module("x").info("two");
    log.reopen();
    log.module("x").info("three");
    log.close();
    assert.match(await Deno.readTextFile(`${directory}/b.log`), /one\n.*two\n$/);
    assert.match(await Deno.readTextFile(path), /three\n$/);
    assert.throws(() => new Log(`${directory}/no/such/file`), /cannot open log file/);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
});
