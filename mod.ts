/**
 * denovs for authors of port types and for programs that talk to the switch. Re-exports only.
 *
 * # Port types
 *
 * A port type is a module whose default export is a {@link VportOps}, or a function from
 * {@link PluginApi} to one. It imports nothing but types and gets everything else by argument, so
 * that the same file loads from the sources and from the single executable:
 *
 * ```ts
 * import type { PluginApi, VportOps } from "denovs";
 *
 * export default (api: PluginApi): VportOps => ({
 *   apiVersion: 1,
 *   type: "null",
 *   summary: "takes every frame and never has one",
 *   headroom: 0,
 *   ...api.options.table({}),
 *   create: () => ({
 *     takesPartialChecksums: true,
 *     takesSegmentTrains: true,
 *     send: () => 0,
 *     close: () => {},
 *   }),
 * });
 * ```
 *
 * `denovs plugin-new NAME` writes such a file with its test, `denovs plugin-check FILE` judges it,
 * `denovs plugin-add FILE` loads it into the running switch. docs/plugin-authoring.md leads through
 * all of it. What there is to know, by what one does:
 *
 * - {@link VportOps} is the type; {@link VportOps.create} opens a port ({@link Vport}) on each packet
 *   thread, {@link VportOps.attach} takes what a port needs once ({@link Attachment}).
 * - {@link Vport.send} takes a borrowed {@link Packet}, {@link Vport.receiver} hands packets to the
 *   {@link VportHost}, and {@link Vport.sender} ends a round.
 * - {@link AsyncVportOps} is a type with promises, whose ports run in Workers of their own.
 * - {@link TunnelKey} is what set(tunnel(…)) says, and what a packet came through.
 * - {@link PluginApi} is what a module is given: options by table ({@link OptionHelpers.table}), a whole
 *   port over UDP ({@link PluginApi.udpVport}) or its parts, named drop reasons, checksums, headers.
 * - {@link testVport} holds a type to the contract in `deno test`.
 *
 * # Upcall handlers
 *
 * A handler decides about packets that match no flow (`denovs dp-set DP upcall-handler=FILE`). It is a
 * module whose default export is an {@link UpcallHandler}, or a function that makes one:
 *
 * ```ts
 * import type { UpcallHandler } from "denovs";
 *
 * export default (): UpcallHandler => ({
 *   apiVersion: 1,
 *   name: "only-arp",
 *   upcall(packet, key, host) {
 *     const isArp = key.get("eth_type") === 0x0806;
 *     host.addFlow({ flow: key.text, actions: isArp ? "0" : "drop", idleTimeout: 10 });
 *     host.execute(packet, isArp ? "0" : "drop");
 *   },
 * });
 * ```
 *
 * {@link UpcallPacket} and {@link FlowKey} are what it is given, {@link UpcallHost} what it can do.
 *
 * # Programs that configure the switch
 *
 * use {@link connect} and {@link Methods}: the requests that the command line makes.
 *
 * @module
 */
export type {
  AnyVportOps,
  AsyncVport,
  AsyncVportHost,
  AsyncVportOps,
  AsyncVportParams,
  Attachment,
  EncapsulationHeader,
  HeaderHelpers,
  OptionCodec,
  OptionForm,
  OptionForms,
  OptionHelpers,
  OptionReader,
  PacketSource,
  PluginApi,
  PortParams,
  Receiver,
  Sender,
  TunnelKey,
  UdpEncapsulation,
  UdpEnd,
  UdpOptions,
  UdpPort,
  Vport,
  VportHost,
  VportOps,
  VportParams,
} from "./vports/vport.ts";
export type {
  FlowKey,
  HandlerFlow,
  HandlerPort,
  UpcallHandler,
  UpcallHost,
  UpcallPacket,
} from "./daemon/upcalls/upcall_handler.ts";
export type { Json } from "./datapath/json/field_json.ts";
export type { JsonFlow } from "./datapath/json/flow_json.ts";
export type { Packet, PacketBuffer, WideMetadata } from "./datapath/packet/packet.ts";
export {
  DROP_REASONS,
  type DropReason,
  dropReason,
  type DropReasonName,
} from "./datapath/drop_reasons.ts";
export type {
  ConnectionInfo,
  ConnectionTuple,
  DirectionCounters,
  ExpectedInfo,
  PlainConnection,
  PlainExpected,
  PlainTuple,
  TcpInfo,
} from "./datapath/conntrack/connection_info.ts";
export {
  FRAGMENT_COUNTERS,
  type FragmentCounter,
  type FragmentSettings,
  type FragmentStatus,
} from "./datapath/conntrack/fragment_control.ts";
export { type ErrorCode, OptionError } from "./datapath/errors.ts";
export type {
  ConnectionParams,
  ConntrackMethods,
  ConntrackStatus,
} from "./daemon/conntrack_api.ts";
export { connect, type OpenExecutor } from "./daemon/client.ts";
export {
  type AnyDatapathType,
  type BatchRequest,
  CommandError,
  type ConfigMethod,
  type ConnectionStats,
  type DatapathCounters,
  type DatapathInfo,
  type DatapathType,
  type DpAddParams,
  type DpParams,
  type Executor,
  type FlowInfo,
  type FlowParams,
  type FlowStats,
  type FlowTimeouts,
  type LookupCounters,
  type MeterBandInfo,
  type MeterInfo,
  type MethodName,
  type Methods,
  type MissPolicy,
  type PacketTrace,
  type PluginInfo,
  type PortAddParams,
  type PortCounters,
  type PortInfo,
  type TracePacketParams,
  type UpcallHandlerInfo,
  type UpcallInfo,
} from "./daemon/api.ts";
export {
  type ConformanceCheck,
  conformanceChecks,
  type ConformanceResult,
  type ConformanceSubject,
  frameOf,
  type Peer,
  runConformance,
  testVport,
} from "./vports/conformance.ts";
export { loadType } from "./vports/loader.ts";
export { PluginError } from "./vports/shape.ts";
/** The Internet checksum, in full and incrementally. */
export * as checksum from "./datapath/packet/checksum.ts";
/** Ethernet II headers. */
export * as ethernet from "./datapath/headers/ethernet.ts";
/** Geneve headers and options. */
export * as geneve from "./datapath/headers/geneve.ts";
/** GRE headers. */
export * as gre from "./datapath/headers/gre.ts";
/** IPv4 headers. */
export * as ipv4 from "./datapath/headers/ipv4.ts";
/** IPv6 headers and extensions. */
export * as ipv6 from "./datapath/headers/ipv6.ts";
/** UDP headers. */
export * as udp from "./datapath/headers/udp.ts";
/** 802.1Q tags. */
export * as vlan from "./datapath/headers/vlan.ts";
/** VXLAN headers. */
export * as vxlan from "./datapath/headers/vxlan.ts";
export type {
  ByteChange,
  FieldChange,
  FieldDifference,
  TracedDrop,
  TracedFlow,
  TracedOuter,
  TracedOutput,
  TracedPass,
  TracedStep,
  TriedMask,
} from "./datapath/trace/schema.ts";
