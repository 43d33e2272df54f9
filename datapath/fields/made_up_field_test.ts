/**
 * Adding a field is one entry in the table: an attribute that no version has, in bytes of the key that
 * nothing uses, is read, printed, masked, checked, looked up, turned into JSON and into netlink attributes.
 */
import assert from "node:assert/strict";
import { FlowSyntaxError, RuleError } from "../errors.ts";
import { FieldTable } from "./field_table.ts";
import { attribute, field } from "./field_types.ts";
import { ATTRIBUTES } from "./fields.ts";
import { makeFlowTableBuffers } from "../flow_table/layout.ts";
import { FlowTableReader } from "../flow_table/reader.ts";
import { FlowTableWriter } from "../flow_table/writer.ts";
import { flowFromJson, flowToJson } from "../json/flow_json.ts";
import { toHex } from "../netlink/attributes.ts";
import { decodeKey, encodeKey } from "../netlink/key_codec.ts";
import { randomFlowWith, seededRandom } from "../testing/flows.ts";
import { tlv } from "../testing/tlv.ts";
import { formatFlow, parseFlow } from "../text/flow_text.ts";
import { checkFlow } from "../validate/validate.ts";
import { cases } from "../testing/cases.ts";

/** Bytes of the key that no field has. */
const FREE_AT = 548;

/** One field of every simple form. */
const MADE_UP = attribute("made_up", 60, "an attribute that nobody has", [
  field("level", [FREE_AT, 1, "decimal"], "a byte"),
  field("colour", [FREE_AT + 1, 1, "hex"], "a nibble", { bits: 4, shift: 2 }),
  field("maker", [FREE_AT + 2, 4, "ipv4"], "an address"),
  field("serial", [FREE_AT + 6, 8, "hex"], "more than a number has"),
  field("traits", [FREE_AT + 14, 2, "flags"], "flags", {
    bits: 3,
    flagNames: ["big", "red", "new"],
  }),
], { requires: { ethTypes: [0x0800], text: "eth_type(0x0800)" } });

const TABLE = new FieldTable([...ATTRIBUTES, MADE_UP]);
const options = { table: TABLE } as const;

const TEXTS: readonly string[] = [
  "eth(),eth_type(0x0800),made_up(level=7)",
  "eth(),eth_type(0x0800),made_up(level=1/0x3,colour=0xf,maker=10.0.0.0/255.0.0.0)",
  "eth(),eth_type(0x0800),made_up(serial=0x123456789abcdef0,traits(big|new))",
  "eth(),eth_type(0x0800),made_up(serial=0x1/0xff,traits(+red-new))",
];

Deno.test("made-up attribute: text both ways, with masks", () => {
  for (const text of TEXTS) {
    const { key, mask } = parseFlow(text, options);
    checkFlow(key, mask, TABLE);
    assert.equal(formatFlow(key, mask, options), text);
  }
  const { key, mask } = parseFlow("eth_type(0x0800)", options);
  const verbose = formatFlow(key, mask, { ...options, verbose: true });
  assert.match(
    verbose,
    /made_up\(level=0\/0,colour=0\/0,maker=0\.0\.0\.0\/0\.0\.0\.0,serial=0\/0,traits\(0\/0\)\)$/,
  );
});

Deno.test("made-up attribute: faults are those of every other attribute", () => {
  const faults: readonly (readonly [string, RegExp])[] = [
    ["made_up(level=1)", /made_up\(\) needs eth_type\(0x0800\)/],
    ["eth_type(0x0800),made_up(level=256)", /made_up level must be 0 … 255/],
    ["eth_type(0x0800),made_up(colour=16)", /made_up colour must be 0 … 15/],
    ["eth_type(0x0800),made_up(traits(blue))", /names are big, red, new/],
    ["eth_type(0x0800),made_up(size=1)", /unknown field of made_up "size"/],
    ["eth_type(0x0800),made_up(),made_up()", /made_up\(\) stands twice/],
    ["eth_type(0x0800),made_op()", /did you mean made_up/],
  ];
  for (const [text, message] of faults) {
    assert.throws(() => parseFlow(text, options), (error: unknown) => {
      assert(error instanceof FlowSyntaxError, text);
      assert.match(error.message, message, text);
      return true;
    });
  }
  assert.throws(() => parseFlow(TEXTS[0]!), FlowSyntaxError, "another table doesn't have it");
});

Deno.test("made-up attribute: only a table with it lets it be matched", () => {
  const { key, mask } = parseFlow(TEXTS[0]!, options);
  assert.throws(() => checkFlow(key, mask), RuleError);
});

