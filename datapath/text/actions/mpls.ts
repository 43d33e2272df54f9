/** Text of the actions on MPLS labels. */
import type { Scanner } from "../scanner.ts";
import { type ActionText, actionText } from "./form.ts";
import { scanDecimal, scanHex, scanParts } from "./parts.ts";

interface Entry {
  lse: number;
  ethType: number;
  flags: number;
}

function scanEntry(scanner: Scanner, owner: string, hasFlags: boolean): Entry {
  const entry: Entry = { lse: 0, ethType: 0, flags: 0 };
  const put = (bits: number, shift: number) => (what: string): void => {
    const value = bits > 8 ? scanner.number(bits, what) : scanDecimal(scanner, bits, what);
    entry.lse = (entry.lse | value << shift) >>> 0;
  };
  const values = {
    label: put(20, 12),
    tc: put(3, 9),
    ttl: put(8, 0),
    bos: put(1, 8),
    eth_type: (what: string): void => void (entry.ethType = scanHex(scanner, 16, what)),
  };
  const flags = (what: string): void => void (entry.flags = scanner.number(16, what));
  scanParts(scanner, owner, {
    values: hasFlags ? { ...values, tun_flags: flags } : values,
    needed: ["label", "tc", "ttl", "bos", "eth_type"],
  });
  return entry;
}

function formatEntry(lse: number, ethType: number): string {
  const parts = [
    `label=${lse >>> 12}`,
    `tc=${lse >>> 9 & 7}`,
    `ttl=${lse & 0xff}`,
    `bos=${lse >>> 8 & 1}`,
    `eth_type=0x${ethType.toString(16)}`,
  ];
  return parts.join(",");
}

export const PUSH_MPLS: ActionText = actionText("push_mpls", {
  name: "push_mpls",
  summary: "Puts an MPLS label stack entry behind the Ethernet header, in front of all others.",
  example: "push_mpls(label=100,tc=0,ttl=64,bos=1,eth_type=0x8847)",
  scan: ({ scanner }) => {
    const { lse, ethType } = scanEntry(scanner, "push_mpls", false);
    return { type: "push_mpls", lse, ethType };
  },
  format: ({ lse, ethType }) => `push_mpls(${formatEntry(lse, ethType)})`,
});

export const ADD_MPLS: ActionText = actionText("add_mpls", {
  name: "add_mpls",
  summary:
    "Puts an MPLS label stack entry in front of the Ethernet header, or, with tun_flags=1, " +
    "behind it.",
  example: "add_mpls(label=100,tc=0,ttl=64,bos=1,eth_type=0x8847)",
  scan: ({ scanner }) => ({ type: "add_mpls", ...scanEntry(scanner, "add_mpls", true) }),
  format: ({ lse, ethType, flags }) => {
    const tail = flags === 0 ? "" : `,tun_flags=${flags}`;
    return `add_mpls(${formatEntry(lse, ethType)}${tail})`;
  },
});

export const POP_MPLS: ActionText = actionText("pop_mpls", {
  name: "pop_mpls",
  summary: "Takes the outermost MPLS label stack entry off; eth_type says what is below.",
  example: "pop_mpls(eth_type=0x800)",
  scan: ({ scanner }) => {
    let ethType = 0;
    scanParts(scanner, "pop_mpls", {
      values: { eth_type: (what) => void (ethType = scanHex(scanner, 16, what)) },
      needed: ["eth_type"],
    });
    return { type: "pop_mpls", ethType };
  },
  format: ({ ethType }) => `pop_mpls(eth_type=0x${ethType.toString(16)})`,
});
