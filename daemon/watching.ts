/**
 * The streamed requests `capture` and `trace-live`: the packet threads are asked to look on
 * (switch/observers.ts), and what they see goes to the client until it has had enough or goes. Neither
 * the threads nor the control isolate wait for a client: what it does not take is lost to it.
 */
import type { CapturedInfo, Methods } from "./api.ts";
import { refuse, toCommandError } from "./command_errors.ts";
import type { StreamClient } from "./control_socket.ts";
import type { Datapath, Model } from "./model.ts";
import { findDatapath, findPort } from "./names.ts";
import { Slices } from "./slices.ts";
import type { LiveDatapath, Switch } from "./switch/switch.ts";
import { contextOf } from "./trace.ts";
import {
  CAPTURE_EVENTS,
  type CapturedEvent,
  type CaptureEvent,
  readCaptured,
} from "../datapath/capture/capture_tap.ts";
import { DROP_REASONS } from "../datapath/drop_reasons.ts";
import { FRAME_SIZE_MAX } from "../datapath/packet/packet.ts";
import { parseOfMatch } from "../datapath/of_match.ts";
import { parseFlow } from "../datapath/text/flow_text.ts";
import { describeTrace } from "../datapath/trace/describe.ts";
import type { KeyFilter } from "../datapath/trace/recorder.ts";
import { makeUpcallRing, UpcallConsumer, WAITING } from "../datapath/upcall_ring.ts";

/** How long a loop waits before it looks whether it is still wanted. */
const WAIT_MS = 200;
/** Most packets that one live trace records. */
const TRACES_MAX = 1000;
/** Bytes of a packet that a live trace keeps at each step. */
const TRACE_KEEP = 512;

/** One thread's part of a capture. */
interface Tap {
  readonly ring: SharedArrayBuffer;
  readonly consumer: UpcallConsumer;
  readonly lost: Int32Array<SharedArrayBuffer>;
}

export class WatchService {
  readonly #live: Switch;
  readonly #model: () => Model;

  constructor(live: Switch, model: () => Model) {
    this.#live = live;
    this.#model = model;
  }

  /** `capture`: gives a client what happens at the hooks it names. */
  async capture(
    params: Methods["capture"]["params"],
    client: StreamClient,
  ): Promise<Methods["capture"]["result"]> {
    const { datapath, live } = this.#find(params.dp);
    checkCount(params.count);
    const hooks = {
      events: checkEvents(params.events),
      portNo: params.port === undefined ? undefined : portNumber(datapath, params.port),
      filter: parseFilter(datapath, params.filter),
      keep: params.size ?? FRAME_SIZE_MAX,
    };
    const taps: Tap[] = [];
    const capture = new Capture(datapath, client, params.count);
    const end = await live.observers.add(() => {
      // A successor of a thread that hung gets a ring of its own: the former may still write.
      const tap = makeTap();
      taps.push(tap);
      void capture.serve(tap);
      return { kind: "capture", hooks, ring: tap.ring, lost: tap.lost.buffer };
    });
    try {
      await Promise.race([capture.enough, client.gone]);
    } finally {
      capture.stop();
      await end();
    }
    const unseen = taps.reduce((sum, { lost }) => sum + Atomics.load(lost, 0), 0);
    return { packets: capture.given, lost: capture.lost + unseen };
  }

  /** `trace-live`: gives a client the ways of the next packets. */
  async traceLive(
    params: Methods["trace-live"]["params"],
    client: StreamClient,
  ): Promise<Methods["trace-live"]["result"]> {
    const { datapath, live } = this.#find(params.dp);
    const { count = 1 } = params;
    checkCount(count, TRACES_MAX);
    const filter = parseFilter(datapath, params.filter);
    const names = params.names === true ? datapath : undefined;
    const context = contextOf({ datapath, table: live.table, names });
    const enough = Promise.withResolvers<void>();
    let given = 0;
    let lost = 0;
    const end = await live.observers.add(
      () => ({ kind: "trace", filter, count, keep: TRACE_KEEP }),
      ({ trace, wallUs }) => {
        if (given === count) return;
        const told = { ...describeTrace(trace, context), time: wallUs / 1e6 };
        if (!client.send("traced", told)) lost++;
        else if (++given === count) enough.resolve();
      },
    );
    try {
      await Promise.race([enough.promise, client.gone]);
    } finally {
      await end();
    }
    return { traces: given, lost };
  }

