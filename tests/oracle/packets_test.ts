/**
 * Packets against programs that others wrote: keys against Open vSwitch's flow extraction
 * (`ovs-ofctl parse-pcap`), rewritten and segmented frames against Wireshark's checksum verification.
 */
import assert from "node:assert/strict";
import { SET_IPV4, SET_IPV6, SET_TCP, SET_UDP } from "../../datapath/action_program.ts";
import { execute } from "../../datapath/execute.ts";
import { extractKey } from "../../datapath/extract.ts";
import * as key from "../../datapath/key.ts";
import { GSO_TCPV4, GSO_TCPV6, GSO_UDP_L4, type Packet } from "../../datapath/packet.ts";
import {
  type FrameOptions,
  makeFrame,
  makeTunnelFrame,
  packetOf,
} from "../../datapath/testing/frames.ts";
import {
  output,
  program,
  pushVlan,
  RecordingPort,
  set,
  TestOutputs,
} from "../../datapath/testing/ports.ts";

function isThere(path: string): boolean {
  try {
    Deno.statSync(path);
    return true;
  } catch {
    return false;
  }
}

/** A capture file of the frames; the caller deletes it. */
function writePcap(frames: readonly Uint8Array[]): string {
  const size = frames.reduce((sum, frame) => sum + 16 + frame.length, 24);
  const bytes = new Uint8Array(size);
  const view = new DataView(bytes.buffer);
  [0xa1b2c3d4, 0x00040002, 0, 0, 262144, 1].forEach((word, at) =>
    view.setUint32(at * 4, word, true)
  );
  let at = 24;
  for (const frame of frames) {
    view.setUint32(at + 8, frame.length, true);
    view.setUint32(at + 12, frame.length, true);
    bytes.set(frame, at + 16);
    at += 16 + frame.length;
  }
  const path = Deno.makeTempFileSync({ prefix: "dnv-packets-", suffix: ".pcap" });
  Deno.writeFileSync(path, bytes);
  return path;
}

/** Lines that a program prints for a capture of the frames. */
async function ask(
  frames: readonly Uint8Array[],
  command: string,
  args: (path: string) => string[],
): Promise<string[]> {
  const path = writePcap(frames);
  try {
    const { code, stdout, stderr } = await new Deno.Command(command, { args: args(path) }).output();
    assert.equal(code, 0, new TextDecoder().decode(stderr));
    return new TextDecoder().decode(stdout).trimEnd().split("\n");
  } finally {
    Deno.removeSync(path);
  }
}

/** Fields of a flow as ovs-ofctl prints it; protocol keywords become eth_type and nw_proto. */
function fieldsOfText(line: string): Map<string, string> {
  const keywords: Record<string, [string, string?]> = {
    ip: ["0x0800"],
    ipv6: ["0x86dd"],
    arp: ["0x0806"],
    rarp: ["0x8035"],
    tcp: ["0x0800", "6"],
    udp: ["0x0800", "17"],
    sctp: ["0x0800", "132"],
    icmp: ["0x0800", "1"],
    tcp6: ["0x86dd", "6"],
    udp6: ["0x86dd", "17"],
    sctp6: ["0x86dd", "132"],
    icmp6: ["0x86dd", "58"],
  };
  const fields = new Map<string, string>();
  for (const word of line.split(",")) {
    const [name, value] = word.split("=") as [string, string | undefined];
    if (value !== undefined) {
      fields.set(name, value);
      continue;
    }
    const [type, protocol] = keywords[name] ?? assert.fail(`unknown keyword ${name}`);
    fields.set("dl_type", type);
    if (protocol !== undefined) fields.set("nw_proto", protocol);
  }
  // What keys have no field for, and how an absent tag is said.
  for (const name of ["in_port", "nd_reserved", "nd_options_type"]) fields.delete(name);
  for (const name of ["vlan_tci", "vlan_tci1"]) {
    if (fields.get(name) === "0x0000") fields.delete(name);
  }
  return fields;
}

function macText(view: DataView, at: number): string {
  return new Uint8Array(view.buffer, at, 6).toHex().replaceAll(/(..)(?!$)/g, "$1:");
}

function ipv4Text(view: DataView, at: number): string {
  return new Uint8Array(view.buffer, at, 4).join(".");
}

