/**
 * Flow and action text against Debian's Open vSwitch 3.1: ovs-vswitchd with dummy devices (flows in,
 * dump-flows and dump-flows -m out, and the packets that it composes from flow text) and
 * `ovs-dpctl parse-actions`.
 *
 * One normalisation of its dumps, {@link asNewer}: metadata in the order of Open vSwitch 3.2 and
 * later, `packet_type(ns=0,id=0)` written as `eth()`, wildcarded fields that we don't have left out.
 */
import assert from "node:assert/strict";
import { composeFrame } from "../../datapath/compose/compose.ts";
import { FlowSyntaxError } from "../../datapath/errors.ts";
import { randomActionText, randomFlowText, seededRandom } from "../../datapath/testing/flows.ts";
import { matchesFilter, parseOfMatch } from "../../datapath/of_match.ts";
import { formatActions, parseActions } from "../../datapath/text/action_text.ts";
import { formatFlow, parseFlow } from "../../datapath/text/flow_text.ts";
import { eventually, run } from "../e2e/process.ts";
import { readPcap } from "../golden/script.ts";
import { asOurs, asTheirs } from "./ovs_differences.ts";
import { hasOvs, OVS_DATAPATH, OvsDummy } from "./ovs_dummy.ts";

/** Repeat a failure with DENOVS_SEED=… in the environment. */
const SEED = Number(Deno.env.get("DENOVS_SEED") ?? Math.floor(Math.random() * 2 ** 32));
const FLOW_COUNT = 1200;
const FRAME_COUNT = 100;

interface DumpedFlow {
  readonly flow: string;
  /** As it was printed. */
  readonly raw: string;
  readonly actions: string;
}

/** dump-flows by in_port, which is a number of its own in each of our flows. */
function readDump(text: string): Map<number, DumpedFlow> {
  const flows = new Map<number, DumpedFlow>();
  for (const line of text.split("\n")) {
    const found = /^(?:ufid:[^ ]*, )?(.*), packets:.*?, actions:([^ ]*?)(?:, dp-extra-info.*)?$/
      .exec(line);
    if (found === null) continue;
    const port = Number(/in_port\((\d+)\)/.exec(line)![1]);
    flows.set(port, { flow: asOurs(found[1]!), raw: found[1]!, actions: found[2]! });
  }
  return flows;
}

/** For `filter=`: what both keep of the flows must be the same. */
const FILTERS = [
  "ip",
  "tcp",
  "udp",
  "icmp",
  "sctp",
  "arp",
  "rarp",
  "ipv6",
  "tcp6",
  "udp6",
  "icmp6",
  "in_port=20",
  "dl_type=0x0806",
  "dl_src=02:00:00:00:00:01",
  "dl_dst=ff:ff:ff:ff:ff:ff",
  "vlan_tci=0",
  "dl_vlan=100",
  "dl_vlan=0xffff",
  "dl_vlan_pcp=3",
  "tcp,nw_src=0.0.0.0,tp_dst=80",
  "tcp,tcp_flags=syn",
  "ip,nw_tos=32,nw_ttl=64",
  "ip,nw_ecn=1",
  "ip,nw_frag=no",
  "ip,nw_frag=later",
  "arp,arp_spa=0.0.0.0,arp_op=1",
  "icmp,icmp_type=8,icmp_code=0",
  "icmp6,icmpv6_type=135",
  "udp6,ipv6_src=::1,udp_dst=53",
  "pkt_mark=0",
  "ct_state=trk|est",
  "ct_zone=5",
  "ct_mark=1",
  "tun_id=5",
  "tun_dst=10.0.1.1",
  "mpls,mpls_bos=1",
] as const;

interface Case {
  readonly port: number;
  readonly flow: string;
  readonly actions: string;
}

function cases(): Case[] {
  const random = seededRandom(SEED);
  return Array.from({ length: FLOW_COUNT }, (_, index) => {
    const port = index + 10;
    const everything = index % 3 !== 0;
    const flow = randomFlowText(random, { forUserspaceOvs: true, everything })
      .replace(/in_port\(\d+\)/, `in_port(${port})`);
    return { port, flow, actions: randomActionText(random, flow) };
  });
}

async function startOvs(): Promise<OvsDummy> {
  const ovs = await OvsDummy.start(1);
  const db = `--db=unix:${ovs.folder}/db.sock`;
  const set = await run(["ovs-vsctl", db, "set", "Open_vSwitch", ".", "other_config:vlan-limit=2"]);
  assert.equal(set.code, 0, set.stderr);
  // Its revalidators remove flows that no bridge asked for.
  await ovs.appctl("revalidator/pause");
  return ovs;
}

