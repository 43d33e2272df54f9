/** The conformance suite over the built-in types and the example plug-in. */
import { virtio_net_hdr } from "../netdev/abi.ts";
import { rtnetlink } from "./devices.ts";
import { dummy } from "./dummy.ts";
import { internal } from "./internal.ts";
import { netdev } from "./netdev.ts";
import udp from "../examples/plugins/udp.ts";
import { pluginApi } from "./plugin_api.ts";
import type { VportOps } from "./vport.ts";
import { testVportContract } from "../tests/contract.ts";
import { DevicePeer } from "../tests/device_peer.ts";
import { addVeth, ip, namespaceTests } from "../tests/namespace.ts";
import { UdpPeer } from "../tests/udp_peer.ts";

testVportContract({ ops: dummy as VportOps, name: "p1", options: {} });

testVportContract({
  ops: udp(pluginApi) as VportOps,
  name: "u1",
  options: { remote: "127.0.0.1:15001", local: "127.0.0.1:15000" },
  badOptions: [["remote", "nowhere"], ["local", ":65536"], ["local", "[::1]:5000"]],
  impossible: { name: "u2", options: { remote: "127.0.0.1:15001", local: "192.0.2.1:5000" } },
  openPeer: () => new UdpPeer(15001, 15000),
});

namespaceTests(import.meta.url, () => {
  ip("link", "set", "lo", "up");
  addVeth("v0", "v1");
  const exists = (name: string): boolean => rtnetlink().linkByName(name) !== undefined;

  testVportContract({
    ops: netdev as VportOps,
    name: "v0",
    badOptions: [["host", "maybe"]],
    scratchSize: virtio_net_hdr.size,
    impossible: { name: "nosuch0" },
    openPeer: () => new DevicePeer("v1"),
  });
  testVportContract({
    ops: internal as VportOps,
    name: "br0",
    impossible: { name: "v0" },
    scratchSize: virtio_net_hdr.size + 2,
    deviceExists: exists,
    openPeer: () => new DevicePeer("br0"),
  });
});
