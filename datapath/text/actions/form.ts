/**
 * What the text of an action is: how it is read and printed, and a line and an example for the
 * reference. The table of all of them is table.ts; parser, printer, hints and documentation use it.
 */
import type { Action } from "../../actions/actions.ts";
import type { FieldTable } from "../../fields/field_table.ts";
import type { PortNames } from "../field_text.ts";
import type { Scanner } from "../scanner.ts";

export interface ScanContext {
  readonly scanner: Scanner;
  readonly names: PortNames | undefined;
  /** Attributes that set takes. */
  readonly table: FieldTable;
  /** Reads `(…)`, a list that belongs to the action `owner`. */
  readonly list: (owner: string) => Action[];
}

export interface FormatContext {
  readonly names: PortNames | undefined;
  /** Attributes that set has. */
  readonly table: FieldTable;
  /** A list that belongs to an action, without its parentheses; an empty one is "". */
  readonly list: (actions: readonly Action[]) => string;
}

/** Text of one type of action. */
export interface ActionText {
  readonly type: Action["type"];
  /** What stands in front of the parentheses. */
  readonly name: string;
  /** One line for the reference. */
  readonly summary: string;
  /** A text that prints as it is. */
  readonly example: string;
  /** Reads what is behind the name. Throws FlowSyntaxError. */
  readonly scan: (context: ScanContext) => Action;
  readonly format: (action: Action, context: FormatContext) => string;
}

type ActionOf<T extends Action["type"]> = Extract<Action, { type: T }>;

function isOf<T extends Action["type"]>(action: Action, type: T): action is ActionOf<T> {
  return action.type === type;
}

/** Declares the text of the actions of type `type`. */
export function actionText<T extends Action["type"]>(
  type: T,
  options: {
    readonly name: string;
    readonly summary: string;
    readonly example: string;
    readonly scan: (context: ScanContext) => ActionOf<T>;
    readonly format: (action: ActionOf<T>, context: FormatContext) => string;
  },
): ActionText {
  return {
    ...options,
    type,
    format: (action, context) => {
      if (!isOf(action, type)) throw new Error(`${action.type} is no ${type}`);
      return options.format(action, context);
    },
  };
}
