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
import type { Action } from "./actions.ts";
import { ATTRIBUTES } from "../fields/fields.ts";
import { ETH_SRC_AT, KEY_WORDS } from "../key.ts";
import { ACTION_TYPES, randomAction, randomActions } from "../testing/actions.ts";
import { seededRandom } from "../testing/flows.ts";

Deno.test("encodeActions: an output", () => {
  const words = encodeActions([{ type: "output", port: 7 }]);
  assert.deepEqual([...words], [OUTPUT | 2 << 8, 7, END | 1 << 8]);
});

Deno.test("encodeActions: the empty list is END alone", () => {
  assert.deepEqual([...encodeActions([])], [END | 1 << 8]);
});

Deno.test("encodeActions: push_vlan has TPID and TCI with the present bit", () => {
  const words = encodeActions([{ type: "push_vlan", tpid: 0x88a8, tci: 0xf005 }]);
  assert.deepEqual([...words.subarray(0, 2)], [PUSH_VLAN | 2 << 8, 0x88a8f005 | 0]);
});

Deno.test("encodeActions: a set has the attribute's key words", () => {
  const value = new Int32Array(KEY_WORDS);
  const mask = new Int32Array(KEY_WORDS);
  new Uint8Array(value.buffer).set([1, 2, 3, 4, 5, 6], ETH_SRC_AT);
  new Uint8Array(mask.buffer).fill(255, ETH_SRC_AT, ETH_SRC_AT + 6);
  const words = encodeActions([{ type: "set", attribute: "eth", value, mask }]);
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
  const actions: Action[] = [
    { type: "output", port: 1 },
    { type: "clone", actions: [{ type: "pop_vlan" }] },
    { type: "drop", reason: 7 },
  ];
  const program = encodeActions(actions);
  const words = new Int32Array(100).fill(-1);
  words.set(program, 17);
  assert.deepEqual(decodeActions(words, 17), actions);
});

Deno.test("decodeActions: gives what encodeActions was given, for every action and attribute", () => {
  const random = seededRandom(1);
  for (const type of ACTION_TYPES.any) {
    for (let run = 0; run < 200; run++) {
      const actions = [randomAction(random, type)];
      assert.deepEqual(decodeActions(encodeActions(actions)), actions);
    }
  }
  for (let run = 0; run < 1000; run++) {
    const actions = randomActions(random);
    assert.deepEqual(decodeActions(encodeActions(actions)), actions);
  }
});

Deno.test("decodeActions: a set of every attribute, whole, in part and of nothing", () => {
  for (const { name, fields } of ATTRIBUTES) {
    for (const count of [fields.length, 1, 0]) {
      const value = new Int32Array(KEY_WORDS);
      const mask = new Int32Array(KEY_WORDS);
      for (const { at, size } of fields.slice(0, count)) {
        new Uint8Array(mask.buffer).fill(255, at, at + size);
        new Uint8Array(value.buffer).fill(0x5a, at, at + size);
      }
      const actions: Action[] = [{ type: "set", attribute: name, value, mask }];
      assert.deepEqual(decodeActions(encodeActions(actions)), actions, name);
    }
  }
});
