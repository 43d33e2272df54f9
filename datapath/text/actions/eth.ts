/** Text of the actions on the Ethernet header. */
import { formatMac, scanMac } from "../addresses.ts";
import { type ActionText, actionText } from "./form.ts";
import { bytesToHex, hexToBytes, scanParts } from "./parts.ts";

export const PUSH_ETH: ActionText = actionText("push_eth", {
  name: "push_eth",
  summary: "Puts an Ethernet header in front of a packet that has none.",
  example: "push_eth(src=02:00:00:00:00:01,dst=02:00:00:00:00:02)",
  scan: ({ scanner }) => {
    const found = { src: "", dst: "" };
    const bytes = new Uint8Array(6);
    const mac = (name: "src" | "dst") => (what: string): void => {
      scanMac(scanner, bytes, 0, what);
      found[name] = bytesToHex(bytes);
    };
    scanParts(scanner, "push_eth", {
      values: { src: mac("src"), dst: mac("dst") },
      needed: ["src", "dst"],
    });
    return { type: "push_eth", ...found };
  },
  format: ({ src, dst }) =>
    `push_eth(src=${formatMac(hexToBytes(src), 0)},dst=${formatMac(hexToBytes(dst), 0)})`,
});

export const POP_ETH: ActionText = actionText("pop_eth", {
  name: "pop_eth",
  summary: "Takes the Ethernet header off.",
  example: "pop_eth",
  scan: () => ({ type: "pop_eth" }),
  format: () => "pop_eth",
});
