/** What is wrong with a flow or an action in JSON, and where. */

export class FlowJsonError extends Error {
  override readonly name = "FlowJsonError";
  readonly code = "ESYNTAX";
  /** `ipv4.src.mask`, `vlan[1].vid`; "" for the whole. */
  readonly path: string;

  /** `problem` says what is wrong and what is allowed there, without the path. */
  constructor(path: string, problem: string) {
    super(path === "" ? problem : `${path}: ${problem}`);
    this.path = path;
  }
}

/** A path one name or index deeper. */
export function pathTo(path: string, part: string | number): string {
  if (typeof part === "number") return `${path}[${part}]`;
  return path === "" ? part : `${path}.${part}`;
}

/** The properties of a JSON object. Throws FlowJsonError if it is none. */
export function jsonObject(json: unknown, path: string): Readonly<Record<string, unknown>> {
  if (typeof json === "object" && json !== null && !Array.isArray(json)) {
    return Object.fromEntries(Object.entries(json));
  }
  throw new FlowJsonError(path, `must be an object: current value is ${describe(json)}`);
}

/** The items of a JSON array. Throws FlowJsonError if it is none. */
export function jsonArray(json: unknown, path: string): readonly unknown[] {
  if (Array.isArray(json)) return json;
  throw new FlowJsonError(path, `must be an array: current value is ${describe(json)}`);
}

/** A value for a message, cut when long. */
export function describe(json: unknown): string {
  const text = JSON.stringify(json) ?? String(json);
  return text.length > 40 ? text.slice(0, 40) + "…" : text;
}
