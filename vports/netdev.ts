/**
 * Vport type `netdev` (alias `system`): any Ethernet device of the host, by packet sockets.
 *
 * As the kernel's rx_handler does, the switch takes the device away from the host's own stack:
 * frames that come in by it go to the switch alone (option host=take, the default). On a packet
 * thread all ports of this type share one receiver and one sender, so that the cost of a packet does
 * not depend on the number of ports.
 */
import { RuleError } from "../datapath/errors.ts";
import type { DropReason } from "../datapath/drop_reasons.ts";
import type { Packet } from "../datapath/packet/packet.ts";
import { ARPHRD_ETHER, IFF_LOOPBACK } from "../netdev/abi.ts";
import { PacketRing } from "../netdev/packet_socket.ts";
import { PacketSender } from "../netdev/packet_sender.ts";
import type { Link } from "../netdev/rtnetlink.ts";
import { RxDrop } from "../netdev/rx_drop.ts";
import { SystemError } from "../netdev/system_error.ts";
import { claimDevice, releaseDevice, rtnetlink, WatchedDevice } from "./devices.ts";
import { IFALIAS_PREFIX } from "./internal.ts";
import { optionReader } from "./options.ts";
import { describe } from "./shape.ts";
import type {
  Attachment,
  PortParams,
  Receiver,
  Vport,
  VportHost,
  VportOps,
  VportParams,
} from "./vport.ts";

export interface NetdevOptions {
  /** `take`: frames go to the switch alone. `share`: the host's stack sees them as well. */
  readonly host: "take" | "share";
}

/** What `attach` passes to the threads. */
interface NetdevData {
  readonly ifindex: number;
  /** Same in all threads of this process, and of no other in the namespace. */
  readonly fanoutGroup: number;
}

/** Drawn once per process: process ids repeat in containers that share a network namespace. */
let fanoutGroup: number | undefined;

function parseOptions(raw: ReadonlyMap<string, string>): NetdevOptions {
  optionReader.only(raw, ["host"]);
  const host = optionReader.choice(raw, "host", ["take", "share"]);
  return { host: host === "share" ? "share" : "take" };
}

function formatOptions(options: NetdevOptions): ReadonlyMap<string, string> {
  return new Map(options.host === "share" ? [["host", "share"]] : []);
}

function attach(params: PortParams<NetdevOptions>): Attachment {
  const { name } = params;
  const link = rtnetlink().linkByName(name);
  if (link === undefined) {
    throw new RuleError("ENODEV", `There is no network device "${name}"`);
  }
  refuseUnsuitable(link);
  claimDevice(link, { datapath: params.datapath, port: name });
  const { ifindex } = link;
  const device = new WatchedDevice(link);
  let drop: RxDrop | undefined;
  try {
    if (params.options.host === "take") drop = takeFromHost(link);
    if (!link.up) rtnetlink().setUp(ifindex);
  } catch (error) {
    drop?.release();
    releaseDevice(ifindex);
    throw error;
  }
  fanoutGroup ??= crypto.getRandomValues(new Uint16Array(1))[0]!;
  const data: NetdevData = { ifindex, fanoutGroup };
  return {
    data,
    mac: link.mac,
    get mtu() {
      return device.mtu;
    },
    ifindex,
    check: () => device.check(),
    detach: () => {
      drop?.release();
      releaseDevice(ifindex);
    },
  };
}

/** Throws RuleError for devices that can't be ports, with the reason. */
function refuseUnsuitable(link: Link): void {
  const refuse = (code: "EINVAL" | "EBUSY", why: string): never => {
    throw new RuleError(code, `Device "${link.name}" can't be a port: ${why}`);
  };
  if ((link.flags & IFF_LOOPBACK) !== 0) refuse("EINVAL", "it is the loopback device");
  if (link.type !== ARPHRD_ETHER) {
    refuse("EINVAL", `it is no Ethernet device (its hardware type is ${link.type})`);
  }
  if (link.ifalias?.startsWith(IFALIAS_PREFIX) === true) {
    refuse("EINVAL", "it is the internal port of a denovs datapath");
  }
  if (link.master !== undefined) {
    const master = rtnetlink().linkByIndex(link.master);
    const kind = link.masterKind ?? master?.kind ?? "another device";
    const name = master === undefined ? "" : ` "${master.name}"`;
    refuse("EBUSY", `it belongs to ${kind}${name} (ip link set ${link.name} nomaster)`);
  }
}

