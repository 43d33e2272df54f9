/** Which IPv6 extension headers a packet needs to have a given `ipv6_exthdrs` in its key. */
import { withExtension } from "../extract/extract_ipv6.ts";
import {
  NEXTHDR_AUTH,
  NEXTHDR_DEST,
  NEXTHDR_FRAGMENT,
  NEXTHDR_HOP,
  NEXTHDR_ROUTING,
} from "../headers/ipv6.ts";
import { FRAG_LATER, FRAG_NONE } from "../key.ts";

/** Bit of ipv6_exthdrs: the chain ends with "no next header". */
export const NONE_BIT = 1;
const TYPES = [NEXTHDR_HOP, NEXTHDR_DEST, NEXTHDR_ROUTING, NEXTHDR_FRAGMENT, NEXTHDR_AUTH];

interface Chain {
  readonly bits: number;
  readonly destinations: number;
  readonly types: readonly number[];
}

/**
 * The shortest chain of extension headers, as their types, that extraction (extract_ipv6.ts) finds to
 * be `bits`; without a bitmap (0) only the fragment header that `fragment` (FRAG_*) calls for. Undefined:
 * there is none, for instance because the bitmap and `fragment` do not agree.
 */
export function extensionChain(bits: number, fragment: number): readonly number[] | undefined {
  if (bits === 0) return fragment === FRAG_NONE ? [] : [NEXTHDR_FRAGMENT];
  const wanted = bits & ~NONE_BIT;
  const isRight = ({ bits, types }: Chain): boolean => {
    if (bits !== wanted || types.includes(NEXTHDR_FRAGMENT) !== (fragment !== FRAG_NONE)) {
      return false;
    }
    // What follows a later fragment's header is not a header.
    return fragment !== FRAG_LATER || types.indexOf(NEXTHDR_FRAGMENT) === types.length - 1;
  };
  const queue: Chain[] = [{ bits: 0, destinations: 0, types: [] }];
  const seen = new Set<string>();
  for (const chain of queue) {
    if (isRight(chain)) return chain.types;
    for (const type of TYPES) {
      const next = {
        bits: withExtension(chain.bits, chain.destinations, type),
        destinations: Math.min(3, chain.destinations + (type === NEXTHDR_DEST ? 1 : 0)),
        types: [...chain.types, type],
      };
      const state = `${next.bits} ${next.destinations} ${type}`;
      if (seen.has(state)) continue;
      seen.add(state);
      queue.push(next);
    }
  }
  return undefined;
}
