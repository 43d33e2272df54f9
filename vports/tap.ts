/**
 * Vport type `tap`: a TAP device for a virtual machine or another program to use. One that does not
 * exist is made, and goes with the port or the switch; one that exists (`ip tuntap add`, a virtual
 * machine manager's) is taken as it is and left in place.
 *
 * Unlike an internal port it is no way for the host into the network: it has no saved MAC and does not
 * outlive the switch.
 */
import { RuleError } from "../datapath/errors.ts";
import type { Link } from "../netdev/rtnetlink.ts";
import { SystemError } from "../netdev/system_error.ts";
import { createPersistentTap, TapQueue } from "../netdev/tap.ts";
import { claimDevice, releaseDevice, rtnetlink, WatchedDevice } from "./devices.ts";
import { IFALIAS_PREFIX, TapVport } from "./internal.ts";
import { optionReader } from "./options.ts";
import type { Attachment, PortParams, VportOps } from "./vport.ts";

type TapOptions = Readonly<Record<string, never>>;

/** In front of the datapath's id in the ifalias of a device that we have made. */
const TAP_ALIAS_PREFIX = "denovs-tap:";

function parseOptions(raw: ReadonlyMap<string, string>): TapOptions {
  optionReader.only(raw, []);
  return {};
}

function attach(params: PortParams<TapOptions>): Attachment {
  const { name, datapath, datapathId } = params;
  const found = rtnetlink().linkByName(name);
  if (found !== undefined) refuseUnsuitable(found);
  const mark = TAP_ALIAS_PREFIX + datapathId;
  const link = found ?? make(name, mark);
  // One of ours that a killed switch has left behind.
  const isOurs = found === undefined || found.ifalias === mark;
  const { ifindex } = link;
  const device = new WatchedDevice(link);
  try {
    claimDevice(link, { datapath, port: name });
    if (!link.up) rtnetlink().setUp(ifindex);
  } catch (error) {
    if (found === undefined) rtnetlink().deleteLink(ifindex);
    throw error;
  }
  return {
    mac: link.mac,
    get mtu() {
      return device.mtu;
    },
    ifindex,
    isNew: found === undefined,
    check: () => device.check(),
    detach: () => {
      releaseDevice(ifindex);
      if (isOurs) remove(ifindex, name);
    },
  };
}

/** Throws RuleError for what is no TAP device, or another port's. */
function refuseUnsuitable(link: Link): void {
  if (link.ifalias?.startsWith(IFALIAS_PREFIX) === true) {
    throw new RuleError("EINVAL", `Device "${link.name}" is the internal port of a datapath`);
  }
  if (link.kind === "tun") return;
  const kind = link.kind ?? "a hardware device";
  throw new RuleError("EEXIST", `Device "${link.name}" exists and is no TAP device (${kind})`);
}

/** Throws SystemError; then there is no device. */
function make(name: string, mark: string): Link {
  createPersistentTap(name);
  const link = rtnetlink().linkByName(name);
  if (link === undefined) {
    throw new RuleError("ENODEV", `Device "${name}" vanished while it was made`);
  }
  try {
    rtnetlink().setIfalias(link.ifindex, mark);
    return link;
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

/** Another program's device may have a single queue: enough for a single thread. */
function openQueue(name: string, isOnly: boolean): TapQueue {
  try {
    return TapQueue.open(name);
  } catch (error) {
    if (!isOnly || !(error instanceof SystemError) || error.code !== "EINVAL") throw error;
    return TapQueue.open(name, { multiQueue: false });
  }
}

export const tap: VportOps<TapOptions> = {
  apiVersion: 1,
  type: "tap",
  summary: "a TAP device for a virtual machine or another program",
  headroom: 0,
  parseOptions,
  formatOptions: () => new Map(),
  attach,
  create: ({ name, host, portNo, threads }) =>
    new TapVport(openQueue(name, threads === 1), host, portNo),
};

export default tap;
