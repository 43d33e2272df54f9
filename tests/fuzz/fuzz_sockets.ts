/**
 * The ports of a fuzzed datapath that have a type of their own: vxlan and geneve on the loopback
 * address, and two patch ports that are each other's peer. Whatever tunnel a flow or a damaged frame
 * asks for, nothing is sent to anywhere else than this machine's own ports.
 */
import { DROP_REASONS, type DropReason } from "../../datapath/drop_reasons.ts";
import type { Packet } from "../../datapath/packet/packet.ts";
import type { OutputPort } from "../../datapath/pipeline.ts";
import type { Random } from "../../datapath/testing/flow_values.ts";
import { UdpSocket } from "../../netdev/udp_socket.ts";
import geneve from "../../vports/geneve.ts";
import patch from "../../vports/patch.ts";
import type { Vport, VportOps } from "../../vports/vport.ts";
import vxlan from "../../vports/vxlan.ts";
import type { FuzzHost } from "./fuzz_host.ts";

const HERE = "127.0.0.1";
const LOOPBACK = 0x7f000001;
/** Below the ports that the kernel gives out; processes that fuzz beside each other have others. */
const FIRST_PORT = 10_000;
const BUDGET = 64;
/** Longest datagram that is tried. */
const DATAGRAM_MAX = 60_000;

const VXLAN = [8, 0, 0, 0, 0, 0, 7, 0];
const GENEVE = [4, 0, 0x65, 0x58, 0, 0, 7, 0, 1, 2, 3, 3, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9, 9];

/** A port of any type on this thread: what it throws is the fuzzer's to catch. */
class TypedPort implements OutputPort {
  readonly portNo: number;
  readonly takesPartialChecksums: boolean;
  readonly takesSegmentTrains: boolean;
  readonly takesL3Packets: boolean;
  readonly headroom: number;
  readonly vport: Vport;

  constructor(portNo: number, vport: Vport, headroom: number) {
    this.portNo = portNo;
    this.vport = vport;
    this.headroom = headroom;
    this.takesPartialChecksums = vport.takesPartialChecksums;
    this.takesSegmentTrains = vport.takesSegmentTrains;
    this.takesL3Packets = vport.takesL3Packets === true;
  }

  send(packet: Packet): DropReason {
    const tunnel = packet.hasEgress ? packet.metadata().egress : undefined;
    if (tunnel !== undefined) {
      tunnel.destination = LOOPBACK;
      for (let word = 0; word < 4; word++) tunnel.setDestinationWord(word, word === 3 ? 1 : 0);
      tunnel.destinationPort = 0;
    }
    const reason = this.vport.send(packet, tunnel);
    if (reason >= 0 && reason < DROP_REASONS.length) return reason;
    throw new RangeError(`send of port ${this.portNo} returned ${reason}`);
  }
}

/** A tunnel port, and what sends datagrams to it. */
interface Tunnel {
  readonly vport: Vport;
  readonly far: UdpSocket;
  readonly header: readonly number[];
}

export class FuzzSockets {
  /** Ports 7 and 8 are tunnels, 9 and 10 the ends of a patch cable. */
  readonly ports: readonly OutputPort[];
  readonly #host: FuzzHost;
  readonly #tunnels: readonly Tunnel[];
  readonly #closers: (() => void)[] = [];

  constructor(host: FuzzHost) {
    this.#host = host;
    const [first, second] = freePorts(4);
    const options = { remote_ip: "flow", local_ip: "flow", key: "flow" };
    const ports = [
      this.#open(vxlan, 7, "fv", { ...options, exts: "gbp", dst_port: `${first}` }),
      this.#open(geneve, 8, "fg", { ...options, dst_port: `${second}` }),
    ];
    this.#tunnels = [
      { vport: ports[0]!.vport, far: this.#farEnd(first!), header: VXLAN },
      { vport: ports[1]!.vport, far: this.#farEnd(second!), header: GENEVE },
    ];
    this.ports = [
      ...ports,
      this.#open(patch, 9, "fa", { peer: "fb" }),
      this.#open(patch, 10, "fb", { peer: "fa" }),
    ];
  }

  /** A frame, often behind a damaged tunnel header, to one of the tunnel ports. */
  send(random: Random, frame: Uint8Array): void {
    const { far, header } = this.#tunnels[random(2)]!;
    const packet = this.#host.allocate()!;
    packet.bytes.set(header, packet.start);
    if (random(3) === 0) packet.bytes[packet.start + random(header.length)] = random(256);
    const body = frame.subarray(0, DATAGRAM_MAX);
    packet.bytes.set(body, packet.start + header.length);
    packet.end = packet.start + header.length + body.length;
    if (random(16) === 0) packet.end = packet.start + random(header.length + 14);
    far.send(packet);
    far.flush();
    this.#host.recycle(packet);
  }

  /** Receives all that waits at the tunnel ports. Returns how many datagrams. */
  receive(): number {
    let count = 0;
    for (const { vport } of this.#tunnels) {
      for (const receiver of [vport.receiver, vport.sideReceiver]) {
        count += receiver?.receive(BUDGET) ?? 0;
      }
    }
    return count;
  }

  close(): void {
    for (const closeOne of this.#closers.splice(0).reverse()) closeOne();
  }

  #open<Options>(
    ops: VportOps<Options>,
    portNo: number,
    name: string,
    options: Readonly<Record<string, string>>,
  ): TypedPort {
    const params = {
      datapath: "fuzz",
      datapathId: "00112233445566778899aabbccddeeff",
      name,
      portNo,
      options: ops.parseOptions(new Map(Object.entries(options))),
      mac: undefined,
      threads: 1,
    };
    const attachment = ops.attach?.(params);
    const host = this.#host;
    const vport = ops.create({ ...params, thread: 0, data: attachment?.data, host });
    const { sender } = vport;
    if (sender !== undefined) host.onFlush(() => sender.flush());
    this.#closers.push(() => {
      vport.close();
      attachment?.detach("delete");
    });
    return new TypedPort(portNo, vport, ops.headroom);
  }

  #farEnd(port: number): UdpSocket {
    const socket = openSocket(port + 2, port);
    this.#closers.push(() => socket.close());
    return socket;
  }
}

function openSocket(port: number, remotePort: number): UdpSocket {
  return new UdpSocket({
    local: { address: HERE, port },
    remote: { address: HERE, port: remotePort },
    shared: false,
    refused: () => {},
  });
}

/** The first of `count` UDP ports in a row that nobody has. */
function freePorts(count: number): number[] {
  for (let first = FIRST_PORT + Deno.pid % 5000 * 4; first < 65_000; first += count) {
    const ports = Array.from({ length: count }, (_, at) => first + at);
    if (ports.every(isFree)) return ports;
  }
  throw new Error("no UDP ports are free");
}

function isFree(port: number): boolean {
  try {
    openSocket(port, port).close();
    return true;
  } catch {
    return false;
  }
}
