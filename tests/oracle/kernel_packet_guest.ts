/**
 * What runs inside the virtual machine: a datapath of the kernel's openvswitch module whose ports are
 * TAP devices. For each case its flows are installed, its frames written into a device, and what all
 * devices are sent read, offload state included. All of that is done by the kernel before the write
 * returns, so nothing is waited for. Judges nothing: FOLDER/in.json goes in, FOLDER/out.json comes out.
 */
import { Kernel, type KernelDatapath } from "../../daemon/system/kernel.ts";
import { OVS_FLOW_CMD_NEW, OVS_FLOW_FAMILY } from "../../datapath/netlink/flow_message.ts";
import { beginOvsMessage } from "../../datapath/netlink/generic_message.ts";
import {
  encodeMeterMessage,
  type MeterMessage,
  OVS_METER_BAND_TYPE_DROP,
  OVS_METER_CMD_DEL,
  OVS_METER_CMD_SET,
  OVS_METER_FAMILY,
} from "../../datapath/netlink/meter_message.ts";
import {
  encodeVportMessage,
  OVS_VPORT_CMD_NEW,
  OVS_VPORT_FAMILY,
  OVS_VPORT_TYPE_NETDEV,
} from "../../datapath/netlink/vport_message.ts";
import {
  AF_NETLINK,
  EAGAIN,
  IFF_NO_PI,
  IFF_TAP,
  IFF_VNET_HDR,
  IFNAMSIZ,
  ifreq,
  MSG_DONTWAIT,
  NETLINK_GENERIC,
  NLM_F_CREATE,
  NLM_F_EXCL,
  O_NONBLOCK,
  O_RDWR,
  SOCK_NONBLOCK,
  SOCK_RAW,
  sockaddr_nl,
  TUN_F_CSUM,
  TUN_F_TSO4,
  TUN_F_TSO6,
  TUN_F_TSO_ECN,
  TUNSETIFF,
  TUNSETOFFLOAD,
} from "../../netdev/abi.ts";
import { GenericNetlink } from "../../netdev/generic_netlink.ts";
import { libc } from "../../netdev/libc.ts";
import { parseMessages } from "../../netdev/netlink.ts";
import { openSocket, setReceiveBuffer } from "../../netdev/socket.ts";
import { SystemError } from "../../netdev/system_error.ts";
import {
  METER_RATE,
  type PacketFlow,
  type PacketGuestOutput,
  type PacketInput,
  type PacketMeter,
  type PacketOutput,
  PORTS,
  type PortShape,
  UPCALL_PID,
} from "./kernel_packet_shape.ts";

const IFF_TUN = 1;
const OVS_FLOW_ATTR_KEY = 1;
const OVS_FLOW_ATTR_ACTIONS = 2;
const OVS_FLOW_ATTR_MASK = 7;
const OVS_FLOW_ATTR_UFID = 9;
const UFID_SIZE = 16;
/** Longest frame with what stands in front of it, and longest upcall. */
const BUFFER_SIZE = 1 << 17;
const BACKLOG_SIZE = 1 << 24;
const TRAINS = TUN_F_CSUM | TUN_F_TSO4 | TUN_F_TSO6 | TUN_F_TSO_ECN;

function fail(doing: string, syscall: string): never {
  throw new SystemError({ doing, syscall, errno: libc().errno() });
}

function program(line: string): string {
  const [name = "", ...args] = line.split(" ");
  const { success, stdout, stderr } = new Deno.Command(name, { args }).outputSync();
  if (!success) throw new Error(`${line}: ${new TextDecoder().decode(stderr)}`);
  return new TextDecoder().decode(stdout);
}

const buffer = new Uint8Array(BUFFER_SIZE);

/** The far end of a port. */
class Device {
  readonly #fd: number;

