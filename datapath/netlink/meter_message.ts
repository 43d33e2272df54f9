/**
 * Messages of the family ovs_meter (linux/openvswitch.h: OVS_METER_CMD_*, OVS_METER_ATTR_*), both
 * ways, as the payload of a netlink message.
 */
import {
  AttributeSet,
  type AttributeWriter,
  NetlinkCodecError,
  scanAttributes,
} from "./attributes.ts";
import {
  beginOvsMessage,
  type OvsFamily,
  type OvsHeader,
  readOvsMessage,
} from "./generic_message.ts";
import { type PacketStats, readPacketStats, writePacketStats } from "./stats.ts";

export const OVS_METER_FAMILY: OvsFamily = { name: "ovs_meter", version: 1 };

export const OVS_METER_CMD_FEATURES = 1;
export const OVS_METER_CMD_SET = 2;
export const OVS_METER_CMD_DEL = 3;
export const OVS_METER_CMD_GET = 4;

export const OVS_METER_BAND_TYPE_DROP = 1;

const OVS_METER_ATTR_ID = 1;
const OVS_METER_ATTR_KBPS = 2;
const OVS_METER_ATTR_STATS = 3;
const OVS_METER_ATTR_BANDS = 4;
const OVS_METER_ATTR_USED = 5;
const OVS_METER_ATTR_CLEAR = 6;
const OVS_METER_ATTR_MAX_METERS = 7;
const OVS_METER_ATTR_MAX_BANDS = 8;
const OVS_METER_ATTR_PAD = 9;

/** Every band of the list has this number. */
const OVS_BAND_ATTR_UNSPEC = 0;
const OVS_BAND_ATTR_TYPE = 1;
const OVS_BAND_ATTR_RATE = 2;
const OVS_BAND_ATTR_BURST = 3;
const OVS_BAND_ATTR_STATS = 4;

export interface MeterBand {
  /** OVS_METER_BAND_TYPE_DROP is the only one. */
  readonly type?: number | undefined;
  /** In the meter's units. */
  readonly rate?: number | undefined;
  /** Likewise. */
  readonly burst?: number | undefined;
  readonly stats?: PacketStats | undefined;
}

export interface MeterMessage extends OvsHeader {
  readonly id?: number | undefined;
  /** The units are kilobits per second; else packets per second. */
  readonly kbps?: boolean | undefined;
  /** In a reply to FEATURES: those that there can be, with their type alone. */
  readonly bands?: readonly MeterBand[] | undefined;
  readonly stats?: PacketStats | undefined;
  /** When the last packet came, by the monotonic clock. */
  readonly usedMs?: bigint | undefined;
  /** Zero the statistics. */
  readonly clear?: boolean | undefined;
  readonly metersMax?: number | undefined;
  readonly bandsMax?: number | undefined;
}

/** Writes a message. */
export function encodeMeterMessage(message: MeterMessage): Uint8Array<ArrayBuffer> {
  const writer = beginOvsMessage(message, OVS_METER_FAMILY.version);
  const { id, bands, stats, usedMs, metersMax, bandsMax } = message;
  if (id !== undefined) writer.attributeU32(OVS_METER_ATTR_ID, id);
  if (message.kbps === true) writer.attributeFlag(OVS_METER_ATTR_KBPS);
  if (stats !== undefined) writePacketStats(writer, OVS_METER_ATTR_STATS, stats);
  if (bands !== undefined) {
    writer.nested(OVS_METER_ATTR_BANDS, () => {
      for (const band of bands) writer.nested(OVS_BAND_ATTR_UNSPEC, () => writeBand(writer, band));
    });
  }
  if (usedMs !== undefined) writer.attributeU64(OVS_METER_ATTR_USED, usedMs);
  if (message.clear === true) writer.attributeFlag(OVS_METER_ATTR_CLEAR);
  if (metersMax !== undefined) writer.attributeU32(OVS_METER_ATTR_MAX_METERS, metersMax);
  if (bandsMax !== undefined) writer.attributeU32(OVS_METER_ATTR_MAX_BANDS, bandsMax);
  return writer.bytes();
}

function writeBand(writer: AttributeWriter, band: MeterBand): void {
  const { type, rate, burst, stats } = band;
  if (type !== undefined) writer.attributeU32(OVS_BAND_ATTR_TYPE, type);
  if (rate !== undefined) writer.attributeU32(OVS_BAND_ATTR_RATE, rate);
  if (burst !== undefined) writer.attributeU32(OVS_BAND_ATTR_BURST, burst);
  if (stats !== undefined) writePacketStats(writer, OVS_BAND_ATTR_STATS, stats);
}

/** Reads the payload of a message. Throws NetlinkCodecError. */
export function decodeMeterMessage(payload: Uint8Array): MeterMessage {
  const { header, attributes } = readOvsMessage(payload, "meter", { pad: OVS_METER_ATTR_PAD });
  return {
    ...header,
    id: attributes.u32(OVS_METER_ATTR_ID),
    kbps: attributes.has(OVS_METER_ATTR_KBPS),
    bands: readBands(attributes),
    stats: readPacketStats(attributes, OVS_METER_ATTR_STATS),
    usedMs: attributes.u64(OVS_METER_ATTR_USED),
    clear: attributes.has(OVS_METER_ATTR_CLEAR),
    metersMax: attributes.u32(OVS_METER_ATTR_MAX_METERS),
    bandsMax: attributes.u32(OVS_METER_ATTR_MAX_BANDS),
  };
}

function readBands(attributes: AttributeSet): MeterBand[] | undefined {
  const payload = attributes.bytes(OVS_METER_ATTR_BANDS);
  if (payload === undefined) return undefined;
  const bands: MeterBand[] = [];
  const damage = scanAttributes(payload, (_type, value) => {
    const band = new AttributeSet(value, `meter band ${bands.length}`);
    bands.push({
      type: band.u32(OVS_BAND_ATTR_TYPE),
      rate: band.u32(OVS_BAND_ATTR_RATE),
      burst: band.u32(OVS_BAND_ATTR_BURST),
      stats: readPacketStats(band, OVS_BAND_ATTR_STATS),
    });
  });
  if (damage !== undefined) throw new NetlinkCodecError("meter bands", damage);
  return bands;
}
