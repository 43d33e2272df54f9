/**
 * Cases for the comparison of packets with the kernel: a frame, and flows that take it. Each flow
 * matches the whole key of the packet that meets it, as our own switch sees it, also after a
 * recirculation: so the kernel must see the same key, or the packet misses and it shows.
 */
import { checkKernelFlow } from "../../daemon/system/kernel_rules.ts";
import type { Action } from "../../datapath/actions/actions.ts";
import { RuleError } from "../../datapath/errors.ts";
import type { Attribute } from "../../datapath/fields/field_types.ts";
import { exactMask } from "../../datapath/fields/exact_mask.ts";
import { ATTRIBUTES, SETTABLE } from "../../datapath/fields/fields.ts";
import { DP_HASH_AT } from "../../datapath/key.ts";
import { encodeActions } from "../../datapath/netlink/action_codec.ts";
import { encodeKey } from "../../datapath/netlink/key_codec.ts";
import { randomAction, randomSetOf } from "../../datapath/testing/actions.ts";
import type { Random } from "../../datapath/testing/flows.ts";
import { formatActions, parseActions } from "../../datapath/text/action_text.ts";
import { formatFlow, parseFlow } from "../../datapath/text/flow_text.ts";
import { checkFlow } from "../../datapath/validate/validate.ts";
import { checkActions } from "../../datapath/validate/validate_actions.ts";
import { differenceMet } from "./kernel_packet_differences.ts";
import { randomSpecimen } from "./kernel_packet_frames.ts";
import type { OurFlow, OurOutput, OurSwitch } from "./kernel_packet_ours.ts";
import { type PacketInput, PORTS, UPCALL_PID } from "./kernel_packet_shape.ts";

/** A case, and what we make of it. */
export interface PacketCase {
  readonly name: string;
  readonly flows: readonly OurFlow[];
  readonly input: PacketInput;
  readonly ours: OurOutput;
}

/** A case whose flows are text: match and actions. */
export interface TextCase extends Omit<PacketInput, "flows"> {
  readonly flows: readonly (readonly [string, string])[];
}

const DIALECT = { dialect: "kernel" } as const;
/** Flows of one case. */
const FLOWS_MAX = 6;
/** Sets that the kernel's packets can have. */
const SETS: readonly Attribute[] = [...SETTABLE.values()].filter(({ name, only }) =>
  only !== "userspace" && !["tunnel", "ct_mark", "ct_label"].includes(name)
);
const UNKNOWN_TO_KERNEL = ATTRIBUTES.filter(({ only }) => only === "userspace")
  .flatMap(({ fields }) => fields);
const TYPES: readonly Action["type"][] = [
  "output",
  "output",
  "output",
  "output",
  "set",
  "set",
  "set",
  "set",
  "push_vlan",
  "pop_vlan",
  "push_mpls",
  "pop_mpls",
  "add_mpls",
  "push_eth",
  "pop_eth",
  "push_nsh",
  "pop_nsh",
  "recirc",
  "trunc",
  "userspace",
  "hash",
  "sample",
  "clone",
  "check_pkt_len",
  "dec_ttl",
  "meter",
];

/** A case that meets no difference; those that do are counted in `leftOut` by the difference's name. */
export function randomCase(
  random: Random,
  ours: OurSwitch,
  leftOut: Map<string, number>,
): PacketCase {
  for (;;) {
    const item = anyCase(random, ours);
    const difference = differenceMet(item, textOf(item));
    if (difference === undefined) return item;
    leftOut.set(difference, (leftOut.get(difference) ?? 0) + 1);
  }
}

/** A case from frame to what we do with it. */
function anyCase(random: Random, ours: OurSwitch): PacketCase {
  const specimen = randomSpecimen(random);
  const flows: OurFlow[] = [];
  const input = { inPort: specimen.inPort, frames: [specimen.bytes] };
  const run = (): OurOutput => ours.run(flows, input);
  let output = run();
  while (flows.length < FLOWS_MAX) {
    const missed = output.upcalls.find(({ packet }) => packet.reason === "miss");
    if (missed === undefined) break;
    const flow = flowFor(random, missed.key.words, missed.key.mask, flows.length);
    if (!isFlow(flow)) break;
    flows.push(flow);
    output = run();
    // Some packets may well find no flow at last.
    if (flows.length > 1 && random(4) === 0) break;
  }
  return caseOf(specimen.name, flows, input, output);
}

/** A case of flows in text. */
export function exampleCase(
  { flows, ...input }: TextCase,
  name: string,
  ours: OurSwitch,
): PacketCase {
  const parsed = flows.map(([match, actions]): OurFlow => ({
    ...parseFlow(match),
    actions: parseActions(actions),
  }));
  return caseOf(name, parsed, input, ours.run(parsed, input));
}

