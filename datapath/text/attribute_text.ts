/** The inside of `name(…)`: one value, or named fields. Matches and set actions share it. */
import type { Attribute, Field } from "../fields.ts";
import {
  formatField,
  isWildcarded,
  type MatchBytes,
  type PortNames,
  scanField,
} from "./field_text.ts";
import { CLOSE, EQUALS, OPEN, type Scanner } from "./scanner.ts";

/** How names and the place of the storage are resolved. */
export interface AttributeContext {
  /** Added to every field's place: 0, or the inner VLAN tag's distance. */
  readonly offset: number;
  readonly names: PortNames | undefined;
}

/** Reads `(…)` behind an attribute's name. Fields that are not written keep what `into` has. */
export function scanAttribute(
  scanner: Scanner,
  attribute: Attribute,
  into: MatchBytes,
  context: AttributeContext,
): void {
  const openAt = scanner.at;
  scanner.expect(OPEN, `after ${attribute.name}`);
  const only = attribute.fields[0]!;
  if (only.name === "") {
    if (scanner.peek() === CLOSE) scanner.fail(scanner.at, `${attribute.name}() needs a value`);
    scanField(scanner, only, into, context);
    if (scanner.ended) failOpen(scanner, openAt, attribute.name);
    scanner.expect(CLOSE, `behind the value of ${attribute.name}`);
    return;
  }
  let seen = 0;
  for (;;) {
    scanner.skipSeparators();
    if (scanner.take(CLOSE)) return;
    if (scanner.ended) failOpen(scanner, openAt, attribute.name);
    const from = scanner.at;
    const index = scanFieldName(scanner, attribute);
    const field = attribute.fields[index]!;
    if ((seen & 1 << index) !== 0) scanner.fail(from, `${field.label} stands twice`);
    seen |= 1 << index;
    scanField(scanner, field, into, context);
    expectEndOfField(scanner, field, openAt, attribute.name);
  }
}

function scanFieldName(scanner: Scanner, attribute: Attribute): number {
  const from = scanner.at;
  const name = scanner.word();
  const fields = attribute.fields;
  for (let index = 0; index < fields.length; index++) {
    if (fields[index]!.name !== name) continue;
    scanner.expect(EQUALS, `after ${fields[index]!.label}`);
    return index;
  }
  const names = fields.map((field) => field.name);
  if (name === "") {
    const list = names.join(", ");
    scanner.fail(
      from,
      `"${scanner.text[from]}" is no field of ${attribute.name}, which has ${list}`,
    );
  }
  return scanner.unknown(from, `field of ${attribute.name}`, name, names);
}

function expectEndOfField(scanner: Scanner, field: Field, openAt: number, name: string): void {
  const next = scanner.peek();
  if (next === CLOSE || next === 0x2c || (next >= 0 && next <= 0x20)) return;
  if (scanner.ended) failOpen(scanner, openAt, name);
  scanner.fail(
    scanner.at,
    `"${scanner.text[scanner.at]}" can't follow the value of ${field.label}: a comma or ")" must`,
  );
}

/** Fails for a parenthesis without its partner. */
export function failOpen(scanner: Scanner, openAt: number, name: string): never {
  scanner.fail(openAt, `the "(" after ${name} is never closed`);
}

/** Whether no bit of the attribute is matched. */
export function isAttributeWildcarded(
  attribute: Attribute,
  mask: Uint8Array,
  offset: number = 0,
): boolean {
  for (const field of attribute.fields) {
    if (!isWildcarded(mask, field, offset)) return false;
  }
  return true;
}

/** `name(…)` with the fields that are matched; `verbose`: with all. */
export function formatAttribute(
  attribute: Attribute,
  match: MatchBytes,
  context: AttributeContext & { readonly verbose: boolean },
): string {
  let text = attribute.name + "(";
  let first = true;
  for (const field of attribute.fields) {
    // A value without a name has no other form: set(skb_priority(0/0)).
    if (field.name !== "" && isOmitted(field, match, context)) continue;
    if (!first) text += ",";
    first = false;
    if (field.name !== "") text += field.name + "=";
    text += formatField(field, match.key, match.mask, context);
  }
  return text + ")";
}

/** Open vSwitch never shows a wildcarded frag, nor cfi while it is what a tag must have. */
function isOmitted(
  field: Field,
  match: MatchBytes,
  context: AttributeContext & { readonly verbose: boolean },
): boolean {
  if (field.name === "cfi") return true;
  if (!isWildcarded(match.mask, field, context.offset)) return false;
  return !context.verbose || field.form === "fragment";
}
