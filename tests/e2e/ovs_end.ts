/** Debian's ovs-vswitchd at the far end of an underlay, in a namespace of the lab. */
import type { Lab, Namespace, Peer } from "./lab.ts";
import { eventually, spawn } from "./process.ts";
import { FAR, FAR6 } from "./tunnel_lab.ts";

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
    await where.ip("addr", "add", `${FAR6}/64`, "dev", "br-phy", "nodad");
    await where.ip("link", "set", "br-phy", "up");
    return ovs;
  }

  /** Makes br-int's tunnel port anew. */
  async tunnel(type: string, options: readonly string[]): Promise<void> {
    const values = [`type=${type}`, ...options.map((option) => `options:${option}`)];
    const del = ["--if-exists", "del-port", "tun", "--", "add-port", "br-int", "tun"];
    await this.vsctl(...del, "--", "set", "interface", "tun", ...values);
  }

  /** Replaces all flows of br-int. */
  async flows(lines: readonly string[]): Promise<void> {
    Deno.writeTextFileSync(`${this.#folder}/flows`, lines.join("\n") + "\n");
    await this.ofctl("replace-flows", `${this.#folder}/flows`);
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

function isThere(path: string): boolean {
  try {
    Deno.lstatSync(path);
    return true;
  } catch {
    return false;
  }
}
