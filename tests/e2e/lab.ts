/**
 * A laboratory for end-to-end tests: network namespaces of a random prefix, veth pairs, processes
 * inside them, and one denovs with a state and a socket of its own. Everything is taken down when
 * the lab is disposed of, when a test fails, and on Ctrl-C.
 *
 * Which denovs: from the sources, or the executable that DENOVS_EXE names. DENOVS_TEST_THREADS
 * gives its number of packet threads.
 */
import assert from "node:assert/strict";
import { Denovs } from "./denovs.ts";
import { type Finished, run, spawn, stopAll } from "./process.ts";

/** Whether this process may make namespaces and devices. */
export const IS_ROOT: boolean = Deno.uid() === 0;

/** Registers a test that needs root; without root it is listed as skipped with that reason. */
export function rootTest(name: string, fn: (t: Deno.TestContext) => Promise<void>): void {
  Deno.test({
    name: IS_ROOT ? name : `${name} [needs root]`,
    ignore: !IS_ROOT,
    // Signal listeners of the lab and processes of a failed test outlive a test on purpose.
    sanitizeOps: false,
    sanitizeResources: false,
    fn,
  });
}

/**
 * Waits until the process that holds its stdin is gone, however it went (deno test ends at Ctrl-C
 * without running a handler), and removes what is left of the lab $1 with the folder $2.
 */
const WATCHDOG = `cat > /dev/null
for name in $(ip netns list | cut -d' ' -f1 | grep "^$1-"); do
  ip netns pids "$name" | xargs -r kill -9
  ip netns del "$name"
done
rm -rf "$2"`;

function startWatchdog(prefix: string, folder: string): Deno.ChildProcess {
  return new Deno.Command("setsid", {
    args: ["sh", "-c", WATCHDOG, "sh", prefix, folder],
    stdin: "piped",
    stdout: "null",
    stderr: "null",
  }).spawn();
}

const labs = new Set<Lab>();

function takeDownAll(): void {
  for (const lab of labs) lab.takeDown();
}

let listening = false;

/** From the first lab on, a signal takes all labs down before it ends the process. */
function listen(): void {
  if (listening) return;
  listening = true;
  for (const signal of ["SIGINT", "SIGTERM", "SIGHUP"] as const) {
    Deno.addSignalListener(signal, () => {
      takeDownAll();
      try {
        Deno.exit(signal === "SIGINT" ? 130 : 143);
      } catch {
        Deno.kill(Deno.pid, "SIGKILL"); // inside a test, exit is only an exception
      }
    });
  }
  globalThis.addEventListener("unload", takeDownAll);
}

/** One network namespace of a lab. */
export class Namespace {
  readonly name: string;

  constructor(name: string) {
    this.name = name;
  }

  /** Runs a command inside; its failure is a failed assertion unless `fails` is set. */
  async run(
    command: readonly string[],
    options: { fails?: boolean; timeoutMs?: number; input?: string } = {},
  ): Promise<Finished> {
    const done = await run(["ip", "netns", "exec", this.name, ...command], options);
    if (!options.fails) {
      assert.equal(done.code, 0, `${command.join(" ")}: ${done.stderr}${done.stdout}`);
    }
    return done;
  }

  /** Starts a command inside and returns at once; it ends with the lab. */
  start(
    command: readonly string[],
    options: { input?: boolean; output?: boolean } = {},
  ): Deno.ChildProcess {
    return spawn(["ip", "netns", "exec", this.name, ...command], options);
  }

  /** `ip` inside. */
  async ip(...args: string[]): Promise<string> {
    return (await this.run(["ip", ...args])).stdout;
  }

  /** Replies that `count` pings get. */
  async ping(
    address: string,
    options: { count?: number; waitMs?: number; size?: number } = {},
  ): Promise<number> {
    const { count = 3, waitMs = 1000, size = 56 } = options;
    // All at once: after the last one, ping waits for answers no longer than the interval between them.
    const amount = ["-c", String(count), "-l", String(count), "-i", "1"];
    const command = ["ping", "-n", "-q", ...amount, "-s", String(size)];
    const wait = String(Math.max(1, Math.ceil(waitMs / 1000)));
    const done = await this.run([...command, "-W", wait, address], { fails: true });
    return Number(/(\d+) received/.exec(done.stdout)?.[1] ?? 0);
  }

  /** One of the kernel's counters (nstat names), absolute. */
  async counter(name: string): Promise<number> {
    return await this.#sumOf([name]);
  }

  /** Checksum errors that the host counted: TCP, UDP and IP, v4 and v6, ICMP. */
  async checksumErrors(): Promise<number> {
    return await this.#sumOf([
      "TcpInCsumErrors",
      "UdpInCsumErrors",
      "IcmpInCsumErrors",
      "IpExtInCsumErrors",
      "Udp6InCsumErrors",
    ]);
  }

  /** Of counters; NaN if one is not there. */
  async #sumOf(names: readonly string[]): Promise<number> {
    const { stdout } = await this.run(["nstat", "-a", "-s", "-z", ...names]);
    return names.reduce((sum, name) => {
      return sum + Number(new RegExp(`^${name}\\s+(\\d+)`, "m").exec(stdout)?.[1] ?? NaN);
    }, 0);
  }
}

