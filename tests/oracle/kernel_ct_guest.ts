/**
 * What runs inside the virtual machine for kernel_ct_test.ts: gives a kernel datapath's flows the
 * packets of scenarios through TAP devices, and tells what left and what userspace was shown. Scenarios
 * follow one another in one datapath, whose connections are removed in between. Judges nothing:
 * FOLDER/in.json goes in, FOLDER/out.json comes out.
 */
import { Kernel, type KernelDatapath } from "../../daemon/system/kernel.ts";
import { formatConnection } from "../../datapath/conntrack/dump_text.ts";
import { exactMask } from "../../datapath/fields/exact_mask.ts";
import {
  encodeCtLimitMessage,
  OVS_CT_LIMIT_CMD_DEL,
  OVS_CT_LIMIT_CMD_SET,
  OVS_CT_LIMIT_FAMILY,
} from "../../datapath/netlink/ct_limit_message.ts";
import { encodeGetFamily, GENL_ID_CTRL } from "../../datapath/netlink/generic_message.ts";
import { decodePacketMessage } from "../../datapath/netlink/packet_message.ts";
import { OVS_VPORT_TYPE_NETDEV } from "../../datapath/netlink/vport_message.ts";
import { Packet } from "../../datapath/packet/packet.ts";
import { parseActions } from "../../datapath/text/action_text.ts";
import { formatFlow, parseFlow } from "../../datapath/text/flow_text.ts";
import { NETLINK_GENERIC, NLM_F_ACK, NLM_F_REQUEST } from "../../netdev/abi.ts";
import { GenericNetlink } from "../../netdev/generic_netlink.ts";
import { allocateBuffer, type MappedBuffer, recycleBuffer } from "../../netdev/memory.ts";
import { MessageWriter } from "../../netdev/netlink.ts";
import { NetlinkSocket } from "../../netdev/netlink_socket.ts";
import { TapQueue } from "../../netdev/tap.ts";
import { KernelConnections } from "./kernel_ct_dump.ts";
import {
  CT_PORTS,
  type CtFlow,
  type CtOutcome,
  type CtScenario,
  type CtStep,
  isWhole,
  reflected,
} from "./kernel_ct_scenario.ts";

/** Beyond the headroom of a frame of the largest size. */
const BUFFER_SIZE = 70_000;
const FRAME_AT = 256;
const DIALECT = { dialect: "kernel" } as const;

/** A datapath of the kernel with TAP devices as ports. */
class KernelSwitch {
  readonly #kernel: Kernel;
  readonly #datapath: KernelDatapath;
  readonly #taps: ReadonlyMap<number, TapQueue>;
  readonly #upcalls = new NetlinkSocket(NETLINK_GENERIC);
  /** Netlink port of #upcalls. */
  readonly #pid: number;
  readonly #area: MappedBuffer = allocateBuffer(BUFFER_SIZE);
  readonly #packet: Packet;
  readonly #last = new Map<number, Uint8Array>();
  readonly #limited = new Set<number>();

