/**
 * Action lists as text, in the syntax of ovs-dpctl: `set(eth(src=…)),push_vlan(vid=5,pcp=0),2`. What
 * each action looks like is in actions/; what of them is not as in Open vSwitch in lossy_forms.ts.
 */
import { ACTIONS_SIZE_MAX, actionSize } from "../actions/action_size.ts";
import type { Action } from "../actions/actions.ts";
import { FIELDS, type FieldTable } from "../fields/field_table.ts";
import type { ActionText, FormatContext, ScanContext } from "./actions/form.ts";
import { formatPort, takePortName } from "./actions/ports.ts";
import { ACTION_NAMES, actionTextByName, TEXT_OF } from "./actions/table.ts";
import type { PortNames } from "./field_text.ts";
import { failOpen } from "./parentheses.ts";
import { CLOSE, OPEN, Scanner } from "./scanner.ts";

/** Most lists within lists. */
export const LEVELS_MAX = 32;

export interface ActionTextOptions {
  readonly names?: PortNames | undefined;
  /** Attributes that set takes; default: this version's. */
  readonly table?: FieldTable | undefined;
}

/**
 * Parses an action list; empty text is the empty list, which drops too. Throws FlowSyntaxError. Which
 * actions a flow may have is validate_actions.ts's business.
 */
export function parseActions(text: string, options: ActionTextOptions = {}): Action[] {
  const scanner = new Scanner(text);
  let depth = 0;
  const context: ScanContext = {
    scanner,
    names: options.names,
    table: options.table ?? FIELDS,
    list: (owner) => {
      const openAt = scanner.at;
      scanner.expect(OPEN, `after ${owner}`);
      if (++depth > LEVELS_MAX) {
        scanner.fail(openAt, `lists may be nested ${LEVELS_MAX} levels deep, not deeper`);
      }
      const actions = scanList(context, () => {
        if (scanner.ended) failOpen(scanner, openAt, owner);
        return scanner.take(CLOSE);
      });
      depth--;
      return actions;
    },
  };
  let size = 0;
  return scanList(context, () => scanner.ended, (action, from) => {
    size += actionSize(action);
    if (size > ACTIONS_SIZE_MAX) {
      scanner.fail(from, `with this action the list has over ${ACTIONS_SIZE_MAX} bytes of netlink`);
    }
  });
}

/** Reads actions until `ends` says so, which takes what ends the list. */
function scanList(
  context: ScanContext,
  ends: () => boolean,
  check: (action: Action, from: number) => void = () => {},
): Action[] {
  const { scanner } = context;
  const actions: Action[] = [];
  for (;;) {
    scanner.skipSeparators();
    if (ends()) return actions;
    const from = scanner.at;
    if (actions.at(-1)?.type === "drop") scanner.fail(from, "nothing can follow drop");
    const action = scanAction(context);
    check(action, from);
    actions.push(action);
  }
}

const NUMBERED = /action(?=[0-9])/y;

function scanAction(context: ScanContext): Action {
  const { scanner, names } = context;
  const from = scanner.at;
  const name = scanner.word();
  const text = actionTextByName(name);
  if (text !== undefined) return scanNamed(context, text, name);
  scanner.at = from;
  const port = takePortName(scanner, names);
  if (port !== undefined) {
    expectEnd(scanner, "a port");
    return { type: "output", port };
  }
  if (scanner.atNumber) return scanNamed(context, TEXT_OF.output, "a port number");
  NUMBERED.lastIndex = from;
  if (NUMBERED.test(scanner.text)) {
    scanner.at = NUMBERED.lastIndex;
    return scanNamed(context, TEXT_OF.unknown, name);
  }
  if (scanner.peek() === CLOSE) scanner.fail(from, '")" has no "(" that it could close');
  const kind = names === undefined ? "action" : "action or port";
  const shown = name === "" ? scanner.item() : name;
  return scanner.unknown(from, kind, shown, ["PORT", ...ACTION_NAMES]);
}

function scanNamed(context: ScanContext, text: ActionText, name: string): Action {
  const action = text.scan(context);
  expectEnd(context.scanner, name);
  return action;
}

/** Behind an action there must be a separator, the end of its list or the end of the text. */
function expectEnd(scanner: Scanner, name: string): void {
  const at = scanner.at;
  scanner.skipSeparators();
  if (scanner.at > at || scanner.ended || scanner.peek() === CLOSE) return;
  scanner.fail(at, `"${scanner.text[at]}" can't follow ${name}: a comma or the end must`);
}

/** Text of an action list; an empty one is `drop`, as in Open vSwitch. */
export function formatActions(
  actions: readonly Action[],
  options: ActionTextOptions = {},
): string {
  if (actions.length === 0) return "drop";
  const context: FormatContext = {
    names: options.names,
    table: options.table ?? FIELDS,
    list: (list) => list.map((action) => formatAction(action, context)).join(","),
  };
  return context.list(actions);
}

function formatAction(action: Action, context: FormatContext): string {
  if (action.type === "output") {
    return formatPort(action.port, context, (name) => isActionWord(name));
  }
  return TEXT_OF[action.type].format(action, context);
}

/** Whether a port's name would be read as an action. */
function isActionWord(name: string): boolean {
  const word = /^[a-z_0-9]*/i.exec(name)![0];
  return actionTextByName(word) !== undefined;
}
