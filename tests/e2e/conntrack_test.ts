/** Connection tracking with real hosts: translation, errors, resets, fragments, floods, FTP. */
import assert from "node:assert/strict";
import {
  addFlows,
  ARP,
  connections,
  IPV4,
  OUTSIDE,
  python,
  SERVICE,
  translatedHosts,
} from "./conntrack_lab.ts";
import { type Lab, type Peer, rootTest, withLab } from "./lab.ts";
import { eventually } from "./process.ts";
import {
  askUdp,
  assertAccounts,
  introduce,
  listens,
  sendFrames,
  sendTcp,
  serveTcp,
  serveUdp,
  twoHosts,
} from "./traffic.ts";

rootTest(
  "conntrack: TCP and UDP with source and destination translated",
  () =>
    withLab(async (lab) => {
      const { a, b } = await translatedHosts(lab);
      await serveTcp(b);
      await sendTcp(a, SERVICE, { megabytes: 200 });
      await sendTcp(a, "10.0.0.2", { megabytes: 100 });
      await sendTcp(a, "fd00::2", { megabytes: 100 });
      await serveUdp(b, "10.0.0.2", 7000);
      assert.equal(await askUdp(a, SERVICE, 7000, { count: 10, size: 1000 }), 10);
      assert.equal(await a.ping(SERVICE), 3);
      assert.equal(await a.ping("fd00::2"), 3);
      const dump = await connections(lab, "zone=1");
      assert.match(
        dump,
        /^udp,orig=\(src=10\.0\.0\.1,dst=10\.0\.0\.2,sport=(\d+),dport=7000\),reply=\(src=10\.0\.0\.2,dst=10\.0\.0\.100,sport=7000,dport=\1\),zone=1$/m,
      );
      assert.match(dump, /^tcp,.*protoinfo=\(state=TIME_WAIT\)$/m);
      assert.match(dump, /^icmp,.*id=\d+,type=8,code=0\),reply=.*type=0/m);
      assert.match(await connections(lab, "zone=2"), /dst=10\.0\.0\.99,.*reply=\(src=10\.0\.0\.2,/);
      assert.equal(await a.checksumErrors(), 0);
      assert.equal(await b.checksumErrors(), 0);
      // b may not open connections.
      assert.equal(await b.ping(OUTSIDE, { count: 1 }), 0);
      await lab.denovs.cli("ct-flush", "br0");
      assert.equal(await connections(lab), "");
      await assertAccounts(lab);
    }),
);

/** Sends a datagram to a closed port; what the kernel says to the socket. */
const ASK_CLOSED = `
import socket, sys
s = socket.socket(socket.AF_INET6 if ':' in sys.argv[1] else socket.AF_INET, socket.SOCK_DGRAM)
s.settimeout(3)
s.connect((sys.argv[1], 9999))
s.send(b"anybody there?")
try:
    s.recv(100)
except Exception as error:
    print(type(error).__name__)
`;

const CONNECT_CLOSED = ASK_CLOSED.replace("SOCK_DGRAM", "SOCK_STREAM").replace(
  `s.connect((sys.argv[1], 9999))
s.send(b"anybody there?")
try:
    s.recv(100)`,
  `try:
    s.connect((sys.argv[1], 9999))`,
);

rootTest(
  "conntrack: ICMP errors and resets find back through the translation",
  () =>
    withLab(async (lab) => {
      const { a } = await translatedHosts(lab);
      for (const address of [SERVICE, "fd00::2"]) {
        assert.equal(await python(a, ASK_CLOSED, address), "ConnectionRefusedError", address);
        assert.equal(await python(a, CONNECT_CLOSED, address), "ConnectionRefusedError", address);
      }
      // What was answered by nothing but a reset is forgotten at once.
      assert.doesNotMatch(await connections(lab), /^tcp,/m);
      assert.match(await lab.denovs.cli("ct-stats", "br0", "-m"), /^ {2}related: [1-9]/m);
      await assertAccounts(lab);
    }),
);

