/**
 * The host's network devices as the control isolate sees them: look-ups for the port types, and who
 * holds which device. A device is a port of one datapath only, whatever the type.
 */
import { RuleError } from "../datapath/errors.ts";
import { type Link, Rtnetlink } from "../netdev/rtnetlink.ts";

/** A port that holds a device. */
export interface Holder {
  readonly datapath: string;
  readonly port: string;
}

const holders: Map<number, Holder> = new Map();
let socket: Rtnetlink | undefined;

/** The control isolate's rtnetlink socket, opened on first use. Throws SystemError. */
export function rtnetlink(): Rtnetlink {
  return socket ??= new Rtnetlink();
}

/** Closes the socket; the next use opens it again (tests that change network namespaces). */
export function closeRtnetlink(): void {
  socket?.close();
  socket = undefined;
}

/** Notes who has a device from now on. Throws RuleError EBUSY naming the datapath that has it. */
export function claimDevice(link: Link, holder: Holder): void {
  const other = holders.get(link.ifindex);
  if (other !== undefined) {
    const where = other.datapath === holder.datapath
      ? "this datapath"
      : `datapath ${other.datapath}`;
    throw new RuleError("EBUSY", `Device "${link.name}" is already a port of ${where}`);
  }
  holders.set(link.ifindex, holder);
}

export function releaseDevice(ifindex: number): void {
  holders.delete(ifindex);
}

export function holderOf(ifindex: number): Holder | undefined {
  return holders.get(ifindex);
}

/** A port's device, and what is known of it since the last look. */
export class WatchedDevice {
  readonly #ifindex: number;
  readonly #name: string;
  #mtu: number;

  constructor(link: Link) {
    this.#ifindex = link.ifindex;
    this.#name = link.name;
    this.#mtu = link.mtu;
  }

  get mtu(): number {
    return this.#mtu;
  }

  /** Looks at it. Why it is no longer what it was, or undefined. */
  check(): string | undefined {
    const link = rtnetlink().linkByIndex(this.#ifindex);
    if (link === undefined) return `device "${this.#name}" is gone`;
    if (link.name !== this.#name) {
      return `device "${this.#name}" has been renamed to "${link.name}"`;
    }
    this.#mtu = link.mtu;
    return undefined;
  }
}
