/** What a trace says that a tunnel port would send is what it sends. */
import assert from "node:assert/strict";
import { createSocket } from "node:dgram";
import { once } from "node:events";
import { withDaemon } from "./testing/daemon_process.ts";

const FAR_END = "127.0.0.2";
const FLOW =
  "in_port(1),eth_type(0x0800),ipv4(src=10.0.0.1,dst=10.0.0.2,proto=17,ttl=9),udp(dst=5)";

Deno.test("trace: a tunnel port sends the header and the frame that were told, from the address told", async () => {
  const listener = createSocket("udp4");
  try {
    listener.bind(0, FAR_END);
    await once(listener, "listening");
    const { port } = listener.address();
    await withDaemon(async (daemon) => {
      await daemon.start();
      const client = await daemon.client();
      await client.execute("dp-add", { dp: "dummy@dp0" });
      await client.execute("port-add", { port: "p1" });
      const options = { remote_ip: "flow", key: "flow", exts: "gbp", dst_port: "27081" };
      await client.execute("port-add", { port: "vx0", type: "vxlan", options });
      const said =
        `tun_id=0x4d,dst=${FAR_END},ttl=64,tp_dst=${port},vxlan(gbp(id=5,flags=0x8)),flags(key)`;
      await client.execute("flow-add", { flow: "in_port(1)", actions: `set(tunnel(${said})),2` });
      const { traces: [trace] } = await client.execute("trace", { flow: FLOW });
      const [output] = trace!.outputs;
      const received = once(listener, "message");
      await client.execute("netdev-dummy/receive", { port: "p1", frames: [FLOW] });
      const [datagram, from] = await received;
      const { outer } = output!;
      assert.equal(new Uint8Array(datagram).toHex(), outer!.header + output!.packet);
      assert.deepEqual([outer!.from, outer!.to, outer!.port, outer!.key], [
        from.address,
        FAR_END,
        port,
        0x4d,
      ]);
      assert.equal(outer!.size, 20 + 8 + datagram.length);
      client.close();
      await daemon.end();
    });
  } finally {
    listener.close();
  }
});
