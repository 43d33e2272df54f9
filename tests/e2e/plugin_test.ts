/** A third party's port type, loaded from its .ts file by the sources and by the executable. */
import assert from "node:assert/strict";
import { denovsCommand } from "./denovs.ts";
import { type Lab, rootTest, withLab } from "./lab.ts";
import { run } from "./process.ts";
import { assertAccounts, sendTcp, serveTcp } from "./traffic.ts";

const PLUGIN = new URL("../../examples/plugins/udp.ts", import.meta.url).pathname;

/** As a user installs it: a file of its own that only he may write, nothing of the project around it. */
function install(lab: Lab): string {
  const plugin = `${lab.folder}/udp.ts`;
  Deno.copyFileSync(PLUGIN, plugin);
  Deno.chmodSync(plugin, 0o644);
  return plugin;
}

rootTest(
  "plugin: TCP crosses a type that takes no virtio-net header, no checksum error",
  () =>
    withLab(async (lab) => {
      const { denovs } = lab;
      const a = await lab.peer("a", { address: "10.0.0.1/24" });
      const b = await lab.peer("b", { address: "10.0.0.2/24" });
      const plugin = install(lab);
      await denovs.start(["--plugin", plugin]);
      // a - br0 - UDP over loopback - br1 - b
      for (
        const [dp, host, own, other] of [["br0", a, 5000, 5001], ["br1", b, 5001, 5000]] as const
      ) {
        await denovs.cli("dp-add", dp);
        await denovs.cli("port-add", dp, host.port);
        await denovs.cli(
          "port-add",
          dp,
          `link-${dp}`,
          "--type",
          "udp",
          `remote=127.0.0.1:${other}`,
          `local=:${own}`,
          "segment=7",
        );
        await denovs.cli("flow-add", dp, "in_port(1)", "2");
        await denovs.cli("flow-add", dp, "in_port(2)", "1");
      }
      assert.equal(await a.ping("10.0.0.2"), 3);
      await serveTcp(b);
      await serveTcp(a);
      await sendTcp(a, "10.0.0.2", { megabytes: 20 });
      await sendTcp(b, "10.0.0.1", { megabytes: 20 });
      assert.equal(await a.checksumErrors(), 0);
      assert.equal(await b.checksumErrors(), 0);
      await assertAccounts(lab, "br0");
      await assertAccounts(lab, "br1");
      assert.match(
        await denovs.cli("dp-show", "br0"),
        /port 2: link-br0 \(udp: .*remote=127\.0\.0\.1:5001/,
      );
    }),
);

rootTest(
  "plugin: its options are checked, its ports come back with it",
  () =>
    withLab(async (lab) => {
      const { denovs } = lab;
      const plugin = install(lab);
      await denovs.start(["--plugin", plugin]);
      await denovs.cli("dp-add", "br0");
      assert.match(await denovs.refused("port-add", "br0", "u1", "--type", "udp"), /remote/);
      assert.match(
        await denovs.refused("port-add", "br0", "u1", "--type", "udp", "remote=x"),
        /remote/,
      );
      await denovs.cli("port-add", "br0", "u1", "--type", "udp", "remote=127.0.0.1:5001");
      assert.equal(await denovs.end(), 0);
      await denovs.start(["--plugin", plugin]);
      const back = (await denovs.show()).ports.find(({ name }) => name === "u1");
      assert.equal(back?.state, "up");
      assert.equal(await denovs.end(), 0);
      // Without the plug-in the port is kept and shown as what it is.
      await denovs.start();
      const without = (await denovs.show()).ports.find(({ name }) => name === "u1");
      assert.notEqual(without?.state, "up");
      assert.match(without?.reason ?? "", /udp/);
    }),
);

rootTest(
  "plugin: a file that is no plug-in, or that others can write, is refused by name",
  () =>
    withLab(async (lab) => {
      const { denovs } = lab;
      const start = async (plugin: string): Promise<string> => {
        const done = await run([...denovsCommand(), "run", "--plugin", plugin], {
          env: denovs.env,
          timeoutMs: 20_000,
        });
        assert.equal(done.code, 1, done.stderr);
        return done.stderr;
      };
      const empty = `${lab.folder}/empty.ts`;
      Deno.writeTextFileSync(empty, "export const nothing = 1;\n");
      assert.match(await start(empty), /^denovs: .*empty\.ts/m);
      const broken = `${lab.folder}/broken.ts`;
      Deno.writeTextFileSync(broken, "export default function ( {\n");
      assert.match(await start(broken), /^denovs: .*broken\.ts/m);
      const open = `${lab.folder}/open.ts`;
      Deno.copyFileSync(PLUGIN, open);
      Deno.chmodSync(open, 0o666);
      assert.match(await start(open), /^denovs: .*open\.ts.*writ/m);
      assert.match(await start(`${lab.folder}/missing.ts`), /^denovs: .*missing\.ts/m);
    }),
);
