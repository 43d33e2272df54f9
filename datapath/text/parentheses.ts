/** What stands around the values inside of `name(…)`: names, equals signs, ends. */
import type { Attribute, Field } from "../fields/field_types.ts";
import { optionKind } from "../packet/tunnel_options.ts";
import { CLOSE, EQUALS, type Scanner } from "./scanner.ts";

/** Whether a field's value stands in parentheses, `flags(df)`, and not behind an equals sign. */
export function hasParentheses(field: Field): boolean {
  return field.form === "flags" ? field.name !== "" : optionKind(field.form) !== undefined;
}

/** Takes the name of a field and its equals sign; the field's index. */
export function scanFieldName(scanner: Scanner, attribute: Attribute): number {
  const from = scanner.at;
  const name = scanner.word();
  const fields = attribute.fields;
  for (let index = 0; index < fields.length; index++) {
    const field = fields[index]!;
    if (field.name !== name && field.printedName !== name) continue;
    if (!hasParentheses(field)) scanner.expect(EQUALS, `after ${field.label}`);
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

/** Fails unless a separator or the attribute's closing parenthesis follows. */
export function expectEndOfField(
  scanner: Scanner,
  field: Field,
  openAt: number,
  name: string,
): void {
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