/** Canonical text (RFC 5952) by way of the URL parser. */
function ipv6Text(view: DataView, at: number): string {
  const words = Array.from({ length: 8 }, (_, word) => view.getUint16(at + word * 2).toString(16));
  return new URL(`http://[${words.join(":")}]/`).hostname.slice(1, -1);
}

/** The same fields from a key. */
function fieldsOfKey(words: Int32Array): Map<string, string> {
  const view = new DataView(words.buffer);
  const fields = new Map<string, string>();
  const put = (name: string, value: string | number): unknown => fields.set(name, String(value));
  put("dl_src", macText(view, key.ETH_SRC_AT));
  put("dl_dst", macText(view, key.ETH_DST_AT));
  const tags = [[key.VLAN_TCI_AT, "dl_vlan", "dl_vlan_pcp"], [
    key.CVLAN_TCI_AT,
    "dl_vlan1",
    "dl_vlan_pcp1",
  ]] as const;
  for (const [at, vid, pcp] of tags) {
    const tci = view.getUint16(at);
    if ((tci & key.VLAN_PRESENT) === 0) continue;
    put(vid, tci & 0xfff);
    put(pcp, tci >> 13);
  }
  const type = view.getUint16(key.ETH_TYPE_AT);
  put("dl_type", `0x${(type === key.ETH_P_802_2 ? 0x05ff : type).toString(16).padStart(4, "0")}`);
  if (type === 0x0806 || type === 0x8035) putArp(view, put);
  if (type === 0x0800 || type === 0x86dd) putIp(view, type === 0x0800, put);
  return fields;
}

type Put = (name: string, value: string | number) => unknown;

function putArp(view: DataView, put: Put): void {
  put("arp_spa", ipv4Text(view, key.IPV4_SRC_AT));
  put("arp_tpa", ipv4Text(view, key.IPV4_DST_AT));
  put("arp_op", view.getUint8(key.IP_PROTO_AT));
  put("arp_sha", macText(view, key.ARP_SHA_AT));
  put("arp_tha", macText(view, key.ARP_THA_AT));
}

function putIp(view: DataView, isIpv4: boolean, put: Put): void {
  if (isIpv4) {
    put("nw_src", ipv4Text(view, key.IPV4_SRC_AT));
    put("nw_dst", ipv4Text(view, key.IPV4_DST_AT));
  } else {
    put("ipv6_src", ipv6Text(view, key.IPV6_SRC_AT));
    put("ipv6_dst", ipv6Text(view, key.IPV6_DST_AT));
    put("ipv6_label", `0x${view.getUint32(key.IPV6_LABEL_AT).toString(16).padStart(5, "0")}`);
  }
  const protocol = view.getUint8(key.IP_PROTO_AT);
  put("nw_proto", protocol);
  put("nw_tos", view.getUint8(key.IP_TOS_AT) & 0xfc);
  put("nw_ecn", view.getUint8(key.IP_TOS_AT) & 3);
  put("nw_ttl", view.getUint8(key.IP_TTL_AT));
  const fragment = view.getUint8(key.IP_FRAG_AT);
  put("nw_frag", ["no", "first", "later"][fragment]!);
  if (fragment === key.FRAG_LATER) return;
  const source = view.getUint16(key.TP_SRC_AT);
  const destination = view.getUint16(key.TP_DST_AT);
  if (protocol === (isIpv4 ? 1 : 58)) {
    put("icmp_type", source);
    put("icmp_code", destination);
    if (source === 135 || source === 136) {
      put("nd_target", ipv6Text(view, key.ND_TARGET_AT));
      put("nd_sll", macText(view, key.ND_SLL_AT));
      put("nd_tll", macText(view, key.ND_TLL_AT));
    }
  } else if (protocol === 6 || protocol === 17 || protocol === 132) {
    put("tp_src", source);
    put("tp_dst", destination);
    if (protocol === 6) put("tcp_flags", flagsText(view.getUint16(key.TCP_FLAGS_AT)));
  }
}

function flagsText(flags: number): string {
  const names = ["fin", "syn", "rst", "psh", "ack", "urg", "ece", "cwr", "ns"];
  const set = names.filter((_, bit) => (flags & 1 << bit) !== 0);
  return set.length === 0 ? "0" : set.join("|");
}

