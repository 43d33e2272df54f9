/** Netlink attributes put together by hand, as hexadecimal text, without the codec that is tested. */

/** Little-endian hexadecimal of `size` bytes. */
export function little(value: number, size: number): string {
  let text = "";
  let left = value;
  for (let at = 0; at < size; at++) {
    text += (left % 256).toString(16).padStart(2, "0");
    left = Math.floor(left / 256);
  }
  return text;
}

/** An attribute with these payloads behind one another: length, type, payload, padding to 4 bytes. */
export function tlv(type: number, ...payloads: readonly string[]): string {
  const payload = payloads.join("").replaceAll(" ", "");
  const size = 4 + payload.length / 2;
  const padding = "00".repeat((4 - size % 4) % 4);
  return little(size, 2) + little(type, 2) + payload + padding;
}

/** The bytes of hexadecimal text; blanks are ignored. */
export function bytesOf(...texts: readonly string[]): Uint8Array<ArrayBuffer> {
  const digits = texts.join("").replaceAll(/\s/g, "");
  return new Uint8Array((digits.match(/../g) ?? []).map((byte) => Number.parseInt(byte, 16)));
}
