/** The {@link PluginApi} that plug-in modules are given. */
import { OptionError } from "../datapath/errors.ts";
import { dropReason } from "../datapath/drop_reasons.ts";
import { isAddress, UdpSocket } from "../netdev/udp_socket.ts";
import { optionReader } from "./options.ts";
import { API_VERSION } from "./shape.ts";
import type { PluginApi } from "./vport.ts";

export const pluginApi: PluginApi = {
  apiVersion: API_VERSION,
  OptionError,
  dropReason,
  options: optionReader,
  isAddress,
  openUdp: (options) => new UdpSocket(options),
};
