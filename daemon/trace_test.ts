/** Traces over several datapaths, on the saved state. The texts are in tests/golden/trace*.txt. */
import assert from "node:assert/strict";
import type { Methods, PacketTrace } from "./api.ts";
import { openOffline } from "./offline.ts";

type Offline = Awaited<ReturnType<typeof openOffline>>;

/** Two datapaths whose misses flood, with patch cables between them and a port each. */
async function withCables(
  cables: number,
  use: (offline: Offline) => Promise<void>,
): Promise<void> {
  const folder = await Deno.makeTempDir();
  const offline = await openOffline(`${folder}/state.db`);
  try {
    for (const [dp, other] of [["dp0", "dp1"], ["dp1", "dp0"]] as const) {
      await offline.execute("dp-add", { dp: `dummy@${dp}`, miss: "flood" });
      await offline.execute("port-add", { dp, port: `${dp}-p`, type: "dummy" });
      for (let cable = 0; cable < cables; cable++) {
        const options = { peer: `${other}-${cable}` };
        await offline.execute("port-add", { dp, port: `${dp}-${cable}`, type: "patch", options });
      }
    }
    await use(offline);
  } finally {
    await offline.close();
    await Deno.remove(folder, { recursive: true });
  }
}

const FROM_P: Methods["trace"]["params"] = { dp: "dp0", flow: "in_port(1),eth_type(0x9000)" };

async function traceOne(offline: Offline): Promise<PacketTrace> {
  const { traces } = await offline.execute("trace", FROM_P);
  assert.equal(traces.length, 1);
  return traces[0]!;
}

/** A trace and all that it goes on to. */
function everywhere(trace: PacketTrace): PacketTrace[] {
  const outputs = trace.passes.flatMap((pass) => pass.outputs);
  return [trace, ...outputs.flatMap(({ next }) => next === undefined ? [] : everywhere(next))];
}

Deno.test("trace: goes on in the datapath behind a patch port, and is told once", () =>
  withCables(1, async (offline) => {
    const trace = await traceOne(offline);
    const [first, second, ...others] = everywhere(trace);
    assert.deepEqual(others, []);
    assert.deepEqual([first?.dp, second?.dp, second?.port], [undefined, "dp1", "dp1-0"]);
    assert.deepEqual(second?.outputs.map(({ port }) => port), ["dp1", "dp1-p"]);
    assert(trace.outputs.every(({ next }) => next === undefined));
  }));

Deno.test("trace: a loop of patch ports ends after 30, as in the packet threads", () =>
  withCables(2, async (offline) => {
    const all = everywhere(await traceOne(offline));
    // Round both ways.
    assert.equal(all.length, 1 + 2 * 30);
    const loops = all.filter(({ drops }) => drops.some(({ reason }) => reason === "patch-loop"));
    assert.equal(loops.length, 2);
    assert(all.every(({ cut }) => cut === undefined));
  }));

Deno.test("trace: of very many ways not all are told", () =>
  withCables(3, async (offline) => {
    const all = everywhere(await traceOne(offline));
    assert.equal(all.length, 1 + 64);
    assert(all.some(({ cut }) => cut === true));
  }));
