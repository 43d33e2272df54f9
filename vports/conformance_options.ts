/** The conformance suite's checks of what a type says of itself and of its options: no port is made. */
import { OptionError } from "../datapath/errors.ts";
import { HEADROOM } from "../datapath/packet/packet.ts";
import type { ConformanceSubject } from "./conformance.ts";
import { API_VERSION, describe } from "./shape.ts";
import type { VportOps } from "./vport.ts";

const SUMMARY_LENGTH_MAX = 80;

/** A type broke the contract. */
export class ConformanceError extends Error {
  override readonly name = "ConformanceError";
}

export function expect(condition: boolean, message: string): asserts condition {
  if (!condition) throw new ConformanceError(message);
}

export function rawOptions(subject: ConformanceSubject): Map<string, string> {
  return new Map(Object.entries(subject.options ?? {}));
}

export function describesItself(ops: VportOps): void {
  expect(ops.apiVersion === API_VERSION, `apiVersion is ${ops.apiVersion}`);
  expect(/^[a-z][a-z0-9_-]{0,14}$/.test(ops.type), `type is ${JSON.stringify(ops.type)}`);
  const { length } = ops.summary;
  expect(
    length > 0 && length <= SUMMARY_LENGTH_MAX && !ops.summary.includes("\n"),
    `summary has ${length} characters (allowed: 1 to ${SUMMARY_LENGTH_MAX}, one line)`,
  );
  const isFit = Number.isInteger(ops.headroom) && ops.headroom >= 0 &&
    ops.headroom <= HEADROOM - 64;
  expect(isFit, `headroom is ${ops.headroom} (allowed: whole bytes from 0 to ${HEADROOM - 64})`);
}

export function roundTrips(subject: ConformanceSubject): void {
  const { ops } = subject;
  const parsed = ops.parseOptions(rawOptions(subject));
  const formatted = ops.formatOptions(parsed);
  const again = ops.parseOptions(new Map(formatted));
  const text = inspect(parsed);
  expect(
    inspect(again) === text,
    `${show(rawOptions(subject))} is ${text}; formatted as ${show(formatted)} it is ${
      inspect(again)
    }`,
  );
}

function inspect(value: unknown): string {
  return Deno.inspect(value, { depth: 20, sorted: true, compact: true, breakLength: Infinity });
}

function show(options: ReadonlyMap<string, string>): string {
  return [...options].map(([key, value]) => `${key}=${value}`).sort().join(",") || "no options";
}

export function refusesBad(subject: ConformanceSubject): void {
  for (const [key, value] of [["no_such_option", "7"], ...(subject.badOptions ?? [])] as const) {
    const text = `${key}=${value}`;
    let thrown: unknown;
    try {
      subject.ops.parseOptions(rawOptions(subject).set(key, value));
    } catch (error) {
      thrown = error;
    }
    expect(thrown !== undefined, `${text} is accepted`);
    expect(
      thrown instanceof OptionError,
      `${text} is refused with ${describe(thrown)}, which is no OptionError`,
    );
    expect(
      thrown.option === key && thrown.message.includes(key) && thrown.message.includes(value),
      `the error for ${text} does not name both: ${thrown.message}`,
    );
  }
}

export function parsesPurely(subject: ConformanceSubject): void {
  const raw = rawOptions(subject);
  const before = show(raw);
  subject.ops.parseOptions(raw);
  expect(show(raw) === before, `${before} has become ${show(raw)}`);
}
