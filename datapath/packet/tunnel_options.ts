/**
 * Tunnel options of a flow key (TUN_OPTIONS_* of key.ts) taken apart: what text and JSON show of
 * them. Kinds with fields at fixed places are described by a table of fields; Geneve options are a
 * list of type, length and value (RFC 8926 §3.5).
 */
import { type Field, field, type TextForm } from "../fields/field_types.ts";
import {
  TUN_OPTIONS_AT,
  TUN_OPTIONS_ERSPAN,
  TUN_OPTIONS_GENEVE,
  TUN_OPTIONS_GTPU,
  TUN_OPTIONS_KIND_AT,
  TUN_OPTIONS_SIZE_AT,
  TUN_OPTIONS_VXLAN,
} from "../key.ts";

/** The forms whose storage are the option bytes. */
export type OptionForm = "geneve" | "vxlan" | "erspan" | "gtpu";

/** A kind of options. */
export interface OptionKind {
  /** TUN_OPTIONS_* of key.ts. */
  readonly number: number;
  /** Bytes of the options; undefined: any multiple of 4. */
  readonly size: number | undefined;
  /** What lies there, in print order; empty for Geneve. */
  readonly parts: readonly Field[];
}

const part = (
  name: string,
  [offset, size, form]: readonly [number, number, TextForm],
): Field => field(name, [TUN_OPTIONS_AT + offset, size, form], "");

const named = (kind: string, parts: readonly Field[]): Field[] =>
  parts.map((each) => ({ ...each, label: `tunnel ${kind} ${each.name}` }));

const VXLAN_PARTS = named("vxlan gbp", [
  part("id", [2, 2, "decimal"]),
  part("flags", [1, 1, "hex"]),
]);
const ERSPAN_PARTS = named("erspan", [
  part("ver", [3, 1, "decimal"]),
  part("idx", [4, 4, "hex"]),
  part("dir", [4, 1, "decimal"]),
  part("hwid", [5, 1, "hex"]),
]);
const GTPU_PARTS = named("gtpu", [
  part("flags", [0, 1, "hex"]),
  part("msgtype", [1, 1, "decimal"]),
]);

export const OPTION_KINDS: Readonly<Record<OptionForm, OptionKind>> = {
  geneve: { number: TUN_OPTIONS_GENEVE, size: undefined, parts: [] },
  vxlan: { number: TUN_OPTIONS_VXLAN, size: 4, parts: VXLAN_PARTS },
  erspan: { number: TUN_OPTIONS_ERSPAN, size: 12, parts: ERSPAN_PARTS },
  gtpu: { number: TUN_OPTIONS_GTPU, size: 2, parts: GTPU_PARTS },
};

/** Which kind of options a field is, undefined for one with a storage of its own. */
export function optionKind(form: TextForm): OptionKind | undefined {
  switch (form) {
    case "geneve":
    case "vxlan":
    case "erspan":
    case "gtpu":
      return OPTION_KINDS[form];
    default:
      return undefined;
  }
}

/** The byte of the key that tells ERSPAN's versions apart. */
export const ERSPAN_VERSION_AT: number = TUN_OPTIONS_AT + 3;
/** Parts of an ERSPAN header that only one of its versions has. */
export const ERSPAN_VERSION: ReadonlyMap<string, number> = new Map([
  ["idx", 1],
  ["dir", 2],
  ["hwid", 2],
]);

/** The parts that options with these bytes have: ERSPAN's depend on its version. */
export function optionParts(
  kind: OptionKind,
  key: Uint8Array,
  mask: Uint8Array,
): readonly Field[] {
  if (kind.number !== TUN_OPTIONS_ERSPAN) return kind.parts;
  const version = mask[ERSPAN_VERSION_AT] !== 0 ? key[ERSPAN_VERSION_AT]! : 2;
  return kind.parts.filter((each) => (ERSPAN_VERSION.get(each.name) ?? version) === version);
}