/** Frames of every kind that both sides know, with a few hundred combinations of their options. */
function specimens(): Uint8Array[] {
  const frames: Uint8Array[] = [];
  const tagLists = [[], [0x81000005], [0x8100ffff], [0x88a8e001, 0x81000064]];
  for (const isIpv6 of [false, true]) {
    for (const protocol of ["tcp", "udp", "sctp", "icmp"] as const) {
      for (const tags of tagLists) {
        const base: FrameOptions = { isIpv6, protocol, tags, tcpFlags: 0x1ff, payloadSize: 40 };
        frames.push(makeFrame(base).bytes);
        frames.push(
          makeFrame({ ...base, tcpFlags: 2, tcpOptionsSize: 20, ipOptionsSize: 12 }).bytes,
        );
        for (const fragment of [0x2000, 0x2003, 0x0003]) {
          const word = (fragment & 0x1fff) << 3 | (fragment & 0x2000) >> 13;
          const extensions = [[44, [0, word >> 8, word & 255, 0, 0, 0, 9]]] as const;
          frames.push(makeFrame({ ...base, fragment, extensions: isIpv6 ? extensions : [] }).bytes);
        }
        const chain = [[0, [0, 1, 4, 0, 0, 0, 0]], [43, [0, 0, 0, 0, 0, 0, 0]], [
          60,
          [1, ...new Array(14).fill(0)],
        ], [51, [1, 0, 0, ...new Array(8).fill(9)]]] as const;
        if (isIpv6) frames.push(makeFrame({ ...base, extensions: chain }).bytes);
      }
    }
  }
  const macs = "ffffffffffff020000000001";
  const arp = "0001080006040002" + "010203040506" + "0a000001" + "0708090a0b0c" + "0a000002";
  frames.push(Uint8Array.fromHex(`${macs}0806${arp}`), Uint8Array.fromHex(`${macs}8035${arp}`));
  frames.push(Uint8Array.fromHex(`${macs}81000005${"0806"}${arp}`));
  frames.push(Uint8Array.fromHex(`${macs}0026424203${"00".repeat(40)}`));
  frames.push(Uint8Array.fromHex(`${macs}88cc${"00".repeat(46)}`));
  frames.push(...neighbourDiscovery());
  return frames;
}

function neighbourDiscovery(): Uint8Array[] {
  const target = [0xfe, 0x80, ...new Array(13).fill(0), 5];
  const source = [1, 1, 2, 0, 0, 0, 0, 9];
  const targetOption = [2, 1, 2, 0, 0, 0, 0, 8];
  const payloads = [[], source, targetOption, [...source, ...targetOption]];
  return [135, 136].flatMap((type) =>
    payloads.map((options) => {
      const payload = Uint8Array.from([...target, ...options]);
      const frame = makeFrame({ isIpv6: true, protocol: "icmp", payload });
      frame.bytes[frame.l4] = type;
      frame.bytes[frame.l3 + 7] = 255;
      return frame.bytes;
    })
  );
}

Deno.test({
  name: "extractKey finds what ovs-ofctl parse-pcap finds",
  ignore: !isThere("/usr/bin/ovs-ofctl"),
  fn: async () => {
    const frames = specimens();
    const lines = await ask(frames, "ovs-ofctl", (path) => ["parse-pcap", path]);
    assert.equal(lines.length, frames.length);
    frames.forEach((frame, at) => {
      const words = new Int32Array(key.KEY_WORDS);
      extractKey(packetOf(frame), words, 0);
      const ours = Object.fromEntries([...fieldsOfKey(words)].sort());
      const theirs = Object.fromEntries([...fieldsOfText(lines[at]!)].sort());
      assert.deepEqual(ours, theirs, `${frame.toHex()}\n${lines[at]}`);
    });
  },
});

