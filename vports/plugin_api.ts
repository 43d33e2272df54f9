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
import { optionForms, optionTable } from "./option_table.ts";
import { optionReader } from "./options.ts";
import { makeReceiver } from "./receiver.ts";
import { API_VERSION } from "./shape.ts";
import { openUdpVport } from "./udp_vport.ts";
import type { PluginApi } from "./vport.ts";

export const pluginApi: PluginApi = {
  apiVersion: API_VERSION,
  OptionError,
  dropReason,
  options: { ...optionReader, table: optionTable, form: optionForms },
  headers: { ethernet, geneve, gre, ipv4, ipv6, udp, vlan, vxlan },
  checksum,
  isAddress,
  receiver: makeReceiver,
  openUdp: (options) => new UdpSocket(options),
  udpVport: openUdpVport,
};
