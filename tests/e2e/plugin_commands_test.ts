/** Port types in the running switch by command: added, changed, listed, removed, checked; and what faulty ones cost. */
import assert from "node:assert/strict";
import { denovsCommand } from "./denovs.ts";
import { type Lab, rootTest, withLab } from "./lab.ts";
import { eventually, run } from "./process.ts";

const EXAMPLES = new URL("../../examples/plugins/", import.meta.url).pathname;

/** Copies an example into the lab, as only its user may write it. */
function install(lab: Lab, name: string, folder: string = lab.folder): string {
  const plugin = `${folder}/${name}`;
  Deno.copyFileSync(EXAMPLES + name, plugin);
  Deno.chmodSync(plugin, 0o644);
  return plugin;
}

function write(lab: Lab, name: string, text: string): string {
  const path = `${lab.folder}/${name}`;
  Deno.writeTextFileSync(path, text);
  Deno.chmodSync(path, 0o644);
  return path;
}

/** A type with a fault at the place that the option `at` names. */
const FAULTY = `import type { PluginApi, VportOps } from "./nowhere.ts";
  export default (api: PluginApi): VportOps<string> => ({
  apiVersion: 1, type: "faulty", summary: "for tests", headroom: 0,
  parseOptions: (raw) => (api.options.only(raw, ["at"]), raw.get("at") ?? ""),
  formatOptions: (at) => new Map(at === "" ? [] : [["at", at]]),
  create: ({ options: at }) => {
    let armed = false;
    const fail = (place: string) => {
      if (at === place) throw new TypeError("broken in " + place);
      if (at === "block-" + place) for (;;);
    };
    fail("create");
    if (at === "shape") return {} as never;
    return {
      takesPartialChecksums: true, takesSegmentTrains: true, close() {},
      send: () => { armed = true; fail("send"); return 0; },
      receiver: { receive: () => { if (armed) fail("receive"); return 0; } },
      sender: { flush: () => { if (armed) fail("flush"); } },
    };
  },
});`;

rootTest(
  "plugin: types come, are listed, change and go while the switch runs",
  () =>
    withLab(async (lab) => {
      const { denovs } = lab;
      const refusedOffline = await denovs.refused("plugin-add", install(lab, "null.ts"));
      assert.match(refusedOffline, /no daemon is running/);
      await denovs.start();
      await denovs.cli("dp-add", "br0");
      assert.match(
        await denovs.refused("port-add", "br0", "n1", "--type", "null"),
        /unknown type "null"/,
      );
      const plugin = install(lab, "null.ts");
      assert.equal(await denovs.cli("plugin-add", plugin), `added port type null (${plugin})\n`);
      assert.equal(
        await denovs.cli("plugin-add", plugin),
        `unchanged port type null (${plugin})\n`,
      );
      await denovs.cli("port-add", "br0", "n1", "--type", "null");
      const list = await denovs.cli("plugin-list");
      assert.match(list, /^netdev +sync +0 +built-in /m);
      assert.match(list, new RegExp(`^null +sync +1 +${plugin} +takes every frame`, "m"));
      assert.match(await denovs.refused("plugin-del", "null"), /port n1 of datapath br0 is of it/);
      // A changed file: new ports are of the new code, those that exist stay.
      const text = Deno.readTextFileSync(plugin);
      write(lab, "null.ts", text.replaceAll("takes every frame and", "CHANGED and"));
      assert.equal(await denovs.cli("plugin-add", plugin), `reloaded port type null (${plugin})\n`);
      assert.match(await denovs.cli("plugin-list"), /CHANGED and never has one/);
      // A type of the same name from elsewhere names both.
      const other = write(lab, "other.ts", text);
      const twice = await denovs.refused("plugin-add", other);
      assert.match(twice, /"null" from .*other\.ts: .*null\.ts has registered it already/);
      const builtIn = write(lab, "tap.ts", text.replace('type: "null"', 'type: "dummy"'));
      assert.match(
        await denovs.refused("plugin-add", builtIn),
        /tap\.ts: built-in has registered it/,
      );
      assert.match(await denovs.refused("plugin-del", "netdev"), /it is built in/);
      await denovs.cli("port-del", "br0", "n1");
      await denovs.cli("plugin-del", "null");
      await denovs.cli("plugin-del", "null", "--if-exists");
      assert.match(await denovs.refused("plugin-del", "null"), /there is none/);
      assert.match(
        await denovs.refused("port-add", "br0", "n1", "--type", "null"),
        /unknown type "null"/,
      );
    }),
);