/** Makes the device the switch's alone. Throws RuleError when the kernel has no way to. */
function takeFromHost(link: Link): RxDrop {
  try {
    return RxDrop.take(link.ifindex, rtnetlink());
  } catch (error) {
    if (!(error instanceof SystemError)) throw error;
    throw new RuleError(
      error.code === "EPERM" ? "EPERM" : "EOPNOTSUPP",
      `Device "${link.name}" can't be taken from the host's network stack: ${describe(error)}; ` +
        "option host=share leaves its frames to the host as well",
    );
  }
}

/** The receiver of all netdev ports on a thread. */
class SharedRing {
  readonly ring: PacketRing;
  readonly receiver: Receiver;
  /** Of trains that must not come near a ring. */
  readonly sideReceiver: Receiver | undefined;

  constructor(host: VportHost, place: { thread: number; fanout: { group: number } | undefined }) {
    // Promiscuity is counted per device: one membership, whatever the number of threads.
    const ring = PacketRing.open({ host, fanout: place.fanout, promiscuous: place.thread === 0 });
    this.ring = ring;
    this.receiver = {
      fd: ring.fd,
      polled: true, // whether a frame waits is a word in shared memory
      receive: (budget) => ring.receive(budget),
      release: () => ring.release(),
    };
    this.sideReceiver = ring.queue;
  }

  close(): void {
    this.ring.close();
  }
}

const RING = "netdev.ring";
const SENDER = "netdev.sender";

class NetdevVport implements Vport {
  readonly takesPartialChecksums = true;
  readonly takesSegmentTrains = true;
  readonly receiver: Receiver;
  readonly sideReceiver: Receiver | undefined;
  readonly sender: PacketSender;
  readonly #host: VportHost;
  readonly #ifindex: number;
  readonly #ring: PacketRing;
  readonly #slot: number;
  #closed = false;

  constructor(params: VportParams<NetdevOptions>) {
    const { host, portNo, thread } = params;
    const { ifindex, fanoutGroup } = params.data as NetdevData;
    const fanout = params.threads > 1 ? { group: fanoutGroup } : undefined;
    this.#host = host;
    this.#ifindex = ifindex;
    const shared = host.share(RING, () => new SharedRing(host, { thread, fanout }));
    this.#ring = shared.ring;
    this.receiver = shared.receiver;
    this.sideReceiver = shared.sideReceiver;
    try {
      this.sender = host.share(SENDER, () => PacketSender.open());
    } catch (error) {
      host.unshare(RING);
      throw error;
    }
    let slot = -1;
    try {
      slot = this.sender.addPort(ifindex, portNo, host);
      this.#ring.addPort(ifindex, portNo, host);
    } catch (error) {
      this.sender.removePort(slot);
      host.unshare(SENDER);
      host.unshare(RING);
      throw error;
    }
    this.#slot = slot;
  }

  send(packet: Packet): DropReason {
    return this.sender.send(this.#slot, packet);
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#ring.removePort(this.#ifindex);
    this.sender.removePort(this.#slot);
    this.#host.unshare(SENDER);
    this.#host.unshare(RING);
  }
}

export const netdev: VportOps<NetdevOptions> = {
  apiVersion: 1,
  type: "netdev",
  summary: "an Ethernet device of the host, by packet sockets",
  headroom: 0,
  parseOptions,
  formatOptions,
  attach,
  create: (params) => new NetdevVport(params),
};

export default netdev;
