/** The parts of a JSON object, each of a kind: what it hasn't or has too much is a FlowJsonError. */
import { FlowSyntaxError } from "../errors.ts";
import { PORT_MAX } from "../key.ts";
import { scanIpv4, scanIpv6, scanMac } from "../text/addresses.ts";
import type { PortNames } from "../text/field_text.ts";
import { nearest } from "../text/near.ts";
import { Scanner } from "../text/scanner.ts";
import { describe, FlowJsonError, jsonObject, pathTo } from "./json_error.ts";

export class ObjectReader {
  readonly #path: string;
  readonly #given: Readonly<Record<string, unknown>>;
  readonly #names: PortNames | undefined;
  readonly #taken = new Set<string>();

  constructor(json: unknown, path: string, names?: PortNames) {
    this.#given = jsonObject(json, path);
    this.#path = path;
    this.#names = names;
  }

  /** A part that is read elsewhere. */
  skip(name: string): void {
    this.#taken.add(name);
  }

  /** The value of a part that must be there. */
  take(name: string): unknown {
    this.#taken.add(name);
    const value = this.#given[name];
    if (value === undefined) throw new FlowJsonError(this.#path, `needs ${name}`);
    return value;
  }

  /** A whole number 0 … max. */
  number(name: string, max: number): number {
    const value = this.take(name);
    if (typeof value === "number" && Number.isInteger(value) && value >= 0 && value <= max) {
      return value;
    }
    return this.#fail(name, `a number 0 … ${max}`, value);
  }

  optionalNumber(name: string, max: number): number | undefined {
    return this.#has(name) ? this.number(name, max) : undefined;
  }

  /** A port's number, or its name where names are known. */
  port(name: string, max: number = PORT_MAX): number {
    const value = this.take(name);
    if (typeof value !== "string") return this.number(name, max);
    const port = this.#names?.byName(value);
    if (port !== undefined) return port;
    return this.#fail(name, this.#names === undefined ? "a port's number" : "a port", value);
  }

  optionalPort(name: string, max: number): number | undefined {
    return this.#has(name) ? this.port(name, max) : undefined;
  }

  /** True or false; false if it is not there. */
  flag(name: string): boolean {
    if (!this.#has(name)) return false;
    const value = this.take(name);
    return typeof value === "boolean" ? value : this.#fail(name, "true or false", value);
  }

  /** Bytes in hexadecimal digits, which come out in lower case. */
  bytes(name: string, sizeMin: number, sizeMax: number): string {
    const value = this.take(name);
    if (typeof value === "string" && /^([0-9a-f]{2})*$/i.test(value)) {
      const size = value.length / 2;
      if (size >= sizeMin && size <= sizeMax) return value.toLowerCase();
    }
    const count = sizeMin === sizeMax ? sizeMin : `${sizeMin} … ${sizeMax}`;
    return this.#fail(name, `${count} bytes, two hexadecimal digits each`, value);
  }

  optionalBytes(name: string, sizeMin: number, sizeMax: number): string | undefined {
    return this.#has(name) ? this.bytes(name, sizeMin, sizeMax) : undefined;
  }

  /** A MAC address as text, or in 12 hexadecimal digits: those come out. */
  mac(name: string): string {
    return this.#address(name, /^[0-9a-f]{12}$/i, "a MAC address", () => scanMac);
  }

  /** An IPv4 or IPv6 address as text, or in 8 or 32 hexadecimal digits: those come out. */
  optionalAddress(name: string): string | undefined {
    if (!this.#has(name)) return undefined;
    return this.#address(
      name,
      /^([0-9a-f]{8}|[0-9a-f]{32})$/i,
      "an IPv4 or IPv6 address",
      (text) => text.includes(":") ? scanIpv6 : scanIpv4,
    );
  }

  #address(
    name: string,
    digits: RegExp,
    what: string,
    scanOf: (text: string) => typeof scanMac,
  ): string {
    const value = this.take(name);
    if (typeof value !== "string") this.#fail(name, what, value);
    if (digits.test(value)) return value.toLowerCase();
    const scan = scanOf(value);
    const bytes = new Uint8Array(scan === scanMac ? 6 : scan === scanIpv4 ? 4 : 16);
    const scanner = new Scanner(value);
    try {
      scan(scanner, bytes, 0, what);
    } catch (error) {
      if (!(error instanceof FlowSyntaxError)) throw error;
      this.#fail(name, what, value);
    }
    return scanner.ended ? bytes.toHex() : this.#fail(name, what, value);
  }

  choice<T extends string>(name: string, choices: readonly T[]): T {
    const value = this.take(name);
    const found = choices.find((each) => each === value);
    return found ?? this.#fail(name, choices.join(" or "), value);
  }

  optionalChoice<T extends string>(name: string, choices: readonly T[]): T | undefined {
    return this.#has(name) ? this.choice(name, choices) : undefined;
  }

  /** A name such as action text can have: without blanks, commas and parentheses. */
  optionalName(name: string, lengthMax: number): string | undefined {
    if (!this.#has(name)) return undefined;
    const value = this.take(name);
    if (typeof value === "string" && value.length <= lengthMax && /^[^\s,()]+$/.test(value)) {
      return value;
    }
    return this.#fail(name, `a name of 1 to ${lengthMax} characters`, value);
  }

  optionalObject<T>(name: string, read: (reader: ObjectReader) => T): T | undefined {
    if (!this.#has(name)) return undefined;
    const reader = new ObjectReader(this.take(name), pathTo(this.#path, name), this.#names);
    const value = read(reader);
    reader.finish();
    return value;
  }

  /** Fails because of a part. */
  refuse(name: string, problem: string): never {
    throw new FlowJsonError(pathTo(this.#path, name), problem);
  }

  /** Fails if there is anything that was not asked for. */
  finish(): void {
    for (const name of Object.keys(this.#given)) {
      if (this.#taken.has(name)) continue;
      throw new FlowJsonError(pathTo(this.#path, name), `unknown${nearest(name, this.#taken)}`);
    }
  }

  /** Marks the part as known. */
  #has(name: string): boolean {
    this.#taken.add(name);
    return this.#given[name] !== undefined;
  }

  #fail(name: string, what: string, value: unknown): never {
    throw new FlowJsonError(
      pathTo(this.#path, name),
      `must be ${what}: current value is ${describe(value)}`,
    );
  }
}
