/** Text of datapaths and ports, in the shape of `ovs-dpctl show` and `dump-dps`. Pure. */
import type {
  DatapathCounters,
  DatapathInfo,
  LookupCounters,
  PortCounters,
  PortInfo,
  UpcallHandlerInfo,
} from "../api.ts";

export interface ShowOptions {
  /** As show -s: counters of the ports, and where the datapath's packets went. */
  readonly statistics?: boolean | undefined;
}

/** One `type@name` per line. */
export function renderDatapathList(
  datapaths: readonly { readonly name: string; readonly type: string }[],
): string {
  return datapaths.map(({ name, type }) => `${type}@${name}\n`).join("");
}

/** As `ovs-dpctl show`, with our `miss:` line, the reasons of drops, and ports that are not up. */
export function renderDatapaths(
  datapaths: readonly DatapathInfo[],
  options: ShowOptions = {},
): string {
  return datapaths.map((datapath) => renderDatapath(datapath, options)).join("");
}

/** As `ovs-dpctl cache-get-size`. */
export function renderCaches(datapaths: readonly DatapathInfo[]): string {
  return datapaths.map((one) => `${one.type}@${one.name}:\n${formatCaches(one)}`).join("");
}

function formatCaches({ masksCacheSize }: DatapathInfo): string {
  return masksCacheSize === undefined ? "" : `  caches:\n    masks-cache: size:${masksCacheSize}\n`;
}

/** Ours beyond dpctl. */
function renderHandler(handler: UpcallHandlerInfo, options: ShowOptions): string {
  const { path, state, reason, upcalls, thrown, refused, lost, restarts } = handler;
  const why = reason === null ? "" : `: ${reason}`;
  const text = `  upcall-handler: ${path}${state === "failed" ? ` [failed${why}]` : ""}\n`;
  if (options.statistics !== true) return text;
  const hung = restarts === 0 && lost === 0 ? "" : ` lost:${lost} restarts:${restarts}`;
  return `${text}    upcalls:${upcalls} thrown:${thrown} refused:${refused}${hung}\n`;
}

/** The table that `port-list` prints; with -s the counters under each port. */
export function renderPortList(ports: readonly PortInfo[], options: ShowOptions = {}): string {
  const rows: string[][] = [["PORT", "NAME", "TYPE", "STATE", "OPTIONS"]];
  for (const port of ports) {
    const why = port.reason ?? port.status;
    const state = why === undefined ? port.state : `${port.state} (${why})`;
    const options = formatOptions(settingsOf(port), " ");
    rows.push([`${port.portNo}`, port.name, port.type, state, options === "" ? "-" : options]);
  }
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)));
  let text = "";
  for (const [at, row] of rows.entries()) {
    text += row.map((cell, column) => cell.padEnd(widths[column]!)).join("  ").trimEnd() + "\n";
    const counters = at === 0 ? undefined : ports[at - 1]!.counters;
    if (options.statistics === true && counters !== undefined) text += renderCounters(counters);
  }
  return text;
}

function renderDatapath(datapath: DatapathInfo, options: ShowOptions): string {
  const { counters } = datapath;
  const looked = counters.hit + counters.missed;
  const masksPerPacket = looked === 0 ? 0 : counters.maskHit / looked;
  const hitRate = looked === 0 ? 0 : (counters.cacheHit / looked) * 100;
  let text = `${datapath.type}@${datapath.name}:\n` +
    `  lookups: hit:${counters.hit} missed:${counters.missed} lost:${counters.lost}` +
    `${lostHint(datapath)}\n` +
    `  flows: ${datapath.flows}\n` +
    `  masks: hit:${counters.maskHit} total:${datapath.masks} hit/pkt:${
      masksPerPacket.toFixed(2)
    }\n` +
    `  cache: hit:${counters.cacheHit} hit-rate:${hitRate.toFixed(2)}%\n` +
    `${formatCaches(datapath)}  miss: ${datapath.miss}\n`;
  const { upcallHandler, features = [], maxHeadroom } = datapath;
  if (upcallHandler !== undefined) text += renderHandler(upcallHandler, options);
  if (features.length > 0) text += `  features: ${features.join(" ")}\n`;
  if (datapath.portids !== undefined) text += `  upcall: ${datapath.portids.join(":")}\n`;
  if (maxHeadroom !== undefined && options.statistics === true) {
    text += `  max headroom: ${maxHeadroom}\n`;
  }
  if (countsPackets(counters)) {
    if (options.statistics === true) text += renderBalance(counters);
    const drops = formatDrops(counters.drops);
    if (drops !== "") text += `  drops: ${drops}\n`;
  }
  for (const port of datapath.ports) text += renderPort(port, options);
  return text;
}

