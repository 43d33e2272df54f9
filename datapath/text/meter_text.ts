/**
 * Meters as text, in the syntax of ovs-ofctl's add-meter:
 *
 *     meter=1,kbps,burst,stats,bands=type=drop,rate=1000,burst_size=2000
 *
 * Commas and blanks separate. Each `type=drop` begins a band. Without the flag `burst` a band's bucket
 * holds a second's worth of its rate. `stats` is kept and printed; statistics there are anyhow.
 */
import { METER_BANDS_MAX, type MeterConfig } from "../meters.ts";
import { nearest } from "./near.ts";
import { EQUALS, Scanner } from "./scanner.ts";

/** A band as written. */
export interface MeterBandText {
  /** 1 … 2^32 − 1, kilobits or packets per second. */
  readonly rate: number;
  /** 1 … 2^32 − 1, kilobits or packets; absent without the flag `burst`. */
  readonly burstSize?: number;
}

/** A meter as written. */
export interface MeterText {
  /** Unsigned, 32 bits. */
  readonly id: number;
  readonly unit: "kbps" | "pps";
  /** The flag `burst`: every band has a burstSize. */
  readonly burst: boolean;
  /** The flag `stats`. */
  readonly stats: boolean;
  /** 1 … METER_BANDS_MAX. */
  readonly bands: readonly MeterBandText[];
}

/** Words in front of `bands=`, and the ones of bands. */
const METER_WORDS = ["meter", "kbps", "pps", "pktps", "burst", "stats", "bands"];
const BAND_WORDS = ["type", "rate", "burst_size"];

/** Parses a meter. Throws FlowSyntaxError. */
export function parseMeter(text: string): MeterText {
  return new MeterParser(text).parse();
}

/** A meter on one line, as {@link parseMeter} takes it. */
export function formatMeter(meter: MeterText): string {
  const flags = formatFlags(meter);
  return `meter=${meter.id} ${flags} bands=${meter.bands.map(formatBand).join(" ")}`;
}

/** A meter as ovs-ofctl's dump-meters shows it: a line for the meter and one for each band. */
export function formatMeterLines(meter: MeterText): string {
  const bands = meter.bands.map((band) => `${formatBand(band)}\n`).join("");
  return `meter=${meter.id} ${formatFlags(meter)} bands=\n${bands}`;
}

/** The buckets that a meter stands for. */
export function toMeterConfig({ id, unit, bands }: MeterText): MeterConfig {
  return {
    id,
    unit,
    bands: bands.map(({ rate, burstSize }) => ({ rate, burst: burstSize ?? rate })),
  };
}

function formatFlags({ unit, burst, stats }: MeterText): string {
  // Open vSwitch's own word for packets per second.
  return [unit === "pps" ? "pktps" : unit, burst && "burst", stats && "stats"]
    .filter((word) => word !== false).join(" ");
}

function formatBand({ rate, burstSize }: MeterBandText): string {
  return `type=drop rate=${rate}${burstSize === undefined ? "" : ` burst_size=${burstSize}`}`;
}

/** A band that is being read. */
interface OpenBand {
  readonly at: number;
  rate?: number;
  burstSize?: number;
}

class MeterParser {
  readonly #scanner: Scanner;
  #id: number | undefined;
  #unit: "kbps" | "pps" | undefined;
  #burst = false;
  #stats = false;
  readonly #bands: OpenBand[] = [];
  #inBands = false;

  constructor(text: string) {
    this.#scanner = new Scanner(text);
  }

  parse(): MeterText {
    const scanner: Scanner = this.#scanner;
    for (;;) {
      scanner.skipSeparators();
      if (scanner.ended) break;
      if (this.#inBands) this.#bandWord();
      else this.#meterWord();
    }
    return this.#finish();
  }

  #meterWord(): void {
    const scanner: Scanner = this.#scanner;
    const at = scanner.at;
    const word = scanner.word();
    switch (word) {
      case "meter":
        scanner.expect(EQUALS, "after meter");
        if (this.#id !== undefined) scanner.fail(at, "meter= is given twice");
        this.#id = scanner.number(32, "meter");
        return;
      case "kbps":
        return this.#setUnit("kbps", at);
      case "pps":
      case "pktps":
        return this.#setUnit("pps", at);
      case "burst":
        this.#burst = true;
        return;
      case "stats":
        this.#stats = true;
        return;
      case "band":
      case "bands":
        scanner.expect(EQUALS, `after ${word}`);
        this.#inBands = true;
        return;
      default:
        scanner.fail(
          at,
          `"${word || scanner.item()}" belongs to no meter${nearest(word, METER_WORDS)}`,
        );
    }
  }

  #setUnit(unit: "kbps" | "pps", at: number): void {
    if (this.#unit !== undefined && this.#unit !== unit) {
      this.#scanner.fail(at, "a meter counts kbps or packets (pps), not both");
    }
    this.#unit = unit;
  }

  #bandWord(): void {
    const scanner: Scanner = this.#scanner;
    const at = scanner.at;
    const word = scanner.word();
    if (!BAND_WORDS.includes(word)) {
      const text = word || scanner.item();
      scanner.fail(at, `"${text}" belongs to no band${nearest(word, BAND_WORDS)}`);
    }
    scanner.expect(EQUALS, `after ${word}`);
    if (word === "type") return this.#beginBand(at);
    const band = this.#bands.at(-1);
    if (band === undefined) scanner.fail(at, "a band begins with type=drop");
    const valueAt = scanner.at;
    const value = scanner.number(32, word);
    if (value === 0) scanner.fail(valueAt, `${word} must be 1 … 4294967295`);
    const name = word === "rate" ? "rate" : "burstSize";
    if (band[name] !== undefined) scanner.fail(at, `${word} is given twice for this band`);
    band[name] = value;
  }

  #beginBand(at: number): void {
    const scanner: Scanner = this.#scanner;
    const valueAt = scanner.at;
    const type = scanner.item();
    if (type !== "drop") {
      scanner.fail(valueAt, `bands of type "${type}" are not supported (only drop)`);
    }
    if (this.#bands.length === METER_BANDS_MAX) {
      scanner.fail(at, `a meter has at most ${METER_BANDS_MAX} bands`);
    }
    this.#bands.push({ at });
  }

  #finish(): MeterText {
    const scanner: Scanner = this.#scanner;
    const end = scanner.at;
    const id = this.#id;
    const unit = this.#unit;
    if (id === undefined) scanner.fail(end, "meter=ID is missing");
    if (unit === undefined) scanner.fail(end, "kbps or pps is missing");
    if (this.#bands.length === 0) scanner.fail(end, "bands=type=drop,rate=R is missing");
    const burst = this.#burst;
    const bands = this.#bands.map(({ at, rate, burstSize }): MeterBandText => {
      if (rate === undefined) scanner.fail(at, "the band's rate is missing (rate=R)");
      if (burst && burstSize === undefined) {
        scanner.fail(at, "with burst every band must have burst_size=B");
      }
      if (!burst && burstSize !== undefined) {
        scanner.fail(at, "burst_size needs the flag burst in front of bands=");
      }
      return burstSize === undefined ? { rate } : { rate, burstSize };
    });
    return { id, unit, burst, stats: this.#stats, bands };
  }
}
