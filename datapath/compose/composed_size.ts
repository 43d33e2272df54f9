/** Largest frame that is composed: an IPv4 packet of 65535 bytes in an Ethernet frame without tags. */
export const COMPOSED_SIZE_MAX: number = 65535 + 14;
