import assert from "node:assert/strict";
import { Moderation } from "./moderation.ts";

/** A stream of packets and a thread under it, in a time of their own. */
class Stream {
  timeUs = 0;
  naps = 0;
  readonly moderation: Moderation = new Moderation({ nowMs: () => Math.floor(this.timeUs / 1000) });

  /** Rounds that find what has come at `perMs` since the last; one costs 2 µs and 1 µs a packet, a nap 60 µs. */
  open(ms: number, perMs: number, size = 60): number {
    const { naps } = this;
    const end = this.timeUs + ms * 1000;
    let last = this.timeUs;
    while (this.timeUs < end) {
      const packets = Math.max(1, Math.min(64, Math.round((this.timeUs - last) / 1000 * perMs)));
      last = this.timeUs;
      this.timeUs += Math.max(2 + packets, 1000 / perMs);
      this.#end(packets, size);
    }
    return this.naps - naps;
  }

  /** So many askers: each round finds all that ask, and their next questions come when it is over. */
  closed(ms: number, askers: number): { naps: number; rate: number } {
    const { naps } = this;
    const begin = this.timeUs;
    let packets = 0;
    while (this.timeUs < begin + ms * 1000) {
      this.timeUs += 2 + askers;
      packets += askers;
      this.#end(askers, 60);
    }
    return { naps: this.naps - naps, rate: packets / ms };
  }

  #end(packets: number, size: number): void {
    if (!this.moderation.afterRound(packets, packets * size)) return;
    this.naps++;
    this.timeUs += 60;
  }
}

Deno.test("Moderation: naps under a stream of small frames, most of the time", () => {
  const stream = new Stream();
  assert.ok(stream.open(100, 400) > 600);
});

Deno.test("Moderation: no nap for few frames, nor for large ones", () => {
  const stream = new Stream();
  assert.equal(stream.open(1000, 100), 0);
  assert.equal(stream.open(1000, 400, 1514), 0);
  assert.ok(stream.open(1000, 400) > 0);
  assert.ok(stream.open(1000, 400, 1514) < 500, "ends after a window");
  assert.equal(stream.open(1000, 400, 1514), 0);
});

Deno.test("Moderation: a stream that ends is not waited for", () => {
  const stream = new Stream();
  stream.open(100, 400);
  assert.equal(stream.moderation.afterRound(1, 60), true);
  assert.equal(stream.moderation.afterRound(1, 60), false, "a second nap in vain");
  stream.open(100, 400);
  stream.moderation.slept();
  assert.equal(stream.moderation.afterRound(20, 1200), true, "an interruption is no end");
  stream.moderation.slept();
  stream.moderation.slept();
  assert.equal(stream.moderation.afterRound(20, 1200), false);
});

Deno.test("Moderation: what has gathered without a nap needs none", () => {
  const stream = new Stream();
  stream.open(100, 400);
  assert.equal(stream.moderation.afterRound(64, 3840), false);
  assert.equal(stream.moderation.afterRound(20, 1200), true);
});

Deno.test("Moderation: askers who wait for answers are left alone, however many", () => {
  for (const askers of [1, 4, 16, 31]) {
    const stream = new Stream();
    stream.closed(20_000, askers); // it tries, and less and less often
    const { naps, rate } = stream.closed(20_000, askers);
    const undisturbed = askers / (2 + askers) * 1000;
    assert.ok(rate > 0.98 * undisturbed, `${askers} askers: ${rate} instead of ${undisturbed}`);
    assert.ok(naps < 3000, `${askers} askers: ${naps} naps`);
  }
});

Deno.test("Moderation: after failures a real stream is found again", () => {
  const stream = new Stream();
  stream.closed(20_000, 16);
  stream.open(3000, 400);
  assert.ok(stream.open(100, 400) > 600);
});

Deno.test("Moderation: with a clock that stands still nothing changes", () => {
  const moderation = new Moderation({ nowMs: () => 5 });
  for (let round = 0; round < 100_000; round++) {
    assert.equal(moderation.afterRound(20, 1200), false);
  }
});
