/** Text of userspace, which hands the packet to a handler. */
import type { UserspaceAction } from "../../actions/actions.ts";
import { failOpen } from "../parentheses.ts";
import { CLOSE, OPEN } from "../scanner.ts";
import { cookieReaders, formatCookie } from "./cookies.ts";
import { type ActionText, actionText, type FormatContext, type ScanContext } from "./form.ts";
import { type ReadPart, scanBytePairs, scanParts } from "./parts.ts";
import { ANY_PORT, formatPort, scanPort } from "./ports.ts";

function scanUserspace(context: ScanContext): UserspaceAction {
  const { scanner } = context;
  let pid = 0;
  let userdata: string | undefined;
  let actions = false;
  let tunnelOutPort: number | undefined;
  let partAt = scanner.at;
  const take = (bytes: string): void => {
    if (userdata !== undefined) scanner.fail(partAt, "userspace can have only one cookie");
    userdata = bytes;
  };
  // A second cookie is refused where it begins.
  const readers: Record<string, ReadPart> = {
    ...cookieReaders(context, take),
    userdata: () => take(scanUserdata(context)),
  };
  const cookies = Object.entries(readers).map(([name, read]) => [name, (what: string) => {
    partAt = scanner.at - name.length;
    read(what);
  }]);
  scanParts(scanner, "userspace", {
    values: {
      pid: (what) => void (pid = scanner.number(32, what)),
      tunnel_out_port: (what) => void (tunnelOutPort = scanPort(context, what, ANY_PORT)),
    },
    flags: { actions: () => void (actions = true), ...Object.fromEntries(cookies) },
    needed: ["pid"],
  });
  return { type: "userspace", pid, userdata, actions, tunnelOutPort };
}

function scanUserdata({ scanner }: ScanContext): string {
  const openAt = scanner.at;
  scanner.expect(OPEN, "after userdata");
  const bytes = scanBytePairs(scanner, "userdata");
  if (scanner.ended) failOpen(scanner, openAt, "userdata");
  scanner.expect(CLOSE, "after the bytes of userdata");
  return bytes;
}

function formatUserspace(action: UserspaceAction, context: FormatContext): string {
  const { pid, userdata, actions, tunnelOutPort } = action;
  const parts = [`pid=${pid}`];
  if (userdata !== undefined) {
    parts.push(formatCookie(userdata, context) ?? `userdata(${userdata})`);
  }
  if (actions) parts.push("actions");
  if (tunnelOutPort !== undefined) {
    parts.push(`tunnel_out_port=${formatPort(tunnelOutPort, context)}`);
  }
  return `userspace(${parts.join(",")})`;
}

export const USERSPACE: ActionText = actionText("userspace", {
  name: "userspace",
  summary:
    "Hands the packet to the handler with that netlink port, with bytes that it gets back: " +
    "userdata(…), or one of Open vSwitch's cookies sFlow, slow_path, flow_sample, ipfix, controller.",
  example: "userspace(pid=4,userdata(0102a0))",
  scan: scanUserspace,
  format: formatUserspace,
});
