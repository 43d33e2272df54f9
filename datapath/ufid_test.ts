import assert from "node:assert/strict";
import { parseFlow } from "./text/flow_text.ts";
import { formatUfid, parseUfid } from "./text/ufid_text.ts";
import { flowUfid, sipHash128 } from "./ufid.ts";

const COUNTING = Uint8Array.from({ length: 16 }, (_, index) => index);

Deno.test("sipHash128: what OpenSSL 3 computes for the key 00…0f and bytes counting up", () => {
  const cases = [
    [0, "a3817f04ba25a8e66df67214c7550293"],
    [1, "da87c1d86b99af44347659119b22fc45"],
    [15, "5493e99933b0a8117e08ec0f97cfc3d9"],
    [63, "5150d1772f50834a503e069a973fbd7c"],
  ] as const;
  for (const [length, digest] of cases) {
    const message = Uint8Array.from({ length }, (_, index) => index);
    assert.equal(sipHash128(COUNTING, message), digest);
  }
});

function ufid(text: string, seed: Uint8Array = COUNTING): string {
  const { key, mask } = parseFlow(text);
  return flowUfid(seed, key, mask);
}

Deno.test("flowUfid: depends on masked key, mask and seed, and on nothing else", () => {
  const one = ufid("in_port(1),eth_type(0x0800),ipv4(src=10.0.0.1/255.0.0.0)");
  assert.match(one, /^[0-9a-f]{32}$/);
  assert.equal(ufid("in_port(0x1), eth() eth_type(2048),ipv4(src=10.9.9.9/8)"), one);
  assert.notEqual(ufid("in_port(1),eth_type(0x0800),ipv4(src=10.0.0.1/255.255.0.0)"), one);
  assert.notEqual(ufid("in_port(2),eth_type(0x0800),ipv4(src=10.0.0.1/255.0.0.0)"), one);
  assert.notEqual(ufid("in_port(1)", new Uint8Array(16)), ufid("in_port(1)"));
});

Deno.test("formatUfid and parseUfid: a UUID's form", () => {
  const digits = "0102030405060708090a0b0c0d0e0f10";
  assert.equal(formatUfid(digits), "01020304-0506-0708-090a-0b0c0d0e0f10");
  assert.equal(parseUfid("01020304-0506-0708-090A-0b0c0d0e0f10"), digits);
  assert.equal(parseUfid(digits), digits);
  assert.equal(parseUfid("0102"), undefined);
  assert.equal(parseUfid(digits + "0"), undefined);
});
