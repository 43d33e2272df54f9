/** A frame under construction (compose.ts). */
import { RuleError } from "../errors.ts";

export interface Draft {
  readonly view: DataView<ArrayBuffer>;
  readonly bytes: Uint8Array<ArrayBuffer>;
  /** The key, big-endian. */
  readonly key: DataView;
  /** Bytes of counted payload for headers that carry any. */
  readonly payloadSize: number;
  /** One past the last byte written. */
  end: number;
  /** Where the transport header begins. */
  l4At: number;
}

/** Appends bytes of the key. */
export function copyFromKey(draft: Draft, from: number, size: number): void {
  for (let index = 0; index < size; index++) {
    draft.view.setUint8(draft.end++, draft.key.getUint8(from + index));
  }
}

/** Appends payload: bytes counting up, as Open vSwitch. */
export function writePayload(draft: Draft): void {
  for (let index = 0; index < draft.payloadSize; index++) draft.bytes[draft.end++] = index;
}

/** The error for a key that no packet has. */
export function impossible(why: string): RuleError {
  return new RuleError("EINVAL", `no packet has this key: ${why}`);
}
