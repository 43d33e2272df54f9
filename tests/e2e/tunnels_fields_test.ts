/**
 * One packet of every kind that a tunnel port can send, with the outer header that its flow sets:
 * tshark reads those fields and has nothing to complain about, and another denovs matches them and
 * gets the packet as it was.
 */
import assert from "node:assert/strict";
import { readCapture, writePcap } from "../../datapath/capture/pcap.ts";
import { makeFrame } from "../../datapath/testing/frames.ts";
import { rootTest, withLab } from "./lab.ts";
import { eventually } from "./process.ts";
import { assertAccounts, sendFrames } from "./traffic.ts";
import { captured, complaints, decoded } from "./tshark.ts";
import { FAR, FAR6, NEAR, NEAR6, otherDenovs, setChecksumOffload, underlay } from "./tunnel_lab.ts";

/** A second address of the near end, for flows to choose. */
const NEAR_OTHER = "192.0.2.77";
const POLICY_PORT = 8472;
const GPE_PORT = 4790;
const OUT = 99;
/** Of the inner packets, one more for each case. */
const FIRST_UDP_PORT = 20001;
/** Packets besides, of as many flows, through the port with sequence numbers. */
const NUMBERED = 20;
const NUMBERED_UDP_PORT = 30001;
/** tshark knows the port of VXLAN alone. */
const DECODE_AS = [`udp.port==${POLICY_PORT},vxlan`];

/** Both switches' tunnel ports, by number; `remote` is the other end's address. */
const PORTS: readonly (readonly [portNo: number, words: (remote: string) => string])[] = [
  [2, () => "vxlan remote_ip=flow key=flow"],
  [3, () => `vxlan remote_ip=flow key=flow exts=gbp dst_port=${POLICY_PORT}`],
  [4, () => `vxlan remote_ip=flow key=flow exts=gpe packet_type=ptap dst_port=${GPE_PORT}`],
  [5, () => "geneve remote_ip=flow key=flow"],
  [6, () => "gre remote_ip=flow key=flow packet_type=ptap"],
  [7, () => "gre remote_ip=flow"],
  [8, (remote) => `gre remote_ip=${remote} key=77 seq=true csum=true tos=0xb8 ttl=9`],
];

interface Case {
  readonly name: string;
  readonly port: number;
  /** What set(tunnel()) says and the far end's flow matches, addresses excepted. */
  readonly key: string;
  /** Flags of set(tunnel()). */
  readonly flags: string;
  /** Flags that the far end sees, which does not look for don't-fragment. Default key, and csum if that was set. */
  readonly seenFlags?: string;
  /** The type of service of the outer header with the inner one's ECN; default what key says. */
  readonly seenTos?: string;
  /** No set(tunnel()) at all: the port's options. */
  readonly isConfigured?: boolean;
  readonly isIpv6?: boolean;
  readonly source?: string;
  /** The inner packet goes without its Ethernet header. */
  readonly isL3?: boolean;
  readonly innerIpv6?: boolean;
  /** What tshark is to read: the outermost value of each field, "": there is none. */
  readonly fields: Readonly<Record<string, string>>;
}

const V4 = { "ip.src": NEAR, "ip.dst": FAR, "ip.dsfield": "0x28", "ip.ttl": "33" };
const V6 = { "ipv6.src": NEAR6, "ipv6.dst": FAR6, "ipv6.tclass": "0x00000028", "ipv6.hlim": "33" };
/** makeFrame's IPv6 packets have ECT(0), which the outer header repeats (RFC 6040). */
const ECN = { "ip.dsfield": "0x2a" };
const UNSUMMED = { "udp.checksum": "0x0000" };
const SUMMED = { "udp.checksum.status": "1" };
const VNI = { "vxlan.vni": `${0x123456}` };
const OPTIONS = "geneve({class=0x102,type=0x80,len=4,0xaabbccdd}{class=0xffff,type=0x7,len=8," +
  "0x1122334455667788}{class=0x103,type=0x1,len=0})";
const OPTION_FIELDS = {
  "geneve.vni": "0x123456",
  "geneve.options": "01028001aabbccdd" + "ffff07021122334455667788" + "01030100",
  "geneve.option.class": "0x0102",
  "geneve.option.type": "0x80",
  "geneve.option.unknown.data": "aabbccdd",
  "geneve.flags.critical": "1",
};

