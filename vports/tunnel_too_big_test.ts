/**
 * Packets too long for the way to the far end: dropped, and their sender told, by the far end that the
 * packet was really going to. In a namespace whose routes have MTUs.
 */
import assert from "node:assert/strict";
import { dropReason } from "../datapath/drop_reasons.ts";
import { TUN_FLAG_CSUM, TUN_FLAG_DF, TUN_FLAG_KEY, TUN_OPTIONS_GENEVE } from "../datapath/key.ts";
import type { TunnelKey } from "../datapath/packet/tunnel_key.ts";
import { GSO_TCPV4 } from "../datapath/packet/packet.ts";
import { finish, pseudoIpv6, sum } from "../datapath/packet/checksum.ts";
import { addVeth, ip, namespaceTests } from "../tests/namespace.ts";
import { load, tcpFrame, tunnelTo, withPort } from "../tests/tunnel_port.ts";
import geneve from "./geneve.ts";
import gre from "./gre.ts";
import vxlan from "./vxlan.ts";

const OVER_MTU = dropReason("over-mtu");
const OWN = 0xc0000201;
const OTHER = 0xc0000205;
/** Outer IPv4 and UDP, and VXLAN's or Geneve's header. */
const OUTER4 = 36;

function withDf(tunnel: TunnelKey): TunnelKey {
  tunnel.flags = TUN_FLAG_DF | TUN_FLAG_KEY;
  return tunnel;
}

function viewOf(frame: Uint8Array): DataView {
  return new DataView(frame.buffer, frame.byteOffset, frame.length);
}

/** A frame with an IPv6 header (no extension) and a UDP datagram of zeros. */
function udp6Frame(size: number): Uint8Array {
  const frame = new Uint8Array(size);
  frame.set(Uint8Array.fromHex("02000000000202000000000186dd60000000"));
  const view = viewOf(frame);
  view.setUint16(18, size - 54);
  view.setUint16(20, 0x1140);
  frame.set(Uint8Array.fromHex("fd000000000000000000000000000001"), 22);
  frame.set(Uint8Array.fromHex("fd000000000000000000000000000002"), 38);
  view.setUint16(58, size - 54);
  return frame;
}

function test(fact: string, fn: () => void): void {
  Deno.test({ name: `too big for a tunnel: ${fact}`, sanitizeResources: false, fn });
}

