import assert from "node:assert/strict";
import { monotonicMs } from "./clock.ts";
import { libc } from "./libc.ts";
import { allocateBuffer, pointerTo } from "./memory.ts";
import { EventFd, Poller } from "./poller.ts";
import { errnoName, errnoText, SystemError } from "./system_error.ts";
import { libcTest } from "./testing.ts";

libcTest(
  "Poller: reports the tokens of ready descriptors until they are cleared or removed",
  () => {
    using poller = new Poller();
    using one = new EventFd();
    using two = new EventFd();
    poller.add(one.fd, 1);
    poller.add(two.fd, 0xffff_fffe);
    assert.equal(poller.wait(0), 0);
    two.ring();
    two.ring();
    assert.equal(poller.wait(-1), 1);
    assert.equal(poller.token(0), 0xffff_fffe);
    assert.equal(poller.events(0), 1);
    one.ring();
    assert.equal(poller.wait(-1), 2);
    two.clear();
    assert.equal(poller.wait(-1), 1);
    assert.equal(poller.token(0), 1);
    poller.remove(one.fd);
    assert.equal(poller.wait(0), 0);
  },
);

libcTest("Poller.wait: sleeps for its timeout", () => {
  using poller = new Poller();
  const before = monotonicMs();
  assert.equal(poller.wait(30), 0);
  const passed = monotonicMs() - before;
  assert.ok(passed >= 29 && passed < 2000, `${passed} ms`);
});

libcTest("Poller.add: a descriptor that is none is named", () => {
  using poller = new Poller();
  assert.throws(() => poller.add(100_000, 1), (error: unknown) => {
    assert.ok(error instanceof SystemError);
    assert.equal(error.code, "EBADF");
    assert.equal(
      error.message,
      "Cannot wait for descriptor 100000: epoll_ctl(EPOLL_CTL_ADD) returned EBADF (bad file descriptor)",
    );
    return true;
  });
});

libcTest("EventFd: another object over the same descriptor rings it, and does not close it", () => {
  using poller = new Poller();
  using bell = new EventFd();
  poller.add(bell.fd, 5);
  const other = new EventFd(bell.fd);
  other.ring();
  other.close();
  assert.equal(poller.wait(0), 1);
});

libcTest("allocateBuffer: zeroed, at its address, views and kernel see the same bytes", () => {
  const { buffer, size } = allocateBuffer(1 << 20);
  assert.equal(size, 1 << 20);
  assert.equal(buffer.bytes.length, size);
  assert.equal(buffer.address % 4096, 0);
  assert.ok(buffer.bytes.every((byte) => byte === 0));
  buffer.view.setUint32(4096, 0xdeadbeef);
  const at = new Deno.UnsafePointerView(pointerTo(buffer, 4096));
  assert.equal(at.getUint8(0), 0xde);
});

libcTest("libc: errno is that of the last failed call", () => {
  assert.equal(libc().file.close(100_000), -1);
  assert.equal(errnoName(libc().errno()), "EBADF");
});

Deno.test("errnoName, errnoText: unknown numbers have an answer too", () => {
  assert.equal(errnoName(16), "EBUSY");
  assert.equal(errnoText(16), "device is in use");
  assert.equal(errnoName(9999), "E9999");
  assert.equal(errnoText(9999), "unknown error");
});

Deno.test("netdev: importing any of its files opens no library and needs no permission", async () => {
  const here = new URL(".", import.meta.url);
  const files = [...Deno.readDirSync(here)].map((entry) => entry.name)
    .filter((name) => name.endsWith(".ts") && !name.endsWith("_test.ts"));
  const text = files.map((file) => `import "${new URL(file, here)}";`).join("\n");
  const program = await Deno.makeTempFile({ suffix: ".ts" });
  await Deno.writeTextFile(program, text);
  const config = new URL("../deno.json", here).pathname;
  const args = ["run", "--quiet", "--no-prompt", "--no-check", "--config", config, program];
  const { success, stderr } = await new Deno.Command(Deno.execPath(), { args, cwd: here }).output();
  await Deno.remove(program);
  assert.ok(success, new TextDecoder().decode(stderr));
});
