/**
 * The loop of a packet thread: receive, run the pipelines, flush, release; sleep when there is
 * nothing to do.
 *
 * A *round* is one pass. What receivers hand over lies in their own memory and what senders have
 * queued points into it, so the order within a round is fixed: everything is flushed before anything
 * is released, and packets of the pool that a sender still holds are freed only after the flush.
 * Commands, and thereby every change of ports, run between rounds, when nothing is in flight.
 */
import type { Packet } from "../../datapath/packet/packet.ts";
import type { PacketPool } from "../../datapath/packet/packet_pool.ts";
import type { Pipeline, PipelineHost } from "../../datapath/pipeline.ts";
import type { ThreadGrace } from "../../datapath/flow_table/grace.ts";
import type { Poller } from "../../netdev/poller.ts";
import type { Receiver, Sender } from "../../vports/vport.ts";
import type { SwitchClock } from "./clock.ts";
import {
  ABANDONED,
  AbandonedError,
  ACTIVITY,
  HEARTBEAT,
  INSIDE_PORT,
  POSTED,
  RUNNING,
  SLEEPING,
  STOP,
} from "./messages.ts";
import { Moderation, NAP_US } from "./moderation.ts";
import type { FailureSink, ThreadPort } from "./thread_port.ts";

/** Packets that one receiver may hand over in a round. */
const BUDGET = 64;
/** What is handed over in one go should still be in the cache when it is sent: 64 KiB frames come in fewer. */
const ROUND_SIZE_MAX = 1024 * 1024;
/** While rings keep the thread busy, the other fds are looked at every so many rounds. */
const POLL_ROUNDS = 4;
/** How long a thread with a receiver that has no fd waits. */
const DOZE_MS = 1;
const SETTLE_ROUNDS = 100;
/** How often in one round datapaths may hand packets to each other; the rest goes with the next round. */
const PASSES_MAX = 16;
/** Token of the eventfd; receivers have theirs from 1 on. */
const WAKE_TOKEN = 0;

/** A receiver with the ports it belongs to. */
interface Source {
  readonly receiver: Receiver;
  readonly ports: ThreadPort[];
  readonly token: number;
  /** Called every round, reported or not. */
  readonly polled: boolean;
  /** May have packets: its fd was reported, and it has not come up short since. */
  ready: boolean;
}

interface Sink {
  readonly sender: Sender;
  readonly ports: ThreadPort[];
}

export interface LoopOptions {
  readonly words: Int32Array;
  readonly grace: Pick<ThreadGrace, "quiescent" | "sleep" | "wake">;
  readonly clock: Pick<SwitchClock, "nowMs">;
  readonly poller: Pick<Poller, "add" | "remove" | "wait" | "token">;
  readonly pool: PacketPool;
  /** Sleeps for so many microseconds, whatever comes. */
  nap(us: number): void;
  /** Readable when the words have changed. */
  readonly wakeFd: number;
  /** Makes it unreadable again. */
  drainWake(): void;
  /** Carries out what has been posted. Returns false when the thread must go to its event loop. */
  runCommands(): boolean;
  /** The port is down for good: its callbacks are not called any more, and it is closed. */
  reportFailure(port: ThreadPort, thrown: unknown): void;
}

export class PacketLoop implements PipelineHost, FailureSink {
  readonly words: Int32Array;
  readonly #options: LoopOptions;
  readonly #sources: Source[] = [];
  readonly #byToken: Map<number, Source> = new Map();
  readonly #sinks: Sink[] = [];
  readonly #pipelines: Pipeline[] = [];
  readonly #moderation: Moderation;
  readonly #failed: { port: ThreadPort; thrown: unknown }[] = [];
  #nextToken = WAKE_TOKEN + 1;
  #commandsSeen = 0;
  /** Receivers without an fd: the thread may doze, not sleep. */
  #withoutFd = 0;
  /** Receivers that only epoll knows about. */
  #reported = 0;
  #inPipeline = false;
  /** A port has handed over packets from within its `send`. */
  #handedBack = false;
  /** Handed over since the last flush, bytes. */
  #bytes = 0;
  /** Handed over in this round and flushed already, bytes. */
  #bytesFlushed = 0;
  /** Something was handed over since the last flush. */
  #busy = false;
  /** Number of the current round; a packet whose `lentInRound` it is must be left as it is. */
  round = 0;
  /** Packets handed over so far. */
  packets = 0;

  constructor(options: LoopOptions) {
    this.words = options.words;
    this.#options = options;
    this.#moderation = new Moderation(options.clock);
    options.poller.add(options.wakeFd, WAKE_TOKEN);
  }

