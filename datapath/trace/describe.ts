/** Makes a report (schema.ts) of what a recorder has noted (recorder.ts). */
import {
  CHECK_PKT_LEN,
  CT,
  DEC_TTL,
  decodeActions,
  lessEqualAt,
  METER,
  PSAMPLE,
  RECIRC,
  SAMPLE,
  TRUNC,
  USERSPACE,
} from "../actions/action_program.ts";
import { DROP_REASONS } from "../drop_reasons.ts";
import { exactMask } from "../fields/exact_mask.ts";
import { attributeNamed } from "../fields/fields.ts";
import { CT_STATE_AT, FRAG_NONE, IP_FRAG_AT, KEY_SIZE, RECIRC_ID_AT } from "../key.ts";
import { formatActions } from "../text/action_text.ts";
import { formatAttribute } from "../text/attribute_text.ts";
import { formatFlow, type PortNames } from "../text/flow_text.ts";
import { changedBytes } from "./bytes.ts";
import { changedFields } from "./fields.ts";
import {
  egressKey,
  type FoundFlow,
  type PacketImage,
  type RawTrace,
  type SentEvent,
} from "./recorder.ts";
import type {
  PacketTrace,
  TracedDrop,
  TracedFlow,
  TracedOutput,
  TracedPass,
  TracedStep,
  TriedMask,
} from "./schema.ts";

/** What describing needs of the datapath. */
export interface TraceContext {
  /** Of ports, to be shown beside numbers. */
  readonly ports: PortNames;
  /** For flow texts; absent: numbers. */
  readonly names?: PortNames | undefined;
  /** A flow that was found; undefined: it has gone since. */
  flow(found: FoundFlow): TracedFlow | undefined;
  /** What is done with a packet without a flow, in words. */
  readonly miss: string;
  /** The masks that a packet's lookups have tried, lookup by lookup; absent: they are not told. */
  readonly masks?: readonly (readonly TriedMask[])[] | undefined;
  /** The packet was not a real one: meters were not charged. */
  readonly isTrial?: boolean | undefined;
  /** What lies behind the port that took a packet; absent: it is not told. */
  beyond?(sent: SentEvent): Beyond | undefined;
}

/** Where a packet goes on behind a port: see TracedOutput. */
export type Beyond = Pick<TracedOutput, "outer" | "next">;

type Draft<T> = { -readonly [Name in keyof T]: T[Name] };
interface StepDraft extends Draft<TracedStep> {
  steps?: StepDraft[];
  pass?: PassDraft;
  outputs: TracedOutput[];
  drops: TracedDrop[];
}
interface PassDraft extends Draft<TracedPass> {
  steps: StepDraft[];
  outputs: TracedOutput[];
  drops: TracedDrop[];
}
/** A list that is being run. */
interface Frame {
  readonly steps: StepDraft[];
  /** Its action in hand, and the packet before it. */
  step?: StepDraft;
  words?: Int32Array;
  at?: number;
  before?: PacketImage;
}

/** The keys of a trace's lookups, in order, with the flows that were found. */
export function lookupsOf(
  trace: RawTrace,
): { readonly key: Int32Array; readonly flow: FoundFlow }[] {
  const first = { key: trace.image.key, flow: trace.flow };
  const others = trace.events.flatMap((event) =>
    event.kind === "recirculated" ? [{ key: event.image.key, flow: event.flow }] : []
  );
  return [first, ...others];
}

/** The report of one packet. */
export function describeTrace(trace: RawTrace, context: TraceContext): PacketTrace {
  return new Describer(trace, context).describe();
}

class Describer {
  readonly #trace: RawTrace;
  readonly #context: TraceContext;
  readonly #passes: PassDraft[] = [];
  readonly #outputs: TracedOutput[] = [];
  readonly #drops: TracedDrop[] = [];
  readonly #frames: Frame[] = [];
  /** The pass whose list is to begin next. */
  #opening: PassDraft | undefined;
  /** The last pass that nothing is around. */
  #outer: PassDraft | undefined;
  #lookups = 0;
  #upcalls = 0;

