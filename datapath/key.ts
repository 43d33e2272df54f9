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

/** Words in a key: a whole number of cache lines. Some at the end are not used yet. */
export const KEY_WORDS = 144;
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
/** 2 bytes: the lower 12 bits are TCP's; {@link L3_PACKET}. */
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

// From here on (word 32) lies what few packets have: connection tracking, MPLS, NSH, tunnels.

export const CT_MARK_AT = 128;
/** 16 bytes. */
export const CT_LABEL_AT = 132;
/** 16 bytes; an IPv4 address is the first 4. */
export const CT_TUPLE_SRC_AT = 148;
/** 16 bytes; likewise. */
export const CT_TUPLE_DST_AT = 164;
/** 2 bytes. */
export const CT_TP_SRC_AT = 180;
/** 2 bytes. */
export const CT_TP_DST_AT = 182;
/** 1 byte. */
export const CT_PROTO_AT = 184;
/** 1 byte: type of the first link-layer option of neighbour discovery. */
export const ND_OPTIONS_TYPE_AT = 185;
/** 2 bytes: bitmap of IPv6 extension headers, OFPIEH12_* of the kernel's flow.h. */
export const IPV6_EXTHDRS_AT = 186;
/** 4 bytes: the reserved word of a neighbour discovery message. */
export const ND_RESERVED_AT = 188;
/** 1 byte: how many MPLS labels there are, in bits (fields/label_count.ts). */
export const MPLS_COUNT_AT = 192;
/** MPLS_LABELS_MAX words of label << 12 | tc << 9 | bos << 8 | ttl, the outermost first. */
export const MPLS_AT = 196;
/** 1 byte each (RFC 8300): flags, TTL, MD type, next protocol. */
export const NSH_FLAGS_AT = 208;
/** 1 byte. */
export const NSH_TTL_AT = 209;
/** 1 byte. */
export const NSH_MDTYPE_AT = 210;
/** 1 byte. */
export const NSH_NP_AT = 211;
/** 4 bytes: service path identifier << 8 | service index. */
export const NSH_PATH_AT = 212;
/** 16 bytes: the four context words of MD type 1. */
export const NSH_CONTEXT_AT = 216;
/** 8 bytes. */
export const TUN_ID_AT = 232;
export const TUN_SRC_AT = 240;
export const TUN_DST_AT = 244;
/** 16 bytes. */
export const TUN_IPV6_SRC_AT = 248;
/** 16 bytes. */
export const TUN_IPV6_DST_AT = 264;
/** 1 byte. */
export const TUN_TOS_AT = 280;
/** 1 byte. */
export const TUN_TTL_AT = 281;
/** 2 bytes: TUN_FLAG_*. */
export const TUN_FLAGS_AT = 282;
/** 2 bytes. */
export const TUN_TP_SRC_AT = 284;
/** 2 bytes. */
export const TUN_TP_DST_AT = 286;
/** 1 byte: IP version of the outer header, 4 or 6; 0: the packet came through no tunnel. Matched whole or not. */
export const TUN_FAMILY_AT = 288;
/** 1 byte: TUN_OPTIONS_*: what the option bytes are. Matched whole or not. */
export const TUN_OPTIONS_KIND_AT = 289;
/** 2 bytes: how many option bytes there are. Matched whole or not. */
export const TUN_OPTIONS_SIZE_AT = 290;
/** TUN_OPTIONS_MAX bytes, zero behind the options. */
export const TUN_OPTIONS_AT = 292;
// Free: [193, 196) and [548, 576).

/** Most MPLS labels that a flow can match (net/openvswitch/flow.h: MPLS_LABEL_DEPTH). */
export const MPLS_LABELS_MAX = 3;
/** Most bytes of tunnel options (255 in the kernel, whole words here). */
export const TUN_OPTIONS_MAX = 256;

// In the order of Open vSwitch's FLOW_TNL_F_*, in which it prints them.
export const TUN_FLAG_OAM = 1;
export const TUN_FLAG_DF = 2;
export const TUN_FLAG_CSUM = 4;
export const TUN_FLAG_KEY = 8;
/** The tunnel's device is in metadata-bridge mode (kernel only). */
export const TUN_FLAG_INFO_BRIDGE = 16;

export const TUN_OPTIONS_NONE = 0;
/** TLVs as they lie in the packet (RFC 8926 §3.5). */
export const TUN_OPTIONS_GENEVE = 1;
/** One word: group policy flags << 16 | policy identifier, network byte order. */
export const TUN_OPTIONS_VXLAN = 2;
/**
 * 12 bytes as `struct erspan_metadata` (uapi/linux/erspan.h) has: version (4 bytes), then the index (4
 * bytes), or direction and hardware identifier (a byte each).
 */
export const TUN_OPTIONS_ERSPAN = 3;
/** Flags and message type, one byte each. */
export const TUN_OPTIONS_GTPU = 4;

/** Words that a flow without IPv6, ARP addresses and ND uses; the rest is zero. */
export const KEY_WORDS_IPV4 = 16;

export const FRAG_NONE = 0;
export const FRAG_FIRST = 1;
export const FRAG_LATER = 2;

/** Set in a stored TCI when the tag is present (VLAN_CFI_MASK of the kernel's use). */
export const VLAN_PRESENT = 0x1000;
export const ETH_P_802_2 = 0x0004;
/**
 * Bit of the two bytes at TCP_FLAGS_AT: the packet has no Ethernet header (the kernel's mac_proto,
 * packet_type(ns=1) in text). Every flow matches it.
 */
export const L3_PACKET = 0x8000;
/** in_port of a packet that came from no port. */
export const PORT_NONE = 65535;
/** Ports are numbered 0 (LOCAL) … 65534. */
export const PORT_MAX = 65534;