  #find(dp: string | undefined): { datapath: Datapath; live: LiveDatapath } {
    const datapath = findDatapath(this.#model(), dp);
    const live = this.#live.datapaths().find(({ spec }) => spec.id === datapath.record.id);
    if (live === undefined) refuse("ENODEV", `datapath ${datapath.record.name} does not run`);
    return { datapath, live };
  }
}

function makeTap(): Tap {
  const ring = makeUpcallRing();
  const lost = new Int32Array(new SharedArrayBuffer(4));
  return { ring, consumer: new UpcallConsumer(ring), lost };
}

/** Takes what the packet threads have captured and gives it to the client. */
class Capture {
  readonly enough: Promise<void>;
  given = 0;
  /** Packets that the client did not take. */
  lost = 0;
  readonly #datapath: Datapath;
  readonly #client: StreamClient;
  readonly #count: number | undefined;
  readonly #resolve: () => void;
  readonly #slices: Slices = new Slices();
  #stopped = false;

  constructor(datapath: Datapath, client: StreamClient, count: number | undefined) {
    this.#datapath = datapath;
    this.#client = client;
    this.#count = count;
    const { promise, resolve } = Promise.withResolvers<void>();
    this.enough = promise;
    this.#resolve = resolve;
  }

  stop(): void {
    this.#stopped = true;
  }

  /** Empties one ring until the capture is stopped. */
  async serve({ consumer }: Tap): Promise<void> {
    while (!this.#stopped) {
      if (consumer.prepareWait()) {
        const wait = Atomics.waitAsync(consumer.control, WAITING, 1, WAIT_MS);
        if (wait.async) await wait.value;
        continue;
      }
      for (let raw = consumer.take(); raw !== undefined; raw = consumer.take()) {
        if (this.#stopped) return;
        this.#give(readCaptured(raw));
        if (this.#slices.due) await this.#slices.rest();
      }
    }
  }

  #give(captured: CapturedEvent): void {
    if (this.given === this.#count) return;
    const isTaken = this.#client.canTake &&
      this.#client.send("captured", toInfo(captured, this.#datapath, this.lost));
    if (!isTaken) this.lost++;
    else if (++this.given === this.#count) this.#resolve();
  }
}

function toInfo(captured: CapturedEvent, datapath: Datapath, lost: number): CapturedInfo {
  const { event, portNo, reason, wallUs, bytes, fullSize, l3EthType, sample } = captured;
  const port = datapath.byNo(portNo);
  const [name, meaning] = DROP_REASONS[reason]!;
  return {
    event,
    time: wallUs / 1e6,
    portNo,
    ...(port === undefined ? {} : { port }),
    ...(event === "drop" ? { reason: name, meaning } : {}),
    ...(sample === undefined ? {} : { group: sample.group }),
    ...(sample?.cookie === undefined ? {} : { cookie: sample.cookie }),
    packet: bytes.toHex(),
    length: fullSize,
    ...(l3EthType === undefined ? {} : { l3: l3EthType }),
    lost,
  };
}

function checkEvents(events: readonly string[]): readonly CaptureEvent[] {
  const unknown = events.find((event) => !CAPTURE_EVENTS.some((one) => one === event));
  if (unknown !== undefined) {
    refuse("EINVAL", `packets can't be captured at "${unknown}" (${CAPTURE_EVENTS.join(", ")})`);
  }
  return CAPTURE_EVENTS.filter((event) => events.includes(event));
}

function checkCount(count: number | undefined, max = Infinity): void {
  if (count === undefined || (Number.isInteger(count) && count > 0 && count <= max)) return;
  refuse(
    "EINVAL",
    `"${count}" is not a number of packets (1 ${max < Infinity ? `to ${max}` : "or more"})`,
  );
}

function portNumber(datapath: Datapath, text: string): number {
  const port = findPort(datapath, text);
  if (port !== undefined) return port.portNo;
  refuse("ENOENT", `${datapath.record.name} has no port "${text}"`);
}

/** A flow in the language of flows, which has parentheses, or an OpenFlow match. */
function parseFilter(datapath: Datapath, text: string | undefined): KeyFilter | undefined {
  if (text === undefined) return undefined;
  try {
    return text.includes("(") ? parseFlow(text, { names: datapath }) : parseOfMatch(text);
  } catch (error) {
    throw toCommandError(error, { doing: "cannot use the filter" });
  }
}
