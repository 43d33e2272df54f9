import assert from "node:assert/strict";
import { TunnelPaths } from "./tunnel_path.ts";

/** Answers with what is in `routes`, and notes what it was asked. */
function hostWith(routes: Readonly<Record<string, number>>): {
  asked: string[];
  paths: (places: number) => TunnelPaths;
} {
  const asked: string[] = [];
  const ask = (address: Uint8Array, mark: number) => {
    asked.push(`${address.join(".")} ${mark}`);
    const mtu = routes[address.join(".")];
    return mtu === undefined ? undefined : { mtu, local: Uint8Array.of(10, 0, 0, mtu & 255) };
  };
  return { asked, paths: (places) => new TunnelPaths(places, 7, ask) };
}

function view(...bytes: number[]): DataView {
  const all = new Uint8Array(16);
  all.set(bytes);
  return new DataView(all.buffer);
}

Deno.test("TunnelPaths: each far end has its own MTU and local address, asked for once a second", () => {
  const { asked, paths } = hostWith({ "192.0.2.1": 1400, "192.0.2.2": 9000 });
  const table = paths(64);
  for (let time = 0; time < 3; time++) {
    table.find(4, view(192, 0, 2, 1), 500);
    assert.deepEqual([table.mtu, table.local?.join(".")], [1400, "10.0.0.120"]);
    table.find(4, view(192, 0, 2, 2), 500);
    assert.deepEqual([table.mtu, table.local?.join(".")], [9000, "10.0.0.40"]);
  }
  assert.deepEqual(asked, ["192.0.2.1 7", "192.0.2.2 7"]);
  table.find(4, view(192, 0, 2, 1), 1500);
  assert.equal(asked.length, 2);
  table.find(4, view(192, 0, 2, 1), 1501);
  assert.equal(asked.length, 3);
});

Deno.test("TunnelPaths: without a route the MTU is Ethernet's, and the local address unknown", () => {
  const table = hostWith({}).paths(4);
  table.find(4, view(192, 0, 2, 9), 0);
  assert.deepEqual([table.mtu, table.local], [1500, undefined]);
});

Deno.test("TunnelPaths: far ends on one place, and an address of the other family, don't mix", () => {
  const routes: Record<string, number> = {};
  for (let at = 0; at < 32; at++) routes[`192.0.2.${at}`] = 1300 + at;
  const six = [192, 0, 2, 1, ...new Array<number>(12).fill(0)];
  routes[six.join(".")] = 1280;
  const table = hostWith(routes).paths(1);
  for (let time = 0; time < 2; time++) {
    for (let at = 0; at < 32; at++) {
      table.find(4, view(192, 0, 2, at), 0);
      assert.equal(table.mtu, 1300 + at);
    }
    table.find(4, view(192, 0, 2, 1), 0);
    table.find(6, view(...six), 0);
    assert.equal(table.mtu, 1280);
  }
});

Deno.test("TunnelPaths: what was forgotten is asked for again", () => {
  const { asked, paths } = hostWith({ "192.0.2.1": 1400 });
  const table = paths(4);
  table.find(4, view(192, 0, 2, 1), 0);
  table.forget();
  table.find(4, view(192, 0, 2, 1), 0);
  table.find(4, view(192, 0, 2, 1), 0);
  assert.equal(asked.length, 2);
});

Deno.test("TunnelPaths: hundreds of far ends at once are asked for once each", () => {
  const { asked, paths } = hostWith({});
  const table = paths(4096);
  for (let time = 0; time < 3; time++) {
    for (let at = 0; at < 1000; at++) {
      const word = Math.imul(at, 0x2545f491);
      table.find(4, view(10, word >>> 24, word >>> 16 & 255, word >>> 8 & 255), 0);
    }
  }
  assert.equal(asked.length, 1000);
});