rootTest(
  "conntrack: fragments are reassembled, tracked and leave as fragments",
  () =>
    withLab(async (lab) => {
      const { a, b } = await translatedHosts(lab);
      await serveUdp(b, "10.0.0.2", 7000);
      await serveUdp(b, "fd00::2", 7000);
      assert.equal(await askUdp(a, SERVICE, 7000, { count: 5, size: 8000 }), 5);
      assert.equal(await askUdp(a, SERVICE, 7000, { count: 3, size: 65000 }), 3);
      assert.equal(await askUdp(a, "fd00::2", 7000, { count: 5, size: 8000 }), 5);
      assert.equal(await a.ping(SERVICE, { size: 20000 }), 3);
      assert.equal(await a.ping("fd00::2", { size: 20000 }), 3);
      assert.equal(await b.counter("IpReasmFails"), 0);
      assert.ok(await b.counter("IpReasmOKs") >= 11, "b got fragments");
      assert.ok(await b.counter("Ip6ReasmOKs") >= 8, "b got fragments of IPv6");
      assert.equal(await a.checksumErrors(), 0);
      const { counters } = await lab.denovs.show("br0");
      assert.equal(counters.held, 0);
      await assertAccounts(lab);
      // A first fragment without its others waits; that it goes, and why, golden/conntrack.txt shows.
      const lone = `${b.mac}${a.mac}`.replaceAll(":", "") +
        "080045000024000120004011469c0a0000010a000002" + "0400003500180000" + "00".repeat(8);
      assert.equal(await sendFrames(a, [lone]), 1);
      await eventually(
        "the fragment waits",
        async () => (await lab.denovs.show("br0")).counters.held === 1,
      );
      await assertAccounts(lab);
    }),
);

rootTest(
  "conntrack: a half-open flood stays bounded, and established traffic goes on",
  () =>
    withLab(async (lab) => {
      const { a, b } = await translatedHosts(lab);
      const { denovs } = lab;
      await denovs.cli("ct-maxconns", "br0", "500");
      const nobody = `in_port(1),recirc_id(0),${IPV4},ipv4(dst=10.0.0.55)`;
      await addFlows(lab, [[nobody, "ct(commit,zone=9),2"]]);
      await serveTcp(b);
      const traffic = sendTcp(a, SERVICE, { megabytes: 600 });
      const head = `${b.mac}${a.mac}`.replaceAll(":", "") + "0800";
      const syns = Array.from({ length: 20_000 }, (_, at) => synFrom(head, at));
      assert.equal(await sendFrames(a, syns), syns.length);
      await traffic;
      const threads = Number(Deno.env.get("DENOVS_TEST_THREADS") ?? 1);
      const { max, count } = JSON.parse(await denovs.cli("ct-maxconns", "br0", "--json"));
      assert.equal(max, 500);
      // Each thread looks before it adds: as in the kernel, one more of each can slip in.
      assert.ok(count > 100 && count < 500 + threads, `${count} connections`);
      await sendTcp(a, SERVICE, { megabytes: 20 });
      assert.match(await denovs.cli("ct-stats", "br0", "-m"), /early_drop: [1-9]\d{3}/);
      await assertAccounts(lab);
    }),
);

/** Answers on every connection with what it gets. */
const TCP_ECHO = `
import socket, sys, threading
def answer(c):
    while data := c.recv(100):
        c.sendall(data)
s = socket.create_server((sys.argv[1], 7000))
while True:
    threading.Thread(target=answer, args=(s.accept()[0],), daemon=True).start()
`;

/** Connects as often as it is told, tries five times more, and asks again on what it has. */
const CONNECT_MANY = `
import socket, sys
def ask(s):
    s.sendall(b"anybody?")
    return s.recv(100) == b"anybody?"
def connect(timeout):
    try:
        return socket.create_connection((sys.argv[1], 7000), timeout)
    except TimeoutError:
        return None
first = [connect(5) for i in range(int(sys.argv[2]))]
print(sum(ask(s) for s in first), sum(connect(0.2) is not None for i in range(5)))
print(sum(ask(s) for s in first))
`;

rootTest(
  "conntrack: a table full of agreed connections refuses others by name, and those there go on",
  () =>
    withLab(async (lab) => {
      const { a, b } = await twoHosts(lab, { flows: false });
      const { denovs } = lab;
      await addFlows(lab, [
        [`in_port(1),${ARP}`, "2"],
        [`in_port(2),${ARP}`, "1"],
        [`in_port(1),${IPV4}`, "ct(commit,zone=1),2"],
        [`in_port(2),recirc_id(0),${IPV4}`, "ct(zone=1),recirc(1)"],
        [`in_port(2),recirc_id(1),ct_state(+est),${IPV4}`, "1"],
      ]);
      await denovs.cli("ct-maxconns", "br0", "50");
      b.start(["/usr/bin/python3", "-c", TCP_ECHO, "10.0.0.2"]);
      await listens(b, 7000);
      assert.equal(await python(a, CONNECT_MANY, "10.0.0.2", "50"), "50 0\n50");
      const { drops } = (await denovs.show("br0")).counters as { drops: Record<string, number> };
      // A busy machine's SYN may be sent again.
      assert.ok(drops["ct-table-full"]! >= 5, JSON.stringify(drops));
      const stats = JSON.parse(await denovs.cli("ct-stats", "br0", "--json")).packets;
      assert.deepEqual([stats.insert, stats.early_drop], [50, 0]);
      assert.equal(stats.insert_failed, drops["ct-table-full"]);
      await assertAccounts(lab);
    }),
);