rootTest(
  "plugin: files that can't be used are refused by a running switch, which goes on",
  () =>
    withLab(async (lab) => {
      const { denovs } = lab;
      await denovs.start();
      const refused = async (name: string, text: string, why: RegExp): Promise<void> => {
        assert.match(await denovs.refused("plugin-add", write(lab, name, text)), why);
      };
      await refused("throws.ts", 'throw new Error("no licence");', /throws\.ts.*no licence/);
      await refused("exits.ts", "Deno.exit(7);", /exits\.ts.*ended its process \(status 7\)/);
      await refused("none.ts", "export const x = 1;", /no default export/);
      await refused(
        "two.ts",
        "export default { apiVersion: 2 };",
        /apiVersion is 2, this denovs has 1/,
      );
      await refused("hangs.ts", "for (;;);", /hangs\.ts.*not come back for 10 s from: loading/);
      const open = install(lab, "null.ts");
      Deno.chmodSync(open, 0o666);
      assert.match(
        await denovs.refused("plugin-add", open),
        /its mode is 0666: others may write it/,
      );
      Deno.chmodSync(open, 0o644);
      Deno.chownSync(open, 1234, null);
      assert.match(await denovs.refused("plugin-add", open), /belongs to uid 1234/);
      const folder = `${lab.folder}/open`;
      Deno.mkdirSync(folder);
      Deno.chmodSync(folder, 0o777);
      const inside = install(lab, "null.ts", folder);
      assert.match(
        await denovs.refused("plugin-add", inside),
        /its folder .*open is not safe: its mode is 0777/,
      );
      await denovs.cli("dp-add", "br0");
    }),
);

rootTest(
  "plugin: a folder of them is loaded at the start, without those that can't be",
  () =>
    withLab(async (lab) => {
      const { denovs } = lab;
      const folder = `${lab.folder}/plugins`;
      Deno.mkdirSync(folder);
      install(lab, "null.ts", folder);
      install(lab, "udp.ts", folder);
      Deno.writeTextFileSync(`${folder}/broken.ts`, "export default (");
      Deno.writeTextFileSync(`${folder}/null_test.ts`, 'throw new Error("not a plug-in");');
      await denovs.start(["--plugin-dir", folder]);
      const list = await denovs.cli("plugin-list");
      assert.match(list, /^null /m);
      assert.match(list, /^udp /m);
      assert.match(list, /^not loaded: .*broken\.ts: /m);
      assert.doesNotMatch(list, /null_test/);
      assert.match(denovs.log(), /broken\.ts/);
      await denovs.end();
      const done = await run([...denovsCommand(), "run", "--plugin-dir", `${lab.folder}/nowhere`], {
        env: denovs.env,
        timeoutMs: 20_000,
      });
      assert.equal(done.code, 1);
      assert.match(done.stderr, /nowhere/);
    }),
);

