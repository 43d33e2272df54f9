/** A connection that lives while the table fills up with a million others, and beyond. */
import assert from "node:assert/strict";
import { writePcap } from "../../datapath/capture/pcap.ts";
import { connect } from "../../daemon/client.ts";
import { addFlows, connections, IPV4, SERVICE, translatedHosts } from "./conntrack_lab.ts";
import { THREADS } from "./denovs.ts";
import { type Lab, type Namespace, rootTest, withLab } from "./lab.ts";
import { eventually } from "./process.ts";
import { assertAccounts, listens, sendTcp, serveTcp } from "./traffic.ts";

/** What the generator sends; each frame becomes a connection of each of SOURCES networks. */
const FRAMES = 65_536;
/** One network more than the table has room for. */
const SOURCES = 17;
const TABLE_MAX = 1_048_576;
const FLOOD_ZONE = 9;
/** Bytes that a connection may cost, tables and all. */
const CONNECTION_BYTES_MAX = 320;

/** Answers with what it gets. */
const ECHO = `
import socket, sys
s = socket.create_server((sys.argv[1], 5300))
c, _ = s.accept()
while True:
    data = c.recv(1 << 20)
    if not data:
        break
    c.sendall(data)
`;

/** Sends random bytes and compares what comes back, until its stdin ends; prints how many. */
const TALK = `
import os, select, socket, sys, threading
s = socket.create_connection((sys.argv[1], 5300), 5)
s.settimeout(10)
total = 0
while True:
    data = os.urandom(1 << 18)
    sender = threading.Thread(target=s.sendall, args=(data,))
    sender.start()
    got = bytearray()
    while len(got) < len(data):
        part = s.recv(1 << 20)
        if not part:
            sys.exit("the connection was closed")
        got += part
    sender.join()
    if got != data:
        sys.exit("other bytes came back")
    total += len(data)
    if select.select([sys.stdin], [], [], 0)[0]:
        break
s.shutdown(socket.SHUT_WR)
while s.recv(1 << 20):
    sys.exit("bytes that nobody sent")
print(total)
`;

/** A conversation that goes on until it is ended. */
interface Talk {
  /** Ends it; how many bytes came back as they were sent. Fails if the connection did. */
  end(): Promise<number>;
}

function talk(from: Namespace, to: string): Talk {
  const child = from.start(["/usr/bin/python3", "-c", TALK, to], { input: true, output: true });
  return {
    async end(): Promise<number> {
      await child.stdin.close();
      const { code, stdout, stderr } = await child.output();
      const text = new TextDecoder();
      assert.equal(code, 0, text.decode(stderr));
      return Number(text.decode(stdout));
    },
  };
}

/** UDP datagrams of as many connections, to be replayed by a port of type pcap. */
function writeFlood(path: string): void {
  const datagram = (at: number): Uint8Array => {
    const bytes = new Uint8Array(60);
    const view = new DataView(bytes.buffer);
    bytes.set([2, 0, 0, 0, 0, 1, 2, 0, 0, 0, 0, 2, 8, 0]);
    bytes.set(
      [0x45, 0, 0, 46, 0, 0, 0, 0, 64, 17, 0, 0, 10, 0, at >> 8, at & 255, 10, 0, 0, 55],
      14,
    );
    view.setUint16(34, 1024 + (at * 7919) % 60_000);
    view.setUint16(36, 9);
    view.setUint16(38, 26); // no UDP checksum
    let sum = 0;
    for (let word = 14; word < 34; word += 2) sum += view.getUint16(word);
    while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
    view.setUint16(24, ~sum & 0xffff);
    return bytes;
  };
  const packets = Array.from({ length: FRAMES }, (_, at) => {
    const bytes = datagram(at);
    return { isL3: false, bytes };
  });
  Deno.writeFileSync(path, writePcap(packets));
}

/** Packets that the generator has sent; asked in this process, since others would take its time. */
async function generated(lab: Lab): Promise<number> {
  const client = await connect(lab.denovs.socket);
  assert.ok(client);
  try {
    const { datapaths } = await client.execute("dp-show", { dps: ["br0"], statistics: true });
    return datapaths[0]?.ports.find(({ name }) => name === "generator")?.counters?.rxPackets ?? 0;
  } finally {
    client.close();
  }
}