  constructor() {
    this.#packet = new Packet(this.#area.buffer);
    this.#kernel = Kernel.open();
    this.#kernel.addDatapath("ct0");
    this.#datapath = this.#kernel.datapath("ct0")!;
    this.#taps = new Map(CT_PORTS.map((portNo) => {
      const name = `t${portNo}`;
      const tap = TapQueue.open(name, { vnetHeader: false, multiQueue: false });
      const spec = { name, type: OVS_VPORT_TYPE_NETDEV, portNo, options: NO_OPTIONS };
      this.#kernel.addPort(this.#datapath, spec);
      this.#kernel.setUp(name);
      return [portNo, tap];
    }));
    this.#pid = portOf(this.#upcalls);
  }

  setFlows(flows: readonly CtFlow[]): void {
    this.#kernel.flushFlows(this.#datapath);
    this.#last.clear();
    for (const [at, [flow, actions]] of flows.entries()) {
      const ufid = (at + 1).toString(16).padStart(32, "0");
      const told = actions.replaceAll("pid=1", `pid=${this.#pid}`);
      this.#kernel.addFlow(this.#datapath, {
        ufid,
        ...parseFlow(flow),
        actions: parseActions(told),
      });
    }
  }

  /** Sets limits of zones; undefined: takes back all that were set. */
  setLimits(
    limits: readonly { readonly zone: number; readonly limit: number }[] | undefined,
  ): void {
    if (limits === undefined && this.#limited.size === 0) return;
    using netlink = new GenericNetlink();
    const type = netlink.family(OVS_CT_LIMIT_FAMILY.name)?.id ?? 0;
    const payload = encodeCtLimitMessage({
      command: limits === undefined ? OVS_CT_LIMIT_CMD_DEL : OVS_CT_LIMIT_CMD_SET,
      dpIfindex: this.#datapath.ifindex,
      limits: (limits ?? [...this.#limited].map((zone) => ({ zone, limit: 0 }))).map((each) => ({
        ...each,
        count: 0,
      })),
    });
    netlink.request({ type, payload }, { doing: "limit", label: "OVS_CT_LIMIT_CMD_SET" });
    if (limits === undefined) this.#limited.clear();
    else for (const { zone } of limits) this.#limited.add(zone);
  }

  /** Gives a port a frame; what came of it. */
  receive(portNo: number, frame: Uint8Array): string[] {
    const packet = this.#packet;
    packet.start = FRAME_AT;
    packet.end = FRAME_AT + frame.length;
    packet.tailLimit = BUFFER_SIZE;
    packet.needsCsum = false;
    packet.gsoType = 0;
    packet.bytes.set(frame, FRAME_AT);
    const reason = this.#taps.get(portNo)!.send(packet);
    if (reason !== 0) return [`port ${portNo} does not take it: ${reason}`];
    return this.events();
  }

  reflect(portNo: number): string[] {
    const last = this.#last.get(portNo);
    if (last === undefined) return ["nothing to reflect"];
    return this.receive(portNo, reflected(last));
  }

  /** What has happened since the last look. */
  events(): string[] {
    const events: string[] = [];
    for (;;) {
      const messages = this.#upcalls.receive();
      if (messages === undefined) break;
      for (const { payload } of messages) events.push(upcallText(payload));
    }
    const packet = this.#packet;
    for (const [portNo, tap] of this.#taps) {
      packet.start = FRAME_AT;
      packet.tailLimit = BUFFER_SIZE;
      while (tap.receive(packet) > 0) {
        const frame = packet.bytes.slice(packet.start, packet.end);
        if (isWhole(frame)) this.#last.set(portNo, frame);
        events.push(`${portNo}: ${frame.toHex()}`);
      }
    }
    return events;
  }

  close(): void {
    this.#kernel.deleteDatapath("ct0");
    this.#kernel.close();
    this.#upcalls.close();
    for (const tap of this.#taps.values()) tap.close();
    recycleBuffer(this.#area);
  }
}

const NO_OPTIONS = { dstPort: undefined, gbp: false };

/** The number that netlink knows a socket by: answers carry it. */
function portOf(socket: NetlinkSocket): number {
  const payload = encodeGetFamily("ovs_packet");
  const message = new MessageWriter(GENL_ID_CTRL, NLM_F_REQUEST | NLM_F_ACK).header(
    payload.length,
    (view) => new Uint8Array(view.buffer, view.byteOffset, payload.length).set(payload),
  );
  const purpose = { doing: "look up ovs_packet", label: "CTRL_CMD_GETFAMILY" };
  const port = socket.request(message, purpose)[0]?.port ?? 0;
  while (socket.receive() !== undefined);
  if (port === 0) throw new Error("the kernel does not say which port the socket has");
  return port;
}

function upcallText(payload: Uint8Array): string {
  const { key, packet, mru } = decodePacketMessage(payload, DIALECT);
  if (key === undefined) return "up without a key";
  return `up ${formatFlow(key, exactMask(key))} mru=${mru ?? 0} ${packet?.toHex() ?? ""}`;
}

function take(step: CtStep, kernel: KernelSwitch): string[] {
  if ("frame" in step) return kernel.receive(step.port, Uint8Array.fromHex(step.frame));
  if ("reflect" in step) return kernel.reflect(step.reflect);
  if ("waitMs" in step) {
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, step.waitMs);
    return kernel.events();
  }
  try {
    if ("flows" in step) kernel.setFlows(step.flows);
    else kernel.setLimits(step.limits);
    return [];
  } catch (error) {
    return [String(error)];
  }
}

function writeSysctls(settings: Readonly<Record<string, string>>): Record<string, string> {
  const before: Record<string, string> = {};
  for (const [name, value] of Object.entries(settings)) {
    before[name] = Deno.readTextFileSync(`/proc/sys/${name}`);
    Deno.writeTextFileSync(`/proc/sys/${name}`, value);
  }
  return before;
}

function play(
  scenario: CtScenario,
  kernel: KernelSwitch,
  connections: KernelConnections,
): CtOutcome {
  connections.flush();
  const before = writeSysctls(scenario.sysctls ?? {});
  try {
    kernel.setFlows(scenario.flows);
    kernel.setLimits(undefined);
    kernel.events();
    const startedMs = performance.now();
    const timesMs: number[] = [];
    const events = scenario.steps.map((step) => {
      timesMs.push(performance.now() - startedMs);
      try {
        return take(step, kernel);
      } catch (error) {
        return [String(error)];
      }
    });
    timesMs.push(performance.now() - startedMs);
    const found = connections.list().map((one) => formatConnection(one, ALL));
    return { events, connections: found, timesMs };
  } catch (error) {
    return { events: [[String(error)]], connections: [], timesMs: [] };
  } finally {
    writeSysctls(before);
  }
}

const ALL = { verbose: true, statistics: true };

if (import.meta.main) {
  const folder = Deno.args[0] ?? ".";
  const scenarios = JSON.parse(Deno.readTextFileSync(`${folder}/in.json`)) as CtScenario[];
  // Devices must not speak for themselves; connections are to count packets.
  writeSysctls({
    "net/ipv6/conf/default/disable_ipv6": "1",
    "net/netfilter/nf_conntrack_acct": "1",
  });
  const kernel = new KernelSwitch();
  const connections = new KernelConnections();
  const outcomes = scenarios.map((scenario) => play(scenario, kernel, connections));
  connections.close();
  kernel.close();
  Deno.writeTextFileSync(`${folder}/out.json`, JSON.stringify(outcomes));
}
