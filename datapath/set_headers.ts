/** Numbers of the headers that a SET_MASKED instruction (action_program.ts) rewrites. */

export const SET_PRIORITY = 0;
export const SET_MARK = 1;
export const SET_ETH = 2;
export const SET_IPV4 = 3;
export const SET_IPV6 = 4;
export const SET_TCP = 5;
export const SET_UDP = 6;
export const SET_SCTP = 7;