const CASES: readonly Case[] = [
  {
    name: "vxlan",
    port: 2,
    key: "tun_id=0x123456,tos=0x28,ttl=33",
    flags: "df|key",
    fields: { ...V4, ...UNSUMMED, ...VNI, "ip.flags.df": "1", "vxlan.flag_i": "1" },
  },
  {
    name: "vxlan with checksum, fragmentable, from another address",
    port: 2,
    key: "tun_id=0xffffff,tos=0x28,ttl=33",
    flags: "csum|key",
    source: NEAR_OTHER,
    fields: {
      ...V4,
      ...SUMMED,
      "ip.src": NEAR_OTHER,
      "ip.flags.df": "0",
      "vxlan.vni": `${0xffffff}`,
      "vxlan.flag_g": "0",
      "udp.dstport": "4789",
    },
  },
  {
    name: "vxlan over IPv6",
    port: 2,
    key: "tun_id=0x123456,tos=0x28,ttl=33",
    flags: "df|csum|key",
    isIpv6: true,
    fields: { ...V6, ...SUMMED, ...VNI },
  },
  {
    name: "vxlan with a group policy",
    port: 3,
    key: "tun_id=0x123456,tos=0x28,ttl=33,vxlan(gbp(id=43981,flags=0x48))",
    flags: "df|key",
    fields: {
      ...V4,
      ...VNI,
      "vxlan.flag_g": "1",
      "vxlan.flag_d": "1",
      "vxlan.flag_a": "1",
      "vxlan.gbp": "43981",
    },
  },
  {
    name: "vxlan with a group policy over IPv6",
    port: 3,
    key: "tun_id=0x123456,tos=0x28,ttl=33,vxlan(gbp(id=1,flags=0))",
    flags: "csum|key",
    isIpv6: true,
    fields: { ...V6, ...SUMMED, ...VNI, "vxlan.flag_g": "1", "vxlan.gbp": "1" },
  },
  {
    name: "vxlan gpe, a frame",
    port: 4,
    key: "tun_id=0x123456,tos=0x28,ttl=33",
    flags: "df|key",
    fields: { ...V4, ...VNI, "vxlan.next_proto": "3", "vxlan.p_bit": "1" },
  },
  {
    name: "vxlan gpe, an IPv4 packet, over IPv6",
    port: 4,
    key: "tun_id=0x123456,tos=0x28,ttl=33",
    flags: "csum|key",
    isIpv6: true,
    isL3: true,
    fields: { ...V6, ...SUMMED, ...VNI, "vxlan.next_proto": "1" },
  },
  {
    name: "vxlan gpe, an IPv6 packet",
    port: 4,
    key: "tun_id=0x123456,tos=0x28,ttl=33",
    flags: "df|csum|key",
    isL3: true,
    innerIpv6: true,
    seenTos: "0x2a",
    fields: { ...V4, ...ECN, ...SUMMED, ...VNI, "vxlan.next_proto": "2" },
  },
  {
    name: "geneve",
    port: 5,
    key: "tun_id=0x123456,tos=0x28,ttl=33",
    flags: "df|key",
    fields: {
      ...V4,
      ...UNSUMMED,
      "udp.dstport": "6081",
      "geneve.vni": "0x123456",
      "geneve.flags.oam": "0",
      "geneve.flags.critical": "0",
      "geneve.option.class": "",
    },
  },
  {
    name: "geneve with options, oam",
    port: 5,
    key: `tun_id=0x123456,tos=0x28,ttl=33,${OPTIONS}`,
    flags: "df|csum|key|oam",
    seenFlags: "oam|csum|key",
    fields: { ...V4, ...SUMMED, ...OPTION_FIELDS, "geneve.flags.oam": "1" },
  },
  {
    name: "geneve with options over IPv6",
    port: 5,
    key: `tun_id=0x123456,tos=0x28,ttl=33,${OPTIONS}`,
    flags: "csum|key",
    isIpv6: true,
    fields: { ...V6, ...SUMMED, ...OPTION_FIELDS, "geneve.flags.oam": "0" },
  },
  {
    name: "gre without key",
    port: 7,
    key: "tos=0x28,ttl=33",
    flags: "df",
    seenFlags: "0",
    fields: { ...V4, "gre.flags_and_version": "0x0000", "gre.proto": "0x6558", "gre.key": "" },
  },
  {
    name: "gre with key",
    port: 6,
    key: "tun_id=0x89abcdef,tos=0x28,ttl=33",
    flags: "df|key",
    fields: { ...V4, "gre.flags_and_version": "0x2000", "gre.key": "0x89abcdef" },
  },
  {
    name: "gre with key and checksum over IPv6",
    port: 6,
    key: "tun_id=0x89abcdef,tos=0x28,ttl=33",
    flags: "csum|key",
    seenFlags: "csum|key",
    isIpv6: true,
    fields: {
      ...V6,
      "gre.flags_and_version": "0xa000",
      "gre.checksum.status": "1",
      "gre.key": "0x89abcdef",
    },
  },
  {
    name: "gre with key, checksum and sequence number, as the port says",
    port: 8,
    key: "tun_id=0x4d",
    flags: "",
    seenFlags: "csum|key",
    isConfigured: true,
    fields: {
      "ip.dsfield": "0xb8",
      "ip.ttl": "9",
      "ip.flags.df": "1",
      "gre.flags_and_version": "0xb000",
      "gre.checksum.status": "1",
      "gre.key": "0x0000004d",
    },
  },
  {
    name: "gre, an IPv4 packet, over IPv6",
    port: 6,
    key: "tun_id=0x1,tos=0x28,ttl=33",
    flags: "key",
    isIpv6: true,
    isL3: true,
    fields: { ...V6, "gre.proto": "0x0800", "gre.key": "0x00000001" },
  },
  {
    name: "gre, an IPv6 packet, with checksum",
    port: 6,
    key: "tun_id=0x1,tos=0x28,ttl=33",
    flags: "df|csum|key",
    seenFlags: "csum|key",
    isL3: true,
    innerIpv6: true,
    seenTos: "0x2a",
    fields: {
      ...V4,
      ...ECN,
      "gre.proto": "0x86dd",
      "gre.key": "0x00000001",
      "gre.checksum.status": "1",
    },
  },
];

