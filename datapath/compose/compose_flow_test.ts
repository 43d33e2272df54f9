import assert from "node:assert/strict";
import { extracted } from "../testing/extracted.ts";
import { faults, packetOf } from "../testing/frames.ts";
import { parseFlow } from "../text/flow_text.ts";
import { IP_PROTO_AT, NSH_MDTYPE_AT } from "../key.ts";
import { COMPOSED_SIZE_MAX } from "./composed_size.ts";
import { composeFlowFrame } from "./compose_flow.ts";

function compose(flow: string, size?: number): ReturnType<typeof composeFlowFrame> {
  return composeFlowFrame(parseFlow(flow), { size });
}

Deno.test("composeFlowFrame: what a flow leaves open is chosen so that there is a packet", () => {
  const later = compose("eth_type(0x86dd),ipv6(frag=later)");
  assert.equal(extracted(packetOf(later.frame)).getUint8(IP_PROTO_AT), 44);
  const nsh = compose("eth_type(0x894f),nsh(c1=0x5)");
  assert.equal(extracted(packetOf(nsh.frame)).getUint8(NSH_MDTYPE_AT), 1);
  const tcp = compose("eth_type(0x0800),ipv4(proto=6),tcp(src=80)", 100);
  assert.deepEqual([tcp.frame.length, tcp.l3EthType, ...faults(tcp.frame)], [100, undefined]);
});

Deno.test("composeFlowFrame: a packet without Ethernet header says its type", () => {
  const { frame, l3EthType } = compose("packet_type(ns=1,id=0x800),eth_type(0x0800),ipv4(ttl=3)");
  assert.deepEqual([frame[0], frame[8], l3EthType], [0x45, 3, 0x0800]);
});

Deno.test("composeFlowFrame: flows that no packet has are refused, with what one would be", () => {
  const message = /no packet has this key: one with these headers is .*(ipv6|mpls)\(/;
  for (
    const flow of [
      "eth_type(0x86dd),ipv6(proto=44)",
      "eth_type(0x86dd),ipv6(proto=6,frag=later)",
      "eth_type(0x8847),mpls(label=1,bos=1,label=2)",
    ]
  ) {
    assert.throws(() => compose(flow), { code: "EINVAL", message }, flow);
  }
  assert.equal(compose("eth_type(0x8847),mpls(label=1,bos=0,label=2/0)").frame.length, 30);
});

Deno.test("composeFlowFrame: frames have a largest size", () => {
  assert.throws(() => compose("", COMPOSED_SIZE_MAX + 1), { message: /at most 65549 bytes/ });
  assert.equal(compose("", COMPOSED_SIZE_MAX).frame.length, COMPOSED_SIZE_MAX);
});
