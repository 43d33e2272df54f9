/** The inside of `name(…)`: one value, or named fields. Matches and set actions share it. */
import type { Attribute, Field } from "../fields/field_types.ts";
import { TUN_FAMILY_AT } from "../key.ts";
import { optionKind } from "../packet/tunnel_options.ts";
import { type FieldContext, formatField, type PortNames, scanField } from "./field_text.ts";
import { areLabelsWildcarded, formatLabels, scanLabels } from "./labels_text.ts";
import { isWildcarded, type MatchBytes } from "./number_text.ts";
import { expectEndOfField, failOpen, hasParentheses, scanFieldName } from "./parentheses.ts";
import { CLOSE, OPEN, type Scanner } from "./scanner.ts";
import { finishTunnel, isTunnel, isTunnelFieldOmitted } from "./tunnel_text.ts";

export { failOpen } from "./parentheses.ts";

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
  if (attribute.shape === "labels") return scanLabels(scanner, attribute, into, openAt);
  let seen = 0;
  for (;;) {
    scanner.skipSeparators();
    if (scanner.take(CLOSE)) break;
    if (scanner.ended) failOpen(scanner, openAt, attribute.name);
    const from = scanner.at;
    const index = scanFieldName(scanner, attribute);
    const field = attribute.fields[index]!;
    if ((seen & 1 << index) !== 0) scanner.fail(from, `${field.label} stands twice`);
    seen |= 1 << index;
    scanField(scanner, field, into, context);
    expectEndOfField(scanner, field, openAt, attribute.name);
  }
  if (isTunnel(attribute)) finishTunnel(scanner, attribute, into, { openAt, seen });
}

/** Whether no bit of the attribute is matched. */
export function isAttributeWildcarded(
  attribute: Attribute,
  mask: Uint8Array,
  offset: number = 0,
): boolean {
  if (attribute.shape === "labels") return areLabelsWildcarded(attribute, mask);
  for (const field of attribute.fields) {
    if (!isWildcarded(mask, field, offset)) return false;
  }
  return !isTunnel(attribute) || mask[TUN_FAMILY_AT] === 0;
}

/**
 * `name(…)` with the fields that are matched; `verbose`: with all; `plain`: as a key without a mask,
 * for set actions.
 */
export function formatAttribute(
  attribute: Attribute,
  match: MatchBytes,
  context: FieldContext,
): string {
  if (attribute.shape === "labels") {
    return `${attribute.name}(${formatLabels(attribute, match.key, match.mask)})`;
  }
  let text = attribute.name + "(";
  let first = true;
  for (const field of attribute.fields) {
    // A value without a name has no other form: set(skb_priority(0/0)).
    if (field.name !== "" && isOmitted(attribute, field, match, context)) continue;
    if (!first) text += ",";
    first = false;
    if (field.name !== "") text += field.printedName + (hasParentheses(field) ? "" : "=");
    text += formatField(field, match.key, match.mask, context);
  }
  return text + ")";
}

/** Open vSwitch never shows a wildcarded frag or part of NSH, nor cfi while it is what a tag must have. */
function isOmitted(
  attribute: Attribute,
  field: Field,
  match: MatchBytes,
  context: FieldContext,
): boolean {
  if (isTunnel(attribute)) return isTunnelFieldOmitted(field, match, context);
  if (field.name === "cfi") return true;
  if (optionKind(field.form) !== undefined) return true;
  if (!isWildcarded(match.mask, field, context.offset)) return false;
  return !context.verbose || field.form === "fragment" || field.digits === "padded";
}
