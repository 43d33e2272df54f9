import assert from "node:assert/strict";
import fc from "fast-check";
import { composeFrame } from "./compose.ts";
import { RuleError } from "./errors.ts";
import { extractKey } from "./extract.ts";
import {
  ETH_TYPE_AT,
  IN_PORT_AT,
  IP_PROTO_AT,
  KEY_WORDS,
  RECIRC_ID_AT,
  SKB_MARK_AT,
  SKB_PRIORITY_AT,
} from "./key.ts";
import { Packet } from "./packet.ts";
import { type Random, randomFlowText } from "./testing/flows.ts";
import { formatFlow, parseFlow } from "./text/flow_text.ts";

/** The frame's key, with the metadata of another key. */
function extracted(frame: Uint8Array<ArrayBuffer>, like: Int32Array): Int32Array {
  const packet = new Packet({ bytes: frame, view: new DataView(frame.buffer), address: 0 });
  packet.end = frame.length;
  const metadata = new DataView(like.buffer, like.byteOffset);
  packet.inPort = metadata.getUint16(IN_PORT_AT);
  packet.priority = metadata.getUint32(SKB_PRIORITY_AT);
  packet.mark = metadata.getUint32(SKB_MARK_AT);
  packet.recircId = metadata.getUint32(RECIRC_ID_AT);
  const key = new Int32Array(KEY_WORDS);
  extractKey(packet, key, 0);
  return key;
}

Deno.test("property: composeFrame's frame has the key that it was made from", () => {
  fc.assert(
    fc.property(fc.gen(), fc.option(fc.integer({ min: 300, max: 2000 })), (g, size) => {
      const random: Random = (bound) => g(fc.nat, bound - 1);
      const text = randomFlowText(random);
      const { key } = parseFlow(text);
      // In an IPv6 header protocol 0 is an extension.
      fc.pre(!isIpv6WithoutProtocol(key));
      const frame = composeFrame(key, size ?? undefined);
      if (size !== null) assert.equal(frame.length, size);
      const wanted = formatFlow(key, exact(key));
      const found = extracted(frame, key);
      assert.equal(formatFlow(found, exact(found)), wanted, text);
    }),
    { numRuns: 1000 },
  );
});

function isIpv6WithoutProtocol(key: Int32Array): boolean {
  const view = new DataView(key.buffer);
  return view.getUint16(ETH_TYPE_AT) === 0x86dd && view.getUint8(IP_PROTO_AT) === 0;
}

/** A mask of everything that formatFlow shows of such a key. */
function exact(key: Int32Array): Int32Array {
  const mask = new Int32Array(KEY_WORDS).fill(-1);
  // An ICMP type is one byte of the port's two.
  const { mask: typed } = parseFlow(
    "eth_type(0x86dd),ipv6(proto=58),icmpv6(type=135,code=0),nd(target=::1)",
  );
  const keyBytes = new Uint8Array(key.buffer);
  const isIcmp = keyBytes[44] === 1 || keyBytes[44] === 58;
  if (isIcmp) mask[14] = typed[14]!;
  return mask;
}

Deno.test("composeFrame: UDP with 64 counted bytes", () => {
  const { key } = parseFlow(
    "eth(src=02:00:00:00:00:01,dst=02:00:00:00:00:02),eth_type(0x0800)," +
      "ipv4(src=10.0.0.1,dst=10.0.0.2,proto=17,tos=0,ttl=64),udp(src=1024,dst=53)",
  );
  const hex = [...composeFrame(key)].map((byte) => byte.toString(16).padStart(2, "0")).join("");
  assert.equal(hex.slice(0, 28), "0200000000020200000000010800");
  assert.equal(hex.slice(28, 68), "4500005c00000000401166" + "8f" + "0a0000010a000002");
  assert.equal(hex.slice(68, 76), "04000035");
  assert.equal(hex.length, 2 * (14 + 20 + 8 + 64));
});

Deno.test("composeFrame: refuses sizes that can't be", () => {
  const { key } = parseFlow("eth_type(0x0806)");
  assert.equal(composeFrame(key, 60).length, 60);
  assert.throws(() => composeFrame(key, 41), RuleError);
  assert.throws(() => composeFrame(key, 70000), RuleError);
  assert.throws(() => composeFrame(key, NaN), RuleError);
});