function countsPackets(
  counters: DatapathCounters | LookupCounters,
): counters is DatapathCounters {
  return "received" in counters;
}

/** Why packets were lost, for whoever wonders at the number. */
function lostHint(datapath: DatapathInfo): string {
  if (datapath.counters.lost === 0) return "";
  if (datapath.upcallHandler?.state === "running") return " (see drops:)";
  if (datapath.miss === "upcall") return " (matched no flow, and nobody took them)";
  return datapath.miss === "drop"
    ? " (matched no flow; dropped, see miss:)"
    : " (matched no flow; see drops:)";
}

function renderBalance(counters: DatapathCounters): string {
  return `  packets: received:${counters.received} generated:${counters.generated}` +
    ` copied:${counters.copied} sent:${counters.sent} dropped:${counters.dropped}` +
    ` consumed:${counters.consumed} held:${counters.held}\n`;
}

function renderPort(port: PortInfo, options: ShowOptions): string {
  let text = `  port ${port.portNo}: ${port.name}`;
  const shown = formatOptions(settingsOf(port), ", ");
  // As in dpctl, the type of plain devices is not worth saying.
  if (port.type !== "netdev" || shown !== "") {
    text += ` (${port.type}${shown === "" ? "" : `: ${shown}`})`;
  }
  if (port.state === "absent" || port.state === "failed") {
    text += ` [${port.state}${port.reason === null ? "" : `: ${port.reason}`}]`;
  } else if (port.status !== undefined) {
    text += ` [${port.status}]`;
  }
  text += "\n";
  if (options.statistics === true && port.counters !== undefined) {
    text += renderCounters(port.counters);
  }
  return text;
}

function renderCounters(counters: PortCounters): string {
  const drops = formatDrops(counters.drops);
  const { rxErrors = "?", txErrors = "?" } = counters;
  return `    RX packets:${counters.rxPackets} errors:${rxErrors} dropped:${counters.rxDropped}` +
    " overruns:? frame:?\n" +
    `    TX packets:${counters.txPackets} errors:${txErrors} dropped:${counters.txDropped}` +
    " aborted:? carrier:?\n" +
    "    collisions:?\n" +
    `    RX bytes:${formatSize(counters.rxBytes)}  TX bytes:${formatSize(counters.txBytes)}\n` +
    renderUpcalls(counters) +
    (drops === "" ? "" : `    drops: ${drops}\n`);
}

function renderUpcalls({ upcalls, upcallErrors }: PortCounters): string {
  return upcalls === undefined ? "" : `    UPCALL packets:${upcalls} errors:${upcallErrors ?? 0}\n`;
}

/** Options of its type, and the one that every port has. */
function settingsOf({ options, portids }: PortInfo): Readonly<Record<string, string>> {
  return portids === undefined ? options : { ...options, upcall: portids.join(":") };
}

function formatOptions(options: Readonly<Record<string, string>>, separator: string): string {
  return Object.entries(options)
    .sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0))
    .map(([key, value]) => `${key}=${value}`)
    .join(separator);
}

function formatDrops(drops: Readonly<Record<string, number>>): string {
  return Object.entries(drops)
    .filter(([, count]) => count > 0)
    .map(([reason, count]) => `${reason}:${count}`)
    .join(" ");
}

/** `1500 (1.5 KiB)`: as dpctl's print_human_size, units from 1 KiB up. */
function formatSize(size: number): string {
  for (
    const [unit, name] of [[2 ** 40, "TiB"], [2 ** 30, "GiB"], [2 ** 20, "MiB"], [
      1024,
      "KiB",
    ]] as const
  ) {
    if (size >= unit) return `${size} (${(size / unit).toFixed(1)} ${name})`;
  }
  return `${size}`;
}