Deno.test("made-up attribute: JSON both ways", () => {
  const { key, mask } = parseFlow(TEXTS[1]!, options);
  const json = flowToJson(key, mask, options);
  assert.deepEqual(json, {
    eth_type: 0x0800,
    made_up: {
      level: { value: 1, mask: 3 },
      colour: 15,
      maker: { value: "10.0.0.0", mask: "255.0.0.0" },
    },
  });
  const back = flowFromJson(json, options);
  assert.equal(formatFlow(back.key, back.mask, options), TEXTS[1]);
});

Deno.test("made-up attribute: random flows of it come back from text and JSON", () => {
  const random = seededRandom(60);
  for (let count = 0; count < cases(1000); count++) {
    const { key, mask } = parseFlow(randomFlowWith(random, MADE_UP, count % 2 === 1), options);
    checkFlow(key, mask, TABLE);
    const text = formatFlow(key, mask, options);
    for (
      const again of [
        parseFlow(text, options),
        flowFromJson(flowToJson(key, mask, options), options),
      ]
    ) {
      assert.deepEqual(again.mask, mask, text);
      assert.equal(formatFlow(again.key, again.mask, options), text);
    }
  }
});

Deno.test("made-up attribute: netlink both ways", () => {
  const { key, mask } = parseFlow(TEXTS[1]!, options);
  const netlink = { ...options, dialect: "kernel" } as const;
  const encoded = encodeKey(key, mask, netlink);
  // Six bits of the second byte have the colour; the rest follows as in a struct.
  const value = tlv(60, "01 3c 0a000000", "00".repeat(8), "0000");
  const bits = tlv(60, "03 3c ff000000", "00".repeat(8), "0000");
  assert(toHex(encoded.key).endsWith(value), toHex(encoded.key));
  assert(toHex(encoded.mask).endsWith(bits), toHex(encoded.mask));
  const decoded = decodeKey(encoded.key, encoded.mask, netlink);
  assert.equal(formatFlow(decoded.key, decoded.mask, options), TEXTS[1]);
  // Another table keeps it as what it doesn't know.
  const { unknown } = decodeKey(encoded.key, encoded.mask, { dialect: "kernel" });
  assert.deepEqual(unknown.map(({ number }) => number), [60]);
});

Deno.test("made-up attribute: random flows of it come back from netlink", () => {
  const random = seededRandom(61);
  for (let count = 0; count < cases(1000); count++) {
    const { key, mask } = parseFlow(randomFlowWith(random, MADE_UP, count % 2 === 1), options);
    for (const dialect of ["kernel", "userspace"] as const) {
      const encoded = encodeKey(key, mask, { ...options, dialect });
      const decoded = decodeKey(encoded.key, encoded.mask, { ...options, dialect });
      assert.deepEqual(decoded.mask, mask);
      const text = formatFlow(key, mask, options);
      assert.equal(formatFlow(decoded.key, decoded.mask, options), text);
    }
  }
});

Deno.test("made-up attribute: flows with it are found by the packets that have it", () => {
  const seed = new Uint8Array(16).fill(7);
  const buffers = makeFlowTableBuffers({ flowsMax: 16, threads: 1, seed });
  const table = new FlowTableWriter(buffers, undefined, { publishBuckets: () => {} });
  const add = (text: string, number: number): number => {
    const { key, mask } = parseFlow(text, options);
    const masked = key.map((word, at) => word & mask[at]!);
    const ufid = number.toString(16).padStart(32, "0");
    return table.insert({ ufid, key: masked, mask, actions: Int32Array.of(0) });
  };
  const seven = add("eth_type(0x0800),made_up(level=7)", 1);
  const red = add("eth_type(0x0800),made_up(level=8,traits(+red))", 2);
  table.commit();
  const reader = new FlowTableReader(buffers, 0, table.buckets);
  const found = (text: string): number => {
    const flows = new Int32Array(1);
    reader.lookupBurst(parseFlow(text, options).key, 1, flows);
    return flows[0]!;
  };
  for (let time = 0; time < 2; time++) { // by the masks, then by the cache
    assert.equal(found("eth_type(0x0800),made_up(level=7)"), seven);
    assert.equal(found("eth_type(0x0800),made_up(level=8,traits(big|red))"), red);
    assert.equal(found("eth_type(0x0800),made_up(level=8,traits(big))"), -1);
    assert.equal(found("eth_type(0x0800),made_up(level=9)"), -1);
  }
});