/** A SYN to nobody's port 9 from 10.1.x.y; checksums right. */
function synFrom(head: string, at: number): string {
  const frame = new Uint8Array(40);
  const view = new DataView(frame.buffer);
  frame.set([0x45, 0, 0, 40, 0, 0, 0, 0, 64, 6], 0);
  frame.set([10, 1, at >> 8, at & 255, 10, 0, 0, 55], 12);
  view.setUint16(20, 1024 + (at % 50_000));
  view.setUint16(22, 9);
  view.setUint32(24, at * 7919);
  frame.set([0x50, 0x02, 0x10, 0], 32);
  view.setUint16(10, checksum(view, 0, 20, 0));
  view.setUint16(36, checksum(view, 20, 40, sumOf(view, 12, 20) + 6 + 20));
  return head + frame.toHex();
}

function sumOf(view: DataView, from: number, end: number): number {
  let sum = 0;
  for (let at = from; at < end; at += 2) sum += view.getUint16(at);
  return sum;
}

function checksum(view: DataView, from: number, end: number, start: number): number {
  let sum = start + sumOf(view, from, end);
  while (sum > 0xffff) sum = (sum & 0xffff) + (sum >> 16);
  return ~sum & 0xffff;
}

const FTP_SERVER = `
import sys
from pyftpdlib.authorizers import DummyAuthorizer
from pyftpdlib.handlers import FTPHandler
from pyftpdlib.servers import FTPServer
authorizer = DummyAuthorizer()
authorizer.add_anonymous(sys.argv[1])
handler = FTPHandler
handler.authorizer = authorizer
handler.permit_foreign_addresses = False
FTPServer((sys.argv[2], 21), handler).serve_forever()
`;

const FTP_CLIENT = `
import ftplib, hashlib, sys
for passive in (True, False):
    ftp = ftplib.FTP(timeout=5)
    ftp.connect(sys.argv[1], 21)
    ftp.login()
    ftp.set_pasv(passive)
    digest = hashlib.sha256()
    ftp.retrbinary("RETR file", digest.update)
    print("passive" if passive else "active", digest.hexdigest())
    ftp.quit()
`;

rootTest(
  "conntrack: FTP, passive and active, through source translation",
  () =>
    withLab(async (lab) => {
      const { a, b } = await twoHosts(lab, { flows: false });
      const related = "ct_state(+trk+new+rel)";
      const known = "ct_state(+trk-new+est)";
      await addFlows(lab, [
        [`in_port(1),${ARP}`, "2"],
        [`in_port(2),${ARP}`, "1"],
        [`in_port(1),recirc_id(0),${IPV4},ipv4(proto=6)`, "ct(zone=1,nat),recirc(1)"],
        [
          `in_port(1),recirc_id(1),ct_state(+trk+new-rel),${IPV4},ipv4(proto=6),tcp(dst=21)`,
          `ct(commit,zone=1,helper=ftp,nat(src=${OUTSIDE})),2`,
        ],
        [`in_port(1),recirc_id(1),${known},${IPV4},ipv4(proto=6)`, "2"],
        [`in_port(1),recirc_id(1),${related},${IPV4},ipv4(proto=6)`, "ct(commit,zone=1,nat),2"],
        [`in_port(2),recirc_id(0),${IPV4},ipv4(proto=6)`, "ct(zone=1,nat),recirc(2)"],
        [`in_port(2),recirc_id(2),${known},${IPV4},ipv4(proto=6)`, "1"],
        [`in_port(2),recirc_id(2),${related},${IPV4},ipv4(proto=6)`, "ct(commit,zone=1,nat),1"],
      ]);
      await introduce(b, OUTSIDE, a.mac);
      const bytes = crypto.getRandomValues(new Uint8Array(60_000));
      const folder = `${lab.folder}/ftp`;
      Deno.mkdirSync(folder);
      Deno.writeFileSync(`${folder}/file`, bytes);
      b.start(["/usr/bin/python3", "-c", FTP_SERVER, folder, "10.0.0.2"]);
      await eventually(
        "the ftp server listens",
        async () => (await b.run(["ss", "-Hltn", "sport = :21"])).stdout.trim() !== "",
      );
      const digest = new Uint8Array(await crypto.subtle.digest("SHA-256", bytes)).toHex();
      assert.equal(
        await python(a, FTP_CLIENT, "10.0.0.2"),
        `passive ${digest}\nactive ${digest}`,
      );
      const dump = await connections(lab, "-m");
      assert.match(dump, /,helper=ftp$/m);
      assert.equal(
        dump.match(/,parent=\(src=10\.0\.0\.1,dst=10\.0\.0\.2,sport=\d+,dport=21\)$/gm)?.length,
        2,
      );
      assert.match(await lab.denovs.cli("ct-stats", "br0", "-m"), /expected: 2$/m);
      await assertAccounts(lab);
    }),
);

