/** Text of the actions on VLAN tags. */
import { ETH_P_8021Q } from "../../fields/fields.ts";
import { VLAN_PRESENT } from "../../key.ts";
import { type ActionText, actionText } from "./form.ts";
import { scanParts } from "./parts.ts";

export const PUSH_VLAN: ActionText = actionText("push_vlan", {
  name: "push_vlan",
  summary: "Puts a VLAN tag in front of all others; tpid is 0x8100 if left out.",
  example: "push_vlan(vid=12,pcp=0)",
  scan: ({ scanner }) => {
    let tpid: number = ETH_P_8021Q;
    let tci = VLAN_PRESENT;
    const number = (bits: number, take: (value: number) => void) => (what: string): void =>
      take(scanner.number(bits, what));
    scanParts(scanner, "push_vlan", {
      values: {
        tpid: number(16, (value) => tpid = value),
        vid: number(12, (value) => tci |= value),
        pcp: number(3, (value) => tci |= value << 13),
        cfi: number(32, (value) => tci = value === 0 ? tci & ~VLAN_PRESENT : tci),
      },
      needed: ["vid"],
    });
    return { type: "push_vlan", tpid, tci };
  },
  format: ({ tpid, tci }) => {
    const type = tpid === ETH_P_8021Q ? "" : `tpid=0x${tpid.toString(16).padStart(4, "0")},`;
    const absent = (tci & VLAN_PRESENT) === 0 ? ",cfi=0" : "";
    return `push_vlan(${type}vid=${tci & 0xfff},pcp=${tci >> 13 & 7}${absent})`;
  },
});

export const POP_VLAN: ActionText = actionText("pop_vlan", {
  name: "pop_vlan",
  summary: "Takes the outermost VLAN tag off.",
  example: "pop_vlan",
  scan: () => ({ type: "pop_vlan" }),
  format: () => "pop_vlan",
});
