/** tunnel(flags(csum)) of received packets is whether their outer UDP header had a checksum. */
import assert from "node:assert/strict";
import { TUN_FLAG_CSUM, TUN_FLAG_KEY } from "../datapath/key.ts";
import { GSO_TCPV4 } from "../datapath/packet/packet.ts";
import { libc, replaceLibc } from "../netdev/libc.ts";
import { closeSteering, openSteering } from "../netdev/tunnel_steering.ts";
import {
  load,
  receiveAll,
  tcpFrame,
  type TunnelHost,
  withPort,
  withThreads,
} from "../tests/tunnel_port.ts";
import geneve from "./geneve.ts";
import type { TunnelData } from "./tunnel_registry.ts";
import type { Attachment } from "./vport.ts";
import vxlan from "./vxlan.ts";

function canTell(): boolean {
  const steering = openSteering(1);
  if (steering !== undefined) closeSteering(steering);
  return steering !== undefined;
}

const EPERM = 1;
const CAN_TELL = canTell();

function test(fact: string, fn: () => void): void {
  Deno.test({
    name: `tunnel checksums: ${fact}${CAN_TELL ? "" : " [needs bpf(2)]"}`,
    ignore: !CAN_TELL,
    sanitizeResources: false,
    fn,
  });
}

/** A frame of an unknown type. */
function otherFrame(): Uint8Array {
  const frame = tcpFrame(46);
  frame.set([0x88, 0xb5], 12);
  return frame;
}

/** UDP checksum or not, of each packet received. */
function flagsOf(host: TunnelHost): boolean[] {
  return host.tunnels.map((tunnel) => (tunnel.flags & TUN_FLAG_CSUM) !== 0);
}

for (const { ops, far } of [{ ops: vxlan, far: "127.0.0.1" }, { ops: geneve, far: "::1" }]) {
  test(`${ops.type} to ${far}: with csum=true set, with csum=false not`, () => {
    for (const csum of [true, false]) {
      const options = { remote_ip: far, key: "9", dst_port: "16091", csum: `${csum}` };
      withPort(ops, options, (vport, host) => {
        for (const frame of [tcpFrame(10), otherFrame(), tcpFrame(20)]) {
          assert.equal(vport.send(load(host, frame), undefined), 0);
        }
        vport.sender!.flush();
        receiveAll(vport, host, 3);
        assert.deepEqual(flagsOf(host), [csum, csum, csum]);
        const others = host.tunnels.map((tunnel) => tunnel.flags & ~TUN_FLAG_CSUM);
        assert.deepEqual(others, [TUN_FLAG_KEY, TUN_FLAG_KEY, TUN_FLAG_KEY]);
      });
    }
  });
}

test("without csum: over IPv6 all packets, over IPv4 TCP's have one; trains and segments keep their order", () => {
  withPort(geneve, { remote_ip: "::1", dst_port: "16092" }, (vport, host) => {
    vport.send(load(host, otherFrame()), undefined);
    vport.sender!.flush();
    receiveAll(vport, host, 1);
    assert.deepEqual(flagsOf(host), [true]);
  });
  withPort(geneve, { remote_ip: "127.0.0.1", dst_port: "16092" }, (vport, host) => {
    const sizes: number[] = [];
    for (let time = 0; time < 8; time++) {
      const size = time % 2 === 0 ? 100 + time : 4200 + time;
      const packet = load(host, tcpFrame(size, { partial: time % 2 === 1 }));
      if (time % 2 === 1) {
        packet.needsCsum = true;
        packet.csumStart = 34;
        packet.csumOffset = 16;
        packet.gsoType = GSO_TCPV4;
        packet.gsoSize = 1400;
      }
      assert.equal(vport.send(packet, undefined), 0);
      sizes.push(54 + size);
    }
    vport.sender!.flush();
    receiveAll(vport, host, 8);
    assert.deepEqual(host.received.map(({ frame }) => frame.length), sizes);
    assert.deepEqual(flagsOf(host), sizes.map(() => true));
    vport.send(load(host, otherFrame()), undefined);
    vport.sender!.flush();
    receiveAll(vport, host, 9);
    assert.deepEqual(flagsOf(host).slice(8), [false]);
  });
});

