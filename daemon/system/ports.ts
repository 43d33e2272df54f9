/** Ports of a kernel datapath: port-add, port-del, port-set, port-list. */
import type { Methods, PortInfo } from "../api.ts";
import { refuse, toCommandError } from "../command_errors.ts";
import { LOCAL_PORT } from "../model.ts";
import { checkDeviceName } from "../names.ts";
import { checkPortids } from "../port_settings.ts";
import { findDatapath } from "./datapaths.ts";
import { explain } from "./errors.ts";
import type { Kernel, KernelDatapath, KernelPort, TunnelOptions } from "./kernel.ts";
import type { Undo } from "./undo.ts";
import { OptionError } from "../../datapath/errors.ts";
import type { PortNames } from "../../datapath/text/flow_text.ts";
import { NO_UPCALLS } from "../../datapath/upcall_dispatch.ts";
import { optionReader } from "../../vports/options.ts";

/** Our names of OVS_VPORT_TYPE_*, by number. */
const TYPE_NAMES = ["", "netdev", "internal", "gre", "vxlan", "geneve"] as const;
/** Types that carry UDP, with the port that the kernel does not choose for them. */
const DST_PORTS: Readonly<Record<string, number>> = { vxlan: 4789, geneve: 6081 };
const PORT_MAX = 65534;

/** Names of a datapath's ports, for flow text. */
export class KernelPortNames implements PortNames {
  readonly #ports: readonly KernelPort[];

  constructor(ports: readonly KernelPort[]) {
    this.#ports = ports;
  }

  byName(name: string): number | undefined {
    return this.#ports.find((port) => port.name === name)?.portNo;
  }

  byNo(portNo: number): string | undefined {
    return this.#ports.find((port) => port.portNo === portNo)?.name;
  }
}

export function addPort(
  kernel: Kernel,
  params: Methods["port-add"]["params"],
  undo: Undo,
): Methods["port-add"]["result"] {
  const datapath = findDatapath(kernel, params.dp);
  const { port: name, portNo } = params;
  const doing = `cannot add port "${name}" to system@${datapath.name}`;
  checkDeviceName("port", name);
  const type = typeNumber(params.type ?? "netdev", doing);
  const options = readOptions(type, params.options ?? {}, doing);
  if (portNo !== undefined && portNo > PORT_MAX) {
    refuse("EFBIG", `${doing}: port number ${portNo} is too large (1 to ${PORT_MAX})`);
  }
  const ports = kernel.ports(datapath);
  const same = ports.find((port) => port.name === name);
  if (same !== undefined) {
    if (params.mayExist !== true) {
      refuse("EEXIST", `${doing}: it is port ${same.portNo} of ${datapath.name} already`);
    }
    checkSame(same, { type, portNo, options: params.options === undefined ? undefined : options });
    return { created: false, portNo: same.portNo };
  }
  const taken = portNo === undefined || portNo === LOCAL_PORT
    ? undefined
    : ports.find((port) => port.portNo === portNo);
  if (taken !== undefined) {
    refuse("EBUSY", `${doing}: port number ${portNo} is taken by "${taken.name}"`);
  }
  const spec = { name, type, portNo: portNo === LOCAL_PORT ? undefined : portNo, options };
  const added = explain(doing, () => kernel.addPort(datapath, spec), reasonsFor(spec));
  try {
    explain(doing, () => kernel.setUp(name));
  } catch (error) {
    kernel.deletePort(datapath, added);
    throw error;
  }
  undo.done(() => kernel.deletePort(datapath, added));
  return { created: true, portNo: added };
}

/** What deletes it, when it is there. Can't be taken back: an internal port's device goes with it. */
export function prepareDeletion(
  kernel: Kernel,
  { dp, port: text, ifExists }: Methods["port-del"]["params"],
): () => Methods["port-del"]["result"] {
  const datapath = findDatapath(kernel, dp);
  const { name } = datapath;
  const port = findPort(kernel.ports(datapath), text);
  if (port === undefined) {
    if (ifExists === true) return () => ({ deleted: false });
    refuse("ENOENT", `cannot delete port "${text}": system@${name} has no such port`);
  }
  if (port.portNo === LOCAL_PORT) {
    refuse("EINVAL", `cannot delete port 0 of system@${name}: it goes with the datapath (dp-del)`);
  }
  return () => {
    const doing = `cannot delete port "${text}" of system@${name}`;
    explain(doing, () => kernel.deletePort(datapath, port.portNo));
    return { deleted: true };
  };
}

/** Whom a port's upcalls go to; the kernel's types have no option that could be changed. */
export function setPort(
  kernel: Kernel,
  { dp, port: text, options, portids }: Methods["port-set"]["params"],
  undo: Undo,
): Methods["port-set"]["result"] {
  const datapath = findDatapath(kernel, dp);
  const { name } = datapath;
  const doing = `cannot set port "${text}" of system@${name}`;
  const port = findPort(kernel.ports(datapath), text);
  if (port === undefined) refuse("ENOENT", `${doing}: system@${name} has no such port`);
  if (options !== undefined && Object.keys(options).length > 0) {
    const [option] = Object.keys(options);
    refuse("EOPNOTSUPP", `${doing}: the kernel can't change ${option} of a port (only upcall)`);
  }
  if (portids === undefined) refuse("EINVAL", `${doing}: nothing to set (upcall)`);
  const wanted = portids.length === 0 ? [NO_UPCALLS] : checkPortids(portids);
  if (`${port.upcallPids}` === `${wanted}`) return { changed: false };
  explain(doing, () => kernel.setUpcallPids(datapath, port.portNo, wanted));
  undo.done(() => kernel.setUpcallPids(datapath, port.portNo, port.upcallPids));
  return { changed: true };
}

