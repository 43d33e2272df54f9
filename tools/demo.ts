/**
 * `deno task demo`: the main job in a minute, in plain words. Two network namespaces, a switch
 * between them, flows by the command line, a ping, a TCP transfer, the flows with their counters.
 * Everything it makes has a random name and is gone when it ends, also after Ctrl-C.
 */
import { oldDeno } from "../daemon/version.ts";
import type { Denovs, DumpedFlow } from "../tests/e2e/denovs.ts";
import { IS_ROOT, Lab, type Peer } from "../tests/e2e/lab.ts";
import { sendTcp, serveTcp } from "../tests/e2e/traffic.ts";
import { say, warn } from "../tests/output.ts";
import { installMissing } from "../tests/packages.ts";

const TOOLS = ["iproute2", "iputils-ping", "iperf3", "procps"];

/** What keeps the demo from running; undefined: nothing. */
async function whatIsMissing(): Promise<string | undefined> {
  if (Deno.build.os !== "linux") return "The demo needs Linux: network namespaces, veth, TAP.";
  if (!IS_ROOT) {
    return "The demo needs root: it makes network namespaces and devices. Try: sudo deno task demo";
  }
  try {
    Deno.lstatSync("/dev/net/tun");
  } catch {
    return "There is no /dev/net/tun, so the switch can't make its internal port (modprobe tun; in a " +
      "container: --device /dev/net/tun).";
  }
  const problem = await installMissing(TOOLS);
  if (problem !== undefined) return problem;
  for (const tool of ["ip", "ping", "iperf3"]) {
    const found = await new Deno.Command("sh", { args: ["-c", `command -v ${tool}`] }).output();
    if (!found.success) return `The program ${tool} is missing.`;
  }
  const made = new Deno.Command("ip", { args: ["netns", "add", `dnv-${Deno.pid}-probe`] })
    .outputSync();
  if (!made.success) {
    return `Network namespaces can't be made here: ${new TextDecoder().decode(made.stderr).trim()}`;
  }
  new Deno.Command("ip", { args: ["netns", "del", `dnv-${Deno.pid}-probe`] }).outputSync();
  return undefined;
}

/** Runs a client command and shows it as the user would type it. */
async function show(denovs: Denovs, ...args: string[]): Promise<string> {
  const quoted = args.map((arg) => /[()\s]/.test(arg) ? `'${arg}'` : arg);
  say(`  $ denovs ${quoted.join(" ")}`);
  const output = await denovs.cli(...args);
  for (const line of output.trimEnd().split("\n")) if (line) say(`    ${line}`);
  return output;
}

function sayPing(received: number, count: number): void {
  say(`    ${received} of ${count} pings answered`);
}

/** Throws when the demo did not show what it says. */
function expect(isTrue: boolean, what: string): void {
  if (!isTrue) throw new Error(`The demo failed: ${what}`);
}

async function makeHosts(lab: Lab): Promise<{ left: Peer; right: Peer }> {
  say("1. Two hosts, each a network namespace with an Ethernet device eth0; the other ends of the");
  say(
    "   cables, vleft and vright, lie where the switch runs. All offloads are as the kernel sets them.",
  );
  const left = await lab.peer("left", { address: "10.0.0.1/24" });
  const right = await lab.peer("right", { address: "10.0.0.2/24" });
  say("    left 10.0.0.1, right 10.0.0.2");
  return { left, right };
}

async function buildSwitch(denovs: Denovs): Promise<void> {
  say("\n2. The switch: a daemon, a datapath br0 (with an internal port of that name), two ports.");
  say("  $ denovs run &");
  await denovs.start();
  await show(denovs, "dp-add", "br0");
  await show(denovs, "port-add", "br0", "vleft");
  await show(denovs, "port-add", "br0", "vright");
  await show(denovs, "dp-show", "br0");
}

async function pings(lab: Lab, left: Peer): Promise<void> {
  const { denovs } = lab;
  say("\n3. Without flows the switch drops everything: left pings right.");
  const without = await left.ping("10.0.0.2");
  sayPing(without, 3);
  expect(without === 0, "a ping was answered although there is no flow");
  say("\n4. Two flows join the ports, one for each direction.");
  await show(denovs, "flow-add", "br0", "in_port(1)", "2");
  await show(denovs, "flow-add", "br0", "in_port(2)", "1");
  const answered = await left.ping("10.0.0.2");
  sayPing(answered, 3);
  expect(answered === 3, "the ping was not answered");
  say("\n5. One flow is deleted: the ping stops. It is added again: the ping goes on.");
  await show(denovs, "flow-del", "br0", "in_port(1)");
  const stopped = await left.ping("10.0.0.2");
  sayPing(stopped, 3);
  expect(stopped === 0, "the ping went on without its flow");
  await show(denovs, "flow-add", "br0", "in_port(1)", "2");
  const again = await left.ping("10.0.0.2");
  sayPing(again, 3);
  expect(again === 3, "the ping did not come back");
}

async function hostPort(lab: Lab, left: Peer): Promise<void> {
  say("\n6. The internal port br0 gets an address; a flow lets left reach the switch's host.");
  await lab.sw.ip("addr", "add", "10.0.0.10/24", "dev", "br0");
  await lab.sw.ip("link", "set", "br0", "up");
  say("  # ip addr add 10.0.0.10/24 dev br0; ip link set br0 up");
  await show(lab.denovs, "flow-add", "br0", "in_port(0)", "1");
  await show(lab.denovs, "flow-mod", "br0", "in_port(1)", "2,0");
  const answered = await left.ping("10.0.0.10");
  sayPing(answered, 3);
  expect(answered === 3, "br0 did not answer");
  await show(lab.denovs, "flow-mod", "br0", "in_port(1)", "2", "--clear");
}

async function transfer(lab: Lab, left: Peer, right: Peer): Promise<void> {
  say("\n7. One TCP stream from left to right, 500 MB:");
  await serveTcp(right);
  const { gigabits } = await sendTcp(left, "10.0.0.2", { megabytes: 500 });
  say(`    ${gigabits.toFixed(2)} Gbit/s`);
  say("   The flows with their counters:");
  await show(lab.denovs, "flow-dump", "br0");
  const flow = await lab.denovs.flow("in_port(1)");
  expect(flow.packets > 0, "the flow counted no packet");
  say(`   ${summary(flow)}`);
}

function summary(flow: DumpedFlow): string {
  const size = flow.bytes / flow.packets;
  return `A packet of the stream had ${
    (size / 1024).toFixed(1)
  } KiB on the average: segments pass whole.`;
}

async function main(): Promise<number> {
  const complaint = oldDeno();
  if (complaint !== undefined) {
    warn(`deno task demo ${complaint}`);
    return 1;
  }
  const missing = await whatIsMissing();
  if (missing !== undefined) {
    warn(missing);
    return 1;
  }
  const lab = await Lab.make();
  try {
    const { left, right } = await makeHosts(lab);
    await buildSwitch(lab.denovs);
    await pings(lab, left);
    await hostPort(lab, left);
    await transfer(lab, left, right);
    say("\n8. The switch is stopped; namespaces, devices and files of the demo are removed.");
    return 0;
  } catch (error) {
    warn(error instanceof Error ? error.message : String(error));
    warn(`The switch's log:\n${lab.denovs.log().slice(-3000)}`);
    return 1;
  } finally {
    await lab[Symbol.asyncDispose]();
  }
}

Deno.exit(await main());
