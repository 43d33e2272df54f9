/**
 * Vport type `internal`: a device of the host that is a port of the switch, by which the host itself
 * takes part in the network (port 0, named as its datapath, is one).
 *
 * It is a persistent TAP device marked with the datapath's id (ifalias `denovs:ID`), so that its
 * addresses and routes outlive the daemon, and with a saved MAC. At start a device with our mark is
 * adopted as it is; one without is somebody else's and refused. Only removal of the port deletes it.
 */
import { type DropReason, dropReason } from "../datapath/drop_reasons.ts";
import { RuleError } from "../datapath/errors.ts";
import { EINVAL } from "../netdev/abi.ts";
import type { Packet } from "../datapath/packet/packet.ts";
import type { Link } from "../netdev/rtnetlink.ts";
import { SystemError } from "../netdev/system_error.ts";
import { createPersistentTap, TapQueue } from "../netdev/tap.ts";
import { claimDevice, releaseDevice, rtnetlink, WatchedDevice } from "./devices.ts";
import { optionReader } from "./options.ts";
import type { Attachment, PortParams, Receiver, Vport, VportHost, VportOps } from "./vport.ts";

export const IFALIAS_PREFIX = "denovs:";

type InternalOptions = Readonly<Record<string, never>>;

const RX_INVALID_OFFLOAD = dropReason("rx-invalid-offload");

function parseOptions(raw: ReadonlyMap<string, string>): InternalOptions {
  optionReader.only(raw, []);
  return {};
}

function attach(params: PortParams<InternalOptions>): Attachment {
  const { name, datapath } = params;
  const found = rtnetlink().linkByName(name);
  if (found !== undefined) refuseForeign(found, params.datapathId);
  const link = found ?? make(params);
  const { ifindex } = link;
  const device = new WatchedDevice(link);
  try {
    claimDevice(link, { datapath, port: name });
    if (params.mac !== undefined && params.mac !== link.mac) {
      rtnetlink().setMac(ifindex, params.mac);
    }
  } catch (error) {
    if (found === undefined) rtnetlink().deleteLink(ifindex);
    throw error;
  }
  return {
    mac: params.mac ?? link.mac,
    get mtu() {
      return device.mtu;
    },
    ifindex,
    isNew: found === undefined,
    check: () => device.check(),
    detach: (how) => {
      releaseDevice(ifindex);
      if (how === "delete") remove(ifindex, name);
    },
  };
}

/** Throws RuleError EEXIST for a device of our name that isn't ours. */
function refuseForeign(link: Link, datapathId: string): void {
  if (link.ifalias === IFALIAS_PREFIX + datapathId) return;
  const whose = link.ifalias?.startsWith(IFALIAS_PREFIX) === true
    ? "belongs to a datapath of another denovs state"
    : `was not made by denovs (${link.kind ?? "a hardware device"})`;
  throw new RuleError(
    "EEXIST",
    `Device "${link.name}" exists already and ${whose}: remove it, or name the port otherwise`,
  );
}

/** Makes the device, marked, with its MAC, up. Throws SystemError; then it is gone again. */
function make(params: PortParams<InternalOptions>): Link {
  const { name, datapathId } = params;
  createPersistentTap(name);
  const link = rtnetlink().linkByName(name);
  if (link === undefined) {
    throw new RuleError("ENODEV", `Device "${name}" vanished while it was made`);
  }
  try {
    rtnetlink().setIfalias(link.ifindex, IFALIAS_PREFIX + datapathId);
    rtnetlink().setMac(link.ifindex, params.mac ?? randomMac());
    rtnetlink().setUp(link.ifindex);
    return rtnetlink().linkByIndex(link.ifindex) ?? link;
  } catch (error) {
    rtnetlink().deleteLink(link.ifindex);
    throw error;
  }
}

/** Deletes the device if it is still the one we had; detach never throws. */
function remove(ifindex: number, name: string): void {
  try {
    if (rtnetlink().linkByIndex(ifindex)?.name === name) rtnetlink().deleteLink(ifindex);
  } catch {
    // It has gone in between, or we may no longer: nothing is left to be done either way.
  }
}

/** A locally administered unicast address. */
function randomMac(): string {
  const bytes = crypto.getRandomValues(new Uint8Array(6));
  bytes[0] = (bytes[0]! & 0xfc) | 0x02;
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join(":");
}

/** A queue of a TAP device as a port. */
export class TapVport implements Vport {
  readonly takesPartialChecksums: boolean;
  readonly takesSegmentTrains: boolean;
  readonly receiver: Receiver;
  readonly #queue: TapQueue;
  readonly #host: VportHost;
  readonly #portNo: number;

  constructor(queue: TapQueue, host: VportHost, portNo: number) {
    this.#queue = queue;
    this.#host = host;
    this.#portNo = portNo;
    this.takesPartialChecksums = queue.takesPartialChecksums;
    this.takesSegmentTrains = queue.takesSegmentTrains;
    this.receiver = { fd: queue.fd, receive: (budget) => this.#receive(budget) };
  }

  send(packet: Packet): DropReason {
    return this.#queue.send(packet);
  }

  close(): void {
    this.#queue.close();
  }

  #receive(budget: number): number {
    const host = this.#host;
    for (let count = 0; count < budget; count++) {
      const packet = host.allocate();
      if (packet === undefined) return count; // the frame waits in the kernel
      const size = this.#queue.receive(packet);
      if (size > 0) {
        host.receive(this.#portNo, packet);
        continue;
      }
      host.recycle(packet);
      if (size === 0) return count;
      if (size !== -EINVAL) throw this.#lost(-size);
      host.countRxDrop(this.#portNo, RX_INVALID_OFFLOAD);
    }
    return budget;
  }

  /** The device was deleted under us: epoll would report it for ever. */
  #lost(errno: number): Error {
    const { name } = this.#queue;
    return new SystemError({ doing: `receive from "${name}"`, syscall: "readv", errno });
  }
}

export const internal: VportOps<InternalOptions> = {
  apiVersion: 1,
  type: "internal",
  summary: "a network device of the host, made by the switch",
  headroom: 0,
  parseOptions,
  formatOptions: () => new Map(),
  attach,
  create: ({ name, host, portNo }) => new TapVport(TapQueue.open(name), host, portNo),
};

export default internal;
