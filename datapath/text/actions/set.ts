/**
 * Text of set, plain and masked: any attribute of the field table. Which of them can be installed is
 * validate_actions.ts's business.
 */
import type { SetAction } from "../../actions/actions.ts";
import type { Attribute } from "../../fields/field_types.ts";
import { attributeNamed, ENCAP, PACKET_TYPE } from "../../fields/fields.ts";
import { wantLabels } from "../../fields/label_count.ts";
import { KEY_SIZE, KEY_WORDS, VLAN_PRESENT, VLAN_TCI_AT } from "../../key.ts";
import { completeTunnel, isWholeSet } from "../../actions/set_action.ts";
import { failOpen, formatAttribute, scanAttribute } from "../attribute_text.ts";
import { type MatchBytes, readField } from "../number_text.ts";
import { CLOSE, OPEN } from "../scanner.ts";
import { type ActionText, actionText, type FormatContext, type ScanContext } from "./form.ts";
import { hex } from "./parts.ts";

const VLAN = attributeNamed("vlan");

function scanSet(context: ScanContext): SetAction {
  const { scanner, names } = context;
  const openAt = scanner.at;
  scanner.expect(OPEN, "after set");
  while (scanner.peek() === 0x20) scanner.at++;
  if (scanner.ended) failOpen(scanner, openAt, "set");
  const attribute = scanName(context);
  const value = new Int32Array(KEY_WORDS);
  const mask = new Int32Array(KEY_WORDS);
  const into = { key: new Uint8Array(value.buffer), mask: new Uint8Array(mask.buffer) };
  if (attribute === VLAN) {
    into.key[VLAN_TCI_AT] = VLAN_PRESENT >> 8;
    into.mask[VLAN_TCI_AT] = VLAN_PRESENT >> 8;
  }
  scanAttribute(scanner, attribute, into, { offset: 0, names });
  if (scanner.ended) failOpen(scanner, openAt, "set");
  scanner.expect(CLOSE, "after the field of set");
  if (attribute.name === "tunnel") completeTunnel(into.key, into.mask);
  if (attribute.shape === "labels") wantLabels(into.key, into.mask, 0);
  // Bits outside of the mask say nothing.
  for (let index = 0; index < KEY_WORDS; index++) value[index]! &= mask[index]!;
  return { type: "set", attribute: attribute.name, value, mask };
}

function scanName({ scanner, table }: ScanContext): Attribute {
  const from = scanner.at;
  const name = scanner.word();
  const attribute = table.byName(name);
  if (attribute !== undefined) return attribute;
  if (name === ENCAP.name || name === PACKET_TYPE.name) {
    scanner.fail(from, `${name} can't be set: push and pop actions change what is in a packet`);
  }
  const names = table.attributes.map((each) => each.name);
  return scanner.unknown(from, "field to set", name || scanner.text[from]!, names);
}

function formatSet(action: SetAction, { table }: FormatContext): string {
  const attribute = table.byName(action.attribute);
  if (attribute === undefined) throw new Error(`there is no attribute ${action.attribute}`);
  const match = { key: bytesOf(action.value), mask: bytesOf(action.mask) };
  const plain = isWholeSet(attribute, match.mask);
  const context = { offset: 0, names: undefined, verbose: false, plain };
  const [only] = attribute.fields;
  if (plain && only?.name === "" && only.form === "flags" && only.plainFlags === 0) {
    // Open vSwitch has numbers here.
    return `set(${attribute.name}(${hex(readField(match.key, only))}))`;
  }
  const text = formatAttribute(attribute, match, context);
  return `set(${isAbsentTag(attribute, match) ? text.replace(/\)$/, ",cfi=0)") : text})`;
}

/** Only a set action can say of a tag that it is not there. */
function isAbsentTag(attribute: Attribute, { key, mask }: MatchBytes): boolean {
  const bit = VLAN_PRESENT >> 8;
  return attribute === VLAN && (mask[VLAN_TCI_AT]! & ~key[VLAN_TCI_AT]! & bit) !== 0;
}

function bytesOf(words: Int32Array): Uint8Array {
  return new Uint8Array(words.buffer, words.byteOffset, KEY_SIZE);
}

export const SET: ActionText = actionText("set", {
  name: "set",
  summary:
    "Rewrites an attribute of the packet: all of it, some fields, or, with value/mask, some " +
    "bits.",
  example: "set(ipv4(src=192.0.2.1,ttl=64))",
  scan: scanSet,
  format: formatSet,
});
