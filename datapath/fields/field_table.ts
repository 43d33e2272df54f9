/**
 * The field table (fields.ts) with its indexes. Parser, printer, codecs and documentation take a
 * FieldTable, so that a test can give them one with a made-up attribute in it.
 */
import type { Attribute } from "./field_types.ts";
import { ATTRIBUTES } from "./fields.ts";

export class FieldTable {
  /** In print order. */
  readonly attributes: readonly Attribute[];
  readonly #byName: ReadonlyMap<string, Attribute>;
  readonly #byNumber: ReadonlyMap<number, Attribute>;
  readonly #indexes: ReadonlyMap<Attribute, number>;

  /** Names and numbers must be unique. */
  constructor(attributes: readonly Attribute[]) {
    this.attributes = attributes;
    this.#byName = new Map(attributes.map((each) => [each.name, each]));
    this.#byNumber = new Map(attributes.map((each) => [each.number, each]));
    this.#indexes = new Map(attributes.map((each, index) => [each, index]));
  }

  /** The attribute of that name. */
  byName(name: string): Attribute | undefined {
    return this.#byName.get(name);
  }

  /** The attribute with that OVS_KEY_ATTR_* number. */
  byNumber(number: number): Attribute | undefined {
    return this.#byNumber.get(number);
  }

  /** Position in `attributes`. */
  indexOf(attribute: Attribute): number {
    return this.#indexes.get(attribute) ?? -1;
  }
}

/** The table of this version. */
export const FIELDS: FieldTable = new FieldTable(ATTRIBUTES);