  constructor({ device, isL3, takes, mtu }: PortShape) {
    const { file } = libc();
    const doing = `open ${device}`;
    this.#fd = file.open(new TextEncoder().encode("/dev/net/tun\0"), O_RDWR | O_NONBLOCK, 0);
    if (this.#fd < 0) fail(doing, "open(/dev/net/tun)");
    const request = new DataView(new ArrayBuffer(ifreq.size));
    new TextEncoder().encodeInto(device, new Uint8Array(request.buffer, 0, IFNAMSIZ - 1));
    const kind = isL3 ? IFF_TUN : IFF_TAP | IFF_NO_PI;
    request.setUint16(ifreq.ifr_flags, kind | IFF_VNET_HDR, true);
    if (file.ioctl(this.#fd, BigInt(TUNSETIFF), request) < 0) fail(doing, "ioctl(TUNSETIFF)");
    const offloads = takes === "trains" ? TRAINS : takes === "partial" ? TUN_F_CSUM : 0;
    if (file.ioctlValue(this.#fd, BigInt(TUNSETOFFLOAD), BigInt(offloads)) < 0) {
      fail(doing, "ioctl(TUNSETOFFLOAD)");
    }
    // A loop of recirculations may send more than a device keeps by default.
    program(`ip link set ${device} mtu ${mtu} txqueuelen 20000 arp off multicast off up`);
  }

  /** Everything that waits, hexadecimal. */
  read(): string[] {
    const calls = libc();
    const found: string[] = [];
    for (;;) {
      const size = calls.file.read(this.#fd, buffer, BigInt(BUFFER_SIZE));
      if (size >= 0) found.push(buffer.subarray(0, size).toHex());
      else if (calls.errno() === EAGAIN) return found;
      else fail("read a device", "read");
    }
  }

  /** The errno of a refusal; 0: the kernel took it. */
  write(frame: Uint8Array<ArrayBuffer>): number {
    const calls = libc();
    const size = calls.file.write(this.#fd, frame, BigInt(frame.length));
    return size < 0 ? calls.errno() : 0;
  }
}

/** The socket that upcalls come to. */
class Upcalls {
  readonly #fd: number;

  constructor() {
    const { socket } = libc();
    const doing = "open a socket for upcalls";
    const type = SOCK_RAW | SOCK_NONBLOCK;
    const kind = { domain: AF_NETLINK, type, protocol: NETLINK_GENERIC, label: "AF_NETLINK" };
    this.#fd = openSocket(libc(), { ...kind, doing });
    setReceiveBuffer(libc(), this.#fd, BACKLOG_SIZE);
    const address = new DataView(new ArrayBuffer(sockaddr_nl.size));
    address.setUint16(sockaddr_nl.nl_family, AF_NETLINK, true);
    address.setUint32(sockaddr_nl.nl_pid, UPCALL_PID, true);
    const bytes = new Uint8Array(address.buffer);
    if (socket.bind(this.#fd, bytes, bytes.length) < 0) fail(doing, "bind");
  }

  read(): string[] {
    const calls = libc();
    const found: string[] = [];
    for (;;) {
      const size = calls.socket.recv(this.#fd, buffer, BigInt(BUFFER_SIZE), MSG_DONTWAIT);
      if (size < 0 && calls.errno() === EAGAIN) return found;
      if (size < 0) fail("read an upcall", "recv");
      for (const { payload } of parseMessages(buffer.slice(0, size))) found.push(payload.toHex());
    }
  }
}

/** The datapath with its ports. */
class Switch {
  readonly #kernel: Kernel;
  readonly #datapath: KernelDatapath;
  readonly #netlink: GenericNetlink = new GenericNetlink();
  readonly #devices: readonly Device[];
  readonly #upcalls: Upcalls = new Upcalls();
  readonly #flowType: number;

  constructor(kernel: Kernel) {
    this.#kernel = kernel;
    for (const scope of ["all", "default"]) {
      Deno.writeTextFileSync(`/proc/sys/net/ipv6/conf/${scope}/disable_ipv6`, "1");
    }
    kernel.addDatapath("packets");
    const datapath = kernel.datapath("packets");
    if (datapath === undefined) throw new Error("the datapath is not there");
    this.#datapath = datapath;
    this.#devices = PORTS.map((port) => new Device(port));
    for (const port of PORTS) this.#addPort(port);
    this.#flowType = this.#typeOf(OVS_FLOW_FAMILY.name);
  }

  run(input: PacketInput): PacketOutput {
    let refused = "";
    for (const meter of input.meters ?? []) this.#setMeter(meter);
    input.flows.forEach((flow, at) => refused ||= this.#addFlow(flow, at));
    const device = this.#devices[PORTS.findIndex(({ portNo }) => portNo === input.inPort)]!;
    const sent = PORTS.map((): string[] => []);
    const upcalls: string[] = [];
    if (refused === "") {
      for (const frame of input.frames) {
        const errno = device.write(Uint8Array.fromHex(frame));
        if (errno !== 0) refused = `write: ${errno}`;
        this.#devices.forEach((each, at) => sent[at]!.push(...each.read()));
        upcalls.push(...this.#upcalls.read());
      }
    }
    this.#kernel.flushFlows(this.#datapath);
    for (const { id } of input.meters ?? []) this.#meter({ command: OVS_METER_CMD_DEL, id });
    return { refused, sent, upcalls };
  }

  #addPort({ portNo, device }: PortShape): void {
    const payload = encodeVportMessage({
      command: OVS_VPORT_CMD_NEW,
      dpIfindex: this.#datapath.ifindex,
      name: device,
      type: OVS_VPORT_TYPE_NETDEV,
      portNo,
      upcallPids: [UPCALL_PID],
    });
    const purpose = { doing: `add port "${device}"`, label: "OVS_VPORT_CMD_NEW" };
    this.#netlink.request({ type: this.#typeOf(OVS_VPORT_FAMILY.name), payload }, purpose);
  }

  #addFlow(flow: PacketFlow, at: number): string {
    const ufid = new Uint8Array(UFID_SIZE);
    new DataView(ufid.buffer).setUint32(0, at + 1);
    const header = { command: OVS_FLOW_CMD_NEW, dpIfindex: this.#datapath.ifindex };
    const payload = beginOvsMessage(header, OVS_FLOW_FAMILY.version)
      .attribute(OVS_FLOW_ATTR_UFID, ufid)
      .attribute(OVS_FLOW_ATTR_KEY, Uint8Array.fromHex(flow.key))
      .attribute(OVS_FLOW_ATTR_MASK, Uint8Array.fromHex(flow.mask))
      .attribute(OVS_FLOW_ATTR_ACTIONS, Uint8Array.fromHex(flow.actions))
      .bytes();
    const request = { type: this.#flowType, flags: NLM_F_CREATE | NLM_F_EXCL, payload };
    try {
      this.#netlink.request(request, { doing: "add the flow", label: "OVS_FLOW_CMD_NEW" });
      return "";
    } catch (error) {
      if (error instanceof SystemError) return `flow ${at}: ${error.code}`;
      throw error;
    }
  }

  #setMeter({ id, unit, burst }: PacketMeter): void {
    const bands = [{ type: OVS_METER_BAND_TYPE_DROP, rate: METER_RATE, burst }];
    this.#meter({ command: OVS_METER_CMD_SET, id, kbps: unit === "kbps", bands });
  }

  #meter(message: Omit<MeterMessage, "dpIfindex">): void {
    const payload = encodeMeterMessage({ ...message, dpIfindex: this.#datapath.ifindex });
    const purpose = { doing: "set a meter", label: "ovs_meter" };
    this.#netlink.request({ type: this.#typeOf(OVS_METER_FAMILY.name), payload }, purpose);
  }

  #typeOf(name: string): number {
    const family = this.#netlink.family(name);
    if (family === undefined) throw new Error(`no ${name}`);
    return family.id;
  }
}

if (import.meta.main) {
  const folder = Deno.args[0] ?? ".";
  const inputs = JSON.parse(Deno.readTextFileSync(`${folder}/in.json`)) as PacketInput[];
  using kernel = Kernel.open();
  const datapath = new Switch(kernel);
  program("dmesg -C");
  const result: PacketGuestOutput = {
    kernel: program("uname -r").trim(),
    outputs: inputs.map((input) => datapath.run(input)),
    log: program("dmesg"),
  };
  Deno.writeTextFileSync(`${folder}/out.json`, JSON.stringify(result));
}