  constructor(trace: RawTrace, context: TraceContext) {
    this.#trace = trace;
    this.#context = context;
  }

  describe(): PacketTrace {
    const { image, inPort, flow, events, isCut } = this.#trace;
    this.#begin(this.#pass(image, flow));
    for (const event of events) {
      switch (event.kind) {
        case "recirculated":
          this.#begin(this.#pass(event.image, event.flow));
          break;
        case "list":
          this.#enter(event.at);
          break;
        case "action":
          this.#settle(event.image);
          this.#act(event);
          break;
        case "ran":
          this.#settle(event.image);
          break;
        case "left":
          this.#frames.pop();
          break;
        case "sent":
          this.#place().outputs.push(this.#output(event));
          break;
        case "dropped":
          this.#place().drops.push(this.#drop(event.portNo, event.reason));
          break;
        case "upcalled":
          this.#upcall(event.isTaken);
          break;
      }
    }
    const port = this.#context.ports.byNo(inPort);
    return {
      inPort,
      ...(port === undefined ? {} : { port }),
      ...(image.isL3 ? { l3: true } : {}),
      passes: this.#passes,
      outputs: this.#outputs,
      drops: this.#drops,
      upcalls: this.#upcalls,
      ...(isCut ? { cut: true } : {}),
    };
  }

  #pass(image: PacketImage, found: FoundFlow): PassDraft {
    const { names, miss, masks } = this.#context;
    const recircId = new DataView(image.key.buffer, image.key.byteOffset).getUint32(RECIRC_ID_AT);
    const flow = found.index < 0 ? undefined : this.#context.flow(found);
    const tried = masks?.[this.#lookups++];
    const note = found.index < 0
      ? miss
      : flow === undefined
      ? "the flow has been deleted or changed since"
      : undefined;
    return {
      recircId,
      size: image.size,
      packet: image.bytes.toHex(),
      key: formatFlow(image.key, exactMask(image.key), { names }),
      ...(tried === undefined ? {} : { masks: tried }),
      flow: flow ?? null,
      ...(note === undefined ? {} : { note }),
      steps: [],
      outputs: [],
      drops: [],
    };
  }

