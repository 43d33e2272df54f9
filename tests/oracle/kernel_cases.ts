/**
 * Flows and actions for the kernel: valid ones of every attribute and action, and pairs that may be
 * anything. All come from one seed.
 */
import { checkKernelFlow } from "../../daemon/system/kernel_rules.ts";
import type { Action } from "../../datapath/actions/actions.ts";
import { RuleError } from "../../datapath/errors.ts";
import { ATTRIBUTES } from "../../datapath/fields/fields.ts";
import type { Attribute } from "../../datapath/fields/field_types.ts";
import { KEY_WORDS } from "../../datapath/key.ts";
import { encodeActions } from "../../datapath/netlink/action_codec.ts";
import { NetlinkCodecError } from "../../datapath/netlink/attributes.ts";
import { decodeKey, encodeKey } from "../../datapath/netlink/key_codec.ts";
import {
  ACTION_TYPES,
  randomAction,
  randomActions,
  randomValidActions,
} from "../../datapath/testing/actions.ts";
import { type Random, randomFlowText, randomFlowWith } from "../../datapath/testing/flows.ts";
import { formatActions } from "../../datapath/text/action_text.ts";
import { formatFlow, parseFlow } from "../../datapath/text/flow_text.ts";
import { checkFlow } from "../../datapath/validate/validate.ts";
import { checkActions } from "../../datapath/validate/validate_actions.ts";
import type { RawCase } from "./kernel_guest.ts";

/** A flow, its actions, and what we say to it. */
export interface KernelCase {
  /** Canonical text. */
  readonly flow: string;
  readonly actions: string;
  /** The list that `actions` says. */
  readonly list: readonly Action[];
  readonly raw: RawCase;
  /** Code of our refusal; "": we take it. */
  readonly verdict: string;
  /** Its words. */
  readonly why: string;
}

const DIALECT = { dialect: "kernel" } as const;
/** Attributes that the kernel has. */
const KERNEL_ATTRIBUTES = ATTRIBUTES.filter(({ only }) => only !== "userspace");

/** Text of a flow with this in_port and no other. */
function withPort(flow: string, portNo: number): string {
  return `in_port(${portNo}),${flow.replace(/(^|,)in_port\([^)]*\)/g, "").replace(/^,/, "")}`;
}

/** `each` valid flows of every attribute, exact and masked, and as many of everything together. */
export function validCases(random: Random, each: number): KernelCase[] {
  const texts: string[] = [];
  for (const attribute of KERNEL_ATTRIBUTES) {
    for (let count = 0; count < each; count++) {
      texts.push(randomFlowWith(random, attribute, count % 2 === 1));
      texts.push(randomFlowText(random, { everything: true }));
    }
  }
  const cases: KernelCase[] = [];
  for (const text of texts) {
    const made = validCase(random, withPort(text, cases.length + 1));
    if (made !== undefined) cases.push(made);
  }
  return cases;
}

function validCase(random: Random, text: string): KernelCase | undefined {
  const { key, mask } = parseFlow(text);
  const check = (actions: readonly Action[]): void => checkActions(actions, key, mask);
  // The more actions, the more that ovs-dpctl can't say; so few are taken.
  const actions = randomValidActions(random, check, DIALECT).slice(0, random(4));
  const made = caseOf(key, mask, actions);
  return made?.verdict === "" ? made : undefined;
}

/** `each` flows of every attribute with any actions at all, and every action with flows that may not suit it. */
export function anyCases(random: Random, each: number): KernelCase[] {
  const cases: KernelCase[] = [];
  const add = (text: string, actions: readonly Action[]): void => {
    const { key, mask } = parseFlow(text);
    if (random(4) === 0) disturb(random, key, mask);
    const made = caseOf(key, mask, actions);
    if (made !== undefined) cases.push(made);
  };
  for (const attribute of KERNEL_ATTRIBUTES) {
    for (let count = 0; count < each; count++) {
      add(randomFlowWith(random, attribute, count % 2 === 1), randomActions(random, DIALECT));
    }
  }
  for (const type of ACTION_TYPES.kernel) {
    for (let count = 0; count < each; count++) {
      const actions = [randomAction(random, type, DIALECT)];
      if (random(2) === 0) actions.unshift(...randomActions(random, { ...DIALECT, depthMax: 1 }));
      add(randomFlowText(random, { everything: true }), actions);
    }
  }
  return cases;
}

/** Changes value or mask of one field of one attribute, or of a whole one. */
function disturb(random: Random, key: Int32Array, mask: Int32Array): void {
  const attribute: Attribute = KERNEL_ATTRIBUTES[random(KERNEL_ATTRIBUTES.length)]!;
  const field = attribute.fields[random(attribute.fields.length)]!;
  const keyBytes = new Uint8Array(key.buffer);
  const maskBytes = new Uint8Array(mask.buffer);
  const kind = random(4);
  for (let at = field.at; at < field.at + Math.min(field.size, 16); at++) {
    if (kind === 0) maskBytes[at] = 0;
    else if (kind === 1) maskBytes[at] = 0xff;
    else if (kind === 2) maskBytes[at] = random(256);
    else keyBytes[at] = random(256);
  }
  // The kernel looks at some values outside of their masks; text and dumps have none.
  for (const [at, word] of mask.entries()) key[at]! &= word;
}

/** Undefined: netlink can't say it, so the kernel can't be asked. */
function caseOf(
  key: Int32Array,
  mask: Int32Array,
  list: readonly Action[],
): KernelCase | undefined {
  let raw: RawCase;
  try {
    const encoded = encodeKey(key, mask, DIALECT);
    const actions = encodeActions(list, DIALECT).toHex();
    raw = { key: encoded.key.toHex(), mask: encoded.mask.toHex(), actions };
    if (!isSaid({ key, mask, raw })) return undefined;
  } catch (error) {
    if (error instanceof NetlinkCodecError) return undefined;
    throw error;
  }
  const masked = new Int32Array(KEY_WORDS).map((_, at) => key[at]! & mask[at]!);
  const flow = formatFlow(masked, mask);
  const actions = formatActions(list);
  return { flow, actions, list, raw, ...judge(key, mask, list) };
}

/** Whether netlink says all that is matched: else the kernel is asked about something else. */
function isSaid({ key, mask, raw }: {
  readonly key: Int32Array;
  readonly mask: Int32Array;
  readonly raw: RawCase;
}): boolean {
  const said = decodeKey(Uint8Array.fromHex(raw.key), Uint8Array.fromHex(raw.mask), DIALECT);
  return key.every((word, at) =>
    mask[at] === said.mask[at] && ((word ^ said.key[at]!) & mask[at]!) === 0
  );
}

function judge(
  key: Int32Array,
  mask: Int32Array,
  actions: readonly Action[],
): { verdict: string; why: string } {
  try {
    checkFlow(key, mask);
    checkKernelFlow(key, mask);
    checkActions(actions, key, mask);
    return { verdict: "", why: "" };
  } catch (error) {
    if (error instanceof RuleError) return { verdict: error.code, why: error.message };
    throw error;
  }
}
