import assert from "node:assert/strict";
import { HEADER_SIZE, makeSelfExtractor } from "./self_extractor.ts";

// A stand-in for Deno: says what it was started with. The bytes that no text has are in the module.
const FAKE_DENO = `#!/bin/sh
[ "$1" = --version ] && exit 0
echo "$0 $*"
echo "$DENO_DIR" >&2
`;

interface Bench {
  readonly root: string;
  readonly program: string;
  run(
    args: readonly string[],
    env: Readonly<Record<string, string>>,
  ): Promise<{ code: number; out: string; error: string }>;
}

/** Makes an executable in a directory of its own, which is removed afterwards. */
async function withProgram(body: (bench: Bench) => Promise<void>): Promise<void> {
  const root = await Deno.makeTempDir({ prefix: "denovs-extractor-" });
  const program = `${root}/program`;
  const whole = await makeSelfExtractor({
    version: "1.2.3",
    executable: new TextEncoder().encode(FAKE_DENO),
    files: [{ name: "main.js", content: Uint8Array.from({ length: 5000 }, (_, at) => at & 255) }],
    main: "main.js",
    runOptions: ["-A", "-q"],
  });
  await Deno.writeFile(program, whole, { mode: 0o755 });
  try {
    await body({
      root,
      program,
      run: async (args, env) => {
        const { code, stdout, stderr } = await new Deno.Command(program, {
          args: [...args],
          clearEnv: true,
          env: { PATH: Deno.env.get("PATH") ?? "", ...env },
        }).output();
        const decoder = new TextDecoder();
        return { code, out: decoder.decode(stdout), error: decoder.decode(stderr) };
      },
    });
  } finally {
    await Deno.remove(root, { recursive: true });
  }
}

Deno.test("makeSelfExtractor: unpacks once into the cache and passes the arguments on", async () => {
  await withProgram(async ({ root, run }) => {
    const env = { XDG_CACHE_HOME: `${root}/cache` };
    const first = await run(["flow-add", "in_port(1), eth()", ""], env);
    assert.equal(first.code, 0, first.error);
    const match =
      /^(.*\/cache\/denovs\/[0-9a-f]{64})\/denovs run -A -q (.*)\/main.js flow-add in_port\(1\), eth\(\) \n$/
        .exec(first.out);
    assert.ok(match, first.out);
    const directory = match[1]!;
    assert.equal(match[2], directory);
    assert.equal(first.error, `${directory}/cache\n`);
    const main = await Deno.readFile(`${directory}/main.js`);
    assert.deepEqual(main, Uint8Array.from({ length: 5000 }, (_, at) => at & 255));
    for (const path of [`${root}/cache`, `${root}/cache/denovs`, directory]) {
      assert.equal((await Deno.stat(path)).mode! & 0o777, 0o700, path);
    }
    assert.equal((await Deno.stat(`${directory}/denovs`)).mode! & 0o777, 0o500);
    const written = (await Deno.stat(`${directory}/denovs`)).mtime;
    assert.equal((await run(["version"], env)).code, 0);
    assert.deepEqual((await Deno.stat(`${directory}/denovs`)).mtime, written);
    assert.equal(Array.from(Deno.readDirSync(`${root}/cache/denovs`)).length, 1);
  });
});

Deno.test("makeSelfExtractor: many first starts at once agree", async () => {
  await withProgram(async ({ root, run }) => {
    const env = { XDG_CACHE_HOME: `${root}/cache` };
    const outcomes = await Promise.all(Array.from({ length: 8 }, () => run(["x"], env)));
    for (const { code, error } of outcomes) assert.equal(code, 0, error);
    assert.equal(Array.from(Deno.readDirSync(`${root}/cache/denovs`)).length, 1);
  });
});

Deno.test("makeSelfExtractor: HOME, and without it TMPDIR", async () => {
  await withProgram(async ({ root, run }) => {
    await Deno.mkdir(`${root}/home`);
    const home = await run([], { HOME: `${root}/home` });
    assert.ok(home.out.startsWith(`${root}/home/.cache/denovs/`), home.out + home.error);
    if (Deno.uid() === 0) return; // /var/cache comes first
    await Deno.mkdir(`${root}/tmp`);
    const tmp = await run([], { TMPDIR: `${root}/tmp` });
    assert.ok(tmp.out.startsWith(`${root}/tmp/denovs/`), tmp.out + tmp.error);
  });
});

Deno.test("makeSelfExtractor: a directory that is a link, or cannot be written, is passed over", async () => {
  await withProgram(async ({ root, run }) => {
    await Deno.mkdir(`${root}/cache`);
    await Deno.mkdir(`${root}/elsewhere`);
    await Deno.mkdir(`${root}/home`);
    await Deno.symlink(`${root}/elsewhere`, `${root}/cache/denovs`);
    const outcome = await run([], { XDG_CACHE_HOME: `${root}/cache`, HOME: `${root}/home` });
    assert.ok(outcome.out.startsWith(`${root}/home/.cache/`), outcome.out + outcome.error);
    assert.deepEqual(Array.from(Deno.readDirSync(`${root}/elsewhere`)), []);
  });
});

Deno.test("makeSelfExtractor: a damaged or cut file is not run", async () => {
  await withProgram(async ({ root, program, run }) => {
    const whole = await Deno.readFile(program);
    const places = { XDG_CACHE_HOME: `${root}/cache` };
    const damaged = whole.slice();
    damaged[HEADER_SIZE + 300]! ^= 1;
    for (const bytes of [whole.slice(0, whole.length - 10), damaged]) {
      await Deno.writeFile(program, bytes);
      const outcome = await run([], places);
      assert.equal(outcome.code, 1);
      assert.equal(outcome.error, `denovs: cannot start: ${program} is damaged\n`);
      assert.equal(outcome.out, "");
    }
  });
});
