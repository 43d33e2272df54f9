/**
 * The kernel's openvswitch module as typed requests: the families ovs_datapath, ovs_vport and
 * ovs_flow over one generic netlink socket, in the network namespace of the calling thread. What is
 * asked for by name and is not there is undefined; whatever else fails throws SystemError.
 */
import { CommandError } from "../api.ts";
import {
  type FlowIdentity,
  type FlowSpec,
  type KernelFlow,
  readFlow,
  swapUfid,
} from "./kernel_flow.ts";
import { type KernelDatapath, type KernelPort, readDatapath, readPort } from "./kernel_objects.ts";
import type { PortSpec } from "./kernel_objects.ts";
import type { Action } from "../../datapath/actions/actions.ts";
import * as dp from "../../datapath/netlink/datapath_message.ts";
import * as flow from "../../datapath/netlink/flow_message.ts";
import type { OvsFamily } from "../../datapath/netlink/generic_message.ts";
import type { KeyCodecOptions } from "../../datapath/netlink/key_codec.ts";
import * as vport from "../../datapath/netlink/vport_message.ts";
import { ENODEV, ENOENT, NLM_F_CREATE, NLM_F_ECHO, NLM_F_EXCL } from "../../netdev/abi.ts";
import { monotonicMs } from "../../netdev/clock.ts";
import { GenericNetlink } from "../../netdev/generic_netlink.ts";
import type { RequestPurpose } from "../../netdev/netlink_socket.ts";
import { Rtnetlink } from "../../netdev/rtnetlink.ts";
import { SystemError } from "../../netdev/system_error.ts";

export type { FlowIdentity, FlowSpec, KernelFlow } from "./kernel_flow.ts";
export type { KernelDatapath, KernelPort, PortSpec, TunnelOptions } from "./kernel_objects.ts";

const DIALECT: KeyCodecOptions = { dialect: "kernel" };
const FAMILIES = [dp.OVS_DATAPATH_FAMILY, vport.OVS_VPORT_FAMILY, flow.OVS_FLOW_FAMILY];
/** As ovs-vswitchd: attributes need no padding at the end, ports may have several handlers. */
const FEATURES = dp.OVS_DP_F_UNALIGNED | dp.OVS_DP_F_VPORT_PIDS;
/** Nobody gets packets that match no flow. */
const NO_HANDLER = 0;

interface Request {
  readonly family: OvsFamily;
  readonly payload: Uint8Array;
  /** NLM_F_*. */
  readonly flags?: number;
}

export class Kernel {
  readonly #netlink: GenericNetlink;
  /** Message types by family name. */
  readonly #types: ReadonlyMap<string, number>;
  #rtnetlink: Rtnetlink | undefined;

  private constructor(netlink: GenericNetlink, types: ReadonlyMap<string, number>) {
    this.#netlink = netlink;
    this.#types = types;
  }

  /** Throws CommandError EOPNOTSUPP when the kernel has no openvswitch module, SystemError when it can't be asked. */
  static open(): Kernel {
    const netlink = new GenericNetlink();
    try {
      const types = new Map<string, number>();
      for (const { name } of FAMILIES) {
        const family = netlink.family(name);
        if (family === undefined) {
          throw new CommandError(
            "EOPNOTSUPP",
            "the kernel has no openvswitch module loaded (modprobe openvswitch)",
          );
        }
        types.set(name, family.id);
      }
      return new Kernel(netlink, types);
    } catch (error) {
      netlink.close();
      throw error;
    }
  }

  close(): void {
    this.#netlink.close();
    this.#rtnetlink?.[Symbol.dispose]();
    this.#rtnetlink = undefined;
  }

  [Symbol.dispose](): void {
    this.close();
  }

  /** The clock of {@link KernelFlow.usedAtMs}. */
  nowMs(): number {
    return monotonicMs();
  }

