/** Installs the Debian packages that the tests and benchmarks use. */
import { say } from "./output.ts";

const PACKAGES: readonly string[] = [
  "openvswitch-switch",
  "openvswitch-common",
  "python3-openvswitch",
  "python3-netaddr",
  "tshark",
  "tcpdump",
  "iperf3",
  "iproute2",
  "iputils-ping",
  "ethtool",
  "python3-scapy",
  "python3-pyftpdlib",
  "tftpd-hpa",
  "curl",
  "nginx-light",
  "gcc",
  "libc6-dev",
  "socat",
  "util-linux",
  "procps",
  "kmod",
  "xz-utils",
  "qemu-system-x86",
];

async function output(
  command: string,
  args: readonly string[],
): Promise<{ code: number; text: string }> {
  try {
    const { code, stdout, stderr } = await new Deno.Command(command, {
      args: [...args],
      stdin: "null",
      env: { DEBIAN_FRONTEND: "noninteractive", RUNLEVEL: "1", LC_ALL: "C" },
    }).output();
    return { code, text: new TextDecoder().decode(stdout) + new TextDecoder().decode(stderr) };
  } catch (error) {
    return { code: -1, text: String(error) };
  }
}

/** Of `packages`, those that are not installed; undefined: this is no Debian. */
async function missing(packages: readonly string[]): Promise<string[] | undefined> {
  const { code, text } = await output("dpkg-query", [
    "-W",
    "-f",
    "${Package} ${db:Status-Abbrev}\n",
    ...packages,
  ]);
  if (code === -1) return undefined;
  const installed = new Set(
    text.split("\n").filter((line) => / ii/.test(line)).map((line) => line.split(" ")[0]),
  );
  return packages.filter((name) => !installed.has(name));
}

/**
 * Installs what is missing when we are root. Returns a sentence when the run must not go on; not
 * root: nothing is installed (tests that need root are skipped).
 */
export async function installMissing(
  packages: readonly string[] = PACKAGES,
): Promise<string | undefined> {
  if (Deno.uid() !== 0) return undefined;
  const wanted = await missing(packages);
  if (wanted === undefined || wanted.length === 0) return undefined;
  say(`installing ${wanted.join(" ")}`);
  const install = ["install", "-y", "-q", "--no-install-recommends", ...wanted];
  let result = await output("apt-get", install);
  if (result.code !== 0) {
    await output("apt-get", ["update", "-q"]);
    result = await output("apt-get", install);
  }
  if (result.code === 0) return undefined;
  const reason = result.text.trim().split("\n").slice(-5).join("\n");
  return `cannot install ${wanted.join(" ")}:\n${reason}`;
}
