/** The conformance suite over the tunnel types, tap, patch and pcap. */
import { rtnetlink } from "./devices.ts";
import { geneve } from "./geneve.ts";
import { gre } from "./gre.ts";
import { patch } from "./patch.ts";
import { pcap } from "./pcap.ts";
import { tap } from "./tap.ts";
import type { VportOps } from "./vport.ts";
import { vxlan } from "./vxlan.ts";
import { testVportContract } from "../tests/contract.ts";
import { DevicePeer } from "../tests/device_peer.ts";
import { addVeth, ip, namespaceTests } from "../tests/namespace.ts";
import { UdpSocket } from "../netdev/udp_socket.ts";

const folder = Deno.makeTempDirSync({ prefix: "dnv-pcap-" });
globalThis.addEventListener("unload", () => Deno.removeSync(folder, { recursive: true }));

testVportContract({
  ops: pcap as VportOps,
  name: "c1",
  options: { tx_pcap: `${folder}/tx.pcap`, pace: "original" },
  badOptions: [["loop", "often"], ["pace", "slow"]],
  impossible: { name: "c2", options: { rx_pcap: `${folder}/missing.pcap` } },
});

testVportContract({
  ops: patch as VportOps,
  name: "p1",
  options: { peer: "p2" },
  impossible: { name: "p2", options: { peer: "p2" } },
});

/** Another network namespace, as long as the test process lives; its commands. */
function otherNamespace(): (...args: string[]) => void {
  const holder = new Deno.Command("unshare", { args: ["--net", "sleep", "600"] }).spawn();
  holder.unref();
  globalThis.addEventListener("unload", () => holder.kill("SIGKILL"));
  // Until the holder has moved, its namespace is ours.
  const own = Deno.readLinkSync("/proc/self/ns/net");
  while (Deno.readLinkSync(`/proc/${holder.pid}/ns/net`) === own) {
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 5);
  }
  ip("link", "set", "u1", "netns", `${holder.pid}`);
  return (...args) => {
    const command = ["-t", `${holder.pid}`, "-n", "ip", ...args];
    const { code, stderr } = new Deno.Command("nsenter", { args: command }).outputSync();
    if (code !== 0) throw new Error(`ip ${args.join(" ")}: ${new TextDecoder().decode(stderr)}`);
  };
}

namespaceTests(import.meta.url, () => {
  ip("link", "set", "lo", "up");
  addVeth("u0", "u1");
  ip("addr", "add", "192.0.2.1/24", "dev", "u0");
  const there = otherNamespace();
  there("addr", "add", "192.0.2.2/24", "dev", "u1");
  there("link", "set", "u1", "up");
  // The kernel's device sends and receives where it was made, but its frames are seen here.
  const vxlanOptions = ["id", "7", "remote", "192.0.2.1", "dstport", "4789"];
  there("link", "add", "vx0", "mtu", "1500", "type", "vxlan", ...vxlanOptions);
  there("link", "set", "vx0", "netns", `${Deno.pid}`);
  ip("link", "set", "vx0", "up");
  // No ARP on the way of the first frame.
  const mac = ip("-br", "link", "show", "u0").split(/\s+/)[2]!;
  there("neigh", "add", "192.0.2.1", "lladdr", mac, "dev", "u1", "nud", "permanent");
  new UdpSocket({
    local: { address: "0.0.0.0", port: 4999 },
    remote: { address: "192.0.2.2", port: 4999 },
    shared: false,
    refused: () => {},
  });

  testVportContract({
    ops: vxlan as VportOps,
    name: "x1",
    // Frames of 1514 bytes don't fit into the underlay's 1500 otherwise.
    options: { remote_ip: "192.0.2.2", key: "7", df_default: "false" },
    badOptions: [["remote_ip", "nowhere"], ["key", "16777216"], ["exts", "foo"]],
    impossible: { name: "x2", options: { remote_ip: "192.0.2.2", dst_port: "4999" } },
    openPeer: () => new DevicePeer("vx0"),
  });
  testVportContract({
    ops: geneve as VportOps,
    name: "g1",
    options: { remote_ip: "flow", key: "flow", csum: "true", tos: "inherit" },
    badOptions: [["tos", "3"], ["dst_port", "70000"]],
    impossible: { name: "g2", options: { remote_ip: "192.0.2.2", dst_port: "4999" } },
  });
  testVportContract({
    ops: gre as VportOps,
    name: "r1",
    options: { remote_ip: "192.0.2.2", key: "1", seq: "true", csum: "true" },
    badOptions: [["seq", "maybe"], ["local_ip", "::1"]],
  });
  testVportContract({
    ops: tap as VportOps,
    name: "t1",
    impossible: { name: "u0" },
    deviceExists: (name) => rtnetlink().linkByName(name) !== undefined,
    openPeer: () => new DevicePeer("t1"),
  });
});
