/** The vport types known to one isolate: built-in ones and plug-ins, by name. */
import type { VportOps } from "./vport.ts";

/** Origin of the types that come with the switch. */
export const BUILT_IN = "built-in";

export interface RegisteredType {
  readonly ops: VportOps;
  /** Where it came from, for messages: `built-in` or the file's path. */
  readonly origin: string;
  /** What was imported: a changed file has another. Undefined for built-in types. */
  readonly url?: string | undefined;
}

/** Two types of the same name. */
export class DuplicateTypeError extends Error {
  override readonly name = "DuplicateTypeError";
  readonly code = "EEXIST";
}

export class VportRegistry {
  readonly #types: Map<string, RegisteredType> = new Map();

  /** A file that was changed and loaded again takes its own place. Throws DuplicateTypeError naming both origins. */
  register(ops: VportOps, origin: string, url?: string): void {
    const other = this.#types.get(ops.type);
    if (other !== undefined && (url === undefined || other.origin !== origin)) {
      throw new DuplicateTypeError(
        `Cannot register vport type "${ops.type}" from ${origin}: ${other.origin} has registered ` +
          "it already",
      );
    }
    this.#types.set(ops.type, { ops, origin, url });
  }

  /** Does nothing for a type that isn't registered. */
  unregister(type: string): void {
    this.#types.delete(type);
  }

  get(type: string): VportOps | undefined {
    return this.#types.get(type)?.ops;
  }

  entry(type: string): RegisteredType | undefined {
    return this.#types.get(type);
  }

  /** In order of registration. */
  list(): readonly RegisteredType[] {
    return [...this.#types.values()];
  }

  names(): readonly string[] {
    return [...this.#types.keys()];
  }
}
