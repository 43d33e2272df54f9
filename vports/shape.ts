/** Checks that what a plug-in module exports is a vport type of this contract. */
import { HEADROOM } from "../datapath/packet/packet.ts";
import type { AnyVportOps, PluginApi } from "./vport.ts";

/** Version of the contract in vport.ts. */
export const API_VERSION = 1;

/** A plug-in file that can't be used. The message names the file and what is wrong. */
export class PluginError extends Error {
  /** Tells it from other errors. */
  override readonly name = "PluginError";
  /** Always EINVAL. */
  readonly code = "EINVAL";
}

const TYPE_NAME = /^[a-z][a-z0-9_-]{0,14}$/;
const HEADROOM_MAX = HEADROOM - 64;
const FUNCTIONS: readonly string[] = ["parseOptions", "formatOptions"];
const KINDS: readonly unknown[] = [undefined, "sync", "async"];

/** The type that a module's default export is or makes. `origin` names the file in errors. Throws PluginError. */
export function toVportOps(exported: unknown, api: PluginApi, origin: string): AnyVportOps {
  let ops = exported;
  if (typeof exported === "function") {
    try {
      ops = exported(api);
    } catch (cause) {
      throw new PluginError(`Cannot load plug-in ${origin}: it threw ${describe(cause)}`, {
        cause,
      });
    }
  }
  const fault = findFault(ops);
  if (fault !== undefined) throw new PluginError(`Cannot load plug-in ${origin}: ${fault}`);
  return ops as AnyVportOps;
}

/** What is wrong with a candidate for a vport type, or undefined. */
function findFault(ops: unknown): string | undefined {
  if (ops === undefined) {
    return "it has no default export (wanted: a VportOps object, or a function from PluginApi to one)";
  }
  if (typeof ops !== "object" || ops === null) {
    return `its default export is ${
      ops === null ? "null" : `a ${typeof ops}`
    } (wanted: a VportOps ` +
      "object, or a function from PluginApi to one)";
  }
  const fields = ops as Readonly<Record<string, unknown>>;
  if (fields.apiVersion !== API_VERSION) {
    return `its apiVersion is ${String(fields.apiVersion)}, this denovs has ${API_VERSION}`;
  }
  if (typeof fields.type !== "string" || !TYPE_NAME.test(fields.type)) {
    return `its type is ${JSON.stringify(fields.type)} (wanted: 1 to 15 of a-z, 0-9, _ and -, ` +
      "a letter first)";
  }
  if (typeof fields.summary !== "string") return "it has no summary text";
  if (!KINDS.includes(fields.kind)) {
    return `its kind is ${JSON.stringify(fields.kind)} (wanted: "sync" or "async")`;
  }
  const isAsync = fields.kind === "async";
  const headroom = fields.headroom;
  if (!isAsync && (typeof headroom !== "number" || !(headroom >= 0 && headroom <= HEADROOM_MAX))) {
    return `its headroom is ${String(headroom)} (allowed: 0 to ${HEADROOM_MAX} bytes)`;
  }
  for (const name of [...FUNCTIONS, isAsync ? "open" : "create"]) {
    if (typeof fields[name] !== "function") return `it has no function ${name}`;
  }
  if (fields.attach !== undefined && typeof fields.attach !== "function") {
    return "its attach is no function";
  }
  return undefined;
}

/** What is wrong with what a type's `create` returned, or undefined: TypeScript's word is not enough from a plug-in. */
export function findVportFault(vport: unknown): string | undefined {
  if (typeof vport !== "object" || vport === null) {
    return `it is ${vport === null ? "null" : `a ${typeof vport}`}`;
  }
  const fields = vport as Readonly<Record<string, unknown>>;
  for (const name of ["send", "close"]) {
    if (typeof fields[name] !== "function") return `it has no function ${name}`;
  }
  for (const name of ["takesPartialChecksums", "takesSegmentTrains"]) {
    if (typeof fields[name] !== "boolean") return `its ${name} is neither true nor false`;
  }
  if (fields["command"] !== undefined && typeof fields["command"] !== "function") {
    return "its command is no function";
  }
  return findPartFault(fields["sender"], "sender", "flush") ??
    findPartFault(fields["receiver"], "receiver", "receive") ??
    findPartFault(fields["sideReceiver"], "sideReceiver", "receive");
}

function findPartFault(part: unknown, name: string, method: string): string | undefined {
  if (part === undefined) return undefined;
  if (typeof part !== "object" || part === null) return `its ${name} is no object`;
  const fields = part as Readonly<Record<string, unknown>>;
  if (typeof fields[method] !== "function") return `its ${name} has no function ${method}`;
  const { fd } = fields;
  const isDescriptor = typeof fd === "number" && Number.isInteger(fd) && fd >= 0;
  return fd === undefined || isDescriptor ? undefined : `the fd of its ${name} is ${String(fd)}`;
}

/** One line for anything thrown. */
export function describe(thrown: unknown): string {
  if (thrown instanceof Error) return `${thrown.name}: ${thrown.message}`;
  return String(thrown);
}
