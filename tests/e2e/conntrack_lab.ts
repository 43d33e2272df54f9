/** Hosts behind an address translation, and flows of connection tracking, for the end-to-end tests. */
import type { Lab, Namespace, Peer } from "./lab.ts";
import { introduce, twoHosts } from "./traffic.ts";

/** What hosts behind the translation look like from b. */
export const OUTSIDE = "10.0.0.100";
export const OUTSIDE6 = "fd00::100";
/** What a calls b. */
export const SERVICE = "10.0.0.99";

export const ARP = "eth_type(0x0806)";
export const IPV4 = "eth_type(0x0800)";
export const IPV6 = "eth_type(0x86dd)";

export async function addFlows(
  lab: Lab,
  flows: readonly (readonly [string, string])[],
): Promise<void> {
  for (const [flow, actions] of flows) await lab.denovs.cli("flow-add", "br0", flow, actions);
}

/** Hosts a and b; a is seen as OUTSIDE, and reaches b also as SERVICE. Only a may open connections. */
export async function translatedHosts(lab: Lab): Promise<{ a: Peer; b: Peer }> {
  const { a, b } = await twoHosts(lab, { flows: false, v6: true });
  const accept = "ct_state(+trk-new-inv)";
  await addFlows(lab, [
    [`in_port(1),${ARP}`, "2"],
    [`in_port(2),${ARP}`, "1"],
    // From a: destination first, then source, each in a zone of its own.
    [
      `in_port(1),recirc_id(0),${IPV4},ipv4(dst=${SERVICE})`,
      "ct(commit,zone=2,nat(dst=10.0.0.2)),recirc(1)",
    ],
    [`in_port(1),recirc_id(0),${IPV4},ipv4(dst=10.0.0.2)`, "ct(zone=2,nat),recirc(1)"],
    [
      `in_port(1),recirc_id(1),ct_state(-inv),${IPV4}`,
      `ct(commit,zone=1,nat(src=${OUTSIDE})),recirc(4)`,
    ],
    [`in_port(1),recirc_id(4),ct_state(+trk-inv),${IPV4}`, "2"],
    [`in_port(2),recirc_id(0),${IPV4}`, "ct(zone=1,nat),recirc(2)"],
    [`in_port(2),recirc_id(2),${accept},${IPV4}`, "ct(zone=2,nat),recirc(3)"],
    [`in_port(2),recirc_id(3),${IPV4}`, "1"],
    [`in_port(1),recirc_id(0),${IPV6}`, `ct(commit,zone=3,nat(src=${OUTSIDE6})),2`],
    [`in_port(2),recirc_id(0),${IPV6}`, "ct(zone=3,nat),recirc(5)"],
    [`in_port(2),recirc_id(5),${accept},${IPV6}`, "1"],
  ]);
  await introduce(a, SERVICE, b.mac);
  await introduce(a, "10.0.0.2", b.mac);
  await introduce(a, "fd00::2", b.mac);
  await introduce(b, OUTSIDE, a.mac);
  await introduce(b, OUTSIDE6, a.mac);
  return { a, b };
}

/** What ct-dump prints. */
export async function connections(lab: Lab, ...words: string[]): Promise<string> {
  return await lab.denovs.cli("ct-dump", "br0", ...words);
}

/** What a Python script prints that runs in a namespace. */
export async function python(host: Namespace, script: string, ...args: string[]): Promise<string> {
  return (await host.run(["/usr/bin/python3", "-c", script, ...args])).stdout.trim();
}