test("several threads share the packets of both kinds", () => {
  const options = { remote_ip: "127.0.0.1", key: "9", dst_port: "16093" };
  withThreads(vxlan, { options, threads: 3 }, (vports, hosts) => {
    const [sender] = vports;
    const [host] = hosts;
    const send = (): void => {
      for (let flow = 0; flow < 256; flow++) {
        for (const frame of [tcpFrame(10), otherFrame()]) {
          frame[11] = flow;
          frame[29] = flow;
          const packet = load(host!, frame);
          assert.equal(sender!.send(packet, undefined), 0);
          sender!.sender!.flush();
          host!.recycle(packet);
        }
      }
    };
    const collect = (): { withChecksum: number[]; without: number[] } => {
      vports.forEach((vport, thread) => receiveAll(vport, hosts[thread]!, 1));
      vports.forEach((vport) => {
        while (vport.receiver!.receive(32) > 0);
      });
      const count = (of: TunnelHost, wanted: boolean): number =>
        of.received.filter(({ frame }, at) => {
          assert.equal(frame[12] === 0x08, flagsOf(of)[at], "TCP has a checksum, the other not");
          return flagsOf(of)[at] === wanted;
        }).length;
      return {
        withChecksum: hosts.map((each) => count(each, true)),
        without: hosts.map((each) => count(each, false)),
      };
    };
    send();
    const { withChecksum, without } = collect();
    const sum = (numbers: number[]): number => numbers.reduce((a, b) => a + b, 0);
    assert.deepEqual([sum(withChecksum), sum(without)], [256, 256]);
    for (const counts of [withChecksum, without]) {
      assert.ok(counts.filter((each) => each > 0).length >= 2, `spread over threads: ${counts}`);
    }
  });
});

/** From now on, until replaceLibc(undefined). */
function refuseBpf(): void {
  const real = libc();
  const errors: number[] = [];
  replaceLibc({
    ...{ file: real.file, memory: real.memory, poll: real.poll, socket: real.socket },
    ...{ clock: real.clock, process: real.process },
    kernel: { ...real.kernel, bpf: () => errors.push(EPERM) && -1 },
    errno: () => errors.pop() ?? real.errno(),
  });
}

test("a UDP port that was opened without bpf(2) goes on without it", () => {
  const attach = (key: string): Attachment =>
    vxlan.attach!({
      ...{ datapath: "br0", datapathId: "0".repeat(32), name: key, portNo: Number(key) },
      ...{ mac: undefined, threads: 2 },
      options: vxlan.parseOptions(
        new Map(Object.entries({ remote_ip: "127.0.0.1", key, dst_port: "16095" })),
      ),
    });
  const steeringOf = ({ data }: Attachment): unknown => (data as TunnelData).steering?.[4];
  refuseBpf();
  let first: Attachment;
  try {
    first = attach("1");
  } finally {
    replaceLibc(undefined);
  }
  const second = attach("2");
  // A thread that is replaced opens its sockets by the same data as the others did.
  assert.deepEqual([steeringOf(first), steeringOf(second)], [undefined, undefined]);
  for (const each of [first, second]) each.detach("delete");
  const third = attach("3");
  assert.notEqual(steeringOf(third), undefined);
  third.detach("delete");
});

Deno.test({
  name: "tunnel checksums: where bpf(2) is refused, ports work, and no packet has the flag",
  sanitizeResources: false,
  fn: () => {
    refuseBpf();
    try {
      const options = { remote_ip: "127.0.0.1", key: "9", dst_port: "16094", csum: "true" };
      withPort(vxlan, options, (vport, host) => {
        vport.send(load(host, tcpFrame(10)), undefined);
        vport.sender!.flush();
        receiveAll(vport, host, 1);
        assert.deepEqual(flagsOf(host), [false]);
      });
    } finally {
      replaceLibc(undefined);
    }
  },
});
