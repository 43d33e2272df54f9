/** What a datapath, a port and their kinds may be called, and finding them by it. */
import type { DatapathType } from "./api.ts";
import { refuse } from "./command_errors.ts";
import type { Datapath, Model, PortRecord } from "./model.ts";

export const DATAPATH_TYPES: readonly DatapathType[] = ["netdev", "dummy"];
/** IFNAMSIZ − 1. */
const NAME_SIZE_MAX = 15;

/** Splits `[type@]name`; the type must be a known one. */
export function parseDatapathName(text: string): { type: DatapathType | undefined; name: string } {
  const at = text.indexOf("@");
  if (at < 0) return { type: undefined, name: text };
  const word = text.slice(0, at);
  const type = DATAPATH_TYPES.find((one) => one === word);
  if (word === "system") {
    refuse("EOPNOTSUPP", `${text} is the kernel's: denovs commands drive it, the daemon does not`);
  }
  if (type === undefined) {
    const known = [...DATAPATH_TYPES, "system"].join(", ");
    refuse("EINVAL", `unknown datapath type "${word}" (known: ${known})`);
  }
  return { type, name: text.slice(at + 1) };
}

/** The type that a port really has: `system` is netdev, and a dummy datapath makes dummies of real devices. */
export function realPortType(datapath: DatapathType, type: string): string {
  const plain = type === "system" ? "netdev" : type;
  return datapath === "dummy" && (plain === "netdev" || plain === "internal") ? "dummy" : plain;
}

/** The kernel's dev_valid_name(), since names are (or may become) those of devices. */
export function checkDeviceName(kind: "datapath" | "port", name: string): void {
  const say = (why: string): never => refuse("EINVAL", `"${name}" cannot name a ${kind}: ${why}`);
  if (name === "") say(`the name is empty (1 to ${NAME_SIZE_MAX} bytes)`);
  const size = new TextEncoder().encode(name).length;
  if (size > NAME_SIZE_MAX) say(`it has ${size} bytes (at most ${NAME_SIZE_MAX})`);
  if (name === "." || name === "..") say("it is a directory");
  if (/[/:]/.test(name)) say("it has a slash or a colon");
  // deno-lint-ignore no-control-regex
  if (/[\s\u0000-\u001f\u007f]/.test(name)) say("it has a blank or a control character");
}

/** The datapath called `dp`, or the only one when absent. Throws ENODEV, or EINVAL when it can't be told. */
export function findDatapath(model: Model, dp: string | undefined): Datapath {
  if (dp === undefined) return onlyDatapath(model);
  const { type, name } = parseDatapathName(dp);
  const datapath = model.get(name);
  if (datapath === undefined) {
    refuse("ENODEV", `no datapath "${name}" exists (${existing(model)})`);
  }
  if (type !== undefined && type !== datapath.record.type) {
    refuse("ENODEV", `no datapath ${dp} exists: ${name} is ${datapath.record.type}@${name}`);
  }
  return datapath;
}

/** The port called `text`, or with the number `text`. */
export function findPort(datapath: Datapath, text: string): PortRecord | undefined {
  const byName = datapath.portNamed(text);
  if (byName !== undefined || !/^\d{1,5}$/.test(text)) return byName;
  return datapath.port(Number(text));
}

/** Where a device is in use already. */
export function findDevice(
  model: Model,
  name: string,
): { datapath: Datapath; port: PortRecord } | undefined {
  for (const datapath of model.values()) {
    const port = datapath.portNamed(name);
    if (port !== undefined) return { datapath, port };
  }
  return undefined;
}

function onlyDatapath(model: Model): Datapath {
  const [first, second] = model.values();
  if (first === undefined) refuse("ENODEV", "no datapath exists (dp-add makes one)");
  if (second !== undefined) {
    refuse("EINVAL", `which datapath? There are ${model.size}; name one (${existing(model)})`);
  }
  return first;
}

function existing(model: Model): string {
  if (model.size === 0) return "there is none; dp-add makes one";
  const names = [...model.keys()];
  const shown = names.slice(0, 8).join(", ");
  return `existing: ${shown}${names.length > 8 ? ", …" : ""}`;
}