function frameOf(index: number): Uint8Array<ArrayBuffer> {
  return makeFrame({
    protocol: "udp",
    isIpv6: CASES[index]!.innerIpv6 ?? false,
    destinationPort: FIRST_UDP_PORT + index,
    payloadSize: 61 + index,
  }).bytes;
}

/** Of flows that several packet threads share. */
function numberedFrames(): Uint8Array[] {
  return Array.from({ length: NUMBERED }, (_, index) =>
    makeFrame({
      protocol: "udp",
      source: index,
      sourcePort: 1000 + index,
      destinationPort: NUMBERED_UDP_PORT,
    }).bytes);
}

/** The case's inner packet, in flow text behind in_port and Ethernet header. */
function matchOf(index: number): string {
  const ip = CASES[index]!.innerIpv6
    ? "eth_type(0x86dd),ipv6(proto=17)"
    : "eth_type(0x0800),ipv4(proto=17)";
  return `${ip},udp(dst=${FIRST_UDP_PORT + index})`;
}

function nearFlow(each: Case, index: number): string {
  const v = each.isIpv6 ? "ipv6_" : "";
  const from = each.source === undefined ? "" : `${v}src=${each.source},`;
  const to = `${from}${v}dst=${each.isIpv6 ? FAR6 : FAR}`;
  const set = each.isConfigured ? "" : `set(tunnel(${to},${each.key},flags(${each.flags}))),`;
  const pop = each.isL3 ? "pop_eth," : "";
  return `flow-add br0 in_port(1),${matchOf(index)} ${pop}${set}${each.port}`;
}

function farFlow(each: Case, index: number): string {
  const v = each.isIpv6 ? "ipv6_" : "";
  const source = each.source ?? (each.isIpv6 ? NEAR6 : NEAR);
  const from = `${v}src=${source},${v}dst=${each.isIpv6 ? FAR6 : FAR}`;
  const flags = each.seenFlags ?? (each.flags.includes("csum") ? "csum|key" : "key");
  const key = each.seenTos ? each.key.replace(/tos=\w+/, `tos=${each.seenTos}`) : each.key;
  const tunnel = `tunnel(${from},${key},flags(${flags})),in_port(${each.port})`;
  if (!each.isL3) return `flow-add br1 ${tunnel},${matchOf(index)} ${OUT}`;
  // The addresses that makeFrame gives its frames.
  const header = frameOf(index).subarray(0, 12).toHex().match(/../g)!;
  const [dst, src] = [header.slice(0, 6).join(":"), header.slice(6).join(":")];
  const id = each.innerIpv6 ? "0x86dd" : "0x800";
  const match = matchOf(index).replace(/^eth_type\([^)]*\),/, "");
  return `flow-add br1 ${tunnel},packet_type(ns=1,id=${id}),${match} ` +
    `push_eth(src=${src},dst=${dst}),${OUT}`;
}

