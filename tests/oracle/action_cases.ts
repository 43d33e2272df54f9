/**
 * Cases for the oracle of actions: frames with the flow that takes them, and random actions that such
 * frames can take, each as text for Open vSwitch and as data for us.
 */
import type { Action } from "../../datapath/actions/actions.ts";
import type { Field } from "../../datapath/fields/field_types.ts";
import { FIELDS } from "../../datapath/fields/field_table.ts";
import { KEY_SIZE } from "../../datapath/key.ts";
import type { Random } from "../../datapath/testing/flows.ts";
import { type FrameOptions, makeFrame } from "../../datapath/testing/frames.ts";

/** An action in both languages. */
export interface Step {
  readonly text: string;
  readonly action: Action;
}

export interface Specimen {
  readonly name: string;
  readonly frame: Uint8Array;
  /** What follows in_port(N),eth() in a flow that matches the frame. */
  readonly flow: string;
  /** Attributes of the frame that can be set. */
  readonly attributes: readonly string[];
  /** Tags that the frame has. */
  readonly tags: number;
}

const PORTS = [2, 3, 4];

/** Frames of every kind that can be rewritten. */
export function specimens(): Specimen[] {
  const found: Specimen[] = [];
  for (const isIpv6 of [false, true]) {
    for (const protocol of ["tcp", "udp", "sctp", "icmp"] as const) {
      for (const tags of [[], [0x8100b005], [0x88a8e001, 0x81000064]]) {
        const base: FrameOptions = { isIpv6, protocol, tags, payloadSize: 31 };
        found.push(ipSpecimen(base, "no"));
        if (tags.length === 0) found.push(...variants(base));
      }
    }
  }
  for (const type of ["0806", "8035"]) {
    const arp = "0001080006040001" + "010203040506" + "0a000001" + "0708090a0b0c" + "0a000002";
    found.push({
      name: `arp ${type}`,
      frame: Uint8Array.fromHex(`ffffffffffff020000000001${type}${arp}${"00".repeat(18)}`),
      flow: `eth_type(0x${type}),arp(op=1)`,
      attributes: ["eth", "arp"],
      tags: 0,
    });
  }
  for (const type of [135, 136]) found.push(...neighbourDiscovery(type));
  const stacks = [
    ["0006413f", "mpls(label=100,tc=0,ttl=63,bos=1)"],
    ["000640400006413f", "mpls(label=100,tc=0,ttl=64,bos=0,label=100,tc=0,ttl=63,bos=1)"],
  ] as const;
  for (const [stack, flow] of stacks) {
    const inner = makeFrame().bytes.slice(14).toHex();
    found.push({
      name: `mpls ${stack.length / 8}`,
      frame: Uint8Array.fromHex(`0200000000020200000000018847${stack}${inner}`),
      flow: `eth_type(0x8847),${flow}`,
      attributes: ["eth", "mpls"],
      tags: 0,
    });
  }
  return found;
}

function variants(base: FrameOptions): Specimen[] {
  const options: FrameOptions = base.isIpv6
    ? { ...base, extensions: [[0, [0, 1, 4, 0, 0, 0, 0]], [60, [0, 1, 4, 0, 0, 0, 0]]] }
    : { ...base, ipOptionsSize: 8 };
  const found = [ipSpecimen({ ...options, payloadSize: 300 }, "no")];
  if (base.protocol === "udp") found.push(ipSpecimen({ ...base, checksum: "none" }, "no"));
  const first = base.isIpv6
    ? { ...base, extensions: [[44, [0, 0, 1, 0, 0, 0, 9]]] as const }
    : { ...base, fragment: 0x2000 };
  const later = base.isIpv6
    ? { ...base, extensions: [[44, [0, 0, 9, 0, 0, 0, 9]]] as const }
    : { ...base, fragment: 0x2003 };
  return [...found, ipSpecimen(first, "first"), ipSpecimen(later, "later")];
}