/** What {@link Lab.peer} made. */
export interface Peer extends Namespace {
  /** Name of the switch's end, in the switch's namespace. */
  readonly port: string;
  readonly mac: string;
}

export class Lab implements AsyncDisposable {
  readonly #prefix: string;
  readonly #namespaces: string[] = [];
  readonly #folder: string;
  #down = false;
  readonly #watchdog: Deno.ChildProcess;
  /** Where the switch runs and its ports lie. */
  readonly sw: Namespace;
  readonly denovs: Denovs;

  private constructor(prefix: string, folder: string) {
    this.#prefix = prefix;
    this.#folder = folder;
    this.#watchdog = startWatchdog(prefix, folder);
    this.sw = new Namespace(`${prefix}-sw`);
    this.denovs = new Denovs(folder, ["ip", "netns", "exec", this.sw.name]);
  }

  /** An empty lab: the switch's namespace, no daemon. */
  static async make(): Promise<Lab> {
    listen();
    const prefix = `dnv-${crypto.randomUUID().slice(0, 6)}`;
    const lab = new Lab(prefix, Deno.makeTempDirSync({ prefix: `${prefix}-` }));
    labs.add(lab);
    await lab.#addNamespace("sw");
    return lab;
  }

  /** A folder that goes with the lab. */
  get folder(): string {
    return this.#folder;
  }

  async #addNamespace(suffix: string): Promise<Namespace> {
    const name = `${this.#prefix}-${suffix}`;
    const done = await run(["ip", "netns", "add", name]);
    assert.equal(done.code, 0, done.stderr);
    this.#namespaces.push(name);
    const namespace = new Namespace(name);
    await namespace.run([
      "sh",
      "-c",
      [
        "ip link set lo up",
        "sysctl -qw net.ipv6.conf.all.accept_dad=0 net.ipv6.conf.default.accept_dad=0",
        "sysctl -qw net.ipv6.conf.default.router_solicitations=0",
        "sysctl -qw net.ipv6.conf.default.autoconf=0 net.ipv6.conf.default.accept_ra=0",
      ].join("; "),
    ]);
    return namespace;
  }

  /**
   * A host: a namespace with `eth0` (offloads as the kernel gives them) whose other end, `v<name>`,
   * lies in the switch's namespace, down, for the switch to take. IPv6 stays off unless an address needs it.
   */
  async peer(
    name: string,
    options: { address?: string; address6?: string; mac?: string } = {},
  ): Promise<Peer> {
    const namespace = await this.#addNamespace(name);
    const port = `v${name}`;
    const mac = options.mac ?? `02:00:00:00:00:${(this.#namespaces.length + 0x10).toString(16)}`;
    await this.sw.run([
      "sh",
      "-ec",
      [
        ...(options.address6 ? [] : ["sysctl -qw net.ipv6.conf.default.disable_ipv6=1"]),
        `ip link add ${port} type veth peer name eth0 address ${mac} netns ${namespace.name}`,
      ].join("\n"),
    ]);
    await namespace.run([
      "sh",
      "-ec",
      [
        ...(options.address6 ? [] : ["sysctl -qw net.ipv6.conf.eth0.disable_ipv6=1"]),
        "ip link set eth0 up",
        ...(options.address ? [`ip addr add ${options.address} dev eth0`] : []),
        ...(options.address6 ? [`ip addr add ${options.address6} dev eth0 nodad`] : []),
      ].join("\n"),
    ]);
    return Object.assign(namespace, { port, mac });
  }

  /** Kills the processes, deletes the namespaces and the folder. Synchronous: signal handlers use it. */
  takeDown(): void {
    if (this.#down) return;
    this.#down = true;
    labs.delete(this);
    this.denovs.kill();
    stopAll(this.#prefix);
    // A killed client may be in the middle of a system call that makes a file in the folder.
    Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 20);
    for (const name of this.#namespaces) {
      new Deno.Command("ip", { args: ["netns", "del", name], stderr: "null" }).outputSync();
    }
    try {
      Deno.removeSync(this.#folder, { recursive: true });
    } catch {
      // A log file that a dying process still writes; /tmp is cleaned by the system.
    }
  }

  async [Symbol.asyncDispose](): Promise<void> {
    await this.denovs.end();
    this.takeDown();
    await this.#watchdog.stdin.close();
    await this.#watchdog.status;
  }
}

/** Runs `fn` with a lab; a failure's message gains the daemon's log. */
export async function withLab(fn: (lab: Lab) => Promise<void>): Promise<void> {
  await using lab = await Lab.make();
  try {
    await fn(lab);
  } catch (error) {
    const log = lab.denovs.log().trim();
    if (error instanceof Error && log) error.message += `\n--- denovs log:\n${log.slice(-4000)}`;
    throw error;
  }
}
