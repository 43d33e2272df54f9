/**
 * The whole daemon (class dummy) against a model of thirty lines: random flows come and go, random
 * frames pass, and every flow must have counted exactly the frames that the model gives it. Neither
 * keys nor masks of the switch are used by the model: it compares plain values.
 */
import assert from "node:assert/strict";
import fc from "fast-check";
import { CommandError, type Executor } from "../../daemon/api.ts";
import { connect } from "../../daemon/client.ts";
import { Denovs } from "../e2e/denovs.ts";

/** What a frame is. */
interface Frame {
  readonly port: number;
  readonly src: number;
  readonly dst: number;
  readonly ipSrc: number;
  readonly ipDst: number;
  readonly proto: "tcp" | "udp";
  readonly tpDst: number;
}

/** What a flow looks at; absent: anything. `prefix`: bits of ipDst that count. */
interface Match extends Partial<Frame> {
  readonly prefix: 8 | 24 | 32;
  readonly isIp: boolean;
}

const mac = (number: number): string => `02:00:00:00:00:0${number}`;
/** Two networks of two subnets of two hosts. */
const ip = (number: number): string =>
  `${10 + (number >> 2)}.0.${(number >> 1) & 1}.${1 + (number & 1)}`;
const masks = { 8: "255.0.0.0", 24: "255.255.255.0", 32: "255.255.255.255" } as const;

function frameText(frame: Frame): string {
  const { port, src, dst, ipSrc, ipDst, proto, tpDst } = frame;
  const number = proto === "tcp" ? 6 : 17;
  return `in_port(${port}),eth(src=${mac(src)},dst=${mac(dst)}),eth_type(0x0800),` +
    `ipv4(src=${ip(ipSrc)},dst=${ip(ipDst)},proto=${number},tos=0,ttl=64,frag=no),` +
    `${proto}(src=1000,dst=${tpDst})${proto === "tcp" ? ",tcp_flags(ack)" : ""}`;
}

function matchText(match: Match): string {
  const { port, src, dst, ipSrc, ipDst, proto, tpDst, prefix, isIp } = match;
  const parts: string[] = [];
  if (port !== undefined) parts.push(`in_port(${port})`);
  const eth = [
    src === undefined ? "" : `src=${mac(src)}`,
    dst === undefined ? "" : `dst=${mac(dst)}`,
  ];
  parts.push(`eth(${eth.filter(Boolean).join(",")})`);
  if (isIp) {
    const fields = [
      ipSrc === undefined ? "" : `src=${ip(ipSrc)}`,
      ipDst === undefined ? "" : `dst=${ip(ipDst)}/${masks[prefix]}`,
      proto === undefined ? "" : `proto=${proto === "tcp" ? 6 : 17}`,
    ];
    parts.push("eth_type(0x0800)", `ipv4(${fields.filter(Boolean).join(",")})`);
    if (proto !== undefined && tpDst !== undefined) parts.push(`${proto}(dst=${tpDst})`);
  }
  return parts.join(",");
}

function matches(match: Match, frame: Frame): boolean {
  const same = <K extends keyof Frame>(field: K): boolean =>
    match[field] === undefined || match[field] === frame[field];
  if (!same("port") || !same("src") || !same("dst")) return false;
  if (!match.isIp) return true;
  const shift = match.prefix === 8 ? 2 : match.prefix === 24 ? 1 : 0;
  const hasIpDst = match.ipDst === undefined || match.ipDst >> shift === frame.ipDst >> shift;
  const hasPort = match.proto === undefined || same("tpDst");
  return same("ipSrc") && hasIpDst && same("proto") && hasPort;
}