  /** All datapaths of the namespace. */
  datapaths(): KernelDatapath[] {
    const payload = dp.encodeDatapathMessage({ command: dp.OVS_DP_CMD_GET, dpIfindex: 0 });
    const purpose = { doing: "list datapaths", label: "OVS_DP_CMD_GET" };
    return this.#dump({ family: dp.OVS_DATAPATH_FAMILY, payload }, purpose).map((answer) =>
      readDatapath(dp.decodeDatapathMessage(answer))
    );
  }

  datapath(name: string): KernelDatapath | undefined {
    const payload = dp.encodeDatapathMessage({ command: dp.OVS_DP_CMD_GET, dpIfindex: 0, name });
    const purpose = { doing: `look up datapath "${name}"`, label: "OVS_DP_CMD_GET" };
    const answer = unless(
      ENODEV,
      () => this.#ask({ family: dp.OVS_DATAPATH_FAMILY, payload }, purpose),
    );
    return answer && readDatapath(dp.decodeDatapathMessage(answer));
  }

  /** Makes a datapath with its internal port 0, without a handler for packets that match no flow. */
  addDatapath(name: string): void {
    const payload = dp.encodeDatapathMessage({
      command: dp.OVS_DP_CMD_NEW,
      dpIfindex: 0,
      name,
      upcallPid: NO_HANDLER,
      userFeatures: FEATURES,
    });
    const purpose = { doing: `add datapath "${name}"`, label: "OVS_DP_CMD_NEW" };
    this.#ask({ family: dp.OVS_DATAPATH_FAMILY, payload }, purpose);
  }

  deleteDatapath(name: string): void {
    const payload = dp.encodeDatapathMessage({ command: dp.OVS_DP_CMD_DEL, dpIfindex: 0, name });
    const purpose = { doing: `delete datapath "${name}"`, label: "OVS_DP_CMD_DEL" };
    this.#ask({ family: dp.OVS_DATAPATH_FAMILY, payload }, purpose);
  }

  setMasksCacheSize({ ifindex }: KernelDatapath, masksCacheSize: number): void {
    const message = { command: dp.OVS_DP_CMD_SET, dpIfindex: ifindex, masksCacheSize };
    const payload = dp.encodeDatapathMessage(message);
    const purpose = { doing: "set the masks cache's size", label: "OVS_DP_CMD_SET" };
    this.#ask({ family: dp.OVS_DATAPATH_FAMILY, payload }, purpose);
  }

  ports({ ifindex }: KernelDatapath): KernelPort[] {
    const message = { command: vport.OVS_VPORT_CMD_GET, dpIfindex: ifindex };
    const payload = vport.encodeVportMessage(message);
    const purpose = { doing: "list ports", label: "OVS_VPORT_CMD_GET" };
    return this.#dump({ family: vport.OVS_VPORT_FAMILY, payload }, purpose).map((answer) =>
      readPort(vport.decodeVportMessage(answer))
    );
  }

  /** Returns the number that the port got. */
  addPort({ ifindex }: KernelDatapath, spec: PortSpec): number {
    const { name, type, portNo, options } = spec;
    const { dstPort, gbp } = options;
    const payload = vport.encodeVportMessage({
      command: vport.OVS_VPORT_CMD_NEW,
      dpIfindex: ifindex,
      ...{ name, type, portNo },
      upcallPids: [NO_HANDLER],
      options: dstPort === undefined ? undefined : { dstPort, gbp },
    });
    const purpose = { doing: `add port "${name}"`, label: "OVS_VPORT_CMD_NEW" };
    const request = { family: vport.OVS_VPORT_FAMILY, payload, flags: NLM_F_ECHO };
    const answer = this.#ask(request, purpose);
    const added = answer && vport.decodeVportMessage(answer).portNo;
    if (added === undefined) throw new Error("the kernel does not say which number the port got");
    return added;
  }

  /** Whom a port's upcalls go to; 0 alone: nobody. */
  setUpcallPids(
    { ifindex }: KernelDatapath,
    portNo: number,
    upcallPids: readonly number[],
  ): void {
    const message = { command: vport.OVS_VPORT_CMD_SET, dpIfindex: ifindex, portNo, upcallPids };
    const payload = vport.encodeVportMessage(message);
    const purpose = { doing: `set upcalls of port ${portNo}`, label: "OVS_VPORT_CMD_SET" };
    this.#ask({ family: vport.OVS_VPORT_FAMILY, payload }, purpose);
  }

  deletePort({ ifindex }: KernelDatapath, portNo: number): void {
    const message = { command: vport.OVS_VPORT_CMD_DEL, dpIfindex: ifindex, portNo };
    const payload = vport.encodeVportMessage(message);
    const purpose = { doing: `delete port ${portNo}`, label: "OVS_VPORT_CMD_DEL" };
    this.#ask({ family: vport.OVS_VPORT_FAMILY, payload }, purpose);
  }

  /** Sets a device up. */
  setUp(name: string): void {
    const link = this.#links.linkByName(name);
    if (link !== undefined && !link.up) this.#links.setUp(link.ifindex);
  }

  /** MAC addresses of the namespace's devices, by name. */
  macs(): ReadonlyMap<string, string> {
    const macs = new Map<string, string>();
    for (const { name, mac } of this.#links.list()) if (mac !== undefined) macs.set(name, mac);
    return macs;
  }

  flows({ ifindex }: KernelDatapath): KernelFlow[] {
    const payload = flow.encodeFlowMessage({
      command: flow.OVS_FLOW_CMD_GET,
      dpIfindex: ifindex,
    }, DIALECT);
    const purpose = { doing: "dump flows", label: "OVS_FLOW_CMD_GET" };
    return this.#dump({ family: flow.OVS_FLOW_FAMILY, payload }, purpose).flatMap((answer) => {
      const message = flow.decodeFlowMessage(answer, DIALECT);
      // Actions that don't fit into a dump's message are left out; each flow can be asked for.
      const whole = message.actions === undefined
        ? this.#getFlow(ifindex, readFlow(message).identity)
        : message;
      return whole === undefined ? [] : [readFlow(whole)];
    });
  }

  /** The flow with that UFID, 32 hex digits. */
  flow({ ifindex }: KernelDatapath, { ufid }: { readonly ufid: string }): KernelFlow | undefined {
    const message = this.#getFlow(ifindex, { ufid });
    return message && readFlow(message);
  }

  /** Throws SystemError EEXIST when there is such a flow, or one that overlaps it. */
  addFlow({ ifindex }: KernelDatapath, { ufid, key, mask, actions }: FlowSpec): void {
    this.#newFlow({
      dpIfindex: ifindex,
      ufid: swapUfid(ufid),
      match: { key, mask },
      actions: withoutPlainDrop(actions),
    });
  }

  /** Adds a flow as it was, but for its statistics. */
  restoreFlow({ ifindex }: KernelDatapath, { identity, match, actions }: KernelFlow): void {
    this.#newFlow({ dpIfindex: ifindex, match, actions, ...selector(identity) });
  }

  /** Changes actions, unless they are undefined; `clear` zeroes the statistics. */
  setFlow(
    { ifindex }: KernelDatapath,
    { identity, match }: KernelFlow,
    change: { readonly actions: readonly Action[] | undefined; readonly clear: boolean },
  ): void {
    const { clear } = change;
    const actions = change.actions && withoutPlainDrop(change.actions);
    const message = { command: flow.OVS_FLOW_CMD_SET, dpIfindex: ifindex, match, actions, clear };
    const payload = flow.encodeFlowMessage({ ...message, ...selector(identity) }, DIALECT);
    const purpose = { doing: "change the flow", label: "OVS_FLOW_CMD_SET" };
    this.#ask({ family: flow.OVS_FLOW_FAMILY, payload }, purpose);
  }

  /** Returns the flow as it was last, if the kernel says so. */
  deleteFlow(
    { ifindex }: KernelDatapath,
    identity: KernelFlow["identity"],
  ): KernelFlow | undefined {
    const message = { command: flow.OVS_FLOW_CMD_DEL, dpIfindex: ifindex, ...selector(identity) };
    const payload = flow.encodeFlowMessage(message, DIALECT);
    const purpose = { doing: "delete the flow", label: "OVS_FLOW_CMD_DEL" };
    const request = { family: flow.OVS_FLOW_FAMILY, payload, flags: NLM_F_ECHO };
    const answer = this.#ask(request, purpose);
    if (answer === undefined) return undefined;
    const last = flow.decodeFlowMessage(answer, DIALECT);
    return last.match === undefined ? undefined : readFlow(last);
  }

  flushFlows({ ifindex }: KernelDatapath): void {
    const message = { command: flow.OVS_FLOW_CMD_DEL, dpIfindex: ifindex };
    const payload = flow.encodeFlowMessage(message, DIALECT);
    const purpose = { doing: "delete all flows", label: "OVS_FLOW_CMD_DEL" };
    this.#ask({ family: flow.OVS_FLOW_FAMILY, payload }, purpose);
  }

  #newFlow(message: Omit<flow.FlowMessage, "command">): void {
    const whole = { ...message, command: flow.OVS_FLOW_CMD_NEW };
    const payload = flow.encodeFlowMessage(whole, DIALECT);
    const purpose = { doing: "add the flow", label: "OVS_FLOW_CMD_NEW" };
    const flags = NLM_F_CREATE | NLM_F_EXCL;
    this.#ask({ family: flow.OVS_FLOW_FAMILY, payload, flags }, purpose);
  }

  #getFlow(dpIfindex: number, identity: FlowIdentity): flow.FlowMessage | undefined {
    const message = { command: flow.OVS_FLOW_CMD_GET, dpIfindex, ...selector(identity) };
    const payload = flow.encodeFlowMessage(message, DIALECT);
    const purpose = { doing: "get the flow", label: "OVS_FLOW_CMD_GET" };
    const request = { family: flow.OVS_FLOW_FAMILY, payload };
    const answer = unless(ENOENT, () => this.#ask(request, purpose));
    return answer && flow.decodeFlowMessage(answer, DIALECT);
  }

  get #links(): Rtnetlink {
    return this.#rtnetlink ??= new Rtnetlink();
  }

  /**
   * A command of a family that not every kernel has; returns its answer. Throws SystemError, and
   * CommandError EOPNOTSUPP where there is no such family.
   */
  askFamily(
    { family, payload, flags }: Request,
    purpose: RequestPurpose,
  ): Uint8Array<ArrayBuffer> | undefined {
    const found = this.#netlink.family(family.name);
    if (found === undefined) {
      throw new CommandError(
        "EOPNOTSUPP",
        `this kernel's openvswitch module has no ${family.name}`,
      );
    }
    return this.#netlink.request({ type: found.id, flags, payload }, purpose);
  }

  #ask(
    { family, payload, flags }: Request,
    purpose: RequestPurpose,
  ): Uint8Array<ArrayBuffer> | undefined {
    return this.#netlink.request({ type: this.#typeOf(family), flags, payload }, purpose);
  }

  #dump({ family, payload }: Request, purpose: RequestPurpose): Uint8Array<ArrayBuffer>[] {
    return this.#netlink.dump({ type: this.#typeOf(family), payload }, purpose);
  }

  #typeOf({ name }: OvsFamily): number {
    return this.#types.get(name) ?? 0;
  }
}

/** Kernels before 6.7 have no drop action: a flow that only drops has no actions, in all of them. */
function withoutPlainDrop(actions: readonly Action[]): readonly Action[] {
  const [only, ...others] = actions;
  return only?.type === "drop" && only.reason === 0 && others.length === 0 ? [] : actions;
}

function selector(identity: FlowIdentity): FlowIdentity {
  return "ufid" in identity ? { ufid: swapUfid(identity.ufid) } : identity;
}

/** What `ask` gives; undefined if the kernel refuses with `errno`. */
function unless<T>(errno: number, ask: () => T): T | undefined {
  try {
    return ask();
  } catch (error) {
    if (error instanceof SystemError && error.errno === errno) return undefined;
    throw error;
  }
}