function withLastBytesChanged(capture: Uint8Array): Uint8Array {
  return writePcap([...readCapture(capture)].map((packet) => {
    const bytes = new Uint8Array(packet.bytes);
    bytes[bytes.length - 1]! ^= 0xff;
    return { ...packet, bytes };
  }));
}

rootTest(
  "tunnels: packets of every kind decode in tshark with the fields that the flow set, without a warning",
  () =>
    withLab(async (lab) => {
      const far = await underlay(lab);
      await setChecksumOffload(lab, far, "off");
      await lab.sw.ip("addr", "add", `${NEAR_OTHER}/24`, "dev", far.port);
      const a = await lab.peer("a", {});
      const { denovs } = lab;
      await denovs.start();
      const adds = (dp: string, remote: string): string[] =>
        PORTS.map(([no, words]) => `port-add ${dp} t${no} --port-no ${no} --type ${words(remote)}`);
      await denovs.batch([
        "dp-add br0",
        `port-add br0 ${a.port} --port-no 1`,
        ...adds("br0", FAR),
        ...CASES.map(nearFlow),
        `flow-add br0 in_port(1),eth_type(0x0800),ipv4(proto=17),udp(dst=${NUMBERED_UDP_PORT}) 8`,
      ]);
      await otherDenovs(lab, far, async (other) => {
        const out = `${lab.folder}/out.pcap`;
        await other.batch([
          "dp-add br1",
          `port-add br1 out --port-no ${OUT} --type pcap tx_pcap=${out}`,
          ...adds("br1", NEAR),
          ...CASES.map(farFlow),
        ]);
        const frames = CASES.map((_, index) => frameOf(index));
        const file = await captured(lab, far, async () => {
          await sendFrames(a, [...frames, ...numberedFrames()].map((frame) => frame.toHex()));
          await eventually("all packets are there", async () => {
            const { counters } = await other.show("br1");
            return Number(counters["received"]) >= CASES.length + NUMBERED;
          });
        });
        const fields = new Set(CASES.flatMap((each) => Object.keys(each.fields)));
        const packets = await decoded(far, file, {
          filter: `udp.dstport >= ${FIRST_UDP_PORT}`,
          fields: ["udp.dstport", "gre.sequence_number", ...fields],
          decodeAs: DECODE_AS,
        });
        CASES.forEach((each, index) => {
          const packet = packets.find((row) =>
            row["udp.dstport"]?.at(-1) === `${FIRST_UDP_PORT + index}`
          );
          assert.ok(packet, `${each.name}: not in the capture`);
          const seen = Object.keys(each.fields).map((name) => [name, packet[name]?.[0] ?? ""]);
          assert.deepEqual(Object.fromEntries(seen), each.fields, each.name);
        });
        const numbers = packets.flatMap((packet) => packet["gre.sequence_number"] ?? []);
        assert.deepEqual(
          numbers.map(Number).sort((one, other) => one - other),
          Array.from({ length: NUMBERED + 1 }, (_, number) => number),
        );
        assert.deepEqual(await complaints(far, file, DECODE_AS), []);
        // It does look: of each packet the inner checksum, and of most the outer one too.
        const broken = `${lab.folder}/broken.pcap`;
        Deno.writeFileSync(broken, withLastBytesChanged(Deno.readFileSync(file)));
        const found = await complaints(far, broken, DECODE_AS);
        assert.ok(found.length >= CASES.length, `only ${found.length} complaints`);
        const flows = await other.flows("br1");
        const missed = flows.filter(({ packets }) => packets !== 1).map(({ flow }) => flow);
        assert.deepEqual(missed, [], JSON.stringify((await other.show("br1")).counters));
        const received = [...readCapture(Deno.readFileSync(out))].map(({ bytes }) => bytes.toHex());
        assert.deepEqual(received.sort(), frames.map((frame) => frame.toHex()).sort());
      });
      await assertAccounts(lab);
    }),
);
