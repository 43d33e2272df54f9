/**
 * The flow key: a fixed number of 32-bit words, every field in network byte order.
 *
 * The layout follows `struct sw_flow_key` of net/openvswitch/flow.h in spirit: metadata first, then
 * Ethernet, VLAN, network and transport, so that an IPv4 flow ends within one 64-byte cache line.
 * A key is a run of {@link KEY_WORDS} words in an Int32Array (often one of many in a larger array);
 * a word is the four key bytes as the host reads them, so words are compared and masked, never
 * interpreted. Fields are interpreted through byte offsets (`*_AT`), big-endian.
 *
 * Shared storage, as in the kernel: ARP and IPv4 share the addresses (arp.sip/tip lie in
 * ipv4.src/dst) and ip.proto (arp.op); ICMP and ICMPv6 type and code lie in tp.src and tp.dst;
 * arp.sha/tha lie where ipv6.src begins. Which one is meant follows from eth_type and ip.proto.
 */

/** Words in a key. Grows as fields are added; always even. */
export const KEY_WORDS = 32;
/** Bytes in a key. */
export const KEY_SIZE: number = KEY_WORDS * 4;

// Byte offsets. A name without a size comment is a whole word.
export const SKB_PRIORITY_AT = 0;
export const SKB_MARK_AT = 4;
export const DP_HASH_AT = 8;
export const RECIRC_ID_AT = 12;
/** 2 bytes. 65535 = no port. */
export const IN_PORT_AT = 16;
/** 2 bytes. */
export const CT_ZONE_AT = 18;
/** 6 bytes, destination first as in the frame. */
export const ETH_DST_AT = 20;
/** 6 bytes. */
export const ETH_SRC_AT = 26;
/** 2 bytes. The CFI bit (0x1000) set = a tag is present. 0 = no tag. */
export const VLAN_TCI_AT = 32;
/** 2 bytes: 0x8100 or 0x88a8; 0 without a tag. */
export const VLAN_TPID_AT = 34;
/** 2 bytes: the inner tag. */
export const CVLAN_TCI_AT = 36;
/** 2 bytes. */
export const CVLAN_TPID_AT = 38;
/** 2 bytes: the innermost Ethernet type; ETH_P_802_2 (0x0004) for LLC frames without SNAP. */
export const ETH_TYPE_AT = 40;
/** 2 bytes, lower 12 bits used. */
export const TCP_FLAGS_AT = 42;
/** 1 byte. ARP: the lower 8 bits of the opcode, 0 if it is over 255. */
export const IP_PROTO_AT = 44;
/** 1 byte. */
export const IP_TOS_AT = 45;
/** 1 byte. */
export const IP_TTL_AT = 46;
/** 1 byte: FRAG_NONE, FRAG_FIRST or FRAG_LATER. */
export const IP_FRAG_AT = 47;
export const IPV4_SRC_AT = 48;
export const IPV4_DST_AT = 52;
/** 2 bytes. */
export const TP_SRC_AT = 56;
/** 2 bytes. */
export const TP_DST_AT = 58;
export const CT_STATE_AT = 60;
/** 16 bytes. */
export const IPV6_SRC_AT = 64;
/** 16 bytes. */
export const IPV6_DST_AT = 80;
/** 4 bytes, lower 20 bits used. */
export const IPV6_LABEL_AT = 96;
/** 16 bytes. */
export const ND_TARGET_AT = 100;
/** 6 bytes. */
export const ND_SLL_AT = 116;
/** 6 bytes. */
export const ND_TLL_AT = 122;
/** 6 bytes (eth_type ARP or RARP only). */
export const ARP_SHA_AT = 64;
/** 6 bytes. */
export const ARP_THA_AT = 70;

/** Words that a flow without IPv6, ARP addresses and ND uses; the rest is zero. */
export const KEY_WORDS_IPV4 = 16;

export const FRAG_NONE = 0;
export const FRAG_FIRST = 1;
export const FRAG_LATER = 2;

/** Set in a stored TCI when the tag is present (VLAN_CFI_MASK of the kernel's use). */
export const VLAN_PRESENT = 0x1000;
export const ETH_P_802_2 = 0x0004;
/** in_port of a packet that came from no port. */
export const PORT_NONE = 65535;
/** Ports are numbered 0 (LOCAL) … 65534. */
export const PORT_MAX = 65534;