/** Takes and gives a file, both as a TFTP client does. */
const TFTP_CLIENT = `
set -e
curl -sS -o "$2/got" "tftp://$1/file"
curl -sS -T "$2/file" "tftp://$1/put"
cmp "$2/file" "$2/got"
`;

/** a may ask b by TFTP; what b sends back comes from another port, which the helper expects. */
async function tftpFlows(lab: Lab, a: Peer, b: Peer, request: string): Promise<void> {
  const related = "ct_state(+trk+new+rel)";
  const known = "ct_state(+trk-new+est)";
  const udp = `${IPV4},ipv4(proto=17)`;
  await addFlows(lab, [
    [`in_port(1),${ARP}`, "2"],
    [`in_port(2),${ARP}`, "1"],
    [`in_port(1),recirc_id(0),${udp}`, "ct(zone=1,nat),recirc(1)"],
    [`in_port(1),recirc_id(1),ct_state(+trk+new-rel),${udp},udp(dst=69)`, request],
    [`in_port(1),recirc_id(1),${known},${udp}`, "2"],
    [`in_port(2),recirc_id(0),${udp}`, "ct(zone=1,nat),recirc(2)"],
    [`in_port(2),recirc_id(2),${known},${udp}`, "1"],
    [`in_port(2),recirc_id(2),${related},${udp}`, "ct(commit,zone=1,nat),1"],
  ]);
  await introduce(b, OUTSIDE, a.mac);
}

rootTest(
  "conntrack: TFTP, reading and writing, through source translation",
  () =>
    withLab(async (lab) => {
      const { a, b } = await twoHosts(lab, { flows: false });
      const commit = `ct(commit,zone=1,helper=tftp,nat(src=${OUTSIDE})),2`;
      await tftpFlows(lab, a, b, commit);
      const folder = `${lab.folder}/tftp`;
      const own = `${lab.folder}/own`;
      Deno.mkdirSync(folder);
      Deno.mkdirSync(own);
      // The server is nobody there, and the lab's folder is ours alone.
      for (const path of [lab.folder, folder]) Deno.chmodSync(path, 0o777);
      const bytes = crypto.getRandomValues(new Uint8Array(60_000));
      for (const path of [folder, own]) Deno.writeFileSync(`${path}/file`, bytes);
      b.start(["in.tftpd", "-L", "-c", "-s", "-u", "nobody", "-a", "10.0.0.2:69", folder]);
      await eventually(
        "the tftp server listens",
        async () => (await b.run(["ss", "-Hlun", "sport = :69"])).stdout.trim() !== "",
      );
      await a.run(["sh", "-c", TFTP_CLIENT, "sh", "10.0.0.2", own]);
      assert.deepEqual(Deno.readFileSync(`${folder}/put`), bytes);
      const dump = await connections(lab, "-m");
      assert.match(dump, /,helper=tftp$/m);
      assert.equal(
        dump.match(/,parent=\(src=10\.0\.0\.1,dst=10\.0\.0\.2,sport=\d+,dport=69\)$/gm)?.length,
        2,
      );
      assert.match(await lab.denovs.cli("ct-stats", "br0", "-m"), /expected: 2$/m);
      // Without the helper nobody expects the answer.
      await lab.denovs.cli("ct-flush", "br0");
      const request =
        `in_port(1),recirc_id(1),ct_state(+trk+new-rel),${IPV4},ipv4(proto=17),udp(dst=69)`;
      await lab.denovs.cli("flow-mod", "br0", request, commit.replace(",helper=tftp", ""));
      const options = ["-sS", "--connect-timeout", "2", "-m", "2", "-o", "/dev/null"];
      const done = await a.run(["curl", ...options, "tftp://10.0.0.2/file"], { fails: true });
      assert.notEqual(done.code, 0);
      await assertAccounts(lab);
    }),
);
