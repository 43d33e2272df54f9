/**
 * Metadata back from a key into a packet: the counterpart of extract_metadata.ts, for packets that
 * come from the control plane with their key (the kernel's OVS_PACKET_CMD_EXECUTE).
 */
import {
  CT_STATE_AT,
  CT_ZONE_AT,
  DP_HASH_AT,
  KEY_WORDS,
  RECIRC_ID_AT,
  SKB_MARK_AT,
  SKB_PRIORITY_AT,
  TUN_FAMILY_AT,
} from "../key.ts";
import { type Packet, WIDE_METADATA_FROM } from "../packet/packet.ts";

/** Sets all metadata of a packet but its port and its type. The key is KEY_WORDS words. */
export function setMetadataFromKey(packet: Packet, key: Int32Array): void {
  const view = new DataView(key.buffer, key.byteOffset, KEY_WORDS * 4);
  packet.priority = view.getUint32(SKB_PRIORITY_AT);
  packet.mark = view.getUint32(SKB_MARK_AT);
  packet.dpHash = view.getUint32(DP_HASH_AT);
  packet.recircId = view.getUint32(RECIRC_ID_AT);
  packet.ctState = view.getUint32(CT_STATE_AT);
  packet.ctZone = view.getUint16(CT_ZONE_AT);
  packet.ctRecord = 0;
  packet.hasTunnel = view.getUint8(TUN_FAMILY_AT) !== 0;
  packet.hasEgress = false;
  if (packet.ctState === 0 && !packet.hasTunnel) return;
  packet.metadata().words.set(key.subarray(WIDE_METADATA_FROM, KEY_WORDS));
}