  /** Runs until the stop word is set ("stop"), or a command needs the event loop. */
  run(): "stop" | "event-loop" {
    const { words } = this;
    words[ACTIVITY] = RUNNING;
    // A new thread counts as asleep: its first rounds read tables as all others do.
    this.#options.grace.wake();
    for (;;) {
      if (Atomics.load(words, STOP) !== 0) return "stop";
      words[HEARTBEAT] = (words[HEARTBEAT]! + 1) | 0;
      words[INSIDE_PORT] = -1;
      const posted = Atomics.load(words, POSTED);
      if (posted !== this.#commandsSeen) {
        this.#commandsSeen = posted;
        if (!this.#options.runCommands()) {
          this.#commandsSeen = posted - 1; // the rest of the queue waits until the thread is back
          return "event-loop";
        }
      }
      const handled = this.#receiveAll();
      // Also when all that was taken was dropped by its receiver: a ring lends until it is released.
      if (this.#busy || handled > 0) this.endRound();
      if (this.#failed.length > 0) this.#closeFailed();
      this.#options.grace.quiescent();
      if (handled === 0 && !this.#busy) {
        this.#sleep();
        this.#moderation.slept();
        continue;
      }
      const nap = !this.#busy && this.#moderation.afterRound(handled, this.#bytesFlushed);
      this.#bytesFlushed = 0;
      if (nap) this.#options.nap(NAP_US);
      if (this.#reported > 0 && (nap || (this.round & (POLL_ROUNDS - 1)) === 0)) this.#poll(0);
    }
  }

  /** Rounds until nothing waits any more, at most so many that a thread under load comes back. */
  settle(): void {
    for (let time = 0; time < SETTLE_ROUNDS; time++) {
      if (this.#reported > 0) this.#poll(0);
      const handled = this.#receiveAll();
      this.endRound();
      if (handled === 0) return;
    }
  }

  /**
   * Everything handed over is processed and flushed, receivers get their memory back, and ports that
   * have failed in it are closed and reported: before the answer to a command that led to it.
   */
  endRound(): void {
    this.#drain();
    for (let i = 0; i < this.#sources.length; i++) this.#release(this.#sources[i]!);
    this.#busy = this.#handedBack;
    if (this.#failed.length > 0) this.#closeFailed();
  }

  #drain(): void {
    const nowMs = this.#options.clock.nowMs();
    this.#inPipeline = true;
    for (let pass = 0; pass < PASSES_MAX; pass++) {
      this.#handedBack = false;
      for (let i = 0; i < this.#pipelines.length; i++) this.#pipelines[i]!.finish(nowMs);
      // A port of one datapath may have handed packets to another that had finished.
      if (!this.#handedBack) break;
    }
    this.#inPipeline = false;
    this.flush();
    this.#bytesFlushed += this.#bytes;
    this.#bytes = 0;
  }

  // What pipelines ask for.

  allocate(): Packet | undefined {
    return this.#options.pool.allocate();
  }

  recycle(packet: Packet): void {
    if (packet.lentInRound === this.round) this.#options.pool.retire(packet);
    else this.#options.pool.free(packet);
  }

  flush(): void {
    for (let i = 0; i < this.#sinks.length; i++) this.#flushSink(this.#sinks[i]!);
    this.round = (this.round + 1) | 0;
    this.#options.pool.endRound();
  }

  // What ports ask for (through thread_host.ts).

  /** A free packet for a receiver. When none is left, what the round has gathered so far is processed and flushed first. */
  allocateForReceiver(): Packet | undefined {
    const packet = this.#options.pool.allocate();
    if (packet !== undefined || this.#inPipeline) return packet;
    this.#drain();
    return this.#options.pool.allocate();
  }

  receive(pipeline: Pipeline, portNo: number, packet: Packet): void {
    if (this.words[STOP] === ABANDONED) throw new AbandonedError();
    if (!this.#busy) this.#begin();
    this.packets++;
    this.#bytes += packet.end - packet.start;
    const nested = this.#inPipeline; // a port that hands back within `send` what it is sent
    this.#inPipeline = true;
    if (nested) this.#handedBack = true;
    pipeline.receive(portNo, packet);
    this.#inPipeline = nested;
    if (this.#bytes >= ROUND_SIZE_MAX && !nested) this.#drain();
  }

  /** The first packet of a round: what the round counts as now. */
  #begin(): void {
    this.#busy = true;
    const nowMs = this.#options.clock.nowMs();
    for (let i = 0; i < this.#pipelines.length; i++) this.#pipelines[i]!.begin(nowMs);
  }

  portFailed(port: ThreadPort, thrown: unknown): void {
    this.#failed.push({ port, thrown });
  }

  // Membership; between rounds only.

  addPipeline(pipeline: Pipeline): void {
    this.#pipelines.push(pipeline);
  }

  removePipeline(pipeline: Pipeline): void {
    const at = this.#pipelines.indexOf(pipeline);
    if (at >= 0) this.#pipelines.splice(at, 1);
  }

  /** Puts a port's receiver and sender to work. Throws SystemError when epoll refuses the fd. */
  attach(port: ThreadPort): void {
    const { receiver, sideReceiver, sender } = port.vport;
    for (const each of [receiver, sideReceiver]) {
      if (each === undefined) continue;
      const known = this.#sources.find((source) => source.receiver === each);
      if (known !== undefined) known.ports.push(port);
      else this.#addSource(each, port);
    }
    if (sender !== undefined) {
      const known = this.#sinks.find((sink) => sink.sender === sender);
      if (known !== undefined) known.ports.push(port);
      else this.#sinks.push({ sender, ports: [port] });
    }
  }

  /** Takes a port's receiver and sender out, unless other ports share them. Does nothing for one that isn't in. */
  detach(port: ThreadPort): void {
    for (const source of this.#sources.filter((each) => each.ports.includes(port))) {
      source.ports.splice(source.ports.indexOf(port), 1);
      if (source.ports.length === 0) this.#removeSource(source);
    }
    const sink = this.#sinks.find((each) => each.ports.includes(port));
    if (sink !== undefined) {
      sink.ports.splice(sink.ports.indexOf(port), 1);
      if (sink.ports.length === 0) this.#sinks.splice(this.#sinks.indexOf(sink), 1);
    }
  }

  #addSource(receiver: Receiver, port: ThreadPort): void {
    const token = this.#nextToken++;
    const { fd } = receiver;
    const polled = receiver.polled === true || fd === undefined;
    const source: Source = { receiver, ports: [port], token, polled, ready: true };
    if (fd !== undefined) this.#options.poller.add(fd, token);
    this.#sources.push(source);
    this.#byToken.set(token, source);
    this.#count();
  }

  #removeSource(source: Source): void {
    this.#sources.splice(this.#sources.indexOf(source), 1);
    this.#byToken.delete(source.token);
    const { fd } = source.receiver;
    if (fd !== undefined) this.#options.poller.remove(fd);
    this.#count();
  }

  #count(): void {
    this.#withoutFd = this.#sources.filter((source) => source.receiver.fd === undefined).length;
    this.#reported = this.#sources.filter((source) => !source.polled).length;
  }

  /** One budget from every receiver that may have packets. Returns how many were handed over. */
  #receiveAll(): number {
    let handled = 0;
    for (let i = 0; i < this.#sources.length; i++) {
      const source = this.#sources[i]!;
      if (source.polled || source.ready) handled += this.#receive(source);
    }
    return handled;
  }

  #receive(source: Source): number {
    source.ports[0]!.enter();
    try {
      const count = source.receiver.receive(BUDGET);
      source.ports[0]!.leave();
      if (!(count >= 0)) throw new TypeError(`receive returned ${count} (wanted: a count)`);
      source.ready = count >= BUDGET;
      return count;
    } catch (thrown) {
      source.ports[0]!.leave();
      source.ready = false;
      this.#inPipeline = false;
      for (const port of source.ports) port.fail(thrown);
      return 0;
    }
  }

  #flushSink(sink: Sink): void {
    sink.ports[0]!.enter();
    try {
      sink.sender.flush();
    } catch (thrown) {
      for (const port of sink.ports) port.fail(thrown);
    }
    sink.ports[0]!.leave();
  }

  #release(source: Source): void {
    if (source.receiver.release === undefined) return;
    source.ports[0]!.enter();
    try {
      source.receiver.release();
    } catch (thrown) {
      for (const port of source.ports) port.fail(thrown);
    }
    source.ports[0]!.leave();
  }

  #closeFailed(): void {
    for (const { port, thrown } of this.#failed.splice(0)) {
      // Removed since: its number may be another port's.
      if (port.closed) continue;
      this.detach(port);
      closeVport(port);
      this.#options.reportFailure(port, thrown);
    }
  }

  /** Waits for an fd, without a timeout where every receiver has one; counts as quiescent meanwhile. */
  #sleep(): void {
    const { words } = this;
    const { grace } = this.#options;
    words[ACTIVITY] = SLEEPING;
    grace.sleep();
    this.#poll(this.#withoutFd > 0 ? DOZE_MS : -1);
    grace.wake();
    words[ACTIVITY] = RUNNING;
  }

  #poll(timeoutMs: number): void {
    const { poller } = this.#options;
    const count = poller.wait(timeoutMs);
    for (let i = 0; i < count; i++) {
      const token = poller.token(i);
      if (token === WAKE_TOKEN) {
        this.#options.drainWake();
        continue;
      }
      const source = this.#byToken.get(token);
      if (source !== undefined) source.ready = true;
    }
  }
}

/** Closes a queue; what a careless plug-in throws here changes nothing. */
export function closeVport(port: ThreadPort): void {
  if (port.closed) return;
  port.closed = true;
  port.enter();
  try {
    port.vport.close();
  } catch {
    // The contract says it never throws; the port is gone either way.
  }
}
