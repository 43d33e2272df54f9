/**
 * OpenFlow actions that make Open vSwitch build those of its datapath that `dpctl` can't read:
 * push_mpls, pop_mpls, push_eth, pop_eth, add_mpls, sets of NSH, and recirculation in between.
 */
import type { Random } from "../../datapath/testing/flows.ts";
import { makeFrame } from "../../datapath/testing/frames.ts";

export interface OpenFlowCase {
  readonly frame: Uint8Array;
  /** Protocol keyword and destination of the flow's match. */
  readonly match: string;
  readonly actions: string;
}

/** Case `index`: frames differ by their destination address. */
export function randomCase(random: Random, index: number): OpenFlowCase {
  const isIpv6 = random(2) === 0;
  const tags = random(3) === 0 ? [0x8100b005] : [];
  const protocol = (["tcp", "udp", "icmp"] as const)[random(3)]!;
  const { bytes } = makeFrame({ isIpv6, tags, protocol, payloadSize: random(100) });
  bytes.set([2, 0, 0, 1, index >> 8, index & 255]);
  const destination = [...bytes.subarray(0, 6)].map((byte) => byte.toString(16).padStart(2, "0"));
  const steps: string[] = [];
  const type = isIpv6 ? "0x86dd" : "0x0800";
  const state = { labels: 0, pushed: 0, isTagged: tags.length > 0, type };
  for (let count = 1 + random(6); count > 0; count--) steps.push(...step(random, state));
  steps.push(output(random));
  return {
    frame: bytes,
    match: `${isIpv6 ? "ipv6" : "ip"},dl_dst=${destination.join(":")}`,
    actions: steps.join(","),
  };
}

function output(random: Random): string {
  return `output:${2 + random(3)}`;
}

interface State {
  labels: number;
  /** Tags: no more than one, as Open vSwitch counts those of clones too. */
  pushed: number;
  isTagged: boolean;
  readonly type: string;
}

function step(random: Random, state: State): string[] {
  switch (random(11)) {
    case 0:
    case 1:
      if (state.labels === 3) return [output(random)];
      state.labels++;
      return [`push_mpls:0x884${7 + random(2)}`, ...labelSets(random)];
    case 2:
    case 3:
      if (state.labels === 0) return ["dec_ttl"];
      state.labels--;
      return [`pop_mpls:${state.labels === 0 ? state.type : "0x8847"}`];
    case 4:
      return [`set_field:${mac(random)}->eth_src`];
    case 5:
      return [output(random)];
    case 6:
      if (state.labels > 0) return labelSets(random);
      if (state.pushed > 0) return ["dec_ttl"];
      state.pushed++;
      state.isTagged = true;
      return [`push_vlan:0x8100`, `set_field:${4096 + random(4096)}->vlan_vid`];
    case 7:
      return [`clone(${nested(random, state)})`];
    case 8:
      if (state.isTagged) return [output(random)]; // a difference
      // The output before makes Open vSwitch apply what is pending: pushes are another difference.
      return [output(random), `output(port=${2 + random(3)},max_len=${14 + random(100)})`];
    default:
      return [state.labels > 0 ? output(random) : `clone(${wrapped(random)})`];
  }
}

function nested(random: Random, state: State): string {
  const inner = { ...state, pushed: 1 };
  return [...step(random, inner), ...step(random, inner), output(random)].join(",");
}

function labelSets(random: Random): string[] {
  const sets = [
    `set_field:${random(1 << 20)}->mpls_label`,
    `set_field:${random(8)}->mpls_tc`,
    `set_mpls_ttl(${1 + random(255)})`,
  ];
  return sets.filter(() => random(2) === 0);
}

function mac(random: Random): string {
  const hex = (): string => random(256).toString(16).padStart(2, "0");
  return ["02", hex(), hex(), hex(), hex(), hex()].join(":");
}

/** Headers put around the whole frame, or its own taken away, and an Ethernet header in front again. */
function wrapped(random: Random): string {
  const ethernet = ["encap(ethernet)", `set_field:${mac(random)}->eth_dst`];
  const nsh = [
    random(2) === 0
      ? "encap(nsh(md_type=1))"
      : `encap(nsh(md_type=2,tlv(0x1000,10,0x12345678),tlv(0x2000,20,0xfedcba9876543210)))`,
    `set_field:0x${random(1 << 24).toString(16)}->nsh_spi`,
    `set_field:${random(256)}->nsh_si`,
    `set_field:${random(64)}->nsh_ttl`,
  ];
  switch (random(6)) {
    case 0:
      return ["decap()", ...ethernet, output(random)].join(",");
    case 1:
      return [...nsh, ...ethernet, output(random)].join(",");
    case 2:
      return [...nsh, ...ethernet, `set_field:${random(64)}->nsh_ttl`, output(random)].join(",");
    case 3:
      return [...nsh, "decap()", output(random)].join(",");
    case 4:
      return [...nsh, ...ethernet, "decap()", "decap()", output(random)].join(",");
    default:
      return ["decap()", ...nsh, ...ethernet, output(random)].join(",");
  }
}
