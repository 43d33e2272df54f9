/**
 * The oracle: Debian's ovs-vswitchd with its dummy class, in a folder of its own. Needs no root and
 * touches no device. Ask it by {@link OvsDummy.appctl} (`dpctl/…`, `netdev-dummy/receive`, `time/…`).
 */
import { eventually, type Finished, run, spawn } from "../e2e/process.ts";

/** The datapath's name for `dpctl/…`. */
export const OVS_DATAPATH = "dummy@ovs-dummy";

/** Whether the oracle is installed. */
export function hasOvs(): boolean {
  return isThere("/usr/sbin/ovs-vswitchd");
}

export class OvsDummy {
  readonly folder: string;
  readonly #env: Record<string, string>;
  readonly #children: Deno.ChildProcess[] = [];

  private constructor(folder: string) {
    this.folder = folder;
    this.#env = {
      OVS_RUNDIR: folder,
      OVS_LOGDIR: folder,
      OVS_DBDIR: folder,
      OVS_SYSCONFDIR: folder,
    };
  }

  /** A running daemon with bridge br0 (datapath {@link OVS_DATAPATH}) and ports p1 … pN of those numbers. */
  static async start(ports: number): Promise<OvsDummy> {
    const ovs = new OvsDummy(Deno.makeTempDirSync({ prefix: "dnv-ovs-" }));
    try {
      await ovs.#start(ports);
      return ovs;
    } catch (error) {
      await ovs.stop();
      throw error;
    }
  }

  async #start(ports: number): Promise<void> {
    const db = `unix:${this.folder}/db.sock`;
    await this.#must(
      "ovsdb-tool",
      "create",
      `${this.folder}/conf.db`,
      "/usr/share/openvswitch/vswitch.ovsschema",
    );
    this.#spawn("ovsdb-server", `--remote=p${db}`, `${this.folder}/conf.db`);
    await eventually("ovsdb-server listens", () => isThere(`${this.folder}/db.sock`));
    await this.#must("ovs-vsctl", `--db=${db}`, "--no-wait", "init");
    const daemon = ["--enable-dummy", "--disable-system", "--disable-system-route"];
    const control = `--unixctl=${this.socket}`;
    this.#spawn(
      "ovs-vswitchd",
      ...daemon,
      control,
      "--pidfile",
      `--log-file=${this.folder}/ovs.log`,
      "-vconsole:off",
      db,
    );
    const words = [
      "add-br",
      "br0",
      "--",
      "set",
      "bridge",
      "br0",
      "datapath_type=dummy",
      "fail-mode=secure",
    ];
    for (let i = 1; i <= ports; i++) {
      words.push(
        "--",
        "add-port",
        "br0",
        `p${i}`,
        "--",
        "set",
        "int",
        `p${i}`,
        "type=dummy",
        `ofport_request=${i}`,
      );
      words.push(`options:tx_pcap=${this.txPcap(i)}`, `options:rxq_pcap=${this.rxPcap(i)}`);
    }
    await this.#must("ovs-vsctl", `--db=${db}`, "--timeout=20", ...words);
  }

  get socket(): string {
    return `${this.folder}/ctl`;
  }

  /** Capture file of what the switch sends to port `port`. */
  txPcap(port: number): string {
    return `${this.folder}/tx${port}.pcap`;
  }

  /** Capture file of what is injected at port `port`. */
  rxPcap(port: number): string {
    return `${this.folder}/rx${port}.pcap`;
  }

  /** Runs a command of the daemon, whatever comes of it. */
  try(...args: string[]): Promise<Finished> {
    return run(["ovs-appctl", "-t", this.socket, ...args], { env: this.#env });
  }

  /** Runs a command of the daemon that must succeed; what it prints. */
  async appctl(...args: string[]): Promise<string> {
    const done = await this.try(...args);
    if (done.code !== 0) throw new Error(`ovs-appctl ${args.join(" ")}: ${done.stderr}`);
    return done.stdout;
  }

  /** Changes the configuration database, and waits until the daemon has taken it over. */
  async vsctl(...args: string[]): Promise<void> {
    await this.#must("ovs-vsctl", `--db=unix:${this.folder}/db.sock`, "--timeout=20", ...args);
  }

  /** Changes br0's OpenFlow table (`add-flow`, `del-flows` …), in the version that is named. */
  async ofctl(version: string, command: string, ...args: string[]): Promise<void> {
    const bridge = `unix:${this.folder}/br0.mgmt`;
    await this.#must("ovs-ofctl", "-O", version, command, bridge, ...args);
  }

  async #must(...command: string[]): Promise<void> {
    const done = await run(command, { env: this.#env });
    if (done.code !== 0) throw new Error(`${command.join(" ")}: ${done.stderr}`);
  }

  #spawn(...command: string[]): void {
    const words = Object.entries(this.#env).map(([name, value]) => `${name}=${value}`);
    this.#children.push(spawn(["env", ...words, ...command]));
  }

  /** Ends both daemons and removes the folder. */
  async stop(): Promise<void> {
    for (const child of this.#children.toReversed()) {
      try {
        child.kill("SIGTERM");
      } catch {
        // It has ended.
      }
      await child.status;
    }
    Deno.removeSync(this.folder, { recursive: true });
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
