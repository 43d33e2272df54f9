/** Text of the actions that have lists of their own. */
import type { Action, CheckPktLenAction, SampleAction } from "../../actions/actions.ts";
import { type ActionText, actionText, type FormatContext, type ScanContext } from "./form.ts";
import { scanParts } from "./parts.ts";

const PROBABILITY_MAX = 0xffffffff;
const PERCENT = 0x25;
const NUMBER = /[0-9]*\.?[0-9]*(?:e[+-]?[0-9]+)?/iy;

function scanSample({ scanner, list }: ScanContext): SampleAction {
  let probability = 0;
  let actions: Action[] = [];
  const openAt = scanner.at;
  let hasActions = false;
  scanParts(scanner, "sample", {
    values: {
      sample: () => {
        const from = scanner.at;
        NUMBER.lastIndex = from;
        const text = NUMBER.exec(scanner.text)?.[0] ?? "";
        const share = Number.parseFloat(text);
        if (!(share >= 0 && share <= 100)) scanner.fail(from, "sample must be 0% … 100%");
        scanner.at += text.length;
        scanner.expect(PERCENT, "after sample");
        probability = toProbability(share);
      },
    },
    flags: {
      actions: () => {
        hasActions = true;
        actions = list("sample");
      },
    },
    needed: ["sample"],
  });
  if (!hasActions) scanner.fail(openAt, "sample needs actions(…)");
  return { type: "sample", probability, actions };
}

function toProbability(share: number): number {
  return Math.min(PROBABILITY_MAX, Math.floor(PROBABILITY_MAX * (share / 100) + 0.5));
}

/** With as many decimals, at least one, as it takes to read the probability back. */
function formatShare(probability: number): string {
  const share = 100 * probability / PROBABILITY_MAX;
  for (let decimals = 1;; decimals++) {
    const text = share.toFixed(decimals);
    if (toProbability(Number(text)) === probability) return text;
  }
}

export const SAMPLE: ActionText = actionText("sample", {
  name: "sample",
  summary: "Runs a list on a copy of some packets, chosen at random.",
  example: "sample(sample=9.7%,actions(1))",
  scan: scanSample,
  format: ({ probability, actions }, context) =>
    `sample(sample=${formatShare(probability)}%,actions(${context.list(actions)}))`,
});

export const CLONE: ActionText = actionText("clone", {
  name: "clone",
  summary: "Runs a list on a copy of the packet.",
  example: "clone(push_vlan(vid=12,pcp=0),1)",
  scan: ({ list }) => ({ type: "clone", actions: list("clone") }),
  format: ({ actions }, context) => `clone(${context.list(actions)})`,
});

const EMPTY_BRANCH = /\([\s,]*drop[\s,]*\)/iy;

/** Open vSwitch reads `gt(drop)` as an empty list, and prints that so. */
function scanBranch({ scanner, list }: ScanContext, name: string): Action[] {
  EMPTY_BRANCH.lastIndex = scanner.at;
  if (!EMPTY_BRANCH.test(scanner.text)) return list(name);
  scanner.at = EMPTY_BRANCH.lastIndex;
  return [];
}

function formatBranch(actions: readonly Action[], { list }: FormatContext): string {
  if (actions.length === 0) return "drop";
  const text = list(actions);
  return text === "drop" ? "drop(0)" : text;
}

function scanCheckPktLen(context: ScanContext): CheckPktLenAction {
  const { scanner } = context;
  const openAt = scanner.at;
  let size = 0;
  const branches: { greater?: Action[]; lessEqual?: Action[] } = {};
  scanParts(scanner, "check_pkt_len", {
    values: { size: (what) => void (size = scanner.number(16, what)) },
    flags: {
      gt: () => void (branches.greater = scanBranch(context, "gt")),
      le: () => void (branches.lessEqual = scanBranch(context, "le")),
    },
    needed: ["size"],
  });
  const { greater, lessEqual } = branches;
  if (greater === undefined || lessEqual === undefined) {
    return scanner.fail(openAt, "check_pkt_len needs gt(…) and le(…)");
  }
  return { type: "check_pkt_len", size, greater, lessEqual };
}

export const CHECK_PKT_LEN: ActionText = actionText("check_pkt_len", {
  name: "check_pkt_len",
  summary:
    "Runs the list gt for packets longer than size, counted from the Ethernet header on, and " +
    "le for others.",
  example: "check_pkt_len(size=200,gt(1),le(drop))",
  scan: scanCheckPktLen,
  format: ({ size, greater, lessEqual }, context) =>
    `check_pkt_len(size=${size},gt(${formatBranch(greater, context)}),le(${
      formatBranch(lessEqual, context)
    }))`,
});

export const DEC_TTL: ActionText = actionText("dec_ttl", {
  name: "dec_ttl",
  summary:
    "Subtracts 1 from TTL or hop limit; for packets with 1 or 0 it runs the list le_1, and " +
    "they end there.",
  example: "dec_ttl(le_1(userspace(pid=4)))",
  scan: ({ scanner, list }) => {
    const openAt = scanner.at;
    const lists: Action[][] = [];
    scanParts(scanner, "dec_ttl", { flags: { le_1: () => void lists.push(list("le_1")) } });
    const [exceeded] = lists;
    if (exceeded === undefined) return scanner.fail(openAt, "dec_ttl needs le_1(…)");
    return { type: "dec_ttl", exceeded };
  },
  format: ({ exceeded }, context) => `dec_ttl(le_1(${context.list(exceeded)}))`,
});
