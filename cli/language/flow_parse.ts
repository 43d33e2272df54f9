/** What flow-parse shows of a flow: its text, JSON and netlink attributes, and what they mean. */
import { CommandError } from "../../daemon/api.ts";
import { toCommandError } from "../../daemon/command_errors.ts";
import type { Action } from "../../datapath/actions/actions.ts";
import type { Dialect } from "../../datapath/fields/field_types.ts";
import {
  actionsFromJson,
  actionsToJson,
  type JsonAction,
} from "../../datapath/json/action_json.ts";
import { flowFromJson, flowToJson, type JsonFlow } from "../../datapath/json/flow_json.ts";
import { decodeActions, encodeActions } from "../../datapath/netlink/action_codec.ts";
import { NetlinkCodecError } from "../../datapath/netlink/attributes.ts";
import { decodeKey, encodeKey, type UnknownAttribute } from "../../datapath/netlink/key_codec.ts";
import { formatActions, parseActions } from "../../datapath/text/action_text.ts";
import {
  formatFlow,
  type ParsedFlow,
  parseFlow,
  type PortNames,
} from "../../datapath/text/flow_text.ts";
import { checkFlow } from "../../datapath/validate/validate.ts";
import { explainActions, explainFlow } from "./explain.ts";

export interface DescribeOptions {
  readonly names?: PortNames | undefined;
  /** Whose netlink numbers; undefined: the kernel's if it can express the flow, else userspace's. */
  readonly dialect?: Dialect | undefined;
  readonly explain?: boolean | undefined;
}

/** Netlink attributes, hexadecimal. */
export interface NetlinkForm {
  readonly dialect: Dialect;
  /** Contents of OVS_FLOW_ATTR_KEY. */
  readonly key: string;
  /** Contents of OVS_FLOW_ATTR_MASK. */
  readonly mask: string;
  /** Contents of OVS_FLOW_ATTR_ACTIONS; absent without actions. */
  readonly actions?: string;
}

/** What `flow-parse --json` prints. */
export interface FlowDescription {
  /** Canonical text. */
  readonly flow: string;
  /** With wildcarded fields, as dump-flows -m. */
  readonly flowVerbose: string;
  /** 8-4-4-4-12 hex digits, when the text had one. */
  readonly ufid?: string;
  /** Canonical text; absent when no actions were given. */
  readonly actions?: string;
  readonly key: JsonFlow;
  readonly actionList?: readonly JsonAction[];
  readonly netlink: NetlinkForm;
  /** Fields and actions in words; when asked for. */
  readonly explanation?: readonly string[];
}

/** Prefix of netlink attributes among the arguments. */
const NETLINK = "nl:";

/** Reads a flow in any of its forms. Throws CommandError. */
export function describeFlow(
  flow: string,
  actions: string | undefined,
  options: DescribeOptions,
): FlowDescription {
  try {
    return describe(flow, actions, options);
  } catch (error) {
    throw toCommandError(error);
  }
}

function describe(
  flow: string,
  actions: string | undefined,
  options: DescribeOptions,
): FlowDescription {
  const { names, explain = false } = options;
  const { key, mask, ufid, unknown = [] } = readFlow(flow, options);
  checkFlow(key, mask);
  // Text and JSON have words for those that lie in no other attribute.
  const named = unknown.filter(({ within = [] }) => within.length === 0);
  const list = actions === undefined ? undefined : readActions(actions, options);
  const json = flowToJson(key, mask, { unknown: named });
  const explanation = explain
    ? [...explainFlow(json), ...(list === undefined ? [] : explainActions(list, { names }))]
    : undefined;
  return {
    ...(ufid === undefined ? {} : { ufid }),
    flow: formatFlow(key, mask, { names, unknown: named }),
    flowVerbose: formatFlow(key, mask, { names, unknown: named, verbose: true }),
    ...(list === undefined ? {} : { actions: formatActions(list, { names }) }),
    key: json,
    ...(list === undefined ? {} : { actionList: actionsToJson(list) }),
    netlink: toNetlink({ key, mask, unknown }, list, options.dialect),
    ...(explanation === undefined ? {} : { explanation }),
  };
}

/** A flow with the attributes that this version does not know. */
interface ReadFlow extends Omit<ParsedFlow, "unknown"> {
  readonly unknown?: readonly UnknownAttribute[];
}