function caseOf(
  name: string,
  flows: readonly OurFlow[],
  frames: Omit<PacketInput, "flows">,
  ours: OurOutput,
): PacketCase {
  const raw = flows.map(({ key, mask, actions }) => {
    const encoded = encodeKey(key, mask, DIALECT);
    return {
      key: encoded.key.toHex(),
      mask: encoded.mask.toHex(),
      actions: encodeActions(actions, DIALECT).toHex(),
    };
  });
  return { name, flows, input: { ...frames, flows: raw }, ours };
}

/** Its flows, a line each. */
export function textOf({ flows }: PacketCase): string {
  return flows.map(({ key, mask, actions }) =>
    `  ${formatFlow(key, mask)} actions:${formatActions(actions)}`
  ).join("\n");
}

/** What a person reads of it. */
export function describe(item: PacketCase): string {
  const frames = item.input.frames.map((frame) => `  ${short(frame)}`);
  return [`${item.name}:`, textOf(item), ...frames].join("\n");
}

/** Hexadecimal of which the middle is left out when it is long. */
export function short(hex: string): string {
  return hex.length <= 600 ? hex : `${hex.slice(0, 400)}… ${hex.length / 2} bytes`;
}

function flowFor(
  random: Random,
  key: Int32Array<ArrayBuffer>,
  exact: Int32Array<ArrayBuffer>,
  depth: number,
): OurFlow {
  const mask = exact.slice();
  // Whose values are each datapath's own.
  mask[DP_HASH_AT / 4] = 0;
  const bytes = new Uint8Array(mask.buffer);
  for (const { at, size } of UNKNOWN_TO_KERNEL) bytes.fill(0, at, at + size);
  return { key, mask, actions: randomList(random, key, mask, depth) };
}

function randomList(random: Random, key: Int32Array, mask: Int32Array, depth: number): Action[] {
  const actions: Action[] = [];
  for (let tries = 1 + random(depth === 0 ? 12 : 6); tries > 0; tries--) {
    const tried = [...actions, ...some(random, key)];
    if (isAllowed(tried, key, mask)) actions.splice(0, actions.length, ...tried);
  }
  const last = [...actions, output(random)];
  return random(6) > 0 && isAllowed(last, key, mask) ? last : actions;
}

/** Whether we take a flow with such a key. */
function isFlow({ key, mask }: OurFlow): boolean {
  return !throwsRule(() => {
    checkFlow(key, mask);
    checkKernelFlow(key, mask);
  });
}

function isAllowed(actions: readonly Action[], key: Int32Array, mask: Int32Array): boolean {
  return !throwsRule(() => checkActions(actions, key, mask));
}

function throwsRule(check: () => void): boolean {
  try {
    check();
    return false;
  } catch (error) {
    if (error instanceof RuleError) return true;
    throw error;
  }
}

function output(random: Random): Action {
  const port = random(16) === 0 ? 9 : PORTS[1 + random(PORTS.length - 1)]!.portNo;
  return { type: "output", port };
}

/** An action, or some that belong together. */
function some(random: Random, key: Int32Array): Action[] {
  const type = TYPES[random(TYPES.length)]!;
  const nested = (): Action[] => {
    const list: Action[] = [];
    for (let count = random(4); count > 0; count--) list.push(...some(random, key));
    return random(3) > 0 ? [...list, output(random)] : list;
  };
  switch (type) {
    case "output":
      return [output(random)];
    case "set":
      return [randomSet(random, key)];
    case "recirc":
      return [{ type, id: 1 + random(3) }];
    case "hash":
      return [{ type, algorithm: "l4", basis: random(65536) }];
    case "meter":
      return [{ type, id: 1 + random(1000) }];
    case "trunc":
      return [
        { type, sizeMax: 14 + random(random(2) === 0 ? 100 : 2000) },
        ...random(3) === 0 ? [] : [output(random)],
      ];
    case "sample":
      return [{ type, probability: random(3) === 0 ? 0 : 0xffffffff, actions: nested() }];
    case "clone":
      return [{ type, actions: nested() }];
    case "dec_ttl":
      return [{ type, exceeded: nested() }];
    case "check_pkt_len": {
      const size = 14 + random(random(2) === 0 ? 120 : 1600);
      return [{ type, size, greater: nested(), lessEqual: nested() }];
    }
    case "userspace": {
      const userdata = random(2) === 0 ? undefined : "0102030405".slice(0, 2 * random(6));
      const actions = random(2) === 0;
      return [{ type, pid: UPCALL_PID, userdata, actions, tunnelOutPort: undefined }];
    }
    default:
      return [randomAction(random, type, DIALECT)];
  }
}

/** Of an attribute that the packet mostly has. */
function randomSet(random: Random, key: Int32Array): Action {
  const mask = exactMask(key);
  let action = randomSetOf(random, SETS[random(SETS.length)]!);
  for (let tries = 4; tries > 0 && !isAllowed([action], key, mask); tries--) {
    action = randomSetOf(random, SETS[random(SETS.length)]!);
  }
  return action;
}
