/**
 * Packets against programs that others wrote: keys against Open vSwitch's flow extraction
 * (`ovs-ofctl parse-pcap`), rewritten and segmented frames against Wireshark's checksum verification.
 */
import assert from "node:assert/strict";
import { SET_IPV4, SET_IPV6, SET_TCP, SET_UDP } from "../../datapath/actions/action_program.ts";
import { composeFrame } from "../../datapath/compose/compose.ts";
import { extractKey } from "../../datapath/extract/extract.ts";
import * as key from "../../datapath/key.ts";
import { GSO_TCPV4, GSO_TCPV6, GSO_UDP_L4, type Packet } from "../../datapath/packet/packet.ts";
import { readCapture, writePcap } from "../../datapath/capture/pcap.ts";
import {
  ethernetFrame,
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
function makeCapture(frames: readonly Uint8Array[]): string {
  const path = Deno.makeTempFileSync({ prefix: "dnv-packets-", suffix: ".pcap" });
  Deno.writeFileSync(path, writePcap(frames.map((bytes) => ({ bytes, isL3: false }))));
  return path;
}

/** Lines that a program prints for a capture of the frames. */
async function ask(
  frames: readonly Uint8Array[],
  command: string,
  args: (path: string) => string[],
): Promise<string[]> {
  const path = makeCapture(frames);
  try {
    const { code, stdout, stderr } = await new Deno.Command(command, { args: args(path) }).output();
    assert.equal(code, 0, new TextDecoder().decode(stderr));
    return new TextDecoder().decode(stdout).trimEnd().split("\n");
  } finally {
    Deno.removeSync(path);
  }
}

/** Protocol keywords of OpenFlow text, as the Ethernet type and IP protocol that they stand for. */
const KEYWORDS: Readonly<Record<string, readonly [string, string?]>> = {
  ip: ["0x0800"],
  ipv6: ["0x86dd"],
  arp: ["0x0806"],
  rarp: ["0x8035"],
  mpls: ["0x8847"],
  mplsm: ["0x8848"],
  tcp: ["0x0800", "6"],
  udp: ["0x0800", "17"],
  sctp: ["0x0800", "132"],
  icmp: ["0x0800", "1"],
  tcp6: ["0x86dd", "6"],
  udp6: ["0x86dd", "17"],
  sctp6: ["0x86dd", "132"],
  icmp6: ["0x86dd", "58"],
};

/** What ovs-ofctl prints and a key has no field for (or 3.1 prints only now and then). */
const NO_FIELDS = ["in_port", "nd_reserved", "nd_options_type"];
/** Fields that ovs-ofctl prints with these values to say that there is nothing. */
const ABSENT: Readonly<Record<string, string>> = {
  vlan_tci: "0x0000",
  vlan_tci1: "0x0000",
  mpls_lse1: "0",
  mpls_lse2: "0",
};
/** Printed for NSH as if it were IP, always with these values. */
const NSH_LEFTOVERS = ["nw_proto", "nw_tos", "nw_ecn", "nw_ttl", "nw_frag"];

/** Fields of a flow as ovs-ofctl prints it; protocol keywords become dl_type and nw_proto. */
function fieldsOfText(line: string): Map<string, string> {
  const fields = new Map<string, string>();
  for (const word of line.split(",")) {
    const [name, value] = word.split("=") as [string, string | undefined];
    if (value !== undefined) {
      if (ABSENT[name] !== value && !NO_FIELDS.includes(name)) fields.set(name, value);
      continue;
    }
    const [type, protocol] = KEYWORDS[name] ?? assert.fail(`unknown keyword ${name}`);
    fields.set("dl_type", type);
    if (protocol !== undefined) fields.set("nw_proto", protocol);
  }
  if (fields.get("dl_type") === "0x894f") NSH_LEFTOVERS.forEach((name) => fields.delete(name));
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
  if (type === 0x8847 || type === 0x8848) putLabels(view, put);
  if (type === 0x894f) putNsh(view, put);
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

/** The first label by its fields, the others as numbers. */
function putLabels(view: DataView, put: Put): void {
  const entry = view.getUint32(key.MPLS_AT);
  put("mpls_label", entry >>> 12);
  put("mpls_tc", entry >>> 9 & 7);
  put("mpls_bos", entry >>> 8 & 1);
  put("mpls_ttl", entry & 255);
  for (const label of [1, 2]) {
    const further = view.getUint32(key.MPLS_AT + 4 * label);
    if (further !== 0) put(`mpls_lse${label}`, further);
  }
}

function putNsh(view: DataView, put: Put): void {
  const path = view.getUint32(key.NSH_PATH_AT);
  put("nsh_flags", view.getUint8(key.NSH_FLAGS_AT));
  put("nsh_ttl", view.getUint8(key.NSH_TTL_AT));
  put("nsh_mdtype", view.getUint8(key.NSH_MDTYPE_AT));
  put("nsh_np", view.getUint8(key.NSH_NP_AT));
  put("nsh_spi", `0x${(path >>> 8).toString(16)}`);
  put("nsh_si", path & 255);
  if (view.getUint8(key.NSH_MDTYPE_AT) !== 1) return;
  for (const word of [1, 2, 3, 4]) {
    put(`nsh_c${word}`, `0x${view.getUint32(key.NSH_CONTEXT_AT + 4 * word - 4).toString(16)}`);
  }
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
  frames.push(Uint8Array.fromHex(`${macs}88a800058100000681000007${"0800"}${"45".repeat(20)}`));
  frames.push(...neighbourDiscovery(), ...labelled());
  return frames;
}

/** MPLS and NSH, whole, cut off and malformed. */
function labelled(): Uint8Array[] {
  const label = "0001103f";
  const bottom = "fffff13e";
  const stacks = [bottom, label + bottom, label + label + bottom, label.repeat(4) + bottom];
  const cut = [label, label + label + "00", label + "fffff1", label.repeat(3)];
  const context = "11111111222222223333333344444444";
  const nsh = [
    `2fc60103123456ff${context}`,
    `00060000000000000${"0".repeat(31)}`,
    `0fc20203123456ff`,
    `0fc40203123456ff00000000`,
    `0fc20503123456ff`,
    `6fc60101123456ff${context}`,
    `2fc50101123456ff${context}`,
    `2fc60101123456ff${context.slice(2)}`,
    `2fc70101123456ff${context}`,
    `0fc10203123456ff`,
    `0fc202`,
  ];
  const payload = "450000140000000040060000" + "0a0000010a000002";
  return [
    ...[...stacks, ...stacks.map((stack) => stack + payload), ...cut].flatMap((stack) => [
      ethernetFrame(0x8847, Uint8Array.fromHex(stack)),
      ethernetFrame(0x8848, Uint8Array.fromHex(stack), [0x81000005]),
    ]),
    ...nsh.map((header) => ethernetFrame(0x894f, Uint8Array.fromHex(header))),
    ethernetFrame(0x894f, Uint8Array.fromHex(nsh[0]! + payload), [0x88a80001, 0x81000002]),
  ];
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

/** Compares our keys of the frames with those that ovs-ofctl has printed. */
function compareKeys(frames: readonly Uint8Array[], lines: readonly string[]): void {
  assert.equal(lines.length, frames.length);
  frames.forEach((frame, at) => {
    const words = new Int32Array(key.KEY_WORDS);
    extractKey(packetOf(frame), words, 0);
    const ours = Object.fromEntries([...fieldsOfKey(words)].sort());
    const theirs = Object.fromEntries([...fieldsOfText(lines[at]!)].sort());
    assert.deepEqual(ours, theirs, `${frame.toHex()}\n${lines[at]}`);
  });
}

Deno.test({
  name: "extractKey finds what ovs-ofctl parse-pcap finds",
  ignore: !isThere("/usr/bin/ovs-ofctl"),
  fn: async () => {
    const frames = specimens();
    compareKeys(frames, await ask(frames, "ovs-ofctl", (path) => ["parse-pcap", path]));
  },
});

/** Open vSwitch parses no IP packet that is shorter than its header says; the kernel does. */
function isIp(frame: Uint8Array): boolean {
  const words = new Int32Array(key.KEY_WORDS);
  extractKey(packetOf(frame), words, 0);
  return [0x0800, 0x86dd].includes(new DataView(words.buffer).getUint16(key.ETH_TYPE_AT));
}

Deno.test({
  name: "extractKey finds what ovs-ofctl parse-pcap finds in frames that are cut off anywhere",
  ignore: !isThere("/usr/bin/ovs-ofctl"),
  fn: async () => {
    const frames = specimens().filter((frame) => !isIp(frame)).flatMap((frame) =>
      Array.from({ length: frame.length - 14 }, (_, at) => frame.subarray(0, 14 + at))
    );
    compareKeys(frames, await ask(frames, "ovs-ofctl", (path) => ["parse-pcap", path]));
  },
});

/** Makes captures with scapy: a frame of every protocol, as others write them. */
const SCAPY_PROGRAM = `
import sys
from scapy.all import *
from scapy.contrib.mpls import MPLS
from scapy.contrib.nsh import NSH
eth = Ether(src="02:00:00:00:00:01", dst="02:00:00:00:00:02")
v6 = IPv6(src="fd00::1", dst="fd00::2", tc=0x2d, fl=0x12345, hlim=9)
v4 = IP(src="10.1.2.3", dst="10.4.5.6", tos=0xb9, ttl=7)
inner = v4/UDP(sport=53, dport=5353)/b"payload"
frames = [
  eth/v4/TCP(sport=80, dport=1024, flags="SAEC", options=[("MSS", 1460), ("SAckOK", b"")]),
  eth/v4/UDP(sport=67, dport=68)/b"x",
  eth/v4/SCTP(sport=5000, dport=5001)/SCTPChunkInit(),
  eth/v4/ICMP(type=3, code=4)/b"y",
  eth/v4/IGMP() if "IGMP" in globals() else eth/v4/GRE()/inner,
  eth/IP(src="10.1.2.3", dst="10.4.5.6", options=IPOption_Router_Alert())/UDP(),
  eth/Dot1Q(vlan=5, prio=3)/v4/TCP(),
  eth/Dot1AD(vlan=100, prio=1)/Dot1Q(vlan=4095, prio=7)/v6/UDP(),
  eth/Dot1AD(vlan=1)/Dot1Q(vlan=2)/Dot1Q(vlan=3)/v4,
  eth/ARP(op=1, hwsrc="02:00:00:00:00:01", psrc="10.0.0.1", pdst="10.0.0.2"),
  eth/Dot1Q(vlan=9)/ARP(op=2, hwsrc="02:00:00:00:00:01", psrc="10.0.0.1", hwdst="02:00:00:00:00:02", pdst="10.0.0.2"),
  Ether(src="02:00:00:00:00:01", dst="ff:ff:ff:ff:ff:ff", type=0x8035)/ARP(op=3, hwsrc="02:00:00:00:00:01", hwdst="02:00:00:00:00:01"),
  eth/MPLS(label=16, cos=5, s=0, ttl=64)/MPLS(label=1048575, cos=0, s=1, ttl=1)/inner,
  eth/MPLS(label=1, s=0)/MPLS(label=2, s=0)/MPLS(label=3, s=0)/MPLS(label=4, s=1)/inner,
  Ether(src=eth.src, dst=eth.dst, type=0x894f)/NSH(oam=1, ttl=33, mdtype=1, nextproto=1, spi=0xabcdef, si=254, context_header=bytes(range(16)))/inner,
  Ether(src=eth.src, dst=eth.dst, type=0x894f)/NSH(ttl=33, mdtype=2, nextproto=3, spi=1, si=2)/eth/inner,
  eth/v6/TCP(flags="F"),
  eth/v6/ICMPv6EchoRequest(),
  eth/v6/IPv6ExtHdrHopByHop(options=[RouterAlert()])/IPv6ExtHdrRouting(addresses=["fd00::9"])/IPv6ExtHdrDestOpt()/UDP(sport=1, dport=2),
  eth/v6/IPv6ExtHdrDestOpt()/ICMPv6DestUnreach(),
  eth/v6/ICMPv6ND_NS(tgt="fe80::5")/ICMPv6NDOptSrcLLAddr(lladdr="02:00:00:00:00:09"),
  eth/v6/ICMPv6ND_NA(tgt="fe80::6", R=1, S=1, O=1)/ICMPv6NDOptDstLLAddr(lladdr="02:00:00:00:00:08"),
  eth/v6/ICMPv6ND_NA(tgt="fe80::6")/ICMPv6NDOptDstLLAddr(lladdr="02:00:00:00:00:08")/ICMPv6NDOptDstLLAddr(lladdr="02:00:00:00:00:08"),
  eth/v6/ICMPv6ND_RS(),
  Dot3(src=eth.src, dst=eth.dst)/LLC()/STP(),
  Dot3(src=eth.src, dst=eth.dst)/LLC(dsap=0xaa, ssap=0xaa, ctrl=3)/SNAP(OUI=0, code=0x0800)/v4/TCP(sport=7),
  Dot3(src=eth.src, dst=eth.dst)/LLC(dsap=0xaa, ssap=0xaa, ctrl=3)/SNAP(OUI=0x00000c, code=0x2000)/b"cdp",
  eth/v4/UDP(dport=4789)/VXLAN(vni=42)/eth/inner,
  eth/v4/GRE(proto=0x6558)/eth/inner,
]
frames += fragment(eth/IP(src="10.0.0.1", dst="10.0.0.2")/UDP()/(b"z" * 3000), fragsize=1400)
frames += fragment6(eth/IPv6(src="fd00::1", dst="fd00::2")/IPv6ExtHdrFragment(id=7)/UDP()/(b"z" * 3000), 1400)
wrpcap(sys.argv[1], [Ether(bytes(frame)) for frame in frames])
`;

/** The capture that scapy makes, as a file; the caller deletes it. */
async function scapyCapture(): Promise<string> {
  const path = Deno.makeTempFileSync({ prefix: "dnv-scapy-", suffix: ".pcap" });
  const args = ["-c", SCAPY_PROGRAM, path];
  const { code, stderr } = await new Deno.Command("/usr/bin/python3", { args }).output();
  assert.equal(code, 0, new TextDecoder().decode(stderr));
  return path;
}

async function linesOf(command: string, args: string[]): Promise<string[]> {
  const { code, stdout, stderr } = await new Deno.Command(command, { args }).output();
  assert.equal(code, 0, new TextDecoder().decode(stderr));
  return new TextDecoder().decode(stdout).trimEnd().split("\n");
}

Deno.test({
  name: "extractKey finds what ovs-ofctl parse-pcap finds in a capture that scapy has made",
  ignore: !isThere("/usr/bin/ovs-ofctl") || !isThere("/usr/bin/scapy"),
  fn: async () => {
    const path = await scapyCapture();
    try {
      const frames = [...readCapture(Deno.readFileSync(path))].map(({ bytes }) => bytes);
      assert(frames.length > 30);
      compareKeys(frames, await linesOf("ovs-ofctl", ["parse-pcap", path]));
    } finally {
      Deno.removeSync(path);
    }
  },
});

Deno.test({
  name: "readCapture finds in editcap's pcapng, and pcap with nanoseconds, what is in the pcap",
  ignore: !isThere("/usr/bin/editcap") || !isThere("/usr/bin/scapy"),
  fn: async () => {
    const path = await scapyCapture();
    const converted = `${path}.converted`;
    try {
      const wanted = [...readCapture(Deno.readFileSync(path))];
      for (const format of ["pcapng", "nsecpcap"]) {
        await linesOf("editcap", ["-F", format, path, converted]);
        const found = [...readCapture(Deno.readFileSync(converted))];
        assert.deepEqual(found.map(({ bytes }) => bytes), wanted.map(({ bytes }) => bytes));
        found.forEach(({ time }, at) => assert(Math.abs(time! - wanted[at]!.time!) < 1e-6));
      }
      Deno.removeSync(converted);
    } finally {
      Deno.removeSync(path);
    }
  },
});

/** Flows in OpenFlow text that `ovs-ofctl compose-packet` makes right frames of (not SCTP: no checksum; not NSH). */
const COMPOSED = [
  "mpls,mpls_label=5,mpls_tc=3,mpls_ttl=3,mpls_bos=1",
  "tcp,nw_src=10.0.0.1,nw_dst=10.0.0.2,tp_src=1,tp_dst=2,tcp_flags=syn,nw_ttl=9",
  "udp6,ipv6_src=fd00::1,ipv6_dst=fd00::2,udp_src=1,udp_dst=2,nw_ttl=9",
  "arp,arp_op=2,arp_spa=1.2.3.4,arp_tpa=5.6.7.8,arp_sha=02:00:00:00:00:01",
  "icmp,icmp_type=8,icmp_code=0,dl_vlan=5,dl_vlan_pcp=2",
];

Deno.test({
  name: "composeFrame makes of a frame's key the frame that ovs-ofctl compose-packet makes",
  ignore: !isThere("/usr/bin/ovs-ofctl"),
  fn: async () => {
    for (const flow of COMPOSED) {
      const dump = await linesOf("ovs-ofctl", ["compose-packet", flow]);
      // Lines of a hexadecimal dump: an offset, 16 bytes, the text.
      const frame = Uint8Array.fromHex(
        dump.map((line) => line.slice(10, 58).replace(/[^0-9a-f]/g, "")).join(""),
      );
      const words = new Int32Array(key.KEY_WORDS);
      extractKey(packetOf(frame), words, 0);
      assert.equal(composeFrame(words).toHex(), frame.toHex(), flow);
    }
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
  test.accounts.received(1, train.size);
  test.execute(train, words);
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
