/** What fuzzing begins with: recorded frames (captured.txt), and one frame of every kind that extraction knows. */
import {
  ethernetFrame,
  labelStack,
  makeFrame,
  makeTunnelFrame,
  NSH_TYPE_1,
} from "../../datapath/testing/frames.ts";

/** A frame with the place of its L4 header, or of a tunnel's inner one. */
export type Specimen = readonly [frame: Uint8Array<ArrayBuffer>, l4: number];

const SOLICITATION = "07".repeat(16) + "0101010203040506" + "0201010203040506";
const ARP = "ffffffffffff02000000000108060001080006040001" + "0102030405060a000001" +
  "0000000000000a000002";
const LLC = "ffffffffffff0200000000010040aaaa030000000800" + "4500".repeat(20);

/** One frame of every kind that extraction knows. */
export function specimens(): Specimen[] {
  const found: Specimen[] = [];
  const extensions = [
    [0, [0, 1, 4, 0, 0, 0, 0]],
    [43, [0, 0, 1, 0, 0, 0, 0]],
    [51, [1, 0, 0, ...new Array(8).fill(9)]],
    [44, [0, 0, 1, 0, 0, 0, 9]],
    [60, [0, 1, 4, 0, 0, 0, 0]],
  ] as const;
  for (const protocol of ["tcp", "udp", "sctp", "icmp"] as const) {
    for (const isIpv6 of [false, true]) {
      for (const tags of [[], [0x81000005], [0x88a80001, 0x81000002, 0x81000003]]) {
        const options = { protocol, isIpv6, tags, payloadSize: 30, tcpOptionsSize: 4 };
        for (const extended of [{}, { ipOptionsSize: 8, extensions }]) {
          const frame = makeFrame({ ...options, ...extended });
          found.push([frame.bytes, frame.l4]);
        }
      }
    }
  }
  const inner = makeFrame({ checksum: "partial", payloadSize: 30 });
  for (const kind of ["vxlan", "geneve", "gre", "ipip"] as const) {
    for (const hasChecksum of [false, true]) {
      const { bytes } = makeTunnelFrame(inner.bytes, { kind, hasChecksum });
      found.push([bytes, bytes.length - (inner.bytes.length - inner.l4)]);
    }
  }
  const payload = Uint8Array.fromHex(SOLICITATION);
  const solicitation = makeFrame({ isIpv6: true, protocol: "icmp", payload });
  solicitation.bytes[solicitation.l4] = 135;
  found.push([solicitation.bytes, solicitation.l4]);
  found.push([ethernetFrame(0x8847, labelStack([0x1103f, 0x1103f, 0x1103f, 0x1113f, 0])), 30]);
  found.push([ethernetFrame(0x894f, [...NSH_TYPE_1, 0x45, 0], [0x81000001]), 42]);
  found.push([Uint8Array.fromHex(ARP), 20]);
  found.push([Uint8Array.fromHex(LLC), 40]);
  return found;
}

/** Frames that two kernels have sent each other. */
export function capturedFrames(): Uint8Array<ArrayBuffer>[] {
  return Deno.readTextFileSync(new URL("captured.txt", import.meta.url)).split("\n")
    .filter((line) => line !== "" && !line.startsWith("#")).map((line) => Uint8Array.fromHex(line));
}

/** What a connection with a helper says, an ICMP error that quotes, frames around frames, long ones. */
function composed(): Uint8Array<ArrayBuffer>[] {
  const text = (line: string): Uint8Array => new TextEncoder().encode(line);
  const ftp = (payload: Uint8Array, isIpv6 = false): Uint8Array<ArrayBuffer> =>
    makeFrame({ isIpv6, destinationPort: 21, tcpFlags: 0x18, payload }).bytes;
  const tftp = Uint8Array.from([0, 1, ...text("name\0octet\0")]);
  const quoted = makeFrame({ protocol: "udp", payloadSize: 8 });
  const error = Uint8Array.from(quoted.bytes.subarray(quoted.l3));
  const icmp = makeFrame({ protocol: "icmp", payload: error });
  icmp.bytes[icmp.l4] = 3;
  const tagged = makeFrame({ tags: [0x81000007], protocol: "udp", payloadSize: 100 }).bytes;
  const vxlan = makeTunnelFrame(tagged, { kind: "vxlan" }).bytes;
  return [
    ftp(text("PORT 10,0,0,1,4,5\r\n")),
    ftp(text("227 Entering Passive Mode (10,0,0,2,19,137)\r\n")),
    ftp(text("EPRT |2|fd00::1|1234|\r\n"), true),
    makeFrame({ protocol: "udp", destinationPort: 69, payload: tftp }).bytes,
    icmp.bytes,
    makeTunnelFrame(vxlan, { kind: "geneve", isIpv6: true, hasChecksum: true }).bytes,
    ethernetFrame(0x8847, [...labelStack([0x1003f, 0x1113f]), ...tagged.subarray(18)]),
    ethernetFrame(0x894f, [...NSH_TYPE_1, ...vxlan]),
    makeFrame({ payloadSize: 3000 }).bytes,
    makeFrame({ isIpv6: true, payloadSize: 9000, protocol: "udp" }).bytes,
    makeFrame({ payloadSize: 64_000 }).bytes,
  ];
}

/** All that fuzzing begins with. */
export function corpus(): Uint8Array<ArrayBuffer>[] {
  return [...capturedFrames(), ...specimens().map(([frame]) => frame), ...composed()];
}
