/**
 * What the tunnel tests have in common: an underlay between the switch's namespace and a far one,
 * and what stands at its far end: the kernel's vxlan device, Open vSwitch, or another denovs.
 */
import assert from "node:assert/strict";
import { Denovs } from "./denovs.ts";
import type { Lab, Namespace, Peer } from "./lab.ts";
import { eventually, spawn } from "./process.ts";

export const NEAR = "192.0.2.1";
export const FAR = "192.0.2.2";
export const NEAR6 = "2001:db8::1";
export const FAR6 = "2001:db8::2";

/** A far namespace, whose eth0 is the underlay to `vfar` in the switch's namespace. */
export async function underlay(
  lab: Lab,
  options: { mtu?: number; v6?: boolean; name?: string } = {},
): Promise<Peer> {
  const { mtu = 1500, v6 = true, name = "far" } = options;
  const six = v6 ? { address6: `${FAR6}/64` } : {};
  const far = await lab.peer(name, { address: `${FAR}/24`, ...six });
  await far.ip("link", "set", "eth0", "mtu", `${mtu}`);
  await lab.sw.ip("link", "set", far.port, "mtu", `${mtu}`, "up");
  await lab.sw.ip("addr", "add", `${NEAR}/24`, "dev", far.port);
  if (v6) await lab.sw.ip("addr", "add", `${NEAR6}/64`, "dev", far.port, "nodad");
  return far;
}

/** Host a on port 1 of br0 and a tunnel on port 2, frames between the two. */
export async function nearSide(
  lab: Lab,
  tunnel: readonly string[],
  options: { mtu?: number } = {},
): Promise<Peer> {
  const { mtu = 1450 } = options;
  const a = await lab.peer("a", { address: "10.0.0.1/24", address6: "fd00::1/64" });
  await a.ip("link", "set", "eth0", "mtu", `${mtu}`);
  await lab.sw.ip("link", "set", a.port, "mtu", `${mtu}`);
  const { denovs } = lab;
  await denovs.start();
  await denovs.cli("dp-add", "br0");
  await denovs.cli("port-add", "br0", a.port);
  await denovs.cli("port-add", "br0", "tun", "--type", ...tunnel);
  await denovs.cli("flow-add", "br0", "in_port(1)", "2");
  await denovs.cli("flow-add", "br0", "in_port(2)", "1");
  return a;
}

/** A second denovs, in another namespace of the lab. `use` it; it ends with that. */
export async function otherDenovs(
  lab: Lab,
  where: Namespace,
  use: (denovs: Denovs) => Promise<void>,
): Promise<void> {
  const folder = `${lab.folder}/other`;
  Deno.mkdirSync(folder);
  const denovs = new Denovs(folder, ["ip", "netns", "exec", where.name]);
  try {
    await denovs.start();
    await use(denovs);
  } catch (error) {
    if (error instanceof Error) {
      error.message += `\n--- other denovs:\n${denovs.log().slice(-2000)}`;
    }
    throw error;
  } finally {
    await denovs.end();
  }
}

/** Debian's ovs-vswitchd with its userspace datapath: underlay bridge br-phy on eth0, br-int on top. */
export class OvsEnd {
  readonly #where: Namespace;
  readonly #folder: string;

  private constructor(where: Namespace, folder: string) {
    this.#where = where;
    this.#folder = folder;
  }

  /** Host b's port is in the far namespace and becomes port `b` of br-int. */
  static async start(lab: Lab, where: Peer, hostPort: string): Promise<OvsEnd> {
    const folder = `${lab.folder}/ovs`;
    Deno.mkdirSync(folder);
    const ovs = new OvsEnd(where, folder);
    const schema = "/usr/share/openvswitch/vswitch.ovsschema";
    await ovs.run("ovsdb-tool", "create", `${folder}/conf.db`, schema);
    const inside = ["ip", "netns", "exec", where.name, "env", ...ovs.#env()];
    const db = `unix:${folder}/db.sock`;
    spawn([...inside, "ovsdb-server", `--remote=p${db}`, `${folder}/conf.db`]);
    await eventually("ovsdb-server listens", () => isThere(`${folder}/db.sock`));
    await ovs.vsctl("--no-wait", "init");
    spawn([...inside, "ovs-vswitchd", "--disable-system", `--log-file=${folder}/ovs.log`, db]);
    const netdev = ["datapath_type=netdev", "fail-mode=secure"];
    await ovs.vsctl("add-br", "br-phy", "--", "set", "bridge", "br-phy", "datapath_type=netdev");
    await ovs.vsctl("add-port", "br-phy", "eth0");
    await ovs.vsctl("add-br", "br-int", "--", "set", "bridge", "br-int", ...netdev);
    await ovs.vsctl("add-port", "br-int", hostPort);
    await where.ip("addr", "flush", "dev", "eth0");
    await where.ip("addr", "add", `${FAR}/24`, "dev", "br-phy");
    await where.ip("link", "set", "br-phy", "up");
    return ovs;
  }

  async vsctl(...args: string[]): Promise<void> {
    await this.run("ovs-vsctl", `--db=unix:${this.#folder}/db.sock`, "--timeout=20", ...args);
  }

  async ofctl(verb: string, ...args: string[]): Promise<string> {
    return await this.run("ovs-ofctl", verb, `unix:${this.#folder}/br-int.mgmt`, ...args);
  }

  async run(...command: string[]): Promise<string> {
    return (await this.#where.run(["env", ...this.#env(), ...command])).stdout;
  }

  #env(): string[] {
    return ["OVS_RUNDIR", "OVS_LOGDIR", "OVS_DBDIR", "OVS_SYSCONFDIR"]
      .map((name) => `${name}=${this.#folder}`);
  }
}

/** A capture of what crosses a namespace's device while `during` runs; its file. */
export async function captured(
  lab: Lab,
  where: Namespace,
  during: () => Promise<void>,
  device = "eth0",
): Promise<string> {
  const file = `${lab.folder}/${crypto.randomUUID()}.pcap`;
  const child = where.start([
    "tcpdump",
    "-U",
    "--immediate-mode",
    "-i",
    device,
    "-w",
    file,
    "-Z",
    "root",
  ]);
  await eventually("tcpdump has begun", () => isThere(file) && Deno.statSync(file).size > 0);
  await during();
  await new Promise((resolve) => setTimeout(resolve, 300));
  child.kill("SIGTERM");
  await child.status;
  return file;
}

/** tshark's columns of the packets of a capture that a display filter lets through. */
export async function decoded(
  where: Namespace,
  file: string,
  filter: string,
  fields: readonly string[],
): Promise<string[][]> {
  const checks = ["-o", "ip.check_checksum:TRUE", "-o", "udp.check_checksum:TRUE"];
  const columns = fields.flatMap((field) => ["-e", field]);
  const { stdout } = await where.run(
    ["tshark", "-r", file, ...checks, "-Y", filter, "-T", "fields", ...columns],
  );
  return stdout.split("\n").filter((line) => line !== "").map((line) => line.split("\t"));
}

/** tshark has nothing to complain about. */
export async function assertNoWarnings(where: Namespace, file: string): Promise<void> {
  const warned = await decoded(where, file, "_ws.expert.severity >= warning", [
    "frame.number",
    "frame.protocols",
    "_ws.expert.message",
  ]);
  assert.deepEqual(warned, []);
}

function isThere(path: string): boolean {
  try {
    Deno.lstatSync(path);
    return true;
  } catch {
    return false;
  }
}
