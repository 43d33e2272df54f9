/**
 * Byte strings in action programs (action_program.ts): a word with the size in bytes, −1 for an absent
 * one, then the bytes in words, padded with zeros. The words' bytes lie as those of a frame.
 */

/** Appends a byte string: two hexadecimal digits a byte. */
export function putBytes(words: number[], hex: string | undefined): void {
  words.push(hex === undefined ? -1 : hex.length >> 1);
  if (hex === undefined) return;
  const bytes = new Uint8Array((hex.length / 2 + 3) & ~3);
  for (let at = 0; at < hex.length; at += 2) bytes[at >> 1] = parseInt(hex.slice(at, at + 2), 16);
  words.push(...new Int32Array(bytes.buffer));
}

/** Words that a byte string at words[at] takes, its size included. */
export function bytesLength(words: Int32Array, at: number): number {
  return 1 + (Math.max(0, words[at]!) + 3 >> 2);
}

/** The byte string at words[at]. */
export function getBytes(words: Int32Array, at: number): string | undefined {
  const size = words[at]!;
  if (size < 0) return undefined;
  let hex = "";
  for (let byte = 0; byte < size; byte++) {
    const value = words[at + 1 + (byte >> 2)]! >>> ((byte & 3) << 3) & 0xff;
    hex += value.toString(16).padStart(2, "0");
  }
  return hex;
}

/** Appends text, as UTF-8. */
export function putText(words: number[], text: string | undefined): void {
  if (text === undefined) return putBytes(words, undefined);
  let hex = "";
  for (const byte of new TextEncoder().encode(text)) hex += byte.toString(16).padStart(2, "0");
  putBytes(words, hex);
}

/** The text at words[at]. */
export function getText(words: Int32Array, at: number): string | undefined {
  const hex = getBytes(words, at);
  if (hex === undefined) return undefined;
  const bytes = new Uint8Array(hex.length / 2);
  bytes.forEach((_, at) => bytes[at] = parseInt(hex.slice(2 * at, 2 * at + 2), 16));
  return new TextDecoder().decode(bytes);
}
