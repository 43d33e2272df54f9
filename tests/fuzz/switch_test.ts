/** Fuzzed packets through a whole datapath: a bounded number of what `deno task bench:fuzz` does. */
import assert from "node:assert/strict";
import { ACTION_TYPES } from "../../datapath/testing/actions.ts";
import { seededRandom } from "../../datapath/testing/flows.ts";
import { corpus } from "./corpus.ts";
import { FuzzMemory, ReadingPort } from "./fuzz_host.ts";
import { emptyOutcome, fuzzEpoch, FuzzFailure } from "./fuzz_run.ts";
import { Mutator } from "./mutator.ts";

const EPOCHS = 12;
const PACKETS = 5000;
const SEED = Number(Deno.env.get("DENOVS_FUZZ_SEED") ?? 1);

// Libraries opened on first use stay open for the process.
const OPTIONS = { sanitizeResources: false };

Deno.test(
  "fuzz switch: nothing throws, nothing is lost, and everything is reached",
  OPTIONS,
  () => {
    const memory = new FuzzMemory();
    const frames = corpus();
    const outcome = emptyOutcome();
    for (let epoch = 0; epoch < EPOCHS; epoch++) {
      fuzzEpoch({ seed: SEED + epoch, corpus: frames, memory }, PACKETS, outcome);
    }
    const { totals, read, actions } = outcome;
    assert.ok(totals.received >= EPOCHS * PACKETS);
    for (const name of ["sent", "dropped", "copied", "generated", "consumed", "held"] as const) {
      assert.ok(totals[name] > 0, name);
    }
    for (const type of ACTION_TYPES.any) assert.ok(actions.has(type), type);
    assert.ok(read.upcalls > 100 && read.captured > 100 && read.traces > 100, JSON.stringify(read));
    assert.ok(read.datagrams > 500, JSON.stringify(read));
    const reached = [
      ...["ct-fragment-duplicate", "ct-fragment-timeout", "ct-no-ip", "set-header-missing"],
      ...["tunnel-malformed", "tx-gso-invalid", "recirc-limit", "over-mtu", "frame-too-short"],
      ...["no-such-port", "tx-queue-full", "meter", "l3-packet", "upcall-queue-full"],
    ];
    assert.deepEqual(reached.filter((reason) => totals.drops[reason] === undefined), []);
  },
);

Deno.test("fuzz switch: a port that throws is found, with the seed and the packet", OPTIONS, () => {
  const memory = new FuzzMemory();
  const frames = corpus();
  class Fragile extends ReadingPort {
    override send(packet: Parameters<ReadingPort["send"]>[0]): number {
      const ethType = packet.size >= 14 ? packet.view.getUint16(packet.start + 12) : 0;
      if (ethType === 0x8848) throw new RangeError("a label too many");
      return super.send(packet);
    }
  }
  const port = new Fragile(1, { partial: true, trains: true, l3: true });
  const run = (): void => {
    for (let seed = 1; seed < 20; seed++) {
      fuzzEpoch({ seed, corpus: frames, memory, port }, PACKETS, emptyOutcome());
    }
  };
  assert.throws(run, (failure) => {
    assert.ok(failure instanceof FuzzFailure);
    assert.equal(failure.packets.length, 1, failure.message);
    assert.match(failure.message, /^seed \d+: RangeError: a label too many/);
    assert.ok(failure.message.includes(failure.packets[0]!.hex));
    return true;
  });
});

Deno.test("Mutator: the same seed makes the same frames, most of them different", () => {
  const frames = corpus();
  const draw = (seed: number): string[] => {
    const mutator = new Mutator(seededRandom(seed), frames);
    return Array.from({ length: 500 }, () => {
      const { bytes, size } = mutator.next();
      return bytes.subarray(0, size).toHex();
    });
  };
  const drawn = draw(SEED);
  assert.deepEqual(draw(SEED), drawn);
  const known = new Set(frames.map((frame) => frame.toHex()));
  assert.ok(drawn.filter((hex) => known.has(hex)).length < 250);
  assert.ok(new Set(drawn).size > 250);
});
