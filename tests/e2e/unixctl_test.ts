/** The control socket as Open vSwitch's own tools see it. */
import assert from "node:assert/strict";
import { rootTest, withLab } from "./lab.ts";
import { run } from "./process.ts";

rootTest(
  "unixctl: ovs-appctl -t SOCKET dpctl/… prints what the command line prints",
  () =>
    withLab(async (lab) => {
      const { denovs } = lab;
      await denovs.start();
      await denovs.cli("dp-add", "dummy@dp0");
      await denovs.cli("port-add", "dp0", "p1", "--type", "dummy");
      const appctl = async (...args: string[]): Promise<string> => {
        const done = await run(["ovs-appctl", "-t", denovs.socket, ...args]);
        assert.equal(done.code, 0, done.stderr);
        return done.stdout;
      };
      await appctl(
        "dpctl/add-flow",
        "dummy@dp0",
        "in_port(1),eth(),eth_type(0x0800),ipv4(dst=10.0.0.0/8)",
        "drop",
      );
      const dumped = await appctl("dpctl/dump-flows", "dummy@dp0");
      assert.equal(dumped, await denovs.cli("flow-dump", "dp0"));
      assert.match(
        dumped,
        /^in_port\(1\),eth\(\),eth_type\(0x0800\),ipv4\(dst=10\.0\.0\.0\/255\.0\.0\.0,frag=no\), packets:0, bytes:0, used:never, actions:drop\n$|^in_port\(1\),eth\(\),eth_type\(0x0800\),ipv4\(dst=10\.0\.0\.0\/255\.0\.0\.0\), packets:0, bytes:0, used:never, actions:drop\n$/,
      );
      assert.equal(await appctl("dpctl/show", "dummy@dp0"), await denovs.cli("dp-show", "dp0"));
      assert.equal(await appctl("dpctl/dump-dps"), "dummy@dp0\n");
      assert.match(await appctl("version"), /denovs/);
      assert.match(await appctl("list-commands"), /dpctl\/dump-flows/);
      const unknown = await run(["ovs-appctl", "-t", denovs.socket, "no/such"]);
      assert.equal(unknown.code, 2);
      assert.match(unknown.stderr, /"no\/such" is not a valid command/);
    }),
);

rootTest("unixctl: broken, slow and greedy clients disturb nobody", () =>
  withLab(async (lab) => {
    const { denovs } = lab;
    await denovs.start();
    const encoder = new TextEncoder();
    const open = (): Promise<Deno.UnixConn> =>
      Deno.connect({ transport: "unix", path: denovs.socket });
    const silent = await open();
    for (
      const text of [
        "\u0000\u0001garbage",
        "[[[[[[",
        '{"method":1}',
        "{}".repeat(10),
        '{"method":"dp-list","params":"x","id":1}',
      ]
    ) {
      const connection = await open();
      await connection.write(encoder.encode(text)).catch(() => {});
      connection.close();
    }
    const greedy = await open();
    const block = encoder.encode('"' + "x".repeat(1 << 20));
    try {
      await greedy.write(encoder.encode('{"method":"dp-list","params":['));
      for (let i = 0; i < 200; i++) await greedy.write(block);
    } catch {
      // Cut off: as it should be.
    }
    assert.equal(await denovs.cli("dp-list"), "");
    greedy.close();
    silent.close();
  }));
