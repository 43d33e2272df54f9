/** A tunnel port by itself, on a host that keeps what it hands over with its tunnel and offload state. */
import { extractKey } from "../datapath/extract/extract.ts";
import { KEY_SIZE, KEY_WORDS } from "../datapath/key.ts";
import type { Packet } from "../datapath/packet/packet.ts";
import { TunnelKey } from "../datapath/packet/tunnel_key.ts";
import { finish, pseudoIpv4, sum } from "../datapath/packet/checksum.ts";
import type { TunnelOptions } from "../vports/tunnel_options.ts";
import type { Vport, VportOps } from "../vports/vport.ts";
import { TestHost } from "./vport_host.ts";

const ETHERNET = "020000000002020000000001" + "0800";

/** Keeps what came with the packets. */
export class TunnelHost extends TestHost {
  readonly tunnels: TunnelKey[] = [];
  readonly offloads: { gsoType: number; gsoSize: number; needsCsum: boolean }[] = [];

  override receive(portNo: number, packet: Packet): void {
    const tunnel = new TunnelKey(new DataView(new ArrayBuffer(KEY_SIZE)));
    tunnel.copyFrom(packet.tunnel!);
    this.tunnels.push(tunnel);
    const { gsoType, gsoSize, needsCsum } = packet;
    this.offloads.push({ gsoType, gsoSize, needsCsum });
    super.receive(portNo, packet);
  }
}

interface Options {
  readonly [key: string]: string;
}

/** One port on all threads of the hosts, made as the switch does; and how it is closed. */
function openPort(
  ops: VportOps<TunnelOptions>,
  port: { readonly portNo: number; readonly options: Options },
  hosts: readonly TunnelHost[],
): { vports: Vport[]; close(): void } {
  const params = {
    datapath: "test",
    datapathId: "00112233445566778899aabbccddeeff",
    name: `t${port.portNo}`,
    portNo: port.portNo,
    options: ops.parseOptions(new Map(Object.entries(port.options))),
    mac: undefined,
    threads: hosts.length,
  };
  const attachment = ops.attach!(params);
  const { data } = attachment;
  const vports = hosts.map((host, thread) => ops.create({ ...params, thread, data, host }));
  const close = (): void => {
    for (const vport of vports) vport.close();
    attachment.detach("delete");
  };
  return { vports, close };
}

/** Makes a port, gives it to `use`, and closes it. */
export function withPort(
  ops: VportOps<TunnelOptions>,
  options: Options,
  use: (vport: Vport, host: TunnelHost) => void,
): void {
  withPorts(ops, [options], ([vport], host) => use(vport!, host));
}

/** Makes ports, numbered from 1, gives them to `use`, and closes them. */
export function withPorts(
  ops: VportOps<TunnelOptions>,
  options: readonly Options[],
  use: (vports: Vport[], host: TunnelHost) => void,
): void {
  const host = new TunnelHost();
  const open: { vports: Vport[]; close(): void }[] = [];
  try {
    options.forEach((each, at) =>
      open.push(openPort(ops, { portNo: at + 1, options: each }, [host]))
    );
    use(open.flatMap(({ vports }) => vports), host);
  } finally {
    for (const each of open) each.close();
  }
}

/** Makes a port on several threads, each with a host of its own. */
export function withThreads(
  ops: VportOps<TunnelOptions>,
  port: { readonly options: Options; readonly threads: number },
  use: (vports: Vport[], hosts: TunnelHost[]) => void,
): void {
  const hosts = Array.from({ length: port.threads }, () => new TunnelHost());
  const { vports, close } = openPort(ops, { portNo: 1, options: port.options }, hosts);
  try {
    use(vports, hosts);
  } finally {
    close();
  }
}

/** Loads a frame and says what extraction would. */
export function load(host: TunnelHost, frame: Uint8Array): Packet {
  const packet = host.allocate()!;
  packet.bytes.set(frame, packet.start);
  packet.end = packet.start + frame.length;
  extractKey(packet, new Int32Array(KEY_WORDS), 0);
  return packet;
}

/** TCP over IPv4 with a right checksum, or one that is the pseudo-header's sum. */
export function tcpFrame(
  payloadSize: number,
  options: { partial?: boolean; tos?: number } = {},
): Uint8Array {
  const { partial = false, tos = 0 } = options;
  const frame = new Uint8Array(54 + payloadSize);
  frame.set(Uint8Array.fromHex(ETHERNET));
  const view = new DataView(frame.buffer);
  view.setUint16(14, 0x4500 | tos);
  view.setUint16(16, 40 + payloadSize);
  view.setUint32(18, 0x12344000);
  view.setUint16(22, 0x4006);
  view.setUint32(26, 0x0a000001);
  view.setUint32(30, 0x0a000002);
  view.setUint16(24, finish(sum(view, 14, 34)), true);
  view.setUint16(34, 40000);
  view.setUint16(36, 80);
  view.setUint32(38, 1000);
  view.setUint32(42, 2000);
  view.setUint16(46, 0x5018);
  view.setUint16(48, 512);
  for (let at = 54; at < frame.length; at++) frame[at] = Math.imul(at, 31) >> 3;
  const pseudo = pseudoIpv4(view, 14, 6, 20 + payloadSize);
  const checksum = partial ? pseudo : finish(pseudo + sum(view, 34, frame.length));
  view.setUint16(50, checksum, true);
  return frame;
}

/** Receives until `count` packets have come, or nothing more does. */
export function receiveAll(vport: Vport, host: TunnelHost, count: number): void {
  for (let time = 0; time < 100 && host.received.length < count; time++) {
    vport.receiver!.receive(32);
    vport.sideReceiver?.receive(32);
  }
}

/** What set(tunnel(dst=…)) says. */
export function tunnelTo(destination: number): TunnelKey {
  const tunnel = new TunnelKey(new DataView(new ArrayBuffer(KEY_SIZE)));
  tunnel.begin(4);
  tunnel.destination = destination;
  return tunnel;
}
