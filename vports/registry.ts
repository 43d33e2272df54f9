/** The vport types known to one isolate: built-in ones and plug-ins, by name. */
import type { VportOps } from "./vport.ts";

export interface RegisteredType {
  readonly ops: VportOps;
  /** Where it came from, for messages: `built-in` or the file's path. */
  readonly origin: string;
}

/** Two types of the same name. */
export class DuplicateTypeError extends Error {
  override readonly name = "DuplicateTypeError";
  readonly code = "EEXIST";
}

export class VportRegistry {
  readonly #types: Map<string, RegisteredType> = new Map();

  /** Throws DuplicateTypeError naming both origins. */
  register(ops: VportOps, origin: string): void {
    const other = this.#types.get(ops.type);
    if (other !== undefined) {
      throw new DuplicateTypeError(
        `Cannot register vport type "${ops.type}" from ${origin}: ${other.origin} has registered ` +
          "it already",
      );
    }
    this.#types.set(ops.type, { ops, origin });
  }

  get(type: string): VportOps | undefined {
    return this.#types.get(type)?.ops;
  }

  origin(type: string): string | undefined {
    return this.#types.get(type)?.origin;
  }

  /** In order of registration. */
  list(): readonly RegisteredType[] {
    return [...this.#types.values()];
  }

  names(): readonly string[] {
    return [...this.#types.keys()];
  }
}
