import assert from "node:assert/strict";
import { FIELDS } from "../fields/field_table.ts";
import type { Attribute, Dialect } from "../fields/field_types.ts";
import { KEY_SIZE } from "../key.ts";
import { randomFlowText, randomFlowWith, seededRandom } from "../testing/flows.ts";
import { formatFlow, type ParsedFlow, parseFlow } from "../text/flow_text.ts";
import { decodeKey, encodeKey, encodePacketKey } from "./key_codec.ts";
import { cases } from "../testing/cases.ts";

const DIALECTS: readonly Dialect[] = ["kernel", "userspace"];
/** Flows of each attribute and dialect, half of them masked. */
const RUNS = cases(2000);

function masked(flow: Pick<ParsedFlow, "key" | "mask">): Uint8Array {
  const words = flow.key.map((word, index) => word & flow.mask[index]!);
  return new Uint8Array(words.buffer);
}

/** Netlink and back: the same match, the same text, and the same bytes again. */
function checkRoundTrip(flow: ParsedFlow, dialect: Dialect, text: string): void {
  const encoded = encodeKey(flow.key, flow.mask, { dialect });
  const decoded = decodeKey(encoded.key, encoded.mask, { dialect });
  assert.deepEqual(decoded.mask, flow.mask, text);
  assert.deepEqual(masked(decoded), masked(flow), text);
  assert.deepEqual(decoded.unknown, [], text);
  const written = formatFlow(decoded.key, decoded.mask);
  assert.equal(written, formatFlow(flow.key, flow.mask), text);
  assert.deepEqual(encodeKey(decoded.key, decoded.mask, { dialect }), encoded, text);
}

/** Whether the dialect can say it: options and flags of tunnels differ. */
function isSayable(text: string, attribute: Attribute | undefined, dialect: Dialect): boolean {
  if (attribute?.only !== undefined && attribute.only !== dialect) return false;
  return dialect === "kernel"
    ? !/gtpu\(|nd_ext\(/.test(text)
    : !/bridge|ipv6_exthdrs\(/.test(text) && !hasNumericFlags(text);
}

/** Tunnel flags written as a number may have the kernel's one. */
function hasNumericFlags(text: string): boolean {
  const inside = /tunnel\(.*?flags(?:=|\()(\d\w*)/.exec(text);
  return inside !== null && inside[1] !== "0";
}

for (const attribute of FIELDS.attributes) {
  Deno.test(`netlink of random flows: ${attribute.name}`, () => {
    const random = seededRandom(attribute.number);
    let count = 0;
    for (let run = 0; run < RUNS; run++) {
      const text = randomFlowWith(random, attribute, run % 2 === 1);
      const flow = parseFlow(text);
      for (const dialect of DIALECTS) {
        if (!isSayable(text, attribute, dialect)) continue;
        checkRoundTrip(flow, dialect, text);
        count++;
      }
    }
    assert(count >= RUNS, `only ${count} flows could be said`);
  });
}

Deno.test("netlink of random flows: many attributes at once", () => {
  const random = seededRandom(3);
  for (let run = 0; run < cases(2000); run++) {
    const text = randomFlowText(random, { everything: run % 2 === 0 });
    const flow = parseFlow(text);
    for (const dialect of DIALECTS) {
      if (isSayable(text, undefined, dialect)) checkRoundTrip(flow, dialect, text);
    }
  }
});

Deno.test("netlink of random packet keys", () => {
  const random = seededRandom(4);
  for (let run = 0; run < cases(1000); run++) {
    const text = randomFlowText(random, { withoutMasks: true, everything: run % 2 === 0 });
    const { key } = parseFlow(text);
    for (const dialect of DIALECTS) {
      if (!isSayable(text, undefined, dialect)) continue;
      const payload = encodePacketKey(key, { dialect });
      const decoded = decodeKey(payload, undefined, { dialect });
      assert.deepEqual(new Uint8Array(decoded.key.buffer, 0, KEY_SIZE), bytesOf(key), text);
    }
  }
});

function bytesOf(words: Int32Array): Uint8Array {
  return new Uint8Array(words.buffer, words.byteOffset, KEY_SIZE);
}
