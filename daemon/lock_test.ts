import assert from "node:assert/strict";
import { LockedError, makeDirectory, takeLock, takeStateLock } from "./lock.ts";

async function withDirectory(work: (path: string) => Promise<void>): Promise<void> {
  const directory = await Deno.makeTempDir();
  try {
    await work(directory);
  } finally {
    await Deno.remove(directory, { recursive: true });
  }
}

/** Another process that holds a lock until it is killed. */
async function holdElsewhere(path: string, role: string): Promise<Deno.ChildProcess> {
  const module = new URL("./lock.ts", import.meta.url).href;
  const code = `const { takeLock } = await import(${JSON.stringify(module)});
    await takeLock(${JSON.stringify(path)}, { role: "${role}", waitMs: 0 });
    Deno.stdout.writeSync(new Uint8Array([1]));
    await new Promise((done) => setTimeout(done, 60000));`;
  const child = new Deno.Command(Deno.execPath(), {
    args: ["run", "-A", "--quiet", "--ext=ts", "-"],
    stdin: "piped",
    stdout: "piped",
  }).spawn();
  const writer = child.stdin.getWriter();
  await writer.write(new TextEncoder().encode(code));
  await writer.close();
  const reader = child.stdout.getReader();
  await reader.read();
  await reader.cancel();
  return child;
}

Deno.test("takeLock waits for a client, names a daemon at once, and gets what a killed holder had", async () => {
  await withDirectory(async (directory) => {
    const path = `${directory}/new/state.lock`;
    const client = await takeLock(path, { role: "client", waitMs: 0 });
    const waiting = takeLock(path, { role: "client", waitMs: 5000 });
    await new Promise((done) => setTimeout(done, 50));
    client.release();
    (await waiting).release();
    assert.equal((await Deno.stat(directory + "/new")).mode! & 0o777, 0o700);

    const other = await holdElsewhere(path, "daemon");
    const start = performance.now();
    await assert.rejects(
      takeLock(path, { role: "client", waitMs: 5000 }),
      (error) => error instanceof LockedError && error.holder?.pid === other.pid,
    );
    assert.ok(performance.now() - start < 2000);
    other.kill("SIGKILL");
    await other.status;
    (await takeLock(path, { role: "daemon", waitMs: 0 })).release();
  });
});

Deno.test("a daemon's lock tells its socket, as an absolute path", async () => {
  await withDirectory(async (directory) => {
    const path = `${directory}/state.lock`;
    for (const [socket, told] of [["/s p", "/s p"], ["s", `${Deno.cwd()}/s`], [undefined]]) {
      using _lock = await takeLock(path, { role: "daemon", waitMs: 0, socket });
      await assert.rejects(
        takeLock(path, { role: "client", waitMs: 0 }),
        (error) => error instanceof LockedError && error.holder?.socket === told,
      );
    }
  });
});

Deno.test("beside a file of another program no lock is made", async () => {
  await withDirectory(async (directory) => {
    const path = `${directory}/passwd`;
    await Deno.writeTextFile(path, "root:x:0:0\n");
    await assert.rejects(
      takeStateLock(path, { role: "client", waitMs: 0 }),
      /passwd: file is not a database$/,
    );
    assert.deepEqual(Array.from(Deno.readDirSync(directory), ({ name }) => name), ["passwd"]);
  });
});

Deno.test("makeDirectory leaves an existing directory as it is", async () => {
  await withDirectory(async (directory) => {
    await Deno.mkdir(`${directory}/open`, { mode: 0o755 });
    makeDirectory(`${directory}/open`);
    assert.equal((await Deno.stat(`${directory}/open`)).mode! & 0o777, 0o755);
  });
});