function ipSpecimen(options: FrameOptions, fragment: string): Specimen {
  const { isIpv6, protocol, tags = [] } = options;
  const ip = isIpv6
    ? `eth_type(0x86dd),ipv6(frag=${fragment})`
    : `eth_type(0x0800),ipv4(frag=${fragment})`;
  let flow = ip;
  for (const tag of tags.toReversed()) {
    const tci = tag & 0xffff;
    const vlan = `vlan(vid=${tci & 0xfff},pcp=${tci >> 13})`;
    flow = `eth_type(0x${(tag >>> 16).toString(16)}),${vlan},encap(${flow})`;
  }
  // Addresses of later fragments: see the differences.
  const attributes = fragment === "later" ? ["eth"] : ["eth", isIpv6 ? "ipv6" : "ipv4"];
  if (fragment === "no") attributes.push(protocol === "icmp" && isIpv6 ? "icmpv6" : protocol!);
  return {
    name: `${isIpv6 ? "ipv6" : "ipv4"} ${protocol} ${fragment}`,
    frame: makeFrame(options).bytes,
    flow,
    attributes,
    tags: tags.length,
  };
}

function neighbourDiscovery(type: number): Specimen[] {
  const target = "fe80" + "00".repeat(13) + "05";
  const options = ["", "0101020000000009", "0201020000000008"];
  return [...options, options[1]! + options[2]!].map((option) => {
    const payload = Uint8Array.fromHex(target + option);
    const { bytes, l3, l4 } = makeFrame({ isIpv6: true, protocol: "icmp", payload });
    // The type was 128.
    bytes[l4] = type;
    const view = new DataView(bytes.buffer);
    let sum = (~view.getUint16(l4 + 2) & 0xffff) + 0x7fff + (type << 8);
    while (sum > 0xffff) sum = (sum & 0xffff) + (sum >>> 16);
    view.setUint16(l4 + 2, ~sum & 0xffff);
    bytes[l3 + 7] = 255;
    return {
      name: `nd ${type} ${option}`,
      frame: bytes,
      flow:
        `eth_type(0x86dd),ipv6(proto=58,frag=no),icmpv6(type=${type},code=0),nd(target=fe80::5)`,
      attributes: ["eth", "ipv6", "nd", "nd_ext"],
      tags: 0,
    };
  });
}

/** What of a frame the actions so far have changed that later ones must know. */
interface State {
  tags: number;
}

/** One to five actions, the last an output. */
export function randomSteps(random: Random, specimen: Specimen, depth = 2): Step[] {
  const state = { tags: specimen.tags };
  const steps: Step[] = [];
  for (let count = random(5); count > 0; count--) {
    steps.push(...randomStep(random, specimen, state, depth));
  }
  steps.push(output(random));
  return steps;
}

function output(random: Random): Step {
  const port = PORTS[random(PORTS.length)]!;
  return { text: `${port}`, action: { type: "output", port } };
}

function randomStep(random: Random, specimen: Specimen, state: State, depth: number): Step[] {
  const kind = random(depth > 0 ? 12 : 9);
  const nested = (): Step[] => randomSteps(random, { ...specimen, tags: state.tags }, depth - 1);
  switch (kind) {
    case 0:
      return [output(random)];
    case 1:
      return [pushVlan(random, state)];
    case 2:
      if (state.tags > 0) state.tags--;
      return [{ text: "pop_vlan", action: { type: "pop_vlan" } }];
    case 3: {
      // What the kernel does with a tag differs: see DIFFERENCES.
      if (state.tags > 0) return [output(random)];
      const sizeMax = 14 + random(120);
      return [{ text: `trunc(${sizeMax})`, action: { type: "trunc", sizeMax } }, output(random)];
    }
    case 9: {
      const inner = nested();
      return [{
        text: `clone(${textOf(inner)})`,
        action: { type: "clone", actions: actionsOf(inner) },
      }];
    }
    case 10: {
      const inner = nested();
      const isTaken = random(2) === 0;
      const probability = isTaken ? 0xffffffff : 0;
      return [{
        text: `sample(sample=${isTaken ? 100 : 0}%,actions(${textOf(inner)}))`,
        action: { type: "sample", probability, actions: actionsOf(inner) },
      }];
    }
    case 11: {
      if (state.tags > 0) return [output(random)];
      const size = Math.max(1, specimen.frame.length - 4 + random(8));
      const [greater, lessEqual] = [nested(), nested()];
      return [{
        text: `check_pkt_len(size=${size},gt(${textOf(greater)}),le(${textOf(lessEqual)}))`,
        action: {
          type: "check_pkt_len",
          size,
          greater: actionsOf(greater),
          lessEqual: actionsOf(lessEqual),
        },
      }];
    }
    default:
      return [randomSet(random, specimen)];
  }
}

