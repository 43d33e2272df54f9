/**
 * Network devices by rtnetlink (rtnetlink(7)): finding, changing and watching them. In the network
 * namespace that the calling thread was in when the socket was opened.
 */
import {
  ENODEV,
  IFF_RUNNING,
  IFF_UP,
  ifinfomsg,
  IFLA_ADDRESS,
  IFLA_EXT_MASK,
  IFLA_IFALIAS,
  IFLA_IFNAME,
  IFLA_INFO_KIND,
  IFLA_INFO_SLAVE_KIND,
  IFLA_LINK,
  IFLA_LINKINFO,
  IFLA_MASTER,
  IFLA_MTU,
  IFLA_NUM_TX_QUEUES,
  IFNAMSIZ,
  NETLINK_ROUTE,
  NLM_F_ACK,
  NLM_F_DUMP,
  NLM_F_REQUEST,
  RTEXT_FILTER_SKIP_STATS,
  RTM_DELLINK,
  RTM_GETLINK,
  RTM_NEWLINK,
  RTNLGRP_LINK,
} from "./abi.ts";
import {
  type Attributes,
  attributeText,
  attributeU32,
  MessageWriter,
  type NetlinkMessage,
  parseAttributes,
} from "./netlink.ts";
import { NetlinkSocket } from "./netlink_socket.ts";
import { SystemError } from "./system_error.ts";

const AF_UNSPEC = 0;
const ENOBUFS = 105;

/** A network device. */
export interface Link {
  readonly ifindex: number;
  readonly name: string;
  readonly mtu: number;
  /** `xx:xx:xx:xx:xx:xx`; undefined if the device has no 6-byte address. */
  readonly mac: string | undefined;
  /** IFF_* bits. */
  readonly flags: number;
  readonly up: boolean;
  /** Up, with carrier. */
  readonly running: boolean;
  /** ARPHRD_*: 1 Ethernet, 772 loopback. */
  readonly type: number;
  /** ifindex of the bridge, bond … it belongs to. */
  readonly master: number | undefined;
  /** `veth`, `tun`, `bridge` …; undefined for hardware. */
  readonly kind: string | undefined;
  /** Kind of its master: `bridge`, `bond`, `openvswitch` … */
  readonly masterKind: string | undefined;
  readonly ifalias: string | undefined;
  readonly numTxQueues: number;
  /** IFLA_LINK: ifindex of a veth's peer (maybe in another namespace) or of the lower device. */
  readonly link: number | undefined;
}

/** Something happened to a device; `resync`: events were lost, list the devices anew. */
export type LinkEvent =
  | { readonly type: "changed"; readonly link: Link }
  | { readonly type: "gone"; readonly ifindex: number; readonly name: string }
  | { readonly type: "resync" };

/** Requests about devices. All methods throw SystemError with the kernel's own words. */
export class Rtnetlink {
  readonly #socket: NetlinkSocket;

  constructor() {
    this.#socket = new NetlinkSocket(NETLINK_ROUTE);
  }

  /** The socket, for other rtnetlink families (traffic control). */
  get socket(): NetlinkSocket {
    return this.#socket;
  }

  linkByName(name: string): Link | undefined {
    if (name === "" || new TextEncoder().encode(name).length >= IFNAMSIZ) return undefined;
    const writer = linkMessage(RTM_GETLINK, { ifindex: 0 });
    return this.#find(writer.attributeText(IFLA_IFNAME, name), `look up device "${name}"`);
  }

  linkByIndex(ifindex: number): Link | undefined {
    return this.#find(linkMessage(RTM_GETLINK, { ifindex }), `look up device ${ifindex}`);
  }

  /** All devices of the namespace, by ifindex. */
  list(): Link[] {
    const writer = linkMessage(RTM_GETLINK, { ifindex: 0, flags: NLM_F_DUMP })
      .attributeU32(IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
    const answers = this.#socket.request(writer, { doing: "list devices", label: "RTM_GETLINK" });
    return answers.map(parseLink).filter((link) => link !== undefined);
  }

  setUp(ifindex: number, up = true): void {
    const writer = linkMessage(RTM_NEWLINK, { ifindex, up });
    this.#change(writer, `set device ${ifindex} ${up ? "up" : "down"}`);
  }

  /** `mac`: six hexadecimal bytes with colons. */
  setMac(ifindex: number, mac: string): void {
    const writer = linkMessage(RTM_NEWLINK, { ifindex }).attribute(IFLA_ADDRESS, macBytes(mac));
    this.#change(writer, `set the MAC of device ${ifindex} to ${mac}`);
  }

  setMtu(ifindex: number, mtu: number): void {
    const writer = linkMessage(RTM_NEWLINK, { ifindex }).attributeU32(IFLA_MTU, mtu);
    this.#change(writer, `set the MTU of device ${ifindex} to ${mtu}`);
  }

  /** At most 255 bytes; empty takes it away. */
  setIfalias(ifindex: number, text: string): void {
    const bytes = new TextEncoder().encode(text);
    const writer = linkMessage(RTM_NEWLINK, { ifindex }).attribute(IFLA_IFALIAS, bytes);
    this.#change(writer, `set the alias of device ${ifindex}`);
  }

  deleteLink(ifindex: number): void {
    const doing = `delete device ${ifindex}`;
    this.#socket.request(linkMessage(RTM_DELLINK, { ifindex }), { doing, label: "RTM_DELLINK" });
  }

  close(): void {
    this.#socket.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }

  #find(writer: MessageWriter, doing: string): Link | undefined {
    writer.attributeU32(IFLA_EXT_MASK, RTEXT_FILTER_SKIP_STATS);
    try {
      const [answer] = this.#socket.request(writer, { doing, label: "RTM_GETLINK" });
      return answer === undefined ? undefined : parseLink(answer);
    } catch (error) {
      if (error instanceof SystemError && error.errno === ENODEV) return undefined;
      throw error;
    }
  }

  #change(writer: MessageWriter, doing: string): void {
    this.#socket.request(writer, { doing, label: "RTM_NEWLINK" });
  }
}

