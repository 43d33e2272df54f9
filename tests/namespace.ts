/**
 * Tests that need devices run in a network namespace of their own: the test file is run once more
 * inside one, made by `unshare`, which ends with it. Nothing of the host is touched.
 */
import assert from "node:assert/strict";

const INSIDE = "DENOVS_TEST_NAMESPACE";

/** Whether this process may make namespaces and devices. */
export const IS_ROOT: boolean = Deno.uid() === 0;
/** To be put behind a test's name when it is ignored for want of root. */
export const NEEDS_ROOT: string | undefined = IS_ROOT ? undefined : "[needs root]";

/**
 * Registers tests inside a namespace. `url` is the test file's import.meta.url. Outside, the file has
 * one test that runs it inside; without root, one that is ignored.
 */
export function namespaceTests(url: string, register: () => void): void {
  if (Deno.env.get(INSIDE) === "1") {
    Deno.writeTextFileSync("/proc/sys/net/ipv6/conf/default/disable_ipv6", "1");
    Deno.writeTextFileSync("/proc/sys/net/ipv6/conf/all/disable_ipv6", "1");
    register();
    return;
  }
  const path = new URL(url).pathname;
  const name = path.slice(path.lastIndexOf("/") + 1);
  Deno.test({
    name: `${name}: in a network namespace${IS_ROOT ? "" : " [needs root]"}`,
    ignore: !IS_ROOT,
    fn: async () => {
      const command = new Deno.Command("unshare", {
        // Types are checked by a kind of its own (kinds.ts).
        args: ["--net", Deno.execPath(), "test", "-A", "--no-check", "--quiet", path],
        env: { [INSIDE]: "1", NO_COLOR: "1" },
        stdout: "piped",
        stderr: "piped",
      });
      const { code, stdout, stderr } = await command.output();
      const text = new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr);
      assert.equal(code, 0, `unshare --net deno test -A ${path}\n${text}`);
    },
  });
}

/** Runs `ip`, in the test's own namespace. */
export function ip(...args: string[]): string {
  const { code, stdout, stderr } = new Deno.Command("ip", { args }).outputSync();
  assert.equal(code, 0, `ip ${args.join(" ")}: ${new TextDecoder().decode(stderr)}`);
  return new TextDecoder().decode(stdout);
}

/** Makes a veth pair, both ends up. */
export function addVeth(name: string, peer: string): void {
  ip("link", "add", name, "type", "veth", "peer", "name", peer);
  ip("link", "set", name, "up");
  ip("link", "set", peer, "up");
}
