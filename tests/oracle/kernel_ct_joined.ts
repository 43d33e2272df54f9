/** Frames that are fragments of one packet per port, put together again: what is left is what they say. */

const ETHERNET = 14;
const FRAGMENT = 44;

interface Part {
  readonly offset: number;
  /** Headers in front of the fragmented part, without what differs between fragments. */
  readonly header: string;
  readonly payload: string;
}

/** Events with the frames of each port as one; what is no frame stays as it is. */
export function joined(events: readonly string[]): string[] {
  const ports = new Map<string, Part[]>();
  const others: string[] = [];
  for (const event of events) {
    const [, port, hex = ""] = /^(\d): ([0-9a-f]+)$/.exec(event) ?? [];
    if (port === undefined) others.push(event);
    else ports.set(port, [...ports.get(port) ?? [], partOf(Uint8Array.fromHex(hex))]);
  }
  const whole = [...ports].map(([port, parts]) => {
    const sorted = parts.toSorted((a, b) => a.offset - b.offset);
    let next = 0;
    for (const { offset, payload } of sorted) {
      if (offset !== next) return `${port}: a gap at ${next}`;
      next += payload.length / 2;
    }
    return `${port}: ${sorted[0]!.header} ${sorted.map(({ payload }) => payload).join("")}`;
  });
  return [...others, ...whole];
}

function partOf(frame: Uint8Array): Part {
  const view = new DataView(frame.buffer);
  const isIpv4 = frame[12] === 0x08;
  const header = frame.slice(0, ETHERNET + (isIpv4 ? 20 : 40));
  const fields = new DataView(header.buffer);
  if (isIpv4) {
    // Length, flags and offset, checksum.
    for (const at of [2, 6, 10]) fields.setUint16(ETHERNET + at, 0);
    const offset = (view.getUint16(ETHERNET + 6) & 0x1fff) << 3;
    return { offset, header: header.toHex(), payload: frame.slice(ETHERNET + 20).toHex() };
  }
  const isFragment = frame[ETHERNET + 6] === FRAGMENT;
  fields.setUint16(ETHERNET + 4, 0);
  if (isFragment) fields.setUint8(ETHERNET + 6, frame[ETHERNET + 40]!);
  const offset = isFragment ? view.getUint16(ETHERNET + 42) & 0xfff8 : 0;
  const payload = frame.slice(ETHERNET + (isFragment ? 48 : 40));
  return { offset, header: header.toHex(), payload: payload.toHex() };
}
