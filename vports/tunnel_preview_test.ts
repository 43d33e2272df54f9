/** What a preview says is what the port itself sends to itself on the loopback address. */
import assert from "node:assert/strict";
import { dropReason } from "../datapath/drop_reasons.ts";
import { TUN_FLAG_CSUM, TUN_FLAG_DF, TUN_FLAG_KEY, TUN_OPTIONS_GENEVE } from "../datapath/key.ts";
import { load, receiveAll, tcpFrame, tunnelTo, withPort } from "../tests/tunnel_port.ts";
import geneve from "./geneve.ts";
import gre from "./gre.ts";
import { TunnelPreview } from "./tunnel_preview.ts";
import type { VportOps } from "./vport.ts";
import vxlan from "./vxlan.ts";

const LOOPBACK = 0x7f000001;

function previewOf(ops: VportOps, options: Record<string, string>): TunnelPreview {
  return new TunnelPreview(ops, {
    datapath: "br0",
    datapathId: "",
    name: "t0",
    portNo: 1,
    options: ops.parseOptions(new Map(Object.entries(options))),
    mac: undefined,
    threads: 1,
  });
}

Deno.test({
  name: "TunnelPreview: addresses, key, tos, ttl and options are those that are received",
  // Libraries opened on first use stay open for the process.
  sanitizeResources: false,
  fn: () => {
    const options = { remote_ip: "flow", key: "flow", dst_port: "16091", csum: "false" };
    withPort(geneve, options, (vport, host) => {
      const tunnel = tunnelTo(LOOPBACK);
      tunnel.source = 0x7f000009;
      tunnel.idLow = 0xabcdef;
      tunnel.tos = 0xb8;
      tunnel.ttl = 7;
      tunnel.flags = TUN_FLAG_KEY | TUN_FLAG_DF;
      const option = Uint8Array.fromHex("0102800111223344");
      tunnel.setOptions(TUN_OPTIONS_GENEVE, new DataView(option.buffer), 0, 8);
      const packet = load(host, tcpFrame(100, { tos: 2 }));
      const { reason, outer } = previewOf(geneve, options).send(packet, tunnel, 1000);
      assert.equal(reason, 0);
      assert.equal(vport.send(packet, tunnel), 0);
      vport.sender!.flush();
      receiveAll(vport, host, 1);
      const [got] = host.tunnels;
      assert(got !== undefined && outer !== undefined);
      assert.deepEqual([...outer.source!], [127, 0, 0, 9]);
      assert.equal(new DataView(outer.source!.buffer).getUint32(0), got.source);
      assert.equal(new DataView(outer.destination.buffer).getUint32(0), got.destination);
      const { port, tos, ttl, dontFragment, checksum, family, mark } = outer;
      assert.deepEqual([port, tos, ttl], [got.destinationPort, got.tos, got.ttl]);
      assert.deepEqual([dontFragment, checksum, family, mark], [true, false, 4, 0]);
      assert.equal(
        outer.header.toHex(),
        "02406558abcdef00" + option.toHex(),
      );
    });
  },
});

Deno.test({
  name: "TunnelPreview: a packet that the port drops is dropped for its reason",
  sanitizeResources: false,
  fn: () => {
    withPort(vxlan, { remote_ip: "flow", dst_port: "16092" }, (_vport, host) => {
      const nowhere = previewOf(vxlan, { remote_ip: "flow" });
      const { reason, outer } = nowhere.send(load(host, tcpFrame(1)), undefined, 0);
      assert.deepEqual([reason, outer], [dropReason("tunnel-no-destination"), undefined]);
      const { reason: tooLong } = previewOf(vxlan, { remote_ip: "127.0.0.1", key: "1" })
        .send(load(host, tcpFrame(65_490)), undefined, 0);
      assert.equal(tooLong, dropReason("over-mtu"));
    });
  },
});

Deno.test({
  name: "TunnelPreview: GRE's header with key, checksum and sequence number",
  sanitizeResources: false,
  fn: () => {
    withPort(vxlan, { remote_ip: "flow", dst_port: "16093" }, (_vport, host) => {
      const preview = previewOf(gre, { remote_ip: "flow", key: "flow", seq: "true" });
      const tunnel = tunnelTo(LOOPBACK);
      tunnel.idLow = 7;
      tunnel.flags = TUN_FLAG_KEY | TUN_FLAG_CSUM;
      const { outer } = preview.send(load(host, tcpFrame(9)), tunnel, 0);
      assert.match(outer!.header.toHex(), /^b0006558....00000000000700000000$/);
      assert.deepEqual([outer!.port, outer!.carrier, outer!.dontFragment], [0, "gre", false]);
      // The host chooses our address.
      assert.deepEqual([...outer!.source!], [127, 0, 0, 1]);
    });
  },
});
