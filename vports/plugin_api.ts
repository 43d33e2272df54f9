/** The {@link PluginApi} that plug-in modules are given. */
import * as checksum from "../datapath/packet/checksum.ts";
import * as ethernet from "../datapath/headers/ethernet.ts";
import * as geneve from "../datapath/headers/geneve.ts";
import * as gre from "../datapath/headers/gre.ts";
import * as ipv4 from "../datapath/headers/ipv4.ts";
import * as ipv6 from "../datapath/headers/ipv6.ts";
import * as udp from "../datapath/headers/udp.ts";
import * as vlan from "../datapath/headers/vlan.ts";
import * as vxlan from "../datapath/headers/vxlan.ts";
import { OptionError } from "../datapath/errors.ts";
import { dropReason } from "../datapath/drop_reasons.ts";
import { isAddress, UdpSocket } from "../netdev/udp_socket.ts";
import { optionReader } from "./options.ts";
import { API_VERSION } from "./shape.ts";
import type { PacketSource, PluginApi, Receiver } from "./vport.ts";

export const pluginApi: PluginApi = {
  apiVersion: API_VERSION,
  OptionError,
  dropReason,
  options: optionReader,
  headers: { ethernet, geneve, gre, ipv4, ipv6, udp, vlan, vxlan },
  checksum,
  isAddress,
  receiver: makeReceiver,
  openUdp: (options) => new UdpSocket(options),
};

function makeReceiver(source: PacketSource): Receiver {
  const { fd, host, portNo } = source;
  const receive = (budget: number): number => {
    for (let count = 0; count < budget; count++) {
      const packet = host.allocate();
      if (packet === undefined) return count; // no buffer is free: what waits goes on waiting
      if (!source.next(packet)) {
        host.recycle(packet);
        return count;
      }
      host.receive(portNo, packet);
    }
    return budget;
  };
  return fd === undefined ? { receive } : { fd, receive };
}
