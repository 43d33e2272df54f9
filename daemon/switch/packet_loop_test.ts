/** The order of a round, and who may be called when, with ports that keep a diary. */
import assert from "node:assert/strict";
import { Packet } from "../../datapath/packet/packet.ts";
import { PacketPool, SLOT_SIZE } from "../../datapath/packet/packet_pool.ts";
import type { Pipeline } from "../../datapath/pipeline.ts";
import type { Vport } from "../../vports/vport.ts";
import { INSIDE_PORT, POSTED, STOP, THREAD_WORDS } from "./messages.ts";
import { closeVport, PacketLoop } from "./packet_loop.ts";
import { ThreadPort } from "./thread_port.ts";

const SLOTS = 4;

class Scene {
  readonly diary: string[] = [];
  readonly failures: string[] = [];
  readonly words: Int32Array = new Int32Array(new SharedArrayBuffer(THREAD_WORDS * 4));
  readonly pool: PacketPool = new PacketPool(new ArrayBuffer(SLOTS * SLOT_SIZE), 0, SLOTS);
  readonly watched: Map<number, number> = new Map();
  /** What epoll reports, one list of descriptors per wait; after the last the loop is stopped. */
  readonly reports: number[][] = [];
  readonly timeouts: number[] = [];
  timeUs = 5000;
  readonly loop: PacketLoop;
  #reported: number[] = [];

  constructor() {
    this.loop = new PacketLoop({
      words: this.words,
      grace: {
        quiescent: () => {},
        sleep: () => this.note("sleep"),
        wake: () => this.note("wake"),
      },
      clock: { nowMs: () => Math.floor(this.timeUs / 1000) },
      poller: {
        add: (fd, token) => void this.watched.set(fd, token),
        remove: (fd) => void this.watched.delete(fd),
        wait: (timeoutMs) => this.#wait(timeoutMs),
        token: (at) => this.watched.get(this.#reported[at]!)!,
      },
      pool: this.pool,
      nap: (us) => this.note(`nap ${us}`),
      wakeFd: 3,
      drainWake: () => this.note("drain"),
      runCommands: () => (this.note("commands"), true),
      reportFailure: (port, thrown) => void this.failures.push(`${port.portNo} ${thrown}`),
    });
    this.loop.addPipeline(this.pipeline);
  }

  /** Stands for a datapath. */
  get pipeline(): Pipeline {
    const begin = (): void => this.note("begin");
    const finish = (): void => this.note("finish");
    const receive = (portNo: number): void => this.note(`packet from ${portNo}`);
    return { begin, finish, receive } as Partial<Pipeline> as Pipeline;
  }

  note(text: string): void {
    this.diary.push(text);
  }

  port(portNo: number, vport: Partial<Vport>): ThreadPort {
    const common = { takesPartialChecksums: true, takesSegmentTrains: true };
    const close = (): void => this.note(`close ${portNo}`);
    const whole: Vport = { ...common, send: () => 0, close, ...vport };
    const port = new ThreadPort({ datapath: 0, portNo }, whole, this.loop);
    this.loop.attach(port);
    return port;
  }

  #wait(timeoutMs: number): number {
    this.timeouts.push(timeoutMs);
    const reported = this.reports.shift();
    if (reported === undefined) this.words[STOP] = 1;
    this.#reported = reported ?? [];
    return this.#reported.length;
  }
}

Deno.test("PacketLoop.run: everything is flushed before anything is released", () => {
  const scene = new Scene();
  const { loop, pipeline } = scene;
  const packet = new Packet({
    bytes: new Uint8Array(0),
    view: new DataView(new ArrayBuffer(0)),
    address: 0,
  });
  let left = 2;
  const receiver = {
    fd: 7,
    polled: true,
    receive: (): number => {
      if (left === 0) return 0;
      left--;
      loop.receive(pipeline, 1, packet);
      return 1;
    },
    release: (): void => scene.note("release"),
  };
  scene.port(1, { receiver });
  scene.port(2, { sender: { flush: () => scene.note("flush") } });
  assert.equal(loop.run(), "stop");
  const round = ["begin", "packet from 1", "finish", "flush", "release"];
  assert.deepEqual(scene.diary, ["wake", ...round, ...round, "sleep", "wake"]);
  assert.deepEqual(scene.timeouts, [-1]);
  assert.equal(loop.round, 2);
});

Deno.test("PacketLoop.run: whoever hangs in release is named", () => {
  const scene = new Scene();
  let left = 1;
  let inside = -1;
  const release = (): void => void (inside = scene.words[INSIDE_PORT]!);
  scene.port(1, { receiver: { fd: 7, polled: true, receive: () => left-- > 0 ? 1 : 0, release } });
  scene.port(2, { sender: { flush: () => {} } });
  assert.equal(scene.loop.run(), "stop");
  assert.equal(inside, 1);
});

Deno.test("PacketLoop.run: what a receiver took and dropped itself is released as well", () => {
  const scene = new Scene();
  let left = 1;
  const receive = (): number => left-- > 0 ? 64 : 0;
  const release = (): void => scene.note("release");
  scene.port(1, { receiver: { fd: 7, polled: true, receive, release } });
  scene.loop.run();
  assert.deepEqual(scene.diary, ["wake", "finish", "release", "sleep", "wake"]);
});

