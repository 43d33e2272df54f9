/**
 * denovs for authors of port types and for programs that talk to the switch. Re-exports only.
 *
 * A port type is a module whose default export is a {@link VportOps}, or a function from
 * {@link PluginApi} to one. It imports nothing but types and gets everything else by argument, so
 * that the same file loads from the sources and from the single executable
 * (`denovs run --plugin FILE`):
 *
 * ```ts ignore
 * import type { PluginApi, VportOps } from "denovs";
 *
 * export default function myType(api: PluginApi): VportOps { … }
 * ```
 *
 * A program that configures the switch uses {@link connect} and {@link Methods}: the requests that
 * the command line makes.
 *
 * @module
 */
export type {
  Attachment,
  OptionReader,
  PluginApi,
  PortParams,
  Receiver,
  Sender,
  TunnelKey,
  UdpEnd,
  UdpOptions,
  UdpPort,
  Vport,
  VportHost,
  VportOps,
  VportParams,
} from "./vports/vport.ts";
export type { Packet, PacketBuffer } from "./datapath/packet.ts";
export {
  DROP_REASONS,
  type DropReason,
  dropReason,
  type DropReasonName,
} from "./datapath/drop_reasons.ts";
export { type ErrorCode, OptionError } from "./datapath/errors.ts";
export { connect, type OpenExecutor } from "./daemon/client.ts";
export {
  type BatchRequest,
  CommandError,
  type ConfigMethod,
  type DatapathCounters,
  type DatapathInfo,
  type DatapathType,
  type DpAddParams,
  type DpParams,
  type Executor,
  type FlowInfo,
  type FlowParams,
  type FlowStats,
  type MethodName,
  type Methods,
  type MissPolicy,
  type PortAddParams,
  type PortCounters,
  type PortInfo,
} from "./daemon/api.ts";