const small = fc.integer({ min: 0, max: 7 });
const frames: fc.Arbitrary<Frame> = fc.record({
  port: fc.integer({ min: 1, max: 3 }),
  src: fc.integer({ min: 1, max: 3 }),
  dst: fc.integer({ min: 1, max: 3 }),
  ipSrc: small,
  ipDst: small,
  proto: fc.constantFrom("tcp" as const, "udp" as const),
  tpDst: fc.constantFrom(53, 80, 443),
});
const matchesOf: fc.Arbitrary<Match> = fc.tuple(
  frames,
  fc.subarray(["port", "src", "dst", "ipSrc", "ipDst", "proto", "tpDst"] as const),
  fc.constantFrom(8 as const, 24 as const, 32 as const),
  fc.boolean(),
).map(([frame, kept, prefix, isIp]) => ({
  ...Object.fromEntries(kept.map((field) => [field, frame[field]])),
  prefix,
  isIp,
}));

interface Step {
  readonly add: readonly Match[];
  readonly remove: number;
  readonly frames: readonly Frame[];
}
const steps: fc.Arbitrary<Step[]> = fc.array(
  fc.record({
    add: fc.array(matchesOf, { maxLength: 4 }),
    remove: fc.integer({ min: 0, max: 1000 }),
    frames: fc.array(frames, { minLength: 1, maxLength: 40 }),
  }),
  { minLength: 3, maxLength: 12 },
);

async function playSteps(client: Executor, all: readonly Step[]): Promise<void> {
  const dp = "dp0";
  await client.execute("flow-flush", { dp });
  const before = (await client.execute("dp-show", { dps: [dp] })).datapaths[0]?.counters;
  const installed = new Map<string, { match: Match; packets: number }>();
  let hits = 0;
  let misses = 0;
  for (const step of all) {
    for (const match of step.add) {
      const flow = matchText(match);
      try {
        const { ufid } = await client.execute("flow-add", { dp, flow, actions: "1,2,3" });
        installed.set(ufid, { match, packets: 0 });
      } catch (error) {
        // An installed flow has the key already: the rule of the kernel.
        if (!(error instanceof CommandError && error.code === "EEXIST")) throw error;
      }
    }
    if (step.remove % 3 === 0 && installed.size > 0) {
      const ufid = [...installed.keys()][step.remove % installed.size] ?? "";
      await client.execute("flow-del", { dp, flow: `ufid:${ufid}` });
      installed.delete(ufid);
    }
    for (const frame of step.frames) {
      const found = [...installed.values()].filter(({ match }) => matches(match, frame));
      if (found.length > 1) continue; // which of them is not defined
      await client.execute("netdev-dummy/receive", {
        port: `p${frame.port}`,
        frames: [frameText(frame)],
      });
      if (found[0]) found[0].packets++, hits++;
      else misses++;
    }
  }
  const { flows } = await client.execute("flow-dump", { dp });
  const got = new Map(flows.map(({ ufid, packets }) => [ufid, packets]));
  assert.deepEqual(got, new Map([...installed].map(([ufid, { packets }]) => [ufid, packets])));
  const after = (await client.execute("dp-show", { dps: [dp] })).datapaths[0]?.counters;
  assert.ok(before && after && "received" in after);
  assert.equal(after.hit - before.hit, hits);
  assert.equal(after.missed - before.missed, misses);
  assert.equal(
    after.received + after.generated + after.copied,
    after.sent + after.dropped + after.consumed + after.held,
  );
}

Deno.test({
  name: "dummy datapath: every flow counts exactly the frames that a model gives it",
  sanitizeOps: false,
  sanitizeResources: false,
  async fn(): Promise<void> {
    const folder = Deno.makeTempDirSync({ prefix: "dnv-model-" });
    const denovs = new Denovs(folder);
    try {
      await denovs.start();
      await denovs.cli("dp-add", "dummy@dp0");
      for (const port of ["p1", "p2", "p3"]) {
        await denovs.cli("port-add", "dp0", port, "--type", "dummy");
      }
      const client = await connect(denovs.socket);
      assert.ok(client);
      await fc.assert(fc.asyncProperty(steps, (all) => playSteps(client, all)), { numRuns: 40 });
      client.close();
    } finally {
      await denovs.end();
      Deno.removeSync(folder, { recursive: true });
    }
  },
});
