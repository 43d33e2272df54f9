/**
 * The levels of a key's attributes: outermost, then what is in ENCAP behind each VLAN tag
 * (net/openvswitch/flow_netlink.c: parse_vlan_from_nlattrs). A mask's levels follow its key's.
 */
import { ETH_P_8021AD, ETH_P_8021Q, VLAN_LEVELS_MAX } from "../fields/fields.ts";
import { VLAN_PRESENT } from "../key.ts";
import { AttributeSet, NetlinkCodecError } from "./attributes.ts";
import {
  OVS_KEY_ATTR_ENCAP,
  OVS_KEY_ATTR_ETHERNET,
  OVS_KEY_ATTR_ETHERTYPE,
  OVS_KEY_ATTR_VLAN,
} from "./key_attributes.ts";

export interface Tag {
  readonly tpid: number;
  readonly tci: number;
}

export class KeyTree {
  readonly levels: readonly AttributeSet[];
  /** The tags between the levels, the outermost first. */
  readonly tags: readonly Tag[];
  /** The innermost Ethernet type; undefined: none is there. */
  readonly etherType: number | undefined;

  constructor(
    levels: readonly AttributeSet[],
    tags: readonly Tag[],
    etherType: number | undefined,
  ) {
    this.levels = levels;
    this.tags = tags;
    this.etherType = etherType;
  }

  /** An attribute at whatever level, but those that each level has. Throws NetlinkCodecError if it stands twice. */
  find(number: number): { payload: Uint8Array; within: number[] } | undefined {
    let found: { payload: Uint8Array; within: number[] } | undefined;
    for (const [level, set] of this.levels.entries()) {
      const payload = set.bytes(number);
      if (payload === undefined) continue;
      if (found !== undefined) {
        throw new NetlinkCodecError(set.path, `attribute ${number} stands outside too`);
      }
      found = { payload, within: Array.from({ length: level }, () => OVS_KEY_ATTR_ENCAP) };
    }
    return found;
  }
}

function isTagType(type: number | undefined): type is number {
  return type === ETH_P_8021Q || type === ETH_P_8021AD;
}

/** Reads a key. Throws NetlinkCodecError. */
export function readKeyTree(bytes: Uint8Array, path: string): KeyTree {
  const levels = [new AttributeSet(bytes, path)];
  const tags: Tag[] = [];
  const hasEthernet = levels[0]!.has(OVS_KEY_ATTR_ETHERNET);
  for (;;) {
    const set = levels.at(-1)!;
    const type = set.be16(OVS_KEY_ATTR_ETHERTYPE);
    const tci = set.be16(OVS_KEY_ATTR_VLAN);
    const encap = set.bytes(OVS_KEY_ATTR_ENCAP);
    const isFull = tags.length === VLAN_LEVELS_MAX;
    if (tci === undefined && encap === undefined) {
      if (isTagType(type) && hasEthernet && !isFull) {
        throw new NetlinkCodecError(
          set.path,
          "the type of a VLAN tag needs VLAN and ENCAP beside it",
        );
      }
      return new KeyTree(levels, tags, type);
    }
    if (tci === undefined || encap === undefined) {
      throw new NetlinkCodecError(set.path, "VLAN and ENCAP must stand together");
    }
    if (isFull) throw new NetlinkCodecError(set.path, `more than ${VLAN_LEVELS_MAX} VLAN tags`);
    if (!hasEthernet) throw new NetlinkCodecError(set.path, "VLAN needs an Ethernet header");
    if (tci === 0) {
      // A tag that the packet was too short for; the kernel says no type then.
      if (encap.length > 0) throw new NetlinkCodecError(set.path, "ENCAP behind a cut off tag");
      return new KeyTree(levels, tags, isTagType(type) ? type : ETH_P_8021Q);
    }
    if (!isTagType(type)) {
      throw new NetlinkCodecError(set.path, "VLAN needs the Ethernet type 0x8100 or 0x88a8");
    }
    if ((tci & VLAN_PRESENT) === 0) {
      const problem = `the tag 0x${
        tci.toString(16)
      } lacks the bit 0x1000, which says that it is there`;
      throw new NetlinkCodecError(set.path, problem);
    }
    tags.push({ tpid: type, tci });
    levels.push(new AttributeSet(encap, `${set.path} encap`));
  }
}

/** Reads the mask of a key. Throws NetlinkCodecError. */
export function readMaskTree(bytes: Uint8Array, path: string, key: KeyTree): KeyTree {
  const levels = [new AttributeSet(bytes, path)];
  const tags: Tag[] = [];
  for (const _ of key.tags) {
    const set = levels.at(-1)!;
    const tci = set.be16(OVS_KEY_ATTR_VLAN);
    const encap = set.bytes(OVS_KEY_ATTR_ENCAP);
    const tpid = set.be16(OVS_KEY_ATTR_ETHERTYPE) ?? 0;
    // The tag is matched exactly then, and what type there is, is the contents'.
    if (encap === undefined && tci === undefined) {
      return new KeyTree(levels, tags, set.be16(OVS_KEY_ATTR_ETHERTYPE));
    }
    if (tpid !== 0xffff) {
      throw new NetlinkCodecError(set.path, "the type of a VLAN tag must be matched exactly");
    }
    if (tci === undefined || (tci & VLAN_PRESENT) === 0) {
      throw new NetlinkCodecError(set.path, "the bit 0x1000 of a VLAN tag must be matched");
    }
    tags.push({ tpid, tci });
    levels.push(new AttributeSet(encap ?? new Uint8Array(), `${set.path} encap`));
  }
  const set = levels.at(-1)!;
  const tci = set.be16(OVS_KEY_ATTR_VLAN) ?? 0;
  if (tci !== 0 && tci !== 0xffff) {
    throw new NetlinkCodecError(
      set.path,
      "where there is no VLAN tag, that can't be matched in part",
    );
  }
  if (set.bytes(OVS_KEY_ATTR_ENCAP)?.some((byte) => byte !== 0) === true) {
    throw new NetlinkCodecError(set.path, "ENCAP where the key has no VLAN tag");
  }
  return new KeyTree(levels, tags, set.be16(OVS_KEY_ATTR_ETHERTYPE));
}
