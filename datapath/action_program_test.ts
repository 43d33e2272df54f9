import assert from "node:assert/strict";
import {
  decodeActions,
  encodeActions,
  END,
  OUTPUT,
  PUSH_VLAN,
  SET_ETH,
  SET_MASKED,
} from "./action_program.ts";
import { ETH_SRC_AT } from "./key.ts";
import { parseActions } from "./text/action_text.ts";

Deno.test("encodeActions: an output", () => {
  assert.deepEqual([...encodeActions(parseActions("7"))], [OUTPUT | 2 << 8, 7, END | 1 << 8]);
});

Deno.test("encodeActions: the empty list is END alone", () => {
  assert.deepEqual([...encodeActions([])], [END | 1 << 8]);
});

Deno.test("encodeActions: push_vlan has TPID and TCI with the present bit", () => {
  const words = encodeActions(parseActions("push_vlan(tpid=0x88a8,vid=5,pcp=7)"));
  assert.deepEqual([...words.subarray(0, 2)], [PUSH_VLAN | 2 << 8, 0x88a8f005 | 0]);
});

Deno.test("encodeActions: a set has the attribute's key words", () => {
  const words = encodeActions(parseActions("set(eth(src=01:02:03:04:05:06))"));
  const [operation, header, from, count] = words;
  assert.equal(operation, SET_MASKED | 10 << 8);
  assert.equal(header, SET_ETH);
  assert.equal(count, 3);
  const bytes = new Uint8Array(words.buffer, 4 * 4);
  const at = ETH_SRC_AT - from! * 4;
  assert.deepEqual([...bytes.subarray(at, at + 6)], [1, 2, 3, 4, 5, 6]);
  assert.deepEqual([...bytes.subarray(0, at)], new Array(at).fill(0));
  assert.deepEqual([...bytes.subarray(12 + at, 12 + at + 6)], new Array(6).fill(255));
});

Deno.test("decodeActions: reads where it is told", () => {
  const actions = parseActions("1,set(tcp(dst=80)),pop_vlan,drop");
  const program = encodeActions(actions);
  const words = new Int32Array(100).fill(-1);
  words.set(program, 17);
  assert.deepEqual(decodeActions(words, 17), actions);
});
