/** An upcall handler that hangs: what users are told, what goes on, and that another takes its place. */
import assert from "node:assert/strict";
import { rootTest, withLab } from "./lab.ts";
import { eventually } from "./process.ts";
import { assertAccounts, twoHosts } from "./traffic.ts";

/** Sends everything to the other port, but hangs on frames of the type 0x88b5 (for experiments). */
const MOODY = `export default {
  apiVersion: 1,
  name: "moody",
  upcall(packet, key, host) {
    if (key.get("eth_type") === 0x88b5) for (;;);
    host.execute(packet, packet.inPort === 1 ? "2" : "1");
  },
};
`;

rootTest(
  "upcall handler: one that hangs is started anew; flows, commands and then upcalls go on",
  () =>
    withLab(async (lab) => {
      const { a, b } = await twoHosts(lab, { flows: false });
      const { denovs } = lab;
      const path = `${lab.folder}/moody.ts`;
      Deno.writeTextFileSync(path, MOODY, { mode: 0o600 });
      await denovs.cli("dp-set", "br0", `upcall-handler=${path}`);
      assert.equal(await a.ping("10.0.0.2"), 3);
      const before = await denovs.cli("dp-show", "-s", "br0");
      assert.match(before, /^ {4}upcalls:\d+ thrown:0 refused:0$/m);
      const frame = `${"ff".repeat(6)}020000000011${"88b5"}${"00".repeat(46)}`;
      const send = `import socket
s = socket.socket(socket.AF_PACKET, socket.SOCK_RAW)
s.bind(("eth0", 0))
s.send(bytes.fromhex("${frame}"))`;
      await a.run(["python3", "-c", send]);
      // While it hangs, flows are added and used.
      await denovs.batch(["flow-add br0 in_port(1) 2", "flow-add br0 in_port(2) 1"]);
      assert.equal(await b.ping("10.0.0.1"), 3);
      await eventually(
        "it is started anew",
        async () => /lost:[1-9]\d* restarts:1$/m.test(await denovs.cli("dp-show", "-s", "br0")),
      );
      assert.match(
        denovs.log(),
        /br0: upcall handler \S+moody\.ts has not come back for 2000 ms: it is started anew/,
      );
      await denovs.cli("flow-flush", "br0");
      await eventually("upcalls are handled again", async () => await a.ping("10.0.0.2") === 3);
      await assertAccounts(lab);
    }),
);
