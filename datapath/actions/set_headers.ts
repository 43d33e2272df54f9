/** Numbers of the headers that a SET_MASKED instruction (action_program.ts) rewrites. */

export const SET_PRIORITY = 0;
export const SET_MARK = 1;
export const SET_ETH = 2;
export const SET_IPV4 = 3;
export const SET_IPV6 = 4;
export const SET_TCP = 5;
export const SET_UDP = 6;
export const SET_SCTP = 7;
export const SET_DP_HASH = 8;
export const SET_RECIRC_ID = 9;
export const SET_TUNNEL = 10;
export const SET_ARP = 11;
export const SET_MPLS = 12;
export const SET_NSH = 13;
export const SET_ICMP = 14;
export const SET_ICMPV6 = 15;
export const SET_ND = 16;
export const SET_ND_EXT = 17;
/** Added to an attribute's OVS_KEY_ATTR_* number: attributes that packet threads can't rewrite, which no installed flow has. */
export const SET_OTHER = 128;
