/**
 * Kernels with the openvswitch module, in throw-away virtual machines (tests/tools/kernel-vm), and a
 * script of ours run in one (kernel_guest.ts): JSON in, JSON out, one start of the machine for all.
 */
import { run } from "../e2e/process.ts";
import type { GuestInput, GuestOutput } from "./kernel_guest.ts";

const TOOL = new URL("../tools/kernel-vm", import.meta.url).pathname;
const GUEST = new URL("kernel_guest.ts", import.meta.url).pathname;
/** Most a machine may take, with what it downloads the first time. */
const TIMEOUT_S = 300;

/** Which kernel: `stable` is 6.1 as User-Mode Linux, `newer` 6.12 or later in QEMU without KVM. */
export type KernelKind = "stable" | "newer";

/** Why no machine can be started here; undefined: it can. */
export function whyNoKernel(kind: KernelKind): string | undefined {
  if (Deno.uid() !== 0) return "needs root: a virtual machine";
  if (Deno.build.arch !== "x86_64") return "needs x86-64: Debian's kernel in a virtual machine";
  if (!/^ID=debian$/m.test(readOr("/etc/os-release", ""))) return "needs Debian: its kernels";
  if (kind === "newer" && debianRelease() === "") return "needs Debian 12 or newer";
  return undefined;
}

/** Runs the guest script in a new machine. Throws with what it complains about. */
export function runGuest(kind: KernelKind, input: GuestInput): Promise<GuestOutput> {
  return runInGuest(kind, { script: GUEST, input });
}

/** What a machine is to do. */
export interface GuestTask {
  /** Path of a script that reads FOLDER/in.json and writes FOLDER/out.json; FOLDER is its argument. */
  readonly script: string;
  readonly input: unknown;
  /** Kernel modules besides those that kernel-vm loads. */
  readonly modules?: readonly string[];
}

/** Runs a script in a new machine and returns what it has written. Throws with what it complains about. */
export async function runInGuest<Output>(kind: KernelKind, task: GuestTask): Promise<Output> {
  const folder = Deno.makeTempDirSync({ prefix: "dnv-vm-" });
  try {
    Deno.writeTextFileSync(`${folder}/in.json`, JSON.stringify(task.input));
    const env = {
      ...(kind === "newer" ? await newerKernel() : {}),
      KERNEL_VM_MODULES: (task.modules ?? []).join(" "),
    };
    const deno = [Deno.execPath(), "run", "-A", "--no-check", task.script, folder];
    const machine = ["--with", kind === "newer" ? "tcg" : "uml", "--timeout", `${TIMEOUT_S}`];
    const { code, stdout, stderr } = await run(
      [TOOL, ...machine, "--share", folder, "--", ...deno],
      { timeoutMs: (TIMEOUT_S + 60) * 1000, env },
    );
    const output = readOr(`${folder}/out.json`, "");
    if (code !== 0 || output === "") {
      throw new Error(`the guest ended with ${code}:\n${stdout}\n${stderr}`);
    }
    return JSON.parse(output) as Output;
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
}

/**
 * Environment under which kernel-vm takes Debian's newest kernel: with Debian 12 that of its
 * backports, by a configuration of apt in a folder of our own.
 */
async function newerKernel(): Promise<Record<string, string>> {
  if (debianRelease() !== "bookworm") return {};
  const home = Deno.env.get("XDG_CACHE_HOME") || `${Deno.env.get("HOME") ?? "/root"}/.cache`;
  const folder = `${home}/kernel-vm-backports`;
  for (const below of ["lists/partial", "cache/archives/partial"]) {
    Deno.mkdirSync(`${folder}/${below}`, { recursive: true });
  }
  const key = "[signed-by=/usr/share/keyrings/debian-archive-keyring.gpg]";
  const suites = ["bookworm", "bookworm-backports"];
  Deno.writeTextFileSync(
    `${folder}/sources.list`,
    suites.map((suite) => `deb ${key} ${mirror()} ${suite} main\n`).join(""),
  );
  Deno.writeTextFileSync(
    `${folder}/apt.conf`,
    `Dir::Etc::sourcelist "${folder}/sources.list";\nDir::Etc::sourceparts "/dev/null";\n` +
      `Dir::State::lists "${folder}/lists";\nDir::Cache "${folder}/cache";\n` +
      'APT::Default-Release "bookworm-backports";\n',
  );
  const env = { APT_CONFIG: `${folder}/apt.conf`, KERNEL_VM_CACHE: `${folder}/vm` };
  if (readOr(`${folder}/vm/linux-image-amd64/ok`, "no") === "no") {
    const { code, stderr } = await run(["apt-get", "-q", "update"], { timeoutMs: 120_000, env });
    if (code !== 0) throw new Error(`cannot read Debian's backports: ${stderr}`);
  }
  return env;
}

/** Where this machine's packages come from. */
function mirror(): string {
  const folder = "/etc/apt/sources.list.d";
  const files = ["/etc/apt/sources.list"];
  try {
    for (const { name } of Deno.readDirSync(folder)) files.push(`${folder}/${name}`);
  } catch {
    // There is only the one file.
  }
  const sources = files.map((file) => readOr(file, "")).join("\n");
  return /\bhttps?:\/\/\S+\/debian\/?(?=\s)/.exec(sources)?.[0] ?? "http://deb.debian.org/debian";
}

function debianRelease(): string {
  return /^VERSION_CODENAME=(.*)$/m.exec(readOr("/etc/os-release", ""))?.[1] ?? "";
}

function readOr(path: string, otherwise: string): string {
  try {
    return Deno.readTextFileSync(path);
  } catch {
    return otherwise;
  }
}