/** Events about devices, read without blocking when `fd` is readable. */
export class LinkEvents {
  readonly #socket: NetlinkSocket;

  /** Throws SystemError. */
  constructor() {
    this.#socket = new NetlinkSocket(NETLINK_ROUTE, [RTNLGRP_LINK]);
  }

  get fd(): number {
    return this.#socket.fd;
  }

  /** All events that wait, oldest first; empty when there are none. */
  read(): LinkEvent[] {
    const events: LinkEvent[] = [];
    for (;;) {
      try {
        const messages = this.#socket.receive();
        if (messages === undefined) return events;
        for (const message of messages) {
          const event = parseEvent(message);
          if (event !== undefined) events.push(event);
        }
      } catch (error) {
        if (!(error instanceof SystemError) || error.errno !== ENOBUFS) throw error;
        events.push({ type: "resync" });
      }
    }
  }

  close(): void {
    this.#socket.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

interface LinkRequest {
  readonly ifindex: number;
  /** Instead of an acknowledged request. */
  readonly flags?: number;
  /** Sets IFF_UP to this. */
  readonly up?: boolean;
}

function linkMessage(type: number, request: LinkRequest): MessageWriter {
  const flags = request.flags ?? (type === RTM_GETLINK ? 0 : NLM_F_ACK);
  return new MessageWriter(type, NLM_F_REQUEST | flags).header(ifinfomsg.size, (view) => {
    view.setInt32(ifinfomsg.ifi_index, request.ifindex, true);
    if (request.up === undefined) return;
    view.setUint32(ifinfomsg.ifi_flags, request.up ? IFF_UP : 0, true);
    view.setUint32(ifinfomsg.ifi_change, IFF_UP, true);
  });
}

/** The device that an RTM_NEWLINK or RTM_DELLINK tells of; undefined for other messages (bridge ports are told with a family of their own). */
export function parseLink(message: NetlinkMessage): Link | undefined {
  const { payload, type } = message;
  if (type !== RTM_NEWLINK && type !== RTM_DELLINK) return undefined;
  if (payload.length < ifinfomsg.size || payload[ifinfomsg.ifi_family] !== AF_UNSPEC) {
    return undefined;
  }
  const view = new DataView(payload.buffer, payload.byteOffset, payload.length);
  const attributes = parseAttributes(payload, ifinfomsg.size);
  const flags = view.getUint32(ifinfomsg.ifi_flags, true);
  const info = linkInfo(attributes);
  return {
    ifindex: view.getInt32(ifinfomsg.ifi_index, true),
    name: attributeText(attributes.get(IFLA_IFNAME)) ?? "",
    mtu: attributeU32(attributes.get(IFLA_MTU)) ?? 0,
    mac: macText(attributes.get(IFLA_ADDRESS)),
    flags,
    up: (flags & IFF_UP) !== 0,
    running: (flags & IFF_RUNNING) !== 0,
    type: view.getUint16(ifinfomsg.ifi_type, true),
    master: attributeU32(attributes.get(IFLA_MASTER)),
    kind: attributeText(info?.get(IFLA_INFO_KIND)),
    masterKind: attributeText(info?.get(IFLA_INFO_SLAVE_KIND)),
    ifalias: attributeText(attributes.get(IFLA_IFALIAS)),
    numTxQueues: attributeU32(attributes.get(IFLA_NUM_TX_QUEUES)) ?? 1,
    link: attributeU32(attributes.get(IFLA_LINK)),
  };
}

function linkInfo(attributes: Attributes): Attributes | undefined {
  const nested = attributes.get(IFLA_LINKINFO);
  return nested === undefined ? undefined : parseAttributes(nested);
}

function parseEvent(message: NetlinkMessage): LinkEvent | undefined {
  const link = parseLink(message);
  if (link === undefined) return undefined;
  if (message.type === RTM_NEWLINK) return { type: "changed", link };
  return { type: "gone", ifindex: link.ifindex, name: link.name };
}

function macText(bytes: Uint8Array<ArrayBuffer> | undefined): string | undefined {
  if (bytes?.length !== 6) return undefined;
  return [...bytes].map((byte) => byte.toString(16).padStart(2, "0")).join(":");
}

function macBytes(mac: string): Uint8Array<ArrayBuffer> {
  if (!/^[0-9a-f]{2}(:[0-9a-f]{2}){5}$/i.test(mac)) {
    throw new TypeError(`a MAC must be six bytes as xx:xx:xx:xx:xx:xx: current value is "${mac}"`);
  }
  return new Uint8Array(mac.split(":").map((byte) => parseInt(byte, 16)));
}
