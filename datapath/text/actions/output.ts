/** Text of the actions that end a packet's way or send it on. */
import type { Action } from "../../actions/actions.ts";
import { PORT_MAX } from "../../key.ts";
import { CLOSE, OPEN } from "../scanner.ts";
import { type ActionText, actionText } from "./form.ts";
import { hex, scanDecimal, scanSingle } from "./parts.ts";
import { ANY_PORT, formatPort, scanPort } from "./ports.ts";

export const OUTPUT: ActionText = actionText("output", {
  name: "output",
  summary: "Sends the packet to a port, which is all of the text: its number, or its name where " +
    "names are known.",
  example: "1",
  scan: (context) => {
    const from = context.scanner.at;
    const port = context.scanner.number(32, "output port");
    if (port > PORT_MAX) context.scanner.fail(from, `an output port must be 0 … ${PORT_MAX}`);
    return { type: "output", port };
  },
  format: (action, context) => formatPort(action.port, context),
});

export const DROP: ActionText = actionText("drop", {
  name: "drop",
  summary: "Ends the list: the packet goes nowhere. A reason in parentheses is a number of Open " +
    "vSwitch's enum xlate_error, which its own text can't say.",
  example: "drop",
  scan: ({ scanner }) => {
    if (scanner.peek() !== OPEN) return { type: "drop", reason: 0 };
    const reason = scanSingle(scanner, "drop", (what) => scanner.number(32, `${what} reason`));
    return { type: "drop", reason };
  },
  format: ({ reason }) => reason === 0 ? "drop" : `drop(${reason})`,
});

export const RECIRC: ActionText = actionText("recirc", {
  name: "recirc",
  summary: "Sends the packet through the flow table again, with that recirc_id.",
  example: "recirc(0x1)",
  scan: ({ scanner }) => ({
    type: "recirc",
    id: scanSingle(scanner, "recirc", (what) => scanDecimal(scanner, 32, what)),
  }),
  format: ({ id }) => `recirc(${hex(id)})`,
});

export const LB_OUTPUT: ActionText = actionText("lb_output", {
  name: "lb_output",
  summary: "Sends the packet to one member of a bond, by its hash (userspace datapath only).",
  example: "lb_output(1)",
  scan: ({ scanner }) => ({
    type: "lb_output",
    bond: scanSingle(scanner, "lb_output", (what) => scanDecimal(scanner, 32, what)),
  }),
  format: ({ bond }) => `lb_output(${bond})`,
});

export const TUNNEL_POP: ActionText = actionText("tnl_pop", {
  name: "tnl_pop",
  summary: "Strips the tunnel header and sends the packet through the table again, as from that " +
    "port (userspace datapath only).",
  example: "tnl_pop(4)",
  scan: (context) => ({
    type: "tnl_pop",
    port: scanSingle(context.scanner, "tnl_pop", (what) => scanPort(context, what, ANY_PORT)),
  }),
  format: ({ port }, context) => `tnl_pop(${formatPort(port, context)})`,
});

export const UNKNOWN: ActionText = actionText("unknown", {
  name: "action",
  summary: "An action that this version does not know: its netlink number behind the word, its " +
    "payload in bytes.",
  example: "action200(01 02)",
  scan: ({ scanner }) => {
    const number = scanner.number(16, "action number");
    if (scanner.peek() !== OPEN) return { type: "unknown", number, payload: "" };
    const openAt = scanner.at++;
    const from = scanner.at;
    const inside = scanner.until(CLOSE);
    const bytes = inside.trim() === "" ? [] : inside.trim().split(/ +/);
    const wrong = bytes.findIndex((byte) => !/^[0-9a-f]{2}$/i.test(byte));
    if (wrong >= 0) {
      const at = from + inside.search(/[^ ]/) + bytes.slice(0, wrong).join(" ").length;
      scanner.fail(wrong === 0 ? at : at + 1, "an unknown action has bytes: action200(01 ff)");
    }
    if (!scanner.take(CLOSE)) scanner.fail(openAt, `the "(" after action${number} is never closed`);
    return { type: "unknown", number, payload: bytes.join("").toLowerCase() };
  },
  format: ({ number, payload }: Extract<Action, { type: "unknown" }>) =>
    `action${number}` + (payload === "" ? "" : `(${payload.replace(/..(?=.)/g, "$& ")})`),
});