/** Largest values of ERSPAN's narrow parts, which have a byte each in the key. */
export const ERSPAN_MAX: ReadonlyMap<string, number> = new Map([
  ["dir", 1],
  ["hwid", 0x3f],
]);

/**
 * Makes a mask that is exact in all parts exact in the unused bits beside them too, so that there is one
 * mask for one meaning.
 */
export function completeOptionsMask(kind: OptionKind, key: Uint8Array, mask: Uint8Array): void {
  for (const { name, at } of kind.parts) {
    const max = ERSPAN_MAX.get(name);
    if (max === undefined || kind.number !== TUN_OPTIONS_ERSPAN) continue;
    if (key[ERSPAN_VERSION_AT] !== ERSPAN_VERSION.get(name)) continue;
    mask[at] = (mask[at]! & max) === max ? 0xff : mask[at]! & max;
  }
  const parts = optionParts(kind, key, mask);
  const isExact = parts.every((each) =>
    mask.subarray(each.at, each.at + each.size).every((byte) => byte === 0xff)
  );
  if (isExact && kind.size !== undefined) {
    mask.fill(0xff, TUN_OPTIONS_AT, TUN_OPTIONS_AT + kind.size);
  }
}

/** Says in the key, exactly matched, that there are `size` bytes of options of this kind. */
export function setOptions(
  into: { readonly key: Uint8Array; readonly mask: Uint8Array },
  kind: number,
  size: number,
): void {
  into.key[TUN_OPTIONS_KIND_AT] = kind;
  into.mask[TUN_OPTIONS_KIND_AT] = 0xff;
  into.key[TUN_OPTIONS_SIZE_AT] = size >> 8;
  into.key[TUN_OPTIONS_SIZE_AT + 1] = size;
  into.mask[TUN_OPTIONS_SIZE_AT] = 0xff;
  into.mask[TUN_OPTIONS_SIZE_AT + 1] = 0xff;
}

/** Bytes of options in a key. */
export function optionsSize(key: Uint8Array): number {
  return key[TUN_OPTIONS_SIZE_AT]! << 8 | key[TUN_OPTIONS_SIZE_AT + 1]!;
}

/** Most bytes of Geneve options; a packet's header has no room for more. */
export const GENEVE_SIZE_MAX = 252;
/** Most bytes of one Geneve option's data. */
export const GENEVE_DATA_MAX = 124;
/** Mask of an option's length, which is always matched: the other bits of its byte are reserved. */
export const GENEVE_LENGTH_MASK = 0x1f;

const OPTION_HEADER_SIZE = 4;

/** The fields of an option that begins `at` bytes behind TUN_OPTIONS_AT; its length is in the byte behind. */
export const GENEVE_PARTS: readonly Field[] = named("geneve", [
  part("class", [0, 2, "hex"]),
  part("type", [2, 1, "hex"]),
]);

/** Bytes of the options that can't be what they say: their offset; −1 if all is well. */
export function geneveFault(key: Uint8Array, size: number): number {
  for (let at = 0; at < size;) {
    const next = at + OPTION_HEADER_SIZE + geneveDataSize(key, at);
    if (next > size) return at;
    at = next;
  }
  return -1;
}

/** Bytes of data of the option `at` bytes behind TUN_OPTIONS_AT. */
export function geneveDataSize(key: Uint8Array, at: number): number {
  return (key[TUN_OPTIONS_AT + at + 3]! & GENEVE_LENGTH_MASK) * 4;
}

/** Where each option begins, behind TUN_OPTIONS_AT. Stops at one that doesn't fit. */
export function geneveOffsets(key: Uint8Array): number[] {
  const size = optionsSize(key);
  const found: number[] = [];
  for (let at = 0; at + OPTION_HEADER_SIZE <= size;) {
    found.push(at);
    at += OPTION_HEADER_SIZE + geneveDataSize(key, at);
  }
  return found;
}