Deno.test("PacketLoop.run: naps between rounds under a stream of small frames, and polls the others", () => {
  const scene = new Scene();
  const { loop, pipeline } = scene;
  const bytes = new Uint8Array(60);
  const packet = new Packet({ bytes, view: new DataView(bytes.buffer), address: 0 });
  packet.end = 60;
  let rounds = 400;
  const receive = (): number => {
    if (rounds-- <= 0) return 0;
    scene.timeUs += 50;
    for (let count = 0; count < 20; count++) loop.receive(pipeline, 1, packet);
    return 20;
  };
  scene.port(1, {
    receiver: { fd: 7, polled: true, receive, release: () => scene.note("release") },
  });
  scene.port(2, { sender: { flush: () => scene.note("flush") } });
  scene.port(3, { receiver: { fd: 8, receive: () => 0 } });
  for (let time = 0; time < 400; time++) scene.reports.push([]);
  loop.run();
  const diary = scene.diary.filter((line) => !line.startsWith("packet"));
  const first = diary.indexOf("nap 60");
  const round = ["begin", "finish", "flush", "release"];
  assert.deepEqual(diary.slice(first - 4, first + 10), [
    ...round,
    "nap 60",
    ...round,
    "nap 60",
    ...round,
  ]);
  const naps = diary.filter((line) => line === "nap 60").length;
  assert.ok(naps > 100 && naps < 250, `${naps} naps`);
  // Every fourth round at first, and with every nap.
  const polls = scene.timeouts.filter((timeoutMs) => timeoutMs === 0).length;
  assert.equal(polls, naps + Math.floor((400 - naps) / 4));
});

Deno.test("PacketLoop: a port that was removed before its failure was handled is not reported", () => {
  const scene = new Scene();
  const port = scene.port(1, {});
  port.fail(new Error("broken"));
  scene.loop.detach(port);
  closeVport(port);
  scene.loop.run();
  assert.deepEqual(scene.failures, []);
});

Deno.test("PacketLoop.run: what one datapath hands to another while it finishes belongs to the round", () => {
  const scene = new Scene();
  const { loop, pipeline } = scene;
  const packet = scene.pool.allocate()!;
  let left = 1;
  // A port of the second datapath hands what it is sent to the first, which has finished already.
  const finish = (): void => {
    scene.note("finish second");
    if (left-- > 0) loop.receive(pipeline, 4, packet);
  };
  loop.addPipeline({ ...pipeline, finish } as Partial<Pipeline> as Pipeline);
  let frames = 1;
  scene.port(1, { receiver: { fd: 7, polled: true, receive: () => frames-- > 0 ? 1 : 0 } });
  scene.port(2, { sender: { flush: () => scene.note("flush") } });
  loop.run();
  const pass = ["finish", "finish second"];
  assert.deepEqual(
    scene.diary.filter((line) => line !== "begin"),
    ["wake", ...pass, "packet from 4", ...pass, "flush", "sleep", "wake"],
  );
});

Deno.test("PacketLoop.run: a receiver that isn't polled is asked when its fd is reported", () => {
  const scene = new Scene();
  const asked: number[] = [];
  for (const portNo of [1, 2]) {
    const receive = (): number => (asked.push(portNo), 0);
    scene.port(portNo, { receiver: { fd: 10 + portNo, receive } });
  }
  scene.reports.push([12], [11], [3]);
  scene.words[POSTED] = 1;
  scene.loop.run();
  // Both once at first, in case they have had something before they were watched.
  assert.deepEqual(asked, [1, 2, 2, 1]);
  assert.equal(scene.diary.filter((line) => line === "drain").length, 1);
  assert.deepEqual(scene.diary.slice(0, 2), ["wake", "commands"]);
});

Deno.test("PacketLoop.run: with a receiver that has no fd the thread dozes", () => {
  const scene = new Scene();
  scene.port(1, { receiver: { receive: () => 0 } });
  scene.loop.run();
  assert.deepEqual(scene.timeouts, [1]);
});

Deno.test("PacketLoop: a shared receiver and sender work until the last of their ports goes", () => {
  const scene = new Scene();
  const receiver = { fd: 9, receive: (): number => 0 };
  const sender = { flush: (): void => scene.note("flush") };
  const ports = [1, 2].map((portNo) => scene.port(portNo, { receiver, sender }));
  scene.loop.flush();
  assert.deepEqual(scene.diary, ["flush"]);
  scene.loop.detach(ports[0]!);
  assert(scene.watched.has(9));
  scene.loop.flush();
  scene.loop.detach(ports[1]!);
  assert(!scene.watched.has(9));
  scene.loop.flush();
  assert.deepEqual(scene.diary, ["flush", "flush"]);
});

Deno.test("PacketLoop: what throws takes its ports out, closes and reports them once", () => {
  const scene = new Scene();
  const receiver = {
    fd: 9,
    receive: (): number => {
      throw new RangeError("broken");
    },
  };
  const [one, two] = [1, 2].map((portNo) => scene.port(portNo, { receiver }));
  scene.loop.run();
  assert.deepEqual(scene.failures, ["1 RangeError: broken", "2 RangeError: broken"]);
  assert.deepEqual(scene.diary, ["wake", "close 1", "close 2", "sleep", "wake"]);
  assert(one!.closed && two!.closed && !scene.watched.has(9));
});

Deno.test("PacketLoop.allocateForReceiver: an empty pool is filled by finishing what is gathered", () => {
  const scene = new Scene();
  const { loop, pool } = scene;
  const taken = Array.from({ length: SLOTS }, () => loop.allocateForReceiver()!);
  for (const packet of taken) {
    packet.lentInRound = loop.round; // a sender holds it until the flush
    loop.recycle(packet);
  }
  assert.equal(pool.freeCount, 0);
  assert(loop.allocateForReceiver() !== undefined);
  assert.deepEqual(scene.diary, ["finish"]);
  assert.equal(pool.freeCount, SLOTS - 1);
});
