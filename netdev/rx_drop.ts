/**
 * Taking a device away from the host's stack, as the kernel's rx_handler does for openvswitch:
 * every frame that comes in by it is dropped at tc ingress. Packet sockets see frames before that,
 * so the switch still gets them all, and the host no longer answers ARP and ICMP behind its back.
 *
 * First choice is a TCX link (Linux 6.6), which vanishes with our process. Else a clsact qdisc with
 * a BPF filter; that one outlives a killed process, and the next `take` finds and replaces it.
 */
import {
  EEXIST,
  ETH_P_ALL,
  NLM_F_ACK,
  NLM_F_CREATE,
  NLM_F_DUMP,
  NLM_F_EXCL,
  NLM_F_REQUEST,
  RTM_DELQDISC,
  RTM_DELTFILTER,
  RTM_GETTFILTER,
  RTM_NEWQDISC,
  RTM_NEWTFILTER,
  TC_H_CLSACT,
  TC_H_MIN_EGRESS,
  TC_H_MIN_INGRESS,
  TCA_BPF_FD,
  TCA_BPF_FLAG_ACT_DIRECT,
  TCA_BPF_FLAGS,
  TCA_BPF_NAME,
  TCA_KIND,
  TCA_OPTIONS,
  tcmsg,
} from "./abi.ts";
import { attachTcxIngress, loadDropProgram } from "./bpf.ts";
import { libc } from "./libc.ts";
import { MessageWriter } from "./netlink.ts";
import type { Rtnetlink } from "./rtnetlink.ts";
import { SystemError } from "./system_error.ts";

/** Our filter's place: first of all, under a handle of its own. */
const PRIORITY = 1;
const FILTER_HANDLE = 0x646e; // "dn"
const FILTER_NAME = "denovs-rx-drop";
const CLSACT_HANDLE = 0xffff0000;
const MAJOR = 0xffff0000;
const INGRESS: number = ((TC_H_CLSACT & MAJOR) | TC_H_MIN_INGRESS) >>> 0;
const EGRESS: number = ((TC_H_CLSACT & MAJOR) | TC_H_MIN_EGRESS) >>> 0;

export interface RxDropOptions {
  /** Only this way; absent: TCX, else clsact. */
  readonly how?: "tcx" | "clsact" | undefined;
}

/** A device whose frames the host does not see. */
export class RxDrop {
  readonly how: "tcx" | "clsact";
  readonly #release: () => void;
  #released = false;

  /** Takes the device. `net` must stay open until {@link release}. Throws SystemError and leaves nothing behind. */
  static take(ifindex: number, net: Rtnetlink, options: RxDropOptions = {}): RxDrop {
    const calls = libc();
    const doing = `take device ${ifindex} from the host's stack`;
    const program = loadDropProgram(calls, doing);
    try {
      if (options.how !== "clsact") {
        try {
          const link = attachTcxIngress(calls, program, { ifindex, doing });
          return new RxDrop("tcx", () => calls.file.close(link));
        } catch (error) {
          if (options.how === "tcx" || !(error instanceof SystemError)) throw error;
        }
      }
      const ours = addFilter(net, { ifindex, program, doing });
      return new RxDrop("clsact", () => removeFilter(net, { ifindex, ours, doing }));
    } finally {
      calls.file.close(program);
    }
  }

  private constructor(how: "tcx" | "clsact", release: () => void) {
    this.how = how;
    this.#release = release;
  }