export function listPorts(
  kernel: Kernel,
  { dp, statistics = false }: Methods["port-list"]["params"],
): Methods["port-list"]["result"] {
  return { ports: describePorts(kernel, findDatapath(kernel, dp), statistics) };
}

export function describePorts(
  kernel: Kernel,
  datapath: KernelDatapath,
  statistics: boolean,
): PortInfo[] {
  const macs = kernel.macs();
  return kernel.ports(datapath).toSorted((a, b) => a.portNo - b.portNo).map((port) => {
    const { portNo, name, counters } = port;
    const info: PortInfo = {
      portNo,
      name,
      type: TYPE_NAMES[port.type] || `type${port.type}`,
      options: shownOptions(port),
      mac: macs.get(name) ?? null,
      state: "up",
      reason: null,
      ...(hasListeners(port) ? { portids: port.upcallPids } : {}),
    };
    return statistics ? { ...info, counters } : info;
  });
}

/** By name, or by number. */
function findPort(ports: readonly KernelPort[], text: string): KernelPort | undefined {
  return ports.find((port) => port.name === text) ??
    ports.find((port) => /^\d{1,5}$/.test(text) && port.portNo === Number(text));
}

function typeNumber(type: string, doing: string): number {
  const number = TYPE_NAMES.indexOf(
    (type === "system" ? "netdev" : type) as typeof TYPE_NAMES[number],
  );
  if (number > 0) return number;
  const known = TYPE_NAMES.slice(1).join(", ");
  refuse("EINVAL", `${doing}: the kernel has no type "${type}" (known: ${known})`);
}

function readOptions(
  type: number,
  options: Readonly<Record<string, string>>,
  doing: string,
): TunnelOptions {
  const name = TYPE_NAMES[type] ?? "";
  const raw = new Map(Object.entries(options));
  try {
    if (name === "vxlan") optionReader.only(raw, ["dst_port", "exts"]);
    else if (name === "geneve") optionReader.only(raw, ["dst_port"]);
    else optionReader.only(raw, []);
    const fallback = DST_PORTS[name];
    const exts = raw.get("exts");
    if (exts !== undefined && exts !== "gbp") {
      throw new OptionError("exts", `Option exts must be gbp: it is "${exts}"`);
    }
    return {
      dstPort: fallback === undefined
        ? undefined
        : optionReader.integer(raw, "dst_port", { min: 1, max: 65535, fallback }),
      gbp: exts === "gbp",
    };
  } catch (error) {
    throw toCommandError(error, { doing });
  }
}

function hasListeners({ upcallPids }: KernelPort): boolean {
  return upcallPids.some((pid) => pid !== NO_UPCALLS);
}

function shownOptions({ type, options }: KernelPort): Record<string, string> {
  const shown: Record<string, string> = {};
  const { dstPort, gbp } = options;
  if (dstPort !== undefined && dstPort !== DST_PORTS[TYPE_NAMES[type] ?? ""]) {
    shown["dst_port"] = `${dstPort}`;
  }
  if (gbp) shown["exts"] = "gbp";
  return shown;
}

/** `--may-exist` accepts a port only as it was asked for. */
function checkSame(
  port: KernelPort,
  wanted: {
    type: number;
    portNo: number | undefined;
    options: TunnelOptions | undefined;
  },
): void {
  const doing = `cannot add port "${port.name}": it exists`;
  if (wanted.type !== port.type) refuse("EEXIST", `${doing} with type ${TYPE_NAMES[port.type]}`);
  if (wanted.portNo !== undefined && wanted.portNo !== 0 && wanted.portNo !== port.portNo) {
    refuse("EEXIST", `${doing} with number ${port.portNo}`);
  }
  const { options } = wanted;
  if (
    options !== undefined &&
    (options.dstPort !== port.options.dstPort || options.gbp !== port.options.gbp)
  ) {
    const shown = Object.entries(shownOptions(port)).map(([key, value]) => `${key}=${value}`);
    refuse("EEXIST", `${doing} with ${shown.join(",") || "no options"}`);
  }
}

function reasonsFor(
  { name, type, options }: { name: string; type: number; options: TunnelOptions },
): Record<string, string> {
  if (TYPE_NAMES[type] === "netdev") {
    return {
      ENODEV: `no device "${name}" exists`,
      EBUSY: `device "${name}" is in use by another datapath, bridge or bond`,
      EINVAL: `device "${name}" can't be a port (loopback, not Ethernet, or of another datapath)`,
    };
  }
  return {
    EEXIST: `a device or tunnel like it exists already (name "${name}")`,
    EADDRINUSE: `UDP port ${options.dstPort} is in use`,
  };
}
