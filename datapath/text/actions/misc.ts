/** Text of the actions that change what the datapath keeps of a packet, not its bytes. */
import type { HashAction, PsampleAction } from "../../actions/actions.ts";
import { CLOSE, OPEN } from "../scanner.ts";
import { failOpen } from "../parentheses.ts";
import { type ActionText, actionText, type ScanContext } from "./form.ts";
import { formatHexBytes, scanHexBytes, scanParts, scanSingle } from "./parts.ts";

/** OVS_PSAMPLE_COOKIE_MAX_SIZE. */
const COOKIE_MAX = 16;

export const CT_CLEAR: ActionText = actionText("ct_clear", {
  name: "ct_clear",
  summary: "Forgets what connection tracking said about the packet.",
  example: "ct_clear",
  scan: () => ({ type: "ct_clear" }),
  format: () => "ct_clear",
});

function scanHash({ scanner }: ScanContext): HashAction {
  const openAt = scanner.at;
  scanner.expect(OPEN, "after hash");
  const from = scanner.at;
  const algorithm = scanner.word();
  if (algorithm !== "l4" && algorithm !== "sym_l4") {
    return scanner.unknown(from, "algorithm of hash", algorithm, ["l4", "sym_l4"]);
  }
  const basis = scanSingle(scanner, `hash ${algorithm}`, (what) => scanner.number(32, what));
  if (scanner.ended) failOpen(scanner, openAt, "hash");
  scanner.expect(CLOSE, `after hash(${algorithm}(…)`);
  return { type: "hash", algorithm, basis };
}

export const HASH: ActionText = actionText("hash", {
  name: "hash",
  summary:
    "Computes dp_hash from the packet's addresses and ports: l4, or sym_l4, which is the same " +
    "in both directions.",
  example: "hash(l4(0))",
  scan: scanHash,
  format: ({ algorithm, basis }) => `hash(${algorithm}(${basis}))`,
});

export const TRUNC: ActionText = actionText("trunc", {
  name: "trunc",
  summary: "The next output sends at most so many bytes.",
  example: "trunc(100)",
  scan: ({ scanner }) => ({
    type: "trunc",
    sizeMax: scanSingle(scanner, "trunc", (what) => scanner.number(32, what)),
  }),
  format: ({ sizeMax }) => `trunc(${sizeMax})`,
});

export const METER: ActionText = actionText("meter", {
  name: "meter",
  summary: "Drops the packet if it exceeds the rate of that meter.",
  example: "meter(1)",
  scan: ({ scanner }) => ({
    type: "meter",
    id: scanSingle(scanner, "meter", (what) => scanner.number(32, what)),
  }),
  format: ({ id }) => `meter(${id})`,
});

function scanPsample({ scanner }: ScanContext): PsampleAction {
  let group = 0;
  let cookie: string | undefined;
  scanParts(scanner, "psample", {
    values: {
      group: (what) => void (group = scanner.number(32, what)),
      cookie: (what) => void (cookie = scanHexBytes(scanner, what, COOKIE_MAX)),
    },
    needed: ["group"],
  });
  return { type: "psample", group, cookie };
}

export const PSAMPLE: ActionText = actionText("psample", {
  name: "psample",
  summary: "Gives the packet to the listeners of a psample group, with a cookie of up to 16 bytes.",
  example: "psample(group=12,cookie=0x102a)",
  scan: scanPsample,
  format: ({ group, cookie }) =>
    `psample(group=${group}${cookie === undefined ? "" : `,cookie=${formatHexBytes(cookie)}`})`,
});
