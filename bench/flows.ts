/**
 * `deno task bench:flows [--most 100000]`: what adding flows costs while frames pass through the
 * switch: 10,000 by one `flow-load`, then single flow-add requests over one connection to the
 * control socket when the table holds 1,000, 10,000 and 100,000. The frame rate beside it shows that
 * packets do not wait for flows. Without root the datapath is of class dummy and no frames pass.
 */
import { connect } from "../daemon/client.ts";
import type { Executor } from "../daemon/api.ts";
import { IS_ROOT, Lab } from "../tests/e2e/lab.ts";
import { median, say, table } from "../tests/output.ts";
import { twoHosts } from "../tests/e2e/traffic.ts";
import { buildGenerator } from "./generator.ts";
import { argument, receivedFrames } from "./switches.ts";

const SINGLE_ADDS = 300;

/** A flow of its own for each number. */
function flowText(number: number): string {
  const address = `172.${16 + (number >> 16)}.${(number >> 8) & 255}.${number & 255}`;
  return `in_port(2),eth(),eth_type(0x0800),ipv4(dst=${address})`;
}

function loadText(from: number, to: number): string {
  let text = "";
  for (let i = from; i < to; i++) text += `add ${flowText(i)} 1\n`;
  return text;
}

async function singleAdds(client: Executor, dp: string, from: number): Promise<number> {
  const times: number[] = [];
  for (let i = 0; i < SINGLE_ADDS; i++) {
    const begin = performance.now();
    await client.execute("flow-add", { dp, flow: flowText(from + i), actions: "1" });
    times.push(performance.now() - begin);
  }
  return median(times);
}

async function main(): Promise<number> {
  const most = Number(argument("most", "100000"));
  await using lab = IS_ROOT ? await Lab.make() : undefined;
  if (!lab) {
    say("bench:flows needs root: it measures while frames pass between network namespaces");
    return 1;
  }
  const { a, b } = await twoHosts(lab, { flows: false });
  const { denovs } = lab;
  await denovs.cli("flow-add", "br0", "in_port(1)", "2");
  const generator = await buildGenerator(lab.folder);
  a.start([generator, "eth0", "02:00:00:00:00:99", "60", "600", "1"]);
  const rows: string[][] = [];
  const client = await connect(denovs.socket);
  if (!client) throw new Error("the daemon does not answer");
  let count = 0;
  let load = "-";
  for (const size of [1000, 10_000, 100_000].filter((size) => size <= most)) {
    const wanted = size === 10_000 ? 10_000 : size - count; // 10,000 at once is a row of its own
    const begin = performance.now();
    await client.execute("flow-load", { dp: "br0", text: loadText(count, count + wanted) });
    const loadMs = performance.now() - begin;
    count += wanted;
    if (wanted === 10_000) load = `${(loadMs / 1000).toFixed(2)} s`;
    const frames = await receivedFrames(b);
    const adding = performance.now();
    const perFlowMs = await singleAdds(client, "br0", count);
    const tookMs = performance.now() - adding;
    const rate = (await receivedFrames(b) - frames) / tookMs / 1000;
    count += SINGLE_ADDS;
    rows.push([
      String(size),
      (perFlowMs * 1000).toFixed(0),
      `${(loadMs * 1000 / wanted).toFixed(1)}`,
      rate.toFixed(3),
    ]);
  }
  client.close();
  const head = [">flows", ">one more: µs", ">in bulk: µs each", ">M frames/s meanwhile"];
  for (const line of table(head, rows)) say(line);
  say(`10,000 flows by one flow-load: ${load}`);
  return 0;
}

Deno.exit(await main());
