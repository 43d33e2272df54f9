/**
 * Signatures of keys for the cache (signature_cache.ts): a hash of all words that any mask looks at.
 * Two keys with one signature cost time, no more: what the cache finds is compared under its mask.
 */
import {
  CT_MARK_AT,
  CT_PROTO_AT,
  CT_STATE_AT,
  ETH_TYPE_AT,
  KEY_WORDS,
  KEY_WORDS_IPV4,
  MPLS_COUNT_AT,
  TUN_FAMILY_AT,
  TUN_ID_AT,
  TUN_OPTIONS_AT,
  TUN_OPTIONS_MAX,
} from "../key.ts";
import { FINALISE, hashCode, make } from "./generate.ts";
import { finalise, product } from "./hash.ts";
import type { MatcherMemory } from "./matcher.ts";

/** Writes the signature of `count` keys from word `at` on to `hashes`. */
export type Signatures = (keys: Int32Array, at: number, count: number, hashes: Int32Array) => void;

/** Key words that are zero together in most packets: signatures need not look at them one by one. */
interface Section {
  readonly from: number;
  readonly to: number;
  /** Key word that tells whether the packet has any of them: not if `word & mask` is `absent`. */
  readonly word: number;
  readonly mask: number;
  readonly absent: number;
}

/** Section of the words that lie in bytes [from, to); they are there unless `absent` says otherwise. */
function section(
  from: number,
  to: number,
  [at, mask, absent]: readonly [at: number, mask: number, absent: number],
): Section {
  return { from: from >> 2, to: to >> 2, word: at >> 2, mask, absent };
}

/** Nothing masked is never 1. */
const ALWAYS = [0, 0, 1] as const;
/** IPv4 packets, whose type a little-endian host reads as 8, have neither IPv6 nor MPLS nor NSH. */
const NOT_IPV4 = [ETH_TYPE_AT, 0xffff, 0x0008] as const;
/** A packet that conntrack has not seen has state 0. */
const TRACKED = [CT_STATE_AT, -1, 0] as const;
const TUNNELLED = [TUN_FAMILY_AT, -1, 0] as const;
const TUNNEL_END_AT = TUN_OPTIONS_AT + TUN_OPTIONS_MAX;

/** The key from its first word to its last. To leave out a word by mistake costs time, no more. */
const SECTIONS: readonly Section[] = [
  section(0, KEY_WORDS_IPV4 * 4, ALWAYS),
  section(KEY_WORDS_IPV4 * 4, CT_MARK_AT, NOT_IPV4),
  section(CT_MARK_AT, CT_PROTO_AT, TRACKED),
  section(CT_PROTO_AT, MPLS_COUNT_AT, ALWAYS),
  section(MPLS_COUNT_AT, TUN_ID_AT, NOT_IPV4),
  section(TUN_ID_AT, TUNNEL_END_AT, TUNNELLED),
  section(TUNNEL_END_AT, KEY_WORDS * 4, ALWAYS),
];

/** Interpreted {@link Signatures} of the words that a union of masks looks at. */
export function interpretSignatures(constants: Int32Array, union: Int32Array): Signatures {
  return (keys, from, count, hashes) => {
    for (let key = 0; key < count; key++) {
      const at = from + key * KEY_WORDS;
      let sum = 0;
      for (const part of SECTIONS) {
        if ((keys[at + part.word]! & part.mask) === part.absent) continue;
        for (let word = part.from; word < part.to; word++) {
          sum = (sum + product(keys[at + word]! & union[word]!, constants[word]!)) | 0;
        }
      }
      hashes[key] = finalise(sum);
    }
  };
}

/** Generated {@link Signatures}. */
export function compileSignatures(memory: MatcherMemory, union: Int32Array): Signatures {
  const parts = SECTIONS.map((part) => {
    const range = { at: 0, start: part.from, end: part.to };
    const code = hashCode(union, range, memory.views.constants);
    if (code === "" || part.mask === 0) return code;
    return `if ((keys[at + ${part.word}] & ${part.mask}) !== ${part.absent}) { ${code} }\n`;
  });
  return make<Signatures>(
    memory,
    `return function signatures(keys, from, count, out) {
      for (let i = 0; i < count; i++) {
        const at = from + i * ${KEY_WORDS};
        let sum = 0; let w = 0;
        ${parts.join("")}
        ${FINALISE}
        out[i] = h;
      }
    };`,
  );
}
