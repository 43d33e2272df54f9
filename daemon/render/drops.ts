/** Text of `dp-show --drops`: a table of a datapath's drops by reason, with the ports where they were. Pure. */
import type { DatapathInfo } from "../api.ts";
import { DROP_REASONS } from "../../datapath/drop_reasons.ts";

const MEANINGS: ReadonlyMap<string, string> = new Map(DROP_REASONS);

/** For each datapath how many packets it has dropped, and why; most frequent first. Ports need statistics. */
export function renderDrops(datapaths: readonly DatapathInfo[]): string {
  return datapaths.map(renderDatapathDrops).join("");
}

function renderDatapathDrops(datapath: DatapathInfo): string {
  const { counters } = datapath;
  let text = `${datapath.type}@${datapath.name}:\n`;
  if (!("drops" in counters)) return `${text}  the kernel doesn't tell why packets are dropped\n`;
  text += `  dropped:${counters.dropped} received:${counters.received}\n`;
  const drops = Object.entries(counters.drops).sort(([, one], [, other]) => other - one);
  if (drops.length === 0) return text;
  const rows = [["REASON", "PACKETS", "PORTS", "MEANING"]];
  for (const [reason, count] of drops) {
    const ports = datapath.ports.flatMap(({ name, counters }) => {
      const here = counters?.drops[reason] ?? 0;
      return here === 0 ? [] : [`${name}:${here}`];
    });
    rows.push([reason, `${count}`, ports.join(" ") || "-", MEANINGS.get(reason) ?? ""]);
  }
  const widths = rows[0]!.map((_, column) => Math.max(...rows.map((row) => row[column]!.length)));
  for (const [reason, count, ports, meaning] of rows) {
    text += `  ${reason!.padEnd(widths[0]!)}  ${count!.padStart(widths[1]!)}  ` +
      `${ports!.padEnd(widths[2]!)}  ${meaning}\n`;
  }
  return text;
}