rootTest(
  "plugin: one that throws or blocks loses its port, with the reason; all else goes on",
  () =>
    withLab(async (lab) => {
      const { denovs } = lab;
      const a = await lab.peer("a", { address: "10.0.0.1/24" });
      const b = await lab.peer("b", { address: "10.0.0.2/24" });
      await denovs.start(["--plugin", write(lab, "faulty.ts", FAULTY)]);
      await denovs.cli("dp-add", "br0");
      await denovs.cli("port-add", "br0", a.port, b.port);
      await denovs.cli("flow-add", "br0", "in_port(2)", "1");
      await denovs.cli("flow-add", "br0", "in_port(1)", "2");
      const add = (
        at: string,
      ): string[] => ["port-add", "br0", "bad0", "--type", "faulty", `at=${at}`];
      assert.match(await denovs.refused(...add("create")), /broken in create/);
      assert.match(
        await denovs.refused(...add("shape")),
        /"faulty" has made no port: it has no function send/,
      );
      for (
        const place of ["send", "receive", "flush", "block-send", "block-receive", "block-flush"]
      ) {
        const portNo = JSON.parse(await denovs.cli(...add(place), "--json")).portNo;
        await denovs.cli("flow-mod", "br0", "in_port(1)", `2,${portNo}`);
        await a.ping("10.0.0.2", { count: 1 });
        const reason = await eventually(`${place} is noticed`, async () => {
          const port = (await denovs.show()).ports.find(({ name }) => name === "bad0");
          return port?.state === "failed" ? port.reason ?? "" : undefined;
        }, { timeoutMs: 10_000 });
        const wanted = place.startsWith("block")
          ? /its code has not come back for 2000 ms \(packet thread \d\)/
          : new RegExp(`TypeError: broken in ${place}`);
        assert.match(reason, wanted);
        assert.match(await denovs.cli("dp-show", "br0"), /bad0 .*\[failed: /);
        await eventually(`pings after ${place}`, async () => await a.ping("10.0.0.2") === 3);
        await denovs.cli("flow-mod", "br0", "in_port(1)", "2");
        await denovs.cli("port-del", "br0", "bad0");
      }
      assert.match(
        denovs.log(),
        /packet thread \d has not come back for 2000 ms from port bad0 of datapath br0: the port is down/,
      );
      assert.match(denovs.log(), /packet thread \d has been replaced/);
      // Numbers go on as if nothing had happened.
      const { counters, ports } = await denovs.show();
      assert.deepEqual(ports.map(({ state }) => state), ["up", "up", "up"]);
      assert(counters["hit"]! > 0 && ports[1]!.counters!["rxPackets"]! > 0);
    }),
);

rootTest(
  "plugin: frames cross a WebSocket with TLS between two switches, and a blocked one stops alone",
  () =>
    withLab(async (lab) => {
      const { denovs } = lab;
      const a = await lab.peer("a", { address: "10.0.0.1/24" });
      const b = await lab.peer("b", { address: "10.0.0.2/24" });
      const [cert, key] = [`${lab.folder}/host.crt`, `${lab.folder}/host.key`];
      const made = await run([
        ...["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"],
        ...["-nodes", "-days", "2", "-subj", "/CN=localhost", "-keyout", key, "-out", cert],
        ...[
          "-addext",
          "subjectAltName=DNS:localhost,IP:127.0.0.1",
          "-addext",
          "basicConstraints=CA:FALSE",
        ],
      ]);
      assert.equal(made.code, 0, made.stderr);
      await denovs.start(["--plugin", install(lab, "websocket.ts")]);
      for (const [dp, host] of [["br0", a], ["br1", b]] as const) {
        await denovs.cli("dp-add", dp);
        await denovs.cli("port-add", dp, host.port);
        await denovs.cli("flow-add", dp, "in_port(1)", "2");
        await denovs.cli("flow-add", dp, "in_port(2)", "1");
      }
      const type = ["--type", "websocket"];
      await denovs.cli(
        "port-add",
        "br1",
        "far0",
        ...type,
        "url=wss://127.0.0.1:8443/lan",
        `ca=${cert}`,
      );
      await denovs.cli(
        ...["port-add", "br0", "near0", ...type, "listen=127.0.0.1:8443", "path=/lan"],
        ...[`cert=${cert}`, `key=${key}`],
      );
      assert.match(await denovs.cli("plugin-list"), /^websocket +async +2 /m);
      await eventually("pings cross", async () => await a.ping("10.0.0.2") === 3, {
        timeoutMs: 20_000,
      });
      assert.equal(await b.ping("10.0.0.1", { size: 1400 }), 3);
      // One that blocks stops its own port, and no other.
      const stuck = `export default { apiVersion: 1, kind: "async", type: "stuck", summary: "bad",
        parseOptions: () => ({}), formatOptions: () => new Map(),
        open: () => ({ send: () => { for (;;); }, close() {} }) };`;
      await denovs.cli("plugin-add", write(lab, "stuck.js", stuck));
      await denovs.cli("port-add", "br0", "stuck0", "--type", "stuck");
      await denovs.cli("flow-mod", "br0", "in_port(1)", "2,3");
      assert.equal(await a.ping("10.0.0.2"), 3);
      await eventually("the blocked port is down", async () => {
        const port = (await denovs.show()).ports.find(({ name }) => name === "stuck0");
        return port?.state === "failed" && /has not come back for 2000 ms/.test(port.reason ?? "");
      });
      assert.equal(await a.ping("10.0.0.2"), 3);
    }),
);

rootTest("plugin-check: judges a file without a daemon", () =>
  withLab(async (lab) => {
    const { denovs } = lab;
    const good = await denovs.cli("plugin-check", install(lab, "null.ts"));
    assert.match(good, /^null: takes every frame/);
    assert.match(good, /^ok +send: leaves the packet as it is$/m);
    assert.doesNotMatch(good, /FAILED/);
    await denovs.cli("plugin-check", install(lab, "websocket.ts"), "listen=127.0.0.1:15009");
    assert.match(await denovs.refused("plugin-check", install(lab, "udp.ts")), /remote is missing/);
    const faulty = await denovs.try(["plugin-check", write(lab, "f.ts", FAULTY), "at=send"]);
    assert.equal(faulty.code, 1);
    assert.match(
      faulty.stdout,
      /^FAILED +send: takes frames of all sizes, or says why not: TypeError/m,
    );
    const blocked = await denovs.try([
      "plugin-check",
      write(lab, "f.ts", FAULTY),
      "at=block-create",
    ]);
    assert.equal(blocked.code, 1);
    assert.match(blocked.stderr, /not come back for 10 s from: create: makes a port/);
  }));

rootTest(
  "plugin-new: writes a type that passes plugin-check, and goes into a switch",
  () =>
    withLab(async (lab) => {
      const { denovs } = lab;
      const inFolder = ["env", "-C", lab.folder, ...denovsCommand(), "plugin-new"];
      const taken = await run([...inFolder, "netdev"]);
      assert.equal(taken.code, 2);
      assert.match(taken.stderr, /"netdev" is a type that denovs has already/);
      for (const [name, flags] of [["loop", []], ["slow", ["--async"]]] as const) {
        const done = await run([...inFolder, name, ...flags]);
        assert.match(
          done.stdout,
          new RegExp(`^wrote ${name}\\.ts\nwrote ${name}_test\\.ts\n(wrote deno\\.json\n)?$`),
          done.stderr,
        );
        // The test passes with what there is: denovs and deno.
        const denovsPath = denovsCommand()[0]!;
        const tested = await run(
          [
            ...["env", "-C", lab.folder, `DENOVS=${denovsPath}`],
            ...[Deno.execPath(), "test", "-A", "--no-check", `${name}_test.ts`],
          ],
          { timeoutMs: 120_000 },
        );
        assert.equal(tested.code, 0, tested.stdout + tested.stderr);
        assert.match(tested.stdout, /create: makes a port of the contract's shape .* ok/);
        assert.doesNotMatch(await denovs.cli("plugin-check", `${lab.folder}/${name}.ts`), /FAILED/);
        const again = await run([...inFolder, name]);
        assert.match(again.stderr, new RegExp(`${name}\\.ts exists`));
      }
      await denovs.start();
      await denovs.cli("plugin-add", `${lab.folder}/loop.ts`, `${lab.folder}/slow.ts`);
      await denovs.cli("dp-add", "br0");
      await denovs.cli("port-add", "br0", "l1", "--type", "loop", "limit=8");
      await denovs.cli("port-add", "br0", "s1", "--type", "slow");
    }),
);
