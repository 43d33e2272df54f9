/** Text of meters, in the shape of ovs-ofctl's dump-meters, meter-stats and meter-features. Pure. */
import type { MeterInfo, Methods } from "../api.ts";
import { formatMeterLines } from "../../datapath/text/meter_text.ts";

export interface MeterOptions {
  /** What meters can be, in front. */
  readonly features?: boolean | undefined;
}

/** Each meter as it was set, then what it has counted. */
export function renderMeters(
  { features, meters }: Methods["meter-show"]["result"],
  options: MeterOptions = {},
): string {
  const parts = meters.map((meter) => settingOf(meter) + statsOf(meter));
  if (options.features === true) {
    const capabilities = features.capabilities.map((one) => one === "pps" ? "pktps" : one);
    parts.unshift(
      `max_meter:${features.metersMax} max_bands:${features.bandsMax} max_color:0\n` +
        `band_types: ${features.bandTypes.join(" ")}\n` +
        `capabilities: ${capabilities.join(" ")}\n`,
    );
  }
  return parts.join("\n");
}

/** How it is set; the kernel doesn't tell. */
function settingOf({ meter, unit, burst, stats, bands }: MeterInfo): string {
  if (unit === null) return "";
  const known = bands.map((band) => ({ ...band, rate: band.rate ?? 0 }));
  return formatMeterLines({ id: meter, unit, burst, stats, bands: known });
}

function statsOf({ meter, flows, packets, bytes, durationMs, bands }: MeterInfo): string {
  return `meter:${meter} flow_count:${flows} packet_in_count:${packets} byte_in_count:${bytes} ` +
    `duration:${formatSeconds(durationMs ?? 0)} bands:\n` +
    bands.map((band, at) => `${at}: packet_count:${band.packets} byte_count:${band.bytes}\n`).join(
      "",
    );
}

/** As ovs-ofctl: three digits behind the point, or none. */
function formatSeconds(ms: number): string {
  const seconds = Math.floor(ms / 1000);
  const rest = ms % 1000;
  return rest === 0 ? `${seconds}s` : `${seconds}.${String(rest).padStart(3, "0")}s`;
}
