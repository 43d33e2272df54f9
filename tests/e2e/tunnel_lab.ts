/**
 * What the tunnel tests have in common: an underlay between the switch's namespace and a far one, a
 * switch at its near end, and another denovs at its far end.
 */
import { Denovs } from "./denovs.ts";
import type { Lab, Namespace, Peer } from "./lab.ts";

export const NEAR = "192.0.2.1";
export const FAR = "192.0.2.2";
export const NEAR6 = "2001:db8::1";
export const FAR6 = "2001:db8::2";

/** Addresses of hosts a and b, who talk through the tunnel. */
export const A = "10.0.0.1";
export const A6 = "fd00::1";
export const B = "10.0.0.2";
export const B6 = "fd00::2";

/** A far namespace, whose eth0 is the underlay to `vfar` in the switch's namespace. */
export async function underlay(
  lab: Lab,
  options: { mtu?: number; v6?: boolean; name?: string } = {},
): Promise<Peer> {
  const { mtu = 1500, v6 = true, name = "far" } = options;
  const six = v6 ? { address6: `${FAR6}/64` } : {};
  const far = await lab.peer(name, { address: `${FAR}/24`, ...six });
  await setMtu(lab, far, mtu);
  await lab.sw.ip("link", "set", far.port, "up");
  await lab.sw.ip("addr", "add", `${NEAR}/24`, "dev", far.port);
  if (v6) await lab.sw.ip("addr", "add", `${NEAR6}/64`, "dev", far.port, "nodad");
  return far;
}

/** Of both ends of the cable to a peer. */
export async function setMtu(lab: Lab, peer: Peer, mtu: number): Promise<void> {
  await peer.ip("link", "set", "eth0", "mtu", `${mtu}`);
  await lab.sw.ip("link", "set", peer.port, "mtu", `${mtu}`);
}

/** Whether the underlay's devices may leave checksums undone, which a capture then shows as wrong. */
export async function setChecksumOffload(lab: Lab, far: Peer, to: "on" | "off"): Promise<void> {
  await lab.sw.run(["ethtool", "-K", far.port, "tx", to]);
  await far.run(["ethtool", "-K", "eth0", "tx", to]);
}

/** Host a on port 1 of br0 and a tunnel on port 2, frames between the two. */
export async function nearSide(
  lab: Lab,
  tunnel: readonly string[],
  options: { mtu?: number } = {},
): Promise<Peer> {
  const a = await lab.peer("a", { address: `${A}/24`, address6: `${A6}/64` });
  await setMtu(lab, a, options.mtu ?? 1450);
  const { denovs } = lab;
  await denovs.start();
  await denovs.batch([
    "dp-add br0",
    `port-add br0 ${a.port}`,
    `port-add br0 tun --type ${tunnel.join(" ")}`,
    "flow-add br0 in_port(1) 2",
    "flow-add br0 in_port(2) 1",
  ]);
  return a;
}

/** Makes a datapath's port 2 anew, in one step. */
export async function replaceTunnel(
  denovs: Denovs,
  words: readonly string[],
  dp = "br0",
): Promise<void> {
  await denovs.batch([
    `port-del ${dp} tun --if-exists`,
    `port-add ${dp} tun --port-no 2 --type ${words.join(" ")}`,
  ]);
}

/** Host b in the far namespace: the switch's end of its cable lies there. */
export async function farHost(lab: Lab, far: Peer, options: { mtu?: number } = {}): Promise<Peer> {
  const b = await lab.peer("b", { address: `${B}/24`, address6: `${B6}/64` });
  const mtu = `${options.mtu ?? 1450}`;
  await lab.sw.ip("link", "set", b.port, "mtu", mtu, "netns", far.name);
  await far.ip("link", "set", b.port, "up");
  await b.ip("link", "set", "eth0", "mtu", mtu);
  return b;
}

/** A denovs besides the lab's, in a namespace of the lab. `use` it; it ends with that. */
export async function otherDenovs(
  lab: Lab,
  where: Namespace,
  use: (denovs: Denovs) => Promise<void>,
): Promise<void> {
  const folder = `${lab.folder}/${where.name}`;
  Deno.mkdirSync(folder);
  const denovs = new Denovs(folder, ["ip", "netns", "exec", where.name]);
  try {
    await denovs.start();
    await use(denovs);
  } catch (error) {
    if (error instanceof Error) {
      error.message += `\n--- denovs in ${where.name}:\n${denovs.log().slice(-2000)}`;
    }
    throw error;
  } finally {
    await denovs.end();
  }
}