function readFlow(text: string, { names, dialect }: DescribeOptions): ReadFlow {
  const trimmed = text.trim();
  const keep = { names, keepUnknown: true };
  if (trimmed.startsWith("{")) return flowFromJson(parseJson(trimmed, "flow"), keep);
  if (!trimmed.startsWith(NETLINK)) return parseFlow(text, keep);
  const [key, mask] = trimmed.slice(NETLINK.length).split("/");
  const keyBytes = fromHex(key!, "key");
  const maskBytes = mask === undefined ? undefined : fromHex(mask, "mask");
  return decodeAs(
    dialect,
    (each) => decodeKey(keyBytes, maskBytes, { dialect: each }),
    ({ unknown }) => unknown.length === 0,
  );
}

/** Reads netlink attributes: the kernel's, unless only userspace knows them all. */
function decodeAs<T>(
  wanted: Dialect | undefined,
  decode: (dialect: Dialect) => T,
  isKnown: (read: T) => boolean,
): T {
  if (wanted !== undefined) return decode(wanted);
  try {
    const read = decode("kernel");
    if (isKnown(read)) return read;
  } catch (error) {
    if (!(error instanceof NetlinkCodecError)) throw error;
  }
  try {
    const read = decode("userspace");
    if (isKnown(read)) return read;
  } catch (error) {
    if (!(error instanceof NetlinkCodecError)) throw error;
  }
  return decode("kernel");
}

function readActions(text: string, { names, dialect }: DescribeOptions): readonly Action[] {
  const trimmed = text.trim();
  // A port's name may begin with a bracket nowhere.
  if (trimmed.startsWith("[")) return actionsFromJson(parseJson(trimmed, "actions"), { names });
  if (!trimmed.startsWith(NETLINK)) return parseActions(text, { names });
  const bytes = fromHex(trimmed.slice(NETLINK.length), "actions");
  return decodeAs(
    dialect,
    (each) => decodeActions(bytes, { dialect: each }),
    (list) => list.every(({ type }) => type !== "unknown"),
  );
}

function parseJson(text: string, what: string): unknown {
  try {
    return JSON.parse(text);
  } catch (error) {
    throw new CommandError("EINVAL", `the ${what} is no JSON: ${(error as Error).message}`);
  }
}

function fromHex(text: string, what: string): Uint8Array {
  try {
    return Uint8Array.fromHex(text);
  } catch {
    throw new CommandError(
      "EINVAL",
      `the ${what} must be hexadecimal, two digits a byte, after "${NETLINK}": it is "${text}"`,
    );
  }
}

function toNetlink(
  { key, mask, unknown }: Pick<ReadFlow, "key" | "mask" | "unknown">,
  actions: readonly Action[] | undefined,
  wanted: Dialect | undefined,
): NetlinkForm {
  const encode = (dialect: Dialect): NetlinkForm => {
    const bytes = encodeKey(key, mask, { dialect, unknown });
    return {
      dialect,
      key: bytes.key.toHex(),
      mask: bytes.mask.toHex(),
      ...(actions === undefined ? {} : { actions: encodeActions(actions, { dialect }).toHex() }),
    };
  };
  if (wanted !== undefined) return encode(wanted);
  try {
    return encode("kernel");
  } catch (error) {
    if (!(error instanceof NetlinkCodecError)) throw error;
    return encode("userspace");
  }
}

/** The description as text: in words if it has them, else every form. */
export function renderFlowDescription(of: FlowDescription): string {
  const lines = [`flow: ${of.flow}`];
  if (of.ufid !== undefined) lines.push(`ufid: ${of.ufid}`);
  if (of.actions !== undefined) lines.push(`actions: ${of.actions}`);
  if (of.explanation !== undefined) return `${[...lines, ...of.explanation].join("\n")}\n`;
  lines.push(`json: ${JSON.stringify(of.key)}`);
  if (of.actionList !== undefined) lines.push(`json actions: ${JSON.stringify(of.actionList)}`);
  lines.push(`netlink (${of.netlink.dialect}) key: ${of.netlink.key}`);
  lines.push(`netlink (${of.netlink.dialect}) mask: ${of.netlink.mask}`);
  if (of.netlink.actions !== undefined) {
    lines.push(`netlink (${of.netlink.dialect}) actions: ${of.netlink.actions}`);
  }
  return `${lines.join("\n")}\n`;
}
