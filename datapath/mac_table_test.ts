import assert from "node:assert/strict";
import fc from "fast-check";
import { AGEING_S, MacTable, makeMacTable } from "./mac_table.ts";

/** 02:00:00:00:hh:ll as the table takes addresses. */
function station(number: number): [low: number, high: number] {
  return [0x00000002, (number & 0xff) << 8 | (number >> 8) & 0xff];
}

Deno.test("MacTable: a station is found where it was last seen, per VLAN", () => {
  const table = new MacTable(makeMacTable());
  const [low, high] = station(1);
  assert.equal(table.lookup(low, high, 0, 1000), -1);
  table.learn(low, high, 0, 0, 1000);
  assert.equal(table.lookup(low, high, 0, 1000), 0);
  assert.equal(table.lookup(low, high, 5, 1000), -1);
  table.learn(low, high, 5, 7, 1000);
  table.learn(low, high, 0, 65534, 1000);
  assert.equal(table.lookup(low, high, 5, 1000), 7);
  assert.equal(table.lookup(low, high, 0, 1000), 65534);
});

Deno.test("MacTable: addresses above 2^31 and as signed words are the same", () => {
  const table = new MacTable(makeMacTable());
  table.learn(0xfffffffe, 0xffff, 4095, 3, 0);
  assert.equal(table.lookup(0xfffffffe | 0, 0xffff, 4095, 0), 3);
});

Deno.test("MacTable: group addresses are not learned", () => {
  const table = new MacTable(makeMacTable());
  table.learn(0x00000001, 5, 0, 1, 0);
  assert.equal(table.lookup(0x00000001, 5, 0, 0), -1);
});

Deno.test("MacTable: an entry ages unless it is confirmed", () => {
  const table = new MacTable(makeMacTable());
  const [low, high] = station(1);
  table.learn(low, high, 0, 1, 0);
  assert.equal(table.lookup(low, high, 0, AGEING_S * 1000), 1);
  assert.equal(table.lookup(low, high, 0, (AGEING_S + 1) * 1000), -1);
  table.learn(low, high, 0, 1, 200_000);
  assert.equal(table.lookup(low, high, 0, (AGEING_S + 1) * 1000), 1);
});

Deno.test("MacTable: in a full bucket the entry longest unconfirmed gives way", () => {
  const table = new MacTable(makeMacTable(1));
  for (let number = 0; number < 4; number++) {
    table.learn(...station(number), 0, number, number * 1000);
  }
  table.learn(...station(0), 0, 0, 9000);
  table.learn(...station(9), 0, 9, 10000);
  const found = [0, 1, 2, 3, 9].map((number) => table.lookup(...station(number), 0, 10000));
  assert.deepEqual(found, [0, -1, 2, 3, 9]);
});

Deno.test("MacTable: forget drops one port's stations, or all", () => {
  const table = new MacTable(makeMacTable());
  table.learn(...station(1), 0, 1, 0);
  table.learn(...station(2), 0, 2, 0);
  table.forget(1);
  assert.equal(table.lookup(...station(1), 0, 0), -1);
  assert.equal(table.lookup(...station(2), 0, 0), 2);
  table.forget();
  assert.equal(table.lookup(...station(2), 0, 0), -1);
});

Deno.test("MacTable: an entry that another thread is writing is as good as none, and not waited for", () => {
  const memory = makeMacTable(1);
  const table = new MacTable(memory);
  table.learn(...station(1), 0, 1, 0);
  const words = new Int32Array(memory);
  // The first entry's sequence number.
  words[0] = words[0]! | 1;
  assert.equal(table.lookup(...station(1), 0, 0), -1);
  table.learn(...station(1), 0, 2, 0);
  words[0] = words[0]! + 1;
  assert.equal(table.lookup(...station(1), 0, 0), 1);
});

Deno.test("MacTable: with room enough it is a map from address and VLAN to port", () => {
  const step = fc.tuple(fc.nat(300), fc.nat(2), fc.nat(9));
  fc.assert(
    fc.property(fc.array(step, { maxLength: 200 }), (steps) => {
      const table = new MacTable(makeMacTable());
      const map = new Map<string, number>();
      for (const [number, vid, port] of steps) {
        table.learn(...station(number), vid, port, 5000);
        map.set(`${number} ${vid}`, port);
      }
      let wrong = 0;
      for (const [name, port] of map) {
        const [number, vid] = name.split(" ").map(Number);
        const found = table.lookup(...station(number!), vid!, 5000);
        if (found !== port) wrong++;
        // A bucket may overflow, but a wrong port is never given.
        assert(found === port || found === -1);
      }
      assert(wrong <= 2, `${wrong} of ${map.size} forgotten`);
    }),
  );
});