function pushVlan(random: Random, state: State): Step {
  state.tags++;
  const [tpid, vid, pcp] = [[0x8100, 0x88a8][random(2)]!, random(4096), random(8)];
  return {
    text: `push_vlan(tpid=0x${tpid.toString(16)},vid=${vid},pcp=${pcp})`,
    action: { type: "push_vlan", tpid, tci: 0x1000 | pcp << 13 | vid },
  };
}

export function textOf(steps: readonly Step[]): string {
  return steps.map(({ text }) => text).join(",");
}

export function actionsOf(steps: readonly Step[]): Action[] {
  return steps.map(({ action }) => action);
}

/** Attributes that Open vSwitch's own datapath sets only whole (nd_ext: see the differences). */
const WHOLE = ["icmp", "icmpv6", "nd_ext"];
/** The key has half of an operation. */
const WHOLE_FIELDS = ["arp op"];

function randomSet(random: Random, { attributes }: Specimen): Step {
  const attribute = FIELDS.byName(attributes[random(attributes.length)]!)!;
  const value = new Uint8Array(KEY_SIZE);
  const mask = new Uint8Array(KEY_SIZE);
  const fields = attribute.fields.filter(({ settable }) => settable);
  const isWhole = WHOLE.includes(attribute.name) || random(3) === 0;
  const chosen = fields.filter(() => isWhole || random(2) === 0);
  if (chosen.length === 0) chosen.push(fields[random(fields.length)]!);
  const texts = chosen.map((field) => setField(random, field, { value, mask, isWhole }));
  return {
    text: `set(${attribute.name}(${texts.join(",")}))`,
    action: {
      type: "set",
      attribute: attribute.name,
      value: new Int32Array(value.buffer),
      mask: new Int32Array(mask.buffer),
    },
  };
}

interface Setting {
  readonly value: Uint8Array;
  readonly mask: Uint8Array;
  readonly isWhole: boolean;
}

/** Writes a random value, and mask if that may be, of a field; returns its text. */
function setField(random: Random, field: Field, setting: Setting): string {
  const full = (1n << BigInt(field.bits)) - 1n;
  const canMask = !WHOLE_FIELDS.includes(field.label);
  let mask = full;
  if (!setting.isWhole && canMask && random(2) === 0) mask = randomBits(random, field.bits);
  if (mask === 0n) mask = full;
  const value = randomBits(random, field.bits) & mask;
  put(setting.value, field, value);
  put(setting.mask, field, mask);
  const text = format(field, value);
  return `${field.name}=${text}${mask === full ? "" : `/${format(field, mask, true)}`}`;
}

function randomBits(random: Random, count: number): bigint {
  let value = 0n;
  for (let bit = 0; bit < count; bit += 16) value = value << 16n | BigInt(random(65536));
  return value & ((1n << BigInt(count)) - 1n);
}

function put(bytes: Uint8Array, field: Field, value: bigint): void {
  let rest = value << BigInt(field.shift);
  for (let index = field.size - 1; index >= 0; index--) {
    bytes[field.at + index]! |= Number(rest & 255n);
    rest >>= 8n;
  }
}

function format(field: Field, value: bigint, isMask = false): string {
  const hex = value.toString(16);
  switch (field.form) {
    case "mac":
      return hex.padStart(12, "0").replaceAll(/(..)(?!$)/g, "$1:");
    case "ipv4":
      return [...Uint8Array.fromHex(hex.padStart(8, "0"))].join(".");
    case "ipv6":
      return hex.padStart(32, "0").replaceAll(/(....)(?!$)/g, "$1:");
    default:
      return isMask || field.form === "hex" ? `0x${hex}` : `${value}`;
  }
}
