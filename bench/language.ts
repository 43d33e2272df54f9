/**
 * What the flow language costs: lines of flow and action text parsed and printed, keys extracted from
 * packets, keys encoded for netlink.
 *
 *   deno task bench:language [--rounds N]
 *
 * One row per work and number of items: nanoseconds of CPU time of this thread per item, median of
 * rounds. The cost of an item should not grow with their number.
 */
import { parseArgs } from "node:util";
import { composeFrame } from "../datapath/compose/compose.ts";
import { extractKey } from "../datapath/extract/extract.ts";
import { KEY_WORDS } from "../datapath/key.ts";
import { encodeKey } from "../datapath/netlink/key_codec.ts";
import { Packet } from "../datapath/packet/packet.ts";
import { formatActions, parseActions } from "../datapath/text/action_text.ts";
import { formatFlow, parseFlow } from "../datapath/text/flow_text.ts";
import { median, say, table } from "../tests/output.ts";
import { cpuNs } from "./cpu.ts";

const FLOW_COUNTS = [1_000, 10_000, 100_000];
const MEASURED_NS_MIN = 50e6;
const PACKET_COUNTS = [10_000, 100_000, 1_000_000];

/** Flows as they are in real tables: mostly TCP and UDP over IPv4, some ARP, IPv6, tags, tunnels, connections. */
function flowLine(index: number): string {
  const port = 1 + index % 64;
  const a = `10.${index >> 16 & 255}.${index >> 8 & 255}.${index & 255}`;
  const mac = `02:00:00:${hex(index >> 16)}:${hex(index >> 8)}:${hex(index)}`;
  const head = `recirc_id(0),in_port(${port})`;
  switch (index % 8) {
    case 0:
      return `${head},eth(),eth_type(0x0806),arp(op=1,tip=${a})`;
    case 1:
      return `${head},eth(dst=${mac}),eth_type(0x86dd),ipv6(dst=2001:db8::${
        index.toString(16).slice(-4)
      },proto=17,frag=no),udp(dst=53)`;
    case 2:
      return `${head},eth(),eth_type(0x8100),vlan(vid=${
        1 + index % 4000
      },pcp=0),encap(eth_type(0x0800),ipv4(dst=${a},proto=6,frag=no),tcp(dst=443))`;
    case 3:
      return `tunnel(tun_id=0x${index.toString(16)},src=10.0.0.1,dst=${a},ttl=64,flags(df|key)),${
        head.slice(13)
      },eth(src=${mac}),eth_type(0x0800),ipv4(frag=no)`;
    case 4:
      return `${head},ct_state(+est+trk),ct_zone(0x5),eth(),eth_type(0x0800),ipv4(dst=${a}/255.255.255.0,frag=no)`;
    default:
      return `${head},eth(src=${mac},dst=02:00:00:00:00:02),eth_type(0x0800),ipv4(src=${a},dst=10.0.0.0/255.0.0.0,proto=6,tos=0/0x3,frag=no),tcp(src=${
        index % 60000
      },dst=80)`;
  }
}

const ACTIONS = [
  "2",
  "drop",
  "set(eth(src=02:00:00:00:00:01,dst=02:00:00:00:00:02)),set(ipv4(ttl=63)),3",
  "push_vlan(vid=5,pcp=0),2,pop_vlan,4",
  "ct(commit,zone=5,nat(src=10.0.0.1-10.0.0.9:1024-65535)),recirc(0x1)",
  "set(tunnel(tun_id=0x7,dst=192.0.2.1,ttl=64,flags(df|key))),7",
];

function hex(byte: number): string {
  return (byte & 255).toString(16).padStart(2, "0");
}

interface Work {
  readonly name: string;
  readonly counts: readonly number[];
  /** Prepares `count` items; what comes back handles them all once. */
  make(count: number): () => void;
}

const WORKS: readonly Work[] = [
  {
    name: "parse a flow",
    counts: FLOW_COUNTS,
    make: (count) => {
      const lines = Array.from({ length: count }, (_, index) => flowLine(index));
      return () => lines.forEach((line) => parseFlow(line));
    },
  },
  {
    name: "parse actions",
    counts: FLOW_COUNTS,
    make: (count) => {
      const lines = Array.from({ length: count }, (_, index) => ACTIONS[index % ACTIONS.length]!);
      return () => lines.forEach((line) => parseActions(line));
    },
  },
  {
    name: "print a flow and its actions",
    counts: FLOW_COUNTS,
    make: (count) => {
      const flows = Array.from({ length: count }, (_, index) => parseFlow(flowLine(index)));
      const actions = ACTIONS.map((line) => parseActions(line));
      return () =>
        flows.forEach(({ key, mask }, index) => {
          formatFlow(key, mask);
          formatActions(actions[index % actions.length]!);
        });
    },
  },
  {
    name: "encode a key for netlink",
    counts: FLOW_COUNTS,
    make: (count) => {
      const flows = Array.from({ length: count }, (_, index) => parseFlow(flowLine(index)));
      return () => flows.forEach(({ key, mask }) => encodeKey(key, mask, { dialect: "kernel" }));
    },
  },
  {
    name: "extract the key of a packet",
    counts: PACKET_COUNTS,
    make: (count) => {
      const packets = Array.from({ length: 256 }, (_, index) => packetOf(flowLine(index)));
      const keys = new Int32Array(KEY_WORDS * 32);
      return () => {
        for (let index = 0; index < count; index++) {
          extractKey(packets[index & 255]!, keys, (index & 31) * KEY_WORDS);
        }
      };
    },
  },
];

function packetOf(flow: string): Packet {
  const { key, mask } = parseFlow(flow);
  const bytes = composeFrame(key.map((word, index) => word & mask[index]!));
  const packet = new Packet({ bytes, view: new DataView(bytes.buffer), address: 0 });
  packet.end = bytes.length;
  packet.tailLimit = bytes.length;
  return packet;
}

function main(): void {
  const { values } = parseArgs({ options: { rounds: { type: "string", default: "5" } } });
  const rounds = Number(values.rounds);
  const rows: string[][] = [];
  for (const { name, counts, make } of WORKS) {
    for (const count of counts) {
      const run = make(count);
      run(); // V8 has seen it all once
      const costs = Array.from({ length: rounds }, () => {
        const before = cpuNs();
        let times = 0;
        // The scheduler accounts in ticks of up to 4 ms.
        do {
          run();
          times++;
        } while (cpuNs() - before < MEASURED_NS_MIN);
        return (cpuNs() - before) / count / times;
      });
      rows.push([name, String(count), median(costs).toFixed(0)]);
    }
  }
  table(["work", ">items", ">ns an item"], rows).forEach((line) => say(line));
}

main();
