/** Port numbers and names in actions. */
import { PORT_MAX } from "../../key.ts";
import type { PortNames } from "../field_text.ts";
import type { Scanner } from "../scanner.ts";
import type { FormatContext, ScanContext } from "./form.ts";

const NAME_END = /[\s,()=]/;

/** Takes the port whose name stands here, up to a separator or parenthesis; undefined, and nothing taken, if none does. */
export function takePortName(
  scanner: Scanner,
  names: PortNames | undefined,
): number | undefined {
  if (names === undefined) return undefined;
  const text = scanner.text;
  let to = scanner.at;
  while (to < text.length && !NAME_END.test(text[to]!)) to++;
  const port = names.byName(text.slice(scanner.at, to));
  if (port !== undefined) scanner.at = to;
  return port;
}

/** Reads a port's name or number, 0 … `max`. */
export function scanPort(
  { scanner, names }: Pick<ScanContext, "scanner" | "names">,
  what: string,
  max: number = PORT_MAX,
): number {
  const named = takePortName(scanner, names);
  if (named !== undefined) return named;
  const from = scanner.at;
  if (!scanner.atNumber) {
    const kind = names === undefined ? "number" : "number or name";
    scanner.fail(from, `${what} must be a port ${kind}`);
  }
  const port = scanner.number(32, what);
  if (port > max) scanner.fail(from, `${what} must be a port number 0 … ${max}`);
  return port;
}

/** Port numbers where netlink has 32 bits and nothing limits them. */
export const ANY_PORT = 0xffffffff;

/**
 * The port's name, or its number. A name that can't be read back is not used, and a number that is
 * another port's name is written in another base.
 */
export function formatPort(
  port: number,
  { names }: Pick<FormatContext, "names">,
  isTaken: (name: string) => boolean = () => false,
): string {
  const name = names?.byNo(port);
  if (name !== undefined && name !== "" && !NAME_END.test(name) && !isTaken(name)) {
    if (names?.byName(name) === port) return name;
  }
  const text = String(port);
  const other = names?.byName(text);
  return other === undefined || other === port ? text : "0x" + port.toString(16);
}
