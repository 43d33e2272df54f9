/** Random values of single fields in text, of every form; each is valid. */
import type { Field } from "../fields/field_types.ts";

/** A random integer of 0 … bound − 1. */
export type Random = (bound: number) => number;

/** Mulberry32: the same numbers for the same seed. */
export function seededRandom(seed: number): Random {
  let state = seed >>> 0;
  return (bound) => {
    state = (state + 0x6d2b79f5) >>> 0;
    let mixed = Math.imul(state ^ state >>> 15, state | 1);
    mixed ^= mixed + Math.imul(mixed ^ mixed >>> 7, mixed | 61);
    return Math.floor(((mixed ^ mixed >>> 14) >>> 0) / 0x1_0000_0000 * bound);
  };
}

export function chance(random: Random, percent: number): boolean {
  return random(100) < percent;
}

export function choose<T>(random: Random, from: readonly T[]): T {
  return from[random(from.length)]!;
}

function randomBits(random: Random, bits: number): number {
  const low = random(2 ** Math.min(bits, 16));
  return bits <= 16 ? low : random(2 ** (bits - 16)) * 0x10000 + low;
}

/** A number in one of C's bases. */
export function numberText(random: Random, value: number): string {
  const base = random(4);
  if (base === 0) return "0x" + value.toString(16);
  return base === 1 && value > 0 ? "0" + value.toString(8) : String(value);
}

/** `value` or `value/mask`, of up to 32 bits. */
export function randomNumber(random: Random, bits: number, masked: boolean): string {
  const value = randomBits(random, bits);
  if (!masked) return numberText(random, value);
  const mask = randomBits(random, bits);
  return `${numberText(random, (value & mask) >>> 0)}/${numberText(random, mask)}`;
}

/** A value of the field, within a mask if `masked` and the field has masks. */
export function randomValue(random: Random, field: Field, masked: boolean): string {
  switch (field.form) {
    case "mac":
    case "ipv4":
    case "ipv6":
      return bytesText(random, field, masked);
    case "fragment":
      return choose(random, ["no", "first"]);
    case "flags":
      return flagsText(random, field, masked);
    case "port":
      return numberText(random, random(65535));
    case "hex":
      if (field.size > 4) return bytesText(random, field, masked);
      return randomNumber(random, field.bits, masked && field.mask === "bits");
    case "ether_type":
      return numberText(random, 0x0600 + random(0xfa00));
    case "decimal":
      return randomNumber(random, field.bits, masked && field.mask === "bits");
    case "geneve":
      return `(${Array.from({ length: random(4) }, () => geneveText(random, masked)).join("")})`;
    case "vxlan":
      return `(gbp(${partsText(random, [["id", 16], ["flags", 8]], masked)}))`;
    case "erspan":
      return erspanText(random, masked);
    case "gtpu":
      return `(${partsText(random, [["flags", 8], ["msgtype", 8]], masked)})`;
  }
}

const MASK_BYTES = [0, 0, 255, 255, 255, 0xf0, 1];

function bytesText(random: Random, field: Field, masked: boolean): string {
  const full = Array.from({ length: field.size }, () => masked ? choose(random, MASK_BYTES) : 255);
  const value = full.map((mask) => (chance(random, 30) ? 0 : random(256)) & mask);
  return write(field, value) + (masked ? "/" + write(field, full) : "");
}

function write(field: Field, bytes: readonly number[]): string {
  if (field.form === "ipv4") return bytes.join(".");
  if (field.form === "mac") return bytes.map((byte) => byte.toString(16)).join(":");
  if (field.form === "hex") return hexText(bytes);
  const groups: string[] = [];
  for (let index = 0; index < 16; index += 2) {
    groups.push((bytes[index]! << 8 | bytes[index + 1]!).toString(16));
  }
  return groups.join(":");
}

function hexText(bytes: readonly number[]): string {
  return "0x" + bytes.map((byte) => byte.toString(16).padStart(2, "0")).join("");
}

function flagsText(random: Random, field: Field, masked: boolean): string {
  const chosen = field.flagNames.filter(() => chance(random, 30));
  const text = !masked
    ? (chosen.length === 0 ? "0" : chosen.join("|"))
    : (chosen.length === 0
      ? "0/0"
      : chosen.map((name) => choose(random, ["+", "-"]) + name).join(""));
  return field.name === "" ? text : `(${text})`;
}

/** Some of the named numbers. */
function partsText(
  random: Random,
  parts: readonly (readonly [name: string, bits: number])[],
  masked: boolean,
): string {
  return parts
    .filter(() => !masked || chance(random, 70))
    .map(([name, bits]) => `${name}=${randomNumber(random, bits, masked && chance(random, 50))}`)
    .join(",");
}

function erspanText(random: Random, masked: boolean): string {
  const version = 1 + random(2);
  const parts: [string, number][] = version === 1 ? [["idx", 32]] : [["dir", 1], ["hwid", 6]];
  const text = partsText(random, parts, masked);
  return `(ver=${version}${text === "" ? "" : "," + text})`;
}

function geneveText(random: Random, masked: boolean): string {
  const length = 4 * random(8);
  const head = partsText(random, [["class", 16], ["type", 8]], masked);
  const texts = head === "" ? [] : [head];
  texts.push(`len=${length}`);
  if (length > 0 && (!masked || chance(random, 80))) {
    const full = Array.from({ length }, () => masked ? choose(random, MASK_BYTES) : 255);
    const value = full.map((mask) => random(256) & mask);
    texts.push(hexText(value) + (masked ? "/" + hexText(full) : ""));
  }
  return `{${texts.join(",")}}`;
}
