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
import type { PluginApi, Receiver, Vport, VportOps, VportParams } from "../../vports/vport.ts";

interface UdpTypeOptions {
  readonly localAddress: string;
  readonly localPort: number;
  readonly remoteAddress: string;
  readonly remotePort: number;
}

const DEFAULT_PORT = 5000;

export default function udp(api: PluginApi): VportOps<UdpTypeOptions> {
  function parseOptions(raw: ReadonlyMap<string, string>): UdpTypeOptions {
    api.options.only(raw, ["remote", "local_address", "local_port"]);
    const remote = api.options.required(raw, "remote");
    const [, bracketed, plain, port] = /^(?:\[(.+)\]|([^:]+)):(\d{1,5})$/.exec(remote) ?? [];
    const remoteAddress = bracketed ?? plain ?? "";
    const remotePort = Number(port);
    if (!api.isAddress(remoteAddress) || !(remotePort >= 1 && remotePort <= 65535)) {
      const wanted = "an address and a port, as 192.0.2.7:5000 or [2001:db8::7]:5000";
      throw new api.OptionError("remote", `Option remote must be ${wanted}: it is "${remote}"`);
    }
    const any = remoteAddress.includes(":") ? "::" : "0.0.0.0";
    const localAddress = raw.get("local_address") ?? any;
    if (!api.isAddress(localAddress) || localAddress.includes(":") !== any.includes(":")) {
      const wanted = "an address of the same family as remote";
      throw new api.OptionError(
        "local_address",
        `Option local_address must be ${wanted}: it is "${localAddress}"`,
      );
    }
    const range = { min: 1, max: 65535, fallback: DEFAULT_PORT };
    const localPort = api.options.integer(raw, "local_port", range);
    return { localAddress, localPort, remoteAddress, remotePort };
  }

  function formatOptions(options: UdpTypeOptions): ReadonlyMap<string, string> {
    const { localAddress, localPort, remoteAddress, remotePort } = options;
    const isV6 = remoteAddress.includes(":");
    const shown = new Map([
      ["remote", `${isV6 ? `[${remoteAddress}]` : remoteAddress}:${remotePort}`],
    ]);
    if (localAddress !== (isV6 ? "::" : "0.0.0.0")) shown.set("local_address", localAddress);
    if (localPort !== DEFAULT_PORT) shown.set("local_port", `${localPort}`);
    return shown;
  }

  function create(params: VportParams<UdpTypeOptions>): Vport {
    const { host, portNo, options } = params;
    const socket = api.openUdp({
      local: { address: options.localAddress, port: options.localPort },
      remote: { address: options.remoteAddress, port: options.remotePort },
      shared: params.threads > 1,
      refused: (reason, size) => host.countTxDrop(portNo, reason, size),
    });
    const receiver: Receiver = {
      fd: socket.fd,
      receive(budget): number {
        for (let count = 0; count < budget; count++) {
          const packet = host.allocate();
          if (packet === undefined) return count; // the datagram waits in the kernel
          if (socket.receive(packet) < 0) {
            host.recycle(packet);
            return count;
          }
          host.receive(portNo, packet);
        }
        return budget;
      },
    };
    return {
      receiver,
      sender: socket,
      takesPartialChecksums: false, // a datagram has no place for offload state: the switch finishes frames
      takesSegmentTrains: false,
      send: (packet) => socket.send(packet),
      close: () => socket.close(),
    };
  }

  return {
    apiVersion: 1,
    type: "udp",
    summary: "Ethernet frames in UDP datagrams, as QEMU's dgram and socket netdevs",
    headroom: 0,
    parseOptions,
    formatOptions,
    create,
  };
}
