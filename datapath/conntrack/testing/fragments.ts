/** Frames that are fragments of one UDP datagram, for tests. */
import { frameOf } from "../../testing/frames.ts";
import { makePacket } from "./packets.ts";

/** Fragments that begin at `offsets` of the IP payload of `size` bytes, UDP header included. */
export function fragmentFrames(
  version: 4 | 6,
  offsets: readonly number[],
  size: number,
): Uint8Array[] {
  const addresses = version === 4
    ? { src: "10.0.0.1", dst: "10.0.0.2" }
    : { src: "fd00::1", dst: "fd00::2" };
  const whole = frameOf(makePacket({ ...addresses, protocol: 17, payload: "x".repeat(size - 8) }));
  const payloadAt = whole.length - size;
  return offsets.map((from, index) => {
    const end = offsets[index + 1] ?? size;
    const isLast = index === offsets.length - 1;
    const part = whole.subarray(payloadAt + from, payloadAt + end);
    return version === 4
      ? fragmentIpv4(whole.subarray(0, payloadAt), part, from, isLast)
      : fragmentIpv6(whole.subarray(0, payloadAt), part, from, isLast);
  });
}

function fragmentIpv4(
  head: Uint8Array,
  part: Uint8Array,
  from: number,
  isLast: boolean,
): Uint8Array {
  const frame = Uint8Array.of(...head, ...part);
  const view = new DataView(frame.buffer);
  const l3 = head.length - 20;
  view.setUint16(l3 + 2, 20 + part.length);
  view.setUint16(l3 + 6, from >> 3 | (isLast ? 0 : 0x2000));
  view.setUint16(l3 + 10, 0);
  let sum = 0;
  for (let at = l3; at < l3 + 20; at += 2) sum += view.getUint16(at);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
  view.setUint16(l3 + 10, ~sum & 0xffff);
  return frame;
}

function fragmentIpv6(
  head: Uint8Array,
  part: Uint8Array,
  from: number,
  isLast: boolean,
): Uint8Array {
  const frame = Uint8Array.of(...head, 17, 0, 0, 0, 0, 0, 0, 7, ...part);
  const view = new DataView(frame.buffer);
  const l3 = head.length - 40;
  view.setUint16(l3 + 4, 8 + part.length);
  view.setUint8(l3 + 6, 44);
  view.setUint16(head.length + 2, from | (isLast ? 0 : 1));
  return frame;
}