  /** Gives the device back to the host; no error if it is gone. Never throws. */
  release(): void {
    if (this.#released) return;
    this.#released = true;
    quietly(this.#release);
  }

  [Symbol.dispose](): void {
    this.release();
  }
}

/** What can't be undone because the device is gone, or the system fails, is left. */
function quietly(undo: () => void): void {
  try {
    undo();
  } catch (error) {
    if (!(error instanceof SystemError)) throw error;
  }
}

/** Adds the qdisc, if there is none, and our filter, or replaces the filter that a killed predecessor left. Returns whether the qdisc is ours to remove. */
function addFilter(
  net: Rtnetlink,
  target: { readonly ifindex: number; readonly program: number; readonly doing: string },
): boolean {
  const { ifindex, program, doing } = target;
  const made = addQdisc(net, ifindex, doing);
  try {
    const left = !made && hasOurFilter(net, ifindex, doing);
    const writer = filterMessage(RTM_NEWTFILTER, NLM_F_CREATE, ifindex)
      .nested(TCA_OPTIONS, (options) => {
        options.attributeU32(TCA_BPF_FD, program);
        options.attributeText(TCA_BPF_NAME, FILTER_NAME);
        options.attributeU32(TCA_BPF_FLAGS, TCA_BPF_FLAG_ACT_DIRECT);
      });
    net.socket.request(writer, { doing, label: "RTM_NEWTFILTER" });
    return made || left;
  } catch (error) {
    if (made) quietly(() => deleteQdisc(net, ifindex, doing));
    throw error;
  }
}

function removeFilter(
  net: Rtnetlink,
  target: { readonly ifindex: number; readonly ours: boolean; readonly doing: string },
): void {
  const { ifindex, ours, doing } = target;
  net.socket.request(filterMessage(RTM_DELTFILTER, 0, ifindex), { doing, label: "RTM_DELTFILTER" });
  if (!ours) return;
  const others = filterCount(net, ifindex, INGRESS, doing) +
    filterCount(net, ifindex, EGRESS, doing);
  if (others === 0) deleteQdisc(net, ifindex, doing);
}

/** False: there is one already. */
function addQdisc(net: Rtnetlink, ifindex: number, doing: string): boolean {
  const writer = qdiscMessage(RTM_NEWQDISC, NLM_F_CREATE | NLM_F_EXCL, ifindex)
    .attributeText(TCA_KIND, "clsact");
  try {
    net.socket.request(writer, { doing, label: "RTM_NEWQDISC" });
    return true;
  } catch (error) {
    if (error instanceof SystemError && error.errno === EEXIST) return false;
    throw error;
  }
}

function deleteQdisc(net: Rtnetlink, ifindex: number, doing: string): void {
  const writer = qdiscMessage(RTM_DELQDISC, 0, ifindex);
  net.socket.request(writer, { doing, label: "RTM_DELQDISC" });
}

function qdiscMessage(type: number, flags: number, ifindex: number): MessageWriter {
  return new MessageWriter(type, NLM_F_REQUEST | NLM_F_ACK | flags).header(tcmsg.size, (view) => {
    view.setInt32(tcmsg.tcm_ifindex, ifindex, true);
    view.setUint32(tcmsg.tcm_handle, CLSACT_HANDLE, true);
    view.setUint32(tcmsg.tcm_parent, TC_H_CLSACT, true);
  });
}

function filterMessage(type: number, flags: number, ifindex: number): MessageWriter {
  return new MessageWriter(type, NLM_F_REQUEST | NLM_F_ACK | flags)
    .header(tcmsg.size, (view) => {
      view.setInt32(tcmsg.tcm_ifindex, ifindex, true);
      view.setUint32(tcmsg.tcm_handle, FILTER_HANDLE, true);
      view.setUint32(tcmsg.tcm_parent, INGRESS, true);
      view.setUint16(tcmsg.tcm_info, ETH_P_ALL, false);
      view.setUint16(tcmsg.tcm_info + 2, PRIORITY, true);
    })
    .attributeText(TCA_KIND, "bpf");
}

function hasOurFilter(net: Rtnetlink, ifindex: number, doing: string): boolean {
  return filterHandles(net, ifindex, INGRESS, doing).includes(FILTER_HANDLE);
}

/** Filters of one side of the qdisc. */
function filterCount(net: Rtnetlink, ifindex: number, parent: number, doing: string): number {
  return filterHandles(net, ifindex, parent, doing).length;
}

/** Handles of the filters of one side of the qdisc, 0 (the classifier as such) left out. */
function filterHandles(
  net: Rtnetlink,
  ifindex: number,
  parent: number,
  doing: string,
): number[] {
  const writer = new MessageWriter(RTM_GETTFILTER, NLM_F_REQUEST | NLM_F_DUMP)
    .header(tcmsg.size, (view) => {
      view.setInt32(tcmsg.tcm_ifindex, ifindex, true);
      view.setUint32(tcmsg.tcm_parent, parent, true);
    });
  const answers = net.socket.request(writer, { doing, label: "RTM_GETTFILTER" });
  return answers
    .map(({ payload }) => new DataView(payload.buffer, payload.byteOffset, payload.length))
    .filter((view) => view.byteLength >= tcmsg.size)
    .map((view) => view.getUint32(tcmsg.tcm_handle, true))
    .filter((handle) => handle !== 0);
}