/** What a port without offloads is sent when a train is rewritten. */
function rewrittenSegments(train: Packet, isIpv6: boolean, isTcp: boolean): Uint8Array[] {
  const port = new RecordingPort(1, { partial: false, trains: false });
  const test = new TestOutputs([port]);
  const address = isIpv6
    ? set(SET_IPV6, [key.IPV6_SRC_AT, [0x20, 1, 0x0d, 0xb8]], [key.IP_TTL_AT, [7]])
    : set(SET_IPV4, [key.IPV4_DST_AT, [192, 0, 2, 1]], [key.IP_TTL_AT, [7]]);
  const ports = set(isTcp ? SET_TCP : SET_UDP, [key.TP_SRC_AT, [0x30, 0x39]]);
  train.inPort = 2;
  extractKey(train, new Int32Array(key.KEY_WORDS), 0);
  const words = program(address, ports, pushVlan(0x81001005), output(1));
  execute(train, words, 0, test.outputs, test.accounts);
  assert(port.sent.length > 1, JSON.stringify(test.drops()));
  return port.sent.map(({ frame }) => frame);
}

/** Rewritten and segmented: TCP and UDP, IPv4 and IPv6, in every tunnel. */
function segmentedFrames(): Uint8Array[] {
  const found: Uint8Array[] = [];
  for (const isIpv6 of [false, true]) {
    for (const isTcp of [true, false]) {
      const protocol = isTcp ? "tcp" : "udp";
      const options = {
        isIpv6,
        payloadSize: 5000,
        tcpOptionsSize: 12,
        checksum: "partial",
      } as const;
      const gsoType = !isTcp ? GSO_UDP_L4 : isIpv6 ? GSO_TCPV6 : GSO_TCPV4;
      const offload = { needsCsum: true, csumOffset: isTcp ? 16 : 6, gsoType, gsoSize: 1398 };
      const plain = makeFrame({ ...options, protocol, sourcePort: 4000, destinationPort: 4001 });
      const train = packetOf(plain.bytes, { ...offload, csumStart: plain.l4 });
      found.push(...rewrittenSegments(train, isIpv6, isTcp));
      for (const hasChecksum of [false, true]) {
        for (const kind of ["vxlan", "geneve"] as const) {
          const outer = makeTunnelFrame(plain.bytes, { kind, hasChecksum, isTrain: true, isIpv6 });
          const csumStart = outer.bytes.length - (plain.bytes.length - plain.l4);
          const carried = packetOf(outer.bytes, { ...offload, csumStart });
          found.push(...rewrittenSegments(carried, isIpv6, false));
        }
      }
    }
  }
  return found;
}

const TSHARK = [
  "-o",
  "ip.check_checksum:TRUE",
  "-o",
  "tcp.check_checksum:TRUE",
  "-o",
  "udp.check_checksum:TRUE",
];

Deno.test({
  name: "rewritten and segmented trains have checksums and lengths that Wireshark finds right",
  ignore: !isThere("/usr/bin/tshark"),
  fn: async () => {
    const frames = segmentedFrames();
    const bad = "ip.checksum.status == 0 || tcp.checksum.status == 0 || " +
      "udp.checksum.status == 0 || _ws.malformed || ip.bogus_ip_length || udp.length.bad";
    const fields = ["frame.number", "frame.protocols", "_ws.expert.message"];
    const lines = await ask(frames, "tshark", (path) => [
      "-r",
      path,
      ...TSHARK,
      "-Y",
      bad,
      "-T",
      "fields",
      ...fields.flatMap((field) => ["-e", field]),
    ]);
    assert.deepEqual(lines.filter((line) => line !== ""), []);
  },
});

Deno.test({
  name: "Wireshark's verification does see a wrong checksum in each of those places",
  ignore: !isThere("/usr/bin/tshark"),
  fn: async () => {
    const inner = makeFrame({ payloadSize: 100 });
    const outer = makeTunnelFrame(inner.bytes, { kind: "vxlan", hasChecksum: true });
    const shift = outer.bytes.length - inner.bytes.length;
    const damaged = [outer.l3 + 10, outer.l4 + 6, shift + inner.l3 + 10, shift + inner.l4 + 16].map(
      (at) => {
        const frame = outer.bytes.slice();
        frame[at]! ^= 0x11;
        return frame;
      },
    );
    const bad = "ip.checksum.status == 0 || tcp.checksum.status == 0 || udp.checksum.status == 0";
    const lines = await ask([outer.bytes, ...damaged], "tshark", (path) => [
      "-r",
      path,
      ...TSHARK,
      "-Y",
      bad,
      "-T",
      "fields",
      "-e",
      "frame.number",
    ]);
    assert.deepEqual(lines.map(Number), [2, 3, 4, 5]);
  },
});
