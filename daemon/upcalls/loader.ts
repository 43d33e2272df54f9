/** Loads upcall handlers: the file is checked and imported as a vport type's is (vports/loader.ts). */
import { checkPluginFile, importDefault } from "../../vports/loader.ts";
import { describe, PluginError } from "../../vports/shape.ts";
import type { UpcallHandler } from "./upcall_handler.ts";

/** Version of the contract in upcall_handler.ts. */
const API_VERSION = 1;
const NAME_LENGTH_MAX = 40;

/** A handler and where it is from. */
export interface LoadedHandler {
  readonly handler: UpcallHandler;
  /** Links resolved. */
  readonly path: string;
}

/** Checks the file, imports it and checks what it exports. Throws PluginError. */
export async function loadHandler(path: string): Promise<LoadedHandler> {
  const file = await checkPluginFile(path, "upcall handler");
  let exported = await importDefault(file, "upcall handler");
  const refuse = (why: string): never => {
    throw new PluginError(`Cannot load upcall handler ${file.path}: ${why}`);
  };
  if (typeof exported === "function") {
    try {
      exported = exported();
    } catch (cause) {
      throw new PluginError(
        `Cannot load upcall handler ${file.path}: it threw ${describe(cause)}`,
        { cause },
      );
    }
  }
  if (typeof exported !== "object" || exported === null) {
    return refuse("its default export is neither an UpcallHandler nor a function that makes one");
  }
  const fault = findFault(exported as Readonly<Record<string, unknown>>);
  if (fault !== undefined) return refuse(fault);
  return { handler: exported as UpcallHandler, path: file.path };
}

function findFault(fields: Readonly<Record<string, unknown>>): string | undefined {
  const { apiVersion, name, upcall, close } = fields;
  if (apiVersion !== API_VERSION) {
    return `its apiVersion is ${String(apiVersion)}, this denovs has ${API_VERSION}`;
  }
  if (typeof name !== "string" || name === "" || name.length > NAME_LENGTH_MAX) {
    return `its name is ${JSON.stringify(name)} (wanted: 1 to ${NAME_LENGTH_MAX} characters)`;
  }
  if (typeof upcall !== "function") return "it has no function upcall";
  if (close !== undefined && typeof close !== "function") return "its close is no function";
  return undefined;
}
