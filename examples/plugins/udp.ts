/**
 * A third party's vport type, complete: Ethernet frames in UDP datagrams, one frame each, without a
 * header in between. QEMU speaks this (`-netdev dgram,local.type=inet,…,remote.type=inet,…`, or
 * `-netdev socket,udp=…,localaddr=…`), so a virtual machine or a switch on another host joins a
 * datapath without root, tap or bridge:
 *
 *     denovs run --plugin examples/plugins/udp.ts
 *     denovs port-add br0 vm1 --type udp remote=192.0.2.7:5001 local_port=5000
 *
 * A plug-in imports nothing but types; everything else comes by argument.
 */
import type { PluginApi, UdpEnd, Vport, VportOps } from "../../vports/vport.ts";

interface Options {
  readonly remote: UdpEnd;
  readonly local: UdpEnd;
}

const PORT = { min: 1, max: 65535, fallback: 5000 };
const anyOf = (end: UdpEnd): string => end.address.includes(":") ? "::" : "0.0.0.0";

export default (api: PluginApi): VportOps<Options> => ({
  apiVersion: 1,
  type: "udp",
  summary: "Ethernet frames in UDP datagrams, as QEMU's dgram and socket netdevs",
  headroom: 0,
  parseOptions(raw): Options {
    api.options.only(raw, ["remote", "local_address", "local_port"]);
    api.options.required(raw, "remote");
    const remote = api.options.end(raw, "remote")!;
    const address = raw.get("local_address") ?? anyOf(remote);
    if (!api.isAddress(address) || address.includes(":") !== remote.address.includes(":")) {
      const message = `must be an address of the same family as remote: it is "${address}"`;
      throw new api.OptionError("local_address", `Option local_address ${message}`);
    }
    return { remote, local: { address, port: api.options.integer(raw, "local_port", PORT) } };
  },
  formatOptions({ remote, local }): ReadonlyMap<string, string> {
    const address = remote.address.includes(":") ? `[${remote.address}]` : remote.address;
    const shown = new Map([["remote", `${address}:${remote.port}`]]);
    if (local.address !== anyOf(remote)) shown.set("local_address", local.address);
    if (local.port !== PORT.fallback) shown.set("local_port", `${local.port}`);
    return shown;
  },
  create({ host, portNo, options, threads }): Vport {
    const refused = (reason: number, size: number): void => host.countTxDrop(portNo, reason, size);
    const socket = api.openUdp({ ...options, shared: threads > 1, refused });
    return {
      receiver: api.receiver({ fd: socket.fd, host, portNo, next: (p) => socket.receive(p) >= 0 }),
      sender: socket, // one system call sends what a round has queued
      takesPartialChecksums: false, // a datagram has no place for offload state: the switch
      takesSegmentTrains: false, // completes checksums and cuts trains into frames
      send: (packet) => socket.send(packet),
      close: () => socket.close(),
    };
  },
});
