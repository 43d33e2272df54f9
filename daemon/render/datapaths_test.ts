import assert from "node:assert/strict";
import type { DatapathInfo, PortInfo } from "../api.ts";
import { renderDatapathList, renderDatapaths, renderPortList } from "./datapaths.ts";

const COUNTERS = {
  ...{ hit: 90, missed: 10, lost: 10, maskHit: 150, cacheHit: 45 },
  ...{ received: 100, generated: 0, copied: 0, sent: 90, dropped: 10, consumed: 0, held: 0 },
  drops: { "no-upcall-handler": 10, "explicit": 0 },
};

const PORTS: PortInfo[] = [
  port(0, "br0", "internal"),
  {
    ...port(1, "eth1", "netdev"),
    counters: {
      ...{ rxPackets: 100, rxBytes: 1500, rxDropped: 0 },
      ...{ txPackets: 3, txBytes: 200, txDropped: 2 },
      drops: { "tx-queue-full": 2 },
    },
  },
  { ...port(2, "eth2", "netdev"), options: { host: "share" } },
  { ...port(3, "v0", "vxlan"), options: { remote_ip: "flow", dst_port: "4789" } },
  { ...port(4, "eth9", "netdev"), state: "absent", reason: 'there is no device "eth9"' },
];

const DATAPATH: DatapathInfo = {
  name: "br0",
  type: "netdev",
  miss: "drop",
  flowsMax: 1048576,
  flows: 2,
  masks: 1,
  counters: COUNTERS,
  ports: PORTS,
};

function port(portNo: number, name: string, type: string): PortInfo {
  return { portNo, name, type, options: {}, mac: null, state: "up", reason: null };
}

Deno.test("renderDatapaths: the shape of ovs-dpctl show", () => {
  assert.equal(
    renderDatapaths([DATAPATH]),
    `netdev@br0:
  lookups: hit:90 missed:10 lost:10 (matched no flow; dropped, see miss:)
  flows: 2
  masks: hit:150 total:1 hit/pkt:1.50
  cache: hit:45 hit-rate:45.00%
  miss: drop
  drops: no-upcall-handler:10
  port 0: br0 (internal)
  port 1: eth1
  port 2: eth2 (netdev: host=share)
  port 3: v0 (vxlan: dst_port=4789, remote_ip=flow)
  port 4: eth9 [absent: there is no device "eth9"]
`,
  );
});

Deno.test("renderDatapaths: -s adds counters and the balance", () => {
  const text = renderDatapaths([{ ...DATAPATH, ports: [PORTS[1]!] }], { statistics: true });
  assert.match(
    text,
    /^ {2}packets: received:100 generated:0 copied:0 sent:90 dropped:10 consumed:0 held:0$/m,
  );
  assert.match(
    text,
    new RegExp(`  port 1: eth1
    RX packets:100 errors:\\? dropped:0 overruns:\\? frame:\\?
    TX packets:3 errors:\\? dropped:2 aborted:\\? carrier:\\?
    collisions:\\?
    RX bytes:1500 \\(1.5 KiB\\)  TX bytes:200
    drops: tx-queue-full:2
`),
  );
});

Deno.test("renderDatapaths: no packets, no rates", () => {
  const counters = { ...COUNTERS, hit: 0, missed: 0, lost: 0, maskHit: 0, cacheHit: 0, drops: {} };
  const text = renderDatapaths([{ ...DATAPATH, counters, ports: [] }]);
  assert.match(text, /lookups: hit:0 missed:0 lost:0\n/);
  assert.match(text, /hit\/pkt:0\.00\n/);
  assert.match(text, /hit-rate:0\.00%\n/);
  assert.doesNotMatch(text, /drops/);
});

Deno.test("renderDatapathList: type@name on lines", () => {
  assert.equal(
    renderDatapathList([{ name: "br0", type: "netdev" }, { name: "d", type: "dummy" }]),
    "netdev@br0\ndummy@d\n",
  );
});

Deno.test("renderPortList: a table with the options", () => {
  assert.equal(
    renderPortList([PORTS[0]!, PORTS[2]!, PORTS[4]!]),
    `PORT  NAME  TYPE      STATE                               OPTIONS
0     br0   internal  up                                  -
2     eth2  netdev    up                                  host=share
4     eth9  netdev    absent (there is no device "eth9")  -
`,
  );
});