async function connectionCount(lab: Lab): Promise<number> {
  return Number(JSON.parse(await lab.denovs.cli("ct-maxconns", "br0", "--json")).count);
}

async function stats(lab: Lab): Promise<Record<string, number>> {
  return JSON.parse(await lab.denovs.cli("ct-stats", "br0", "--json")).packets;
}

/** The daemon's resident bytes. */
function residentBytes(lab: Lab): number {
  const status = Deno.readTextFileSync(`/proc/${lab.denovs.pid}/status`);
  return Number(/^VmRSS:\s+(\d+) kB$/m.exec(status)?.[1]) * 1024;
}

rootTest(
  "conntrack: established traffic survives a table of a million entries",
  () =>
    withLab(async (lab) => {
      const { a, b } = await translatedHosts(lab);
      const { denovs } = lab;
      // On a busy machine the first might end before the last begin.
      await denovs.cli("ct-timeout-set", "br0", "default", "udp_first=600");
      const file = `${lab.folder}/flood.pcap`;
      writeFlood(file);
      const commits = Array.from({ length: SOURCES }, (_, network) =>
        `set(ipv4(src=10.${
          100 + network
        }.0.0/255.255.0.0)),ct(commit,zone=${FLOOD_ZONE}),ct_clear`);
      await addFlows(lab, [[`in_port(3),${IPV4}`, commits.join(",")]]);
      await serveTcp(b);
      b.start(["/usr/bin/python3", "-c", ECHO, "10.0.0.2"]);
      await listens(b, 5300);

      const conversation = talk(a, SERVICE);
      const isOurs = /^tcp,.*dport=5300\).*,id=(\d+),.*status=\S*\bASSURED\b/m;
      const id = await eventually(
        "the conversation is established",
        async () => isOurs.exec(await connections(lab, "zone=1", "-m"))?.[1],
      );
      const before = residentBytes(lab);
      await denovs.cli("port-add", "br0", "generator", "--type", "pcap", `rx_pcap=${file}`);
      const wanted = FRAMES * SOURCES;
      await eventually(
        "every datagram has been sent",
        async () => await generated(lab) === FRAMES,
        { timeoutMs: 60_000, everyMs: 100 },
      );
      await eventually(
        "every datagram has opened its connection",
        async () => (await stats(lab)).insert! >= wanted,
      );

      // Full, and no more than that: each thread looks before it adds.
      const count = await connectionCount(lab);
      assert.ok(count > TABLE_MAX - 1000 && count < TABLE_MAX + THREADS, `${count} connections`);
      const grown = residentBytes(lab) - before;
      assert.ok(grown < TABLE_MAX * CONNECTION_BYTES_MAX, `${grown} bytes more`);
      // Who was dropped for others is counted, and was never one that both sides had agreed on.
      const full = await stats(lab);
      assert.ok(full.early_drop! >= wanted - TABLE_MAX, `${full.early_drop} dropped early`);
      assert.equal(full.insert_failed, 0);
      assert.equal(isOurs.exec(await connections(lab, "zone=1", "-m"))?.[1], id);
      // There is room for whoever comes.
      await sendTcp(a, SERVICE, { megabytes: 50 });
      assert.equal(await a.ping(SERVICE), 3);
      assert.equal(isOurs.exec(await connections(lab, "zone=1", "-m"))?.[1], id);
      assert.ok(await conversation.end() >= 1 << 18);

      assert.match(
        await denovs.cli("ct-stats", "br0", `zone=${FLOOD_ZONE}`),
        /^ {4}Total: 10[34]\d{4}\n {2}UDP: 10[34]\d{4}\n$/m,
      );
      assert.equal(
        await connections(lab, "ct_nw_src=10.110.1.2,ct_nw_proto=17"),
        "udp,orig=(src=10.110.1.2,dst=10.0.0.55,sport=4126,dport=9)," +
          "reply=(src=10.0.0.55,dst=10.110.1.2,sport=9,dport=4126),zone=9\n",
      );
      await denovs.cli("ct-flush", "br0", `zone=${FLOOD_ZONE}`);
      assert.ok(await connectionCount(lab) < 100, "the flood is forgotten");
      assert.equal(await a.checksumErrors(), 0);
      await assertAccounts(lab);
    }),
);
