/** What handlers do most: a flow from a packet's key. */
import assert from "node:assert/strict";
import { composeFrame } from "../../datapath/compose/compose.ts";
import { extractKey } from "../../datapath/extract/extract.ts";
import { ETH_TYPE_AT, IN_PORT_AT, KEY_WORDS, L3_PACKET, TCP_FLAGS_AT } from "../../datapath/key.ts";
import { setMetadataFromKey } from "../../datapath/fields/key_metadata.ts";
import { randomFlowText, seededRandom } from "../../datapath/testing/flows.ts";
import { packetOf } from "../../datapath/testing/frames.ts";
import { parseFlow } from "../../datapath/text/flow_text.ts";
import { checkFlow } from "../../datapath/validate/validate.ts";
import { UpcallKey } from "./packet.ts";

Deno.test("UpcallKey.text: any packet's key is a flow that can be installed, and matches it", () => {
  const random = seededRandom(20261121);
  let tunnels = 0;
  for (let count = 0; count < 1000; count++) {
    const { key: wanted } = parseFlow(
      randomFlowText(random, { everything: true, withoutMasks: true }),
    );
    const view = new DataView(wanted.buffer);
    let frame: Uint8Array;
    try {
      frame = composeFrame(wanted);
    } catch {
      continue; // no packet has such a key
    }
    const isL3 = (view.getUint16(TCP_FLAGS_AT) & L3_PACKET) !== 0;
    const packet = packetOf(frame, { isL3, ethType: view.getUint16(ETH_TYPE_AT) });
    setMetadataFromKey(packet, wanted);
    packet.inPort = view.getUint16(IN_PORT_AT);
    const words = new Int32Array(KEY_WORDS);
    extractKey(packet, words, 0);
    const key = new UpcallKey(words);
    const { key: value, mask } = parseFlow(key.text);
    try {
      checkFlow(value, mask);
    } catch (error) {
      // Through such a tunnel nothing can have come.
      assert.match(String(error), /a tunnel's destination address can't be zero/, key.text);
      continue;
    }
    for (let word = 0; word < KEY_WORDS; word++) {
      assert.equal(words[word]! & mask[word]!, value[word]! & mask[word]!, key.text);
    }
    if (packet.hasTunnel) tunnels++;
  }
  assert(tunnels > 50, `${tunnels} with tunnels`);
});

Deno.test("UpcallKey.get: fields by their path in the JSON form", () => {
  const { key } = parseFlow(
    "in_port(3),eth(src=02:00:00:00:00:01,dst=02:00:00:00:00:02),eth_type(0x0800)," +
      "ipv4(src=10.0.0.1,dst=10.0.0.2,proto=17),udp(src=7,dst=53)",
  );
  const fields = new UpcallKey(key);
  assert.equal(fields.get("in_port"), 3);
  assert.equal(fields.get("eth.src"), "02:00:00:00:00:01");
  assert.equal(fields.get("ipv4.dst"), "10.0.0.2");
  assert.equal(fields.get("udp.dst"), 53);
  assert.equal(fields.get("tcp.dst"), undefined);
  assert.equal(fields.get("eth"), undefined);
  assert.equal(fields.get("eth.constructor"), undefined);
});