namespaceTests(import.meta.url, () => {
  ip("link", "set", "lo", "up");
  Deno.writeTextFileSync("/proc/sys/net/ipv6/conf/all/disable_ipv6", "0");
  addVeth("u0", "u1");
  ip("link", "set", "u0", "mtu", "9000");
  ip("link", "set", "u1", "mtu", "9000");
  Deno.writeTextFileSync("/proc/sys/net/ipv6/conf/u0/disable_ipv6", "0");
  ip("addr", "add", "192.0.2.1/24", "dev", "u0");
  ip("addr", "add", "192.0.2.5/24", "dev", "u0");
  ip("addr", "add", "2001:db8::1/64", "dev", "u0", "nodad");
  // Far ends at MTUs of 9000 (192.0.2.9 and others), 1400 and 1450.
  ip("route", "add", "192.0.2.14/32", "dev", "u0", "mtu", "1400");
  ip("-6", "route", "add", "2001:db8::14/128", "dev", "u0", "mtu", "1450");

  test("with remote_ip=flow, each far end's own MTU counts, and the answer comes through its tunnel", () => {
    withPort(geneve, { remote_ip: "flow", key: "flow" }, (vport, host) => {
      const near = withDf(tunnelTo(0xc000020e));
      near.idLow = 77;
      const options = viewOf(Uint8Array.fromHex("0102800111223344"));
      near.setOptions(TUN_OPTIONS_GENEVE, options, 0, 8);
      const fits = load(host, tcpFrame(1400 - OUTER4 - 8 - 54));
      assert.equal(vport.send(fits, near), 0);
      const tooBig = tcpFrame(1400 - OUTER4 - 8 - 54 + 1);
      assert.equal(vport.send(load(host, tooBig), near), OVER_MTU);
      const far = withDf(tunnelTo(0xc0000209));
      assert.equal(vport.send(load(host, tooBig), far), 0);
      vport.sender!.flush();
      assert.equal(host.received.length, 1);
      const { frame } = host.received[0]!;
      const view = viewOf(frame);
      assert.deepEqual(frame.subarray(0, 14), Uint8Array.fromHex("0200000000010200000000020800"));
      assert.equal(view.getUint32(26), 0x0a000002, "from the packet's destination");
      assert.equal(view.getUint32(30), 0x0a000001);
      assert.equal(view.getUint16(34), 0x0304, "destination unreachable, fragmentation needed");
      assert.equal(view.getUint16(40), 1400 - OUTER4 - 8 - 14, "the inner MTU");
      assert.equal(finish(sum(view, 14, 34)), 0);
      assert.equal(finish(sum(view, 34, frame.length)), 0);
      assert.deepEqual(frame.subarray(42, 82), tooBig.subarray(14, 54), "its headers are quoted");
      const [got] = host.tunnels;
      assert.ok(got !== undefined);
      assert.deepEqual([got.source, got.destination], [0xc000020e, OWN]);
      assert.deepEqual([got.idLow, got.flags, got.destinationPort], [77, TUN_FLAG_KEY, 6081]);
      assert.equal(got.optionsSize, 8);
    });
  });

  test("a flow's destination counts, not the configured one; local_ip is who is answered", () => {
    const words = { remote_ip: "192.0.2.9", local_ip: "192.0.2.5", in_key: "3", out_key: "4" };
    withPort(vxlan, { ...words, csum: "true" }, (vport, host) => {
      const frame = tcpFrame(2000);
      assert.equal(vport.send(load(host, frame), undefined), 0, "9000 by 192.0.2.9");
      assert.equal(vport.send(load(host, frame), withDf(tunnelTo(0xc000020e))), OVER_MTU);
      const huge = tcpFrame(9000);
      assert.equal(vport.send(load(host, huge), undefined), OVER_MTU);
      vport.sender!.flush();
      const mtus = host.received.map((each) => viewOf(each.frame).getUint16(40));
      assert.deepEqual(mtus, [1400 - OUTER4 - 14, 9000 - OUTER4 - 14]);
      const seen = host.tunnels.map((each) => [each.source, each.destination, each.idLow]);
      assert.deepEqual(seen, [[0xc000020e, OTHER, 3], [0xc0000209, OTHER, 3]]);
      const flags = TUN_FLAG_KEY | TUN_FLAG_CSUM;
      assert.deepEqual(host.tunnels.map((each) => each.flags), [flags, flags]);
    });
  });

  test("over IPv6: an inner IPv6 packet gets packet-too-big; without df nobody is told", () => {
    withPort(vxlan, { remote_ip: "2001:db8::14", key: "4" }, (vport, host) => {
      const frame = udp6Frame(1500);
      assert.equal(vport.send(load(host, frame), undefined), OVER_MTU);
      const answer = host.received[0]!.frame;
      const view = viewOf(answer);
      assert.deepEqual(answer.subarray(22, 38), frame.subarray(38, 54));
      assert.equal(view.getUint16(54), 0x0200, "packet too big");
      assert.equal(view.getUint32(58), 1450 - 56 - 14);
      assert.equal(answer.length, 14 + 1280, "as much as everybody takes is quoted");
      const l4 = pseudoIpv6(view, 14, 58, answer.length - 54) + sum(view, 54, answer.length);
      assert.equal(finish(l4), 0);
      const [got] = host.tunnels;
      assert.equal(got?.family, 6);
      const words = [0, 1, 2, 3].map((at) => [got?.sourceWord(at), got?.destinationWord(at)]);
      const wanted = [[0x20010db8, 0x20010db8], [0, 0], [0, 0], [0x14, 1]];
      assert.deepEqual(words, wanted);
    });
    withPort(vxlan, { remote_ip: "192.0.2.14", df_default: "false" }, (vport, host) => {
      assert.equal(vport.send(load(host, tcpFrame(3000)), undefined), 0);
      vport.sender!.flush();
      assert.equal(host.received.length, 0);
      assert.deepEqual(host.txDrops, [], "it leaves in fragments");
    });
  });

  test("segments of a train count, not the train; a tagged sender is answered with its tag", () => {
    withPort(vxlan, { remote_ip: "192.0.2.14" }, (vport, host) => {
      const train = (gsoSize: number): number => {
        const packet = load(host, tcpFrame(30_000, { partial: true }));
        packet.needsCsum = true;
        packet.csumStart = 34;
        packet.csumOffset = 16;
        packet.gsoType = GSO_TCPV4;
        packet.gsoSize = gsoSize;
        return vport.send(packet, undefined);
      };
      assert.equal(train(1400 - OUTER4 - 54), 0);
      assert.equal(train(1400 - OUTER4 - 54 + 1), OVER_MTU);
      vport.sender!.flush();
      const plain = tcpFrame(1400);
      const tagged = new Uint8Array(plain.length + 4);
      tagged.set(plain.subarray(0, 12));
      tagged.set(Uint8Array.of(0x81, 0, 0, 7), 12);
      tagged.set(plain.subarray(12), 16);
      assert.equal(vport.send(load(host, tagged), undefined), OVER_MTU);
      const [, answer] = host.received.map((each) => each.frame);
      assert.deepEqual(answer?.subarray(12, 18), Uint8Array.of(0x81, 0, 0, 7, 8, 0));
      assert.equal(viewOf(answer!).getUint16(44), 1400 - OUTER4 - 18);
    });
  });

  test("a packet without Ethernet header is answered by one", () => {
    const words = { remote_ip: "192.0.2.14", packet_type: "legacy_l3", key: "1" };
    withPort(gre, words, (vport, host) => {
      const l3: { isL3: boolean; ethType: number }[] = [];
      const keep = host.receive.bind(host);
      host.receive = (portNo, packet) => {
        l3.push({ isL3: packet.isL3, ethType: packet.ethType });
        keep(portNo, packet);
      };
      const packet = load(host, tcpFrame(1400));
      packet.start += 14;
      packet.isL3 = true;
      packet.ethType = 0x0800;
      assert.equal(vport.send(packet, undefined), OVER_MTU);
      assert.deepEqual(l3, [{ isL3: true, ethType: 0x0800 }]);
      const view = viewOf(host.received[0]!.frame);
      assert.equal(view.getUint8(0), 0x45);
      assert.equal(view.getUint16(26), 1400 - 20 - 8);
    });
  });

  test("no answer to errors, groups, and packets that may be fragmented", () => {
    withPort(vxlan, { remote_ip: "192.0.2.14" }, (vport, host) => {
      const refuse = (change: (frame: Uint8Array) => void): void => {
        const frame = tcpFrame(1400);
        change(frame);
        assert.equal(vport.send(load(host, frame), undefined), OVER_MTU);
      };
      refuse((frame) => frame[20] = 0); // no DF
      refuse((frame) => frame[0] = 0xff); // to a group of stations
      refuse((frame) => frame[30] = 224); // to a group of hosts
      refuse((frame) => {
        frame[23] = 1; // ICMP
        frame[34] = 3; // destination unreachable
      });
      refuse((frame) => frame[12] = 0x88); // no IP at all
      assert.equal(host.received.length, 0);
    });
  });
});
