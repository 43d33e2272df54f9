/** Checks that what a plug-in module exports is a vport type of this contract. */
import { HEADROOM } from "../datapath/packet.ts";
import type { PluginApi, VportOps } from "./vport.ts";

/** Version of the contract in vport.ts. */
export const API_VERSION = 1;

/** A plug-in file that can't be used. The message names the file and what is wrong. */
export class PluginError extends Error {
  override readonly name = "PluginError";
  readonly code = "EINVAL";
}

const TYPE_NAME = /^[a-z][a-z0-9_-]{0,14}$/;
const HEADROOM_MAX = HEADROOM - 64;
const FUNCTIONS = ["parseOptions", "formatOptions", "create"] as const;

/** The type that a module's default export is or makes. `origin` names the file in errors. Throws PluginError. */
export function toVportOps(exported: unknown, api: PluginApi, origin: string): VportOps {
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
  return ops as VportOps;
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
  const headroom = fields.headroom;
  if (typeof headroom !== "number" || !(headroom >= 0 && headroom <= HEADROOM_MAX)) {
    return `its headroom is ${String(headroom)} (allowed: 0 to ${HEADROOM_MAX} bytes)`;
  }
  for (const name of FUNCTIONS) {
    if (typeof fields[name] !== "function") return `it has no function ${name}`;
  }
  if (fields.attach !== undefined && typeof fields.attach !== "function") {
    return "its attach is no function";
  }
  return undefined;
}

/** One line for anything thrown. */
export function describe(thrown: unknown): string {
  if (thrown instanceof Error) return `${thrown.name}: ${thrown.message}`;
  return String(thrown);
}