  #begin(pass: PassDraft): void {
    this.#opening = pass;
    const step = this.#frames.at(-1)?.step;
    if (step !== undefined) {
      step.pass = pass;
      return;
    }
    this.#outer = pass;
    this.#passes.push(pass);
  }

  #enter(at: number): void {
    const pass = this.#opening;
    this.#opening = undefined;
    if (pass !== undefined) {
      this.#frames.push({ steps: pass.steps });
      return;
    }
    const frame = this.#frames.at(-1);
    if (frame?.step === undefined) return void this.#frames.push({ steps: [] });
    frame.step.steps = [];
    const note = branchNote(frame.words!, frame.at!, at, frame.before!);
    if (note !== undefined) frame.step.note = note;
    this.#frames.push({ steps: frame.step.steps });
  }

  #act(event: { at: number; words: Int32Array; image: PacketImage }): void {
    const frame = this.#frames.at(-1);
    if (frame === undefined) return;
    const { at, words, image } = event;
    const action = formatActions(decodeActions(words), { names: this.#context.names });
    const step: StepDraft = { action, bytes: [], fields: [], outputs: [], drops: [] };
    const note = actionNote(words, this.#context.isTrial === true);
    if (note !== undefined) step.note = note;
    frame.steps.push(step);
    Object.assign(frame, { step, words, at, before: image });
  }

  /** Compares the packet with what it was before the action in hand. */
  #settle(image: PacketImage): void {
    const frame = this.#frames.at(-1);
    const { step, before, words } = frame ?? {};
    if (step === undefined || before === undefined || words === undefined) return;
    if (before.size !== image.size) step.size = { from: before.size, to: image.size };
    step.bytes = changedBytes(before, image);
    step.fields = changedFields(before.key, image.key);
    if (image.egress !== undefined && image.egress !== before.egress) {
      step.tunnel = tunnelText(image.egress);
    }
    const operation = words[0]! & 0xff;
    if (operation === RECIRC && step.pass === undefined && step.drops.length === 0) {
      step.note = "recirculates when the actions around are done";
    }
    if (operation === CT && isFragment(image) && step.drops.length === 0) {
      step.note = "this fragment waits for the others";
    }
    if ((operation === SAMPLE || operation === CHECK_PKT_LEN) && step.steps === undefined) {
      step.note = operation === SAMPLE ? "not taken" : "no actions for this size";
    }
  }

  #upcall(isTaken: boolean): void {
    if (isTaken) this.#upcalls++;
    const step = this.#frames.at(-1)?.step;
    const note = isTaken ? "queued for whoever takes upcalls" : "the upcall queue has no room";
    if (step !== undefined) step.note = note;
    else if (this.#outer !== undefined) this.#outer.note = `${this.#outer.note ?? ""}: ${note}`;
  }

  /** Where an output or a drop belongs. */
  #place(): StepDraft | PassDraft {
    const step = this.#frames.at(-1)?.step;
    return step?.pass ?? step ?? this.#outer!;
  }

  #output(event: SentEvent): TracedOutput {
    const { portNo, image } = event;
    const port = this.#context.ports.byNo(portNo);
    const { outer, next } = this.#context.beyond?.(event) ?? {};
    const output: TracedOutput = {
      portNo,
      ...(port === undefined ? {} : { port }),
      size: image.size,
      packet: image.bytes.toHex(),
      ...(image.egress === undefined ? {} : { tunnel: tunnelText(image.egress) }),
      ...(outer === undefined ? {} : { outer }),
    };
    this.#outputs.push(output);
    return next === undefined ? output : { ...output, next };
  }

  #drop(portNo: number, reason: number): TracedDrop {
    const [name, meaning] = DROP_REASONS[reason]!;
    const drop: TracedDrop = { reason: name, meaning, portNo };
    this.#drops.push(drop);
    return drop;
  }
}

/** Whether the packet is a fragment: when it is whole, ct goes on with it and the key says so. */
function isFragment({ key }: PacketImage): boolean {
  return new DataView(key.buffer, key.byteOffset).getUint8(IP_FRAG_AT) !== FRAG_NONE &&
    new DataView(key.buffer, key.byteOffset).getUint32(CT_STATE_AT) === 0;
}

/** What an action says about itself. */
function actionNote(words: Int32Array, isTrial: boolean): string | undefined {
  switch (words[0]! & 0xff) {
    case METER:
      return isTrial ? "looked at, not charged" : undefined;
    case TRUNC:
      return `the next output sends at most ${words[1]! >>> 0} bytes`;
    case PSAMPLE:
      return "sampled";
    case USERSPACE:
      return "nobody takes upcalls";
    default:
      return undefined;
  }
}

/** What an action decided, by which of its lists was run. */
function branchNote(
  words: Int32Array,
  at: number,
  listAt: number,
  packet: PacketImage,
): string | undefined {
  switch (words[0]! & 0xff) {
    case SAMPLE:
      return "taken";
    case DEC_TTL:
      return "the time to live is up";
    case CHECK_PKT_LEN: {
      const isLess = listAt - at === lessEqualAt(words, 0);
      return `${packet.size} bytes: ${isLess ? "less or equal" : "greater"}`;
    }
    default:
      return undefined;
  }
}

const TUNNEL = attributeNamed("tunnel");

function tunnelText(egress: Int32Array): string {
  const key = egressKey(egress);
  const mask = exactMask(key);
  const match = {
    key: new Uint8Array(key.buffer, 0, KEY_SIZE),
    mask: new Uint8Array(mask.buffer, 0, KEY_SIZE),
  };
  return formatAttribute(TUNNEL, match, { offset: 0, names: undefined, verbose: false });
}