Deno.test({
  name: `flow text: random flows are dumped as ovs-vswitchd dumps them (seed ${SEED})`,
  ignore: !hasOvs(),
  fn: async () => {
    const ovs = await startOvs();
    try {
      const all = cases();
      const file = `${ovs.folder}/flows`;
      Deno.writeTextFileSync(file, all.map((each) => `${each.flow} ${each.actions}\n`).join(""));
      await ovs.appctl("dpctl/add-flows", OVS_DATAPATH, file);
      const dumps = [
        [false, readDump(await ovs.appctl("dpctl/dump-flows", OVS_DATAPATH))],
        [true, readDump(await ovs.appctl("dpctl/dump-flows", "-m", "--no-names", OVS_DATAPATH))],
      ] as const;
      for (const { port, flow, actions } of all) {
        const { key, mask } = parseFlow(flow);
        for (const [verbose, dump] of dumps) {
          const theirs = dump.get(port);
          assert.ok(theirs, `Open vSwitch has no flow ${flow}`);
          assert.equal(asTheirs(formatFlow(key, mask, { verbose })), theirs.flow, flow);
          assert.equal(formatActions(parseActions(actions)), theirs.actions, actions);
          const again = parseFlow(theirs.raw);
          const readBack = asTheirs(formatFlow(again.key, again.mask));
          assert.equal(readBack, asTheirs(formatFlow(key, mask)), theirs.raw);
        }
      }
      for (const filter of FILTERS) {
        const theirs = readDump(
          await ovs.appctl("dpctl/dump-flows", OVS_DATAPATH, `filter=${filter}`),
        );
        const match = parseOfMatch(filter);
        // Open vSwitch's dl_vlan also compares bits of the TPID, so that it misses 802.1ad tags.
        const compared = all.filter(({ flow }) =>
          !filter.startsWith("dl_vlan") || !flow.includes("eth_type(0x88a8)")
        );
        const ours = compared.filter(({ flow }) => {
          const { key, mask } = parseFlow(flow);
          return matchesFilter(match, key, mask);
        });
        assert.deepEqual(
          ours.map(({ flow }) => flow),
          compared.filter(({ port }) => theirs.has(port)).map(({ flow }) => flow),
          filter,
        );
      }
    } finally {
      await ovs.stop();
    }
  },
});

Deno.test({
  name: `flow text: random packets are composed as ovs-vswitchd composes them (seed ${SEED})`,
  ignore: !hasOvs(),
  fn: async () => {
    const ovs = await startOvs();
    try {
      const random = seededRandom(SEED + 1);
      const texts = Array.from(
        { length: FRAME_COUNT },
        () => randomFlowText(random, { forUserspaceOvs: true, withoutMasks: true }),
      ).filter(isComposedAlike);
      for (const text of texts) await ovs.appctl("netdev-dummy/receive", "p1", text);
      const recorded = (): string[] => readPcap(Deno.readFileSync(ovs.rxPcap(1))).frames;
      await eventually("all packets are recorded", () => recorded().length === texts.length);
      const frames = recorded();
      for (const [index, text] of texts.entries()) {
        assert.equal(composeFrame(parseFlow(text).key).toHex(), frames[index], text);
      }
    } finally {
      await ovs.stop();
    }
  },
});

/**
 * Not alike: SCTP, to which Open vSwitch gives no checksum, IPv6 fragments, which it composes
 * without a fragment header, and RARP, whose addresses it fills in for ARP's operations alone.
 */
function isComposedAlike(flow: string): boolean {
  return !flow.includes("sctp(") && !(flow.includes("ipv6(") && /frag=(first|later)/.test(flow));
}

Deno.test({
  name:
    `action text: random lists are printed as ovs-dpctl parse-actions prints them (seed ${SEED})`,
  ignore: !hasOvs(),
  fn: async () => {
    const lists = cases().map((each) => each.actions);
    const done = await run(["ovs-dpctl", "parse-actions", ...lists]);
    assert.equal(done.code, 0, done.stderr);
    const printed = done.stdout.trimEnd().split("\n");
    assert.deepEqual(lists.map((list) => formatActions(parseActions(list))), printed);
  },
});

/** Both refuse these; ours for a stated reason. */
const MALFORMED = [
  "1,drop,2",
  "set(eth(src=1:2:3:4:5))",
  "set(eth(src=01:02:03:04:05:06)",
  "set()",
  "push_vlan(vid=4096,pcp=0)",
  "push_vlan(vid=1,pcp=8)",
  "pop_vlan(",
  "foo",
  "set(ipv4(src=1.2.3))",
  "set(tcp(src=))",
];

Deno.test({
  name: "action text: what ovs-dpctl refuses is a syntax error",
  ignore: !hasOvs(),
  fn: async () => {
    for (const list of MALFORMED) {
      const done = await run(["ovs-dpctl", "parse-actions", list]);
      assert.notEqual(done.code, 0, list);
      assert.throws(() => parseActions(list), FlowSyntaxError, list);
    }
  },
});
