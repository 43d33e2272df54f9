/** A conversation with the kernel's datapath by our commands, with ovs-dpctl as the witness. */

import { CONNECTIONS } from "./kernel_script_connections.ts";
import { LIMITS, METERS } from "./kernel_script_limits.ts";
import type { KernelKind } from "./kernel_vm.ts";

/** One line of it. */
export interface Step {
  /** `denovs …` is run in the guest's own process, anything else as a program. */
  readonly line: string;
  /** Exit status; default 0. */
  readonly status?: number;
  /** All that is printed, without the last newline; or what must be in it. */
  readonly says?: string | RegExp;
}

const UFID = "00000000-0000-0000-0000-123456789abc";
const IP = "in_port(5),eth(),eth_type(0x0800),ipv4()";
/** What is run without CAP_NET_ADMIN: commands that need no daemon, no state and no rights of a root. */
const UNPRIVILEGED =
  "setpriv --bounding-set=-net_admin --inh-caps=-net_admin deno run -A --no-check main.ts";

const DATAPATHS: readonly Step[] = [
  { line: "denovs dp-list", says: "" },
  {
    line: "denovs flow-dump system@none",
    status: 1,
    says: 'denovs: flow-dump: no datapath "system@none" exists (there is none in this network ' +
      "namespace; dp-add makes one)",
  },
  { line: "denovs dp-add --type system k0", says: "" },
  { line: "denovs dp-add system@k0", status: 1, says: /"system@k0": it exists already/ },
  { line: "denovs dp-add system@k0 --may-exist", says: "" },
  { line: "denovs dp-add system@lo", status: 1, says: /a device "lo" exists already/ },
  { line: "denovs dp-add system@k1 --miss drop", status: 1, says: /has no miss policy/ },
  { line: "denovs dp-add netdev@k1 --type system", status: 2, says: /contradict each other/ },
  { line: "ovs-dpctl dump-dps", says: "system@k0" },
  { line: "denovs dp-list", says: "system@k0" },
  { line: "denovs dp-set system@k0 --masks-cache 512", says: "" },
  { line: "denovs dp-set system@k0 --masks-cache 3", status: 1, says: /size 3 is not allowed/ },
  { line: "ovs-dpctl cache-get-size k0", says: /masks-cache: size:512/ },
];

const PORTS: readonly Step[] = [
  { line: "ip link add v0 type veth peer name v1" },
  { line: "denovs port-add system@k0 v0 --port-no 5", says: "" },
  { line: "denovs port-add system@k0 v0", status: 1, says: /it is port 5 of k0 already/ },
  { line: "denovs port-add system@k0 i0 --type internal", says: "" },
  { line: "denovs port-add system@k0 x0,type=vxlan,dst_port=4790,exts=gbp", says: "" },
  { line: "denovs port-add system@k0 g0,type=geneve", says: "" },
  { line: "denovs port-add system@k0 r0 --type gre", says: "" },
  { line: "denovs port-add system@k0 nodev", status: 1, says: /no device "nodev" exists/ },
  { line: "denovs port-add system@k0 lo", status: 1, says: /device "lo" can't be a port/ },
  { line: "denovs port-add system@k0 v1 --port-no 5", status: 1, says: /5 is taken by "v0"/ },
  { line: "denovs port-add system@k0 x1,type=vxlan,foo=1", status: 1, says: /option foo=1/ },
  {
    line: "denovs port-add system@k0 x1,type=vxlan,dst_port=4790",
    status: 1,
    says: /UDP port 4790 is in use/,
  },
  { line: "denovs port-add system@k0 x1 --type foo", status: 1, says: /has no type "foo"/ },
  {
    line: "denovs port-list system@k0",
    says: `PORT  NAME  TYPE      STATE  OPTIONS
0     k0    internal  up     -
1     i0    internal  up     -
2     x0    vxlan     up     dst_port=4790 exts=gbp
3     g0    geneve    up     -
4     r0    gre       up     -
5     v0    netdev    up     -`,
  },
  { line: "ovs-dpctl show k0", says: /port 2: x0 \(vxlan: packet_type=ptap\)/ },
  { line: "ovs-dpctl show k0", says: /port 5: v0$/m },
  { line: "denovs dp-show -s system@k0", says: /masks-cache: size:512(\n.*)?\n {2}miss: upcall\n/ },
  { line: "denovs dp-show", says: /port 3: g0 \(geneve\)\n {2}port 4: r0 \(gre\)/ },
];

const FLOWS: readonly Step[] = [
  { line: `denovs flow-add system@k0 '${IP}' 2`, says: "" },
  {
    line: `denovs flow-add system@k0 '${IP}' 2`,
    status: 1,
    says: /it exists already: in_port\(v0\)/,
  },
  { line: `denovs flow-add system@k0 '${IP}' 2 --may-exist`, says: "" },
  {
    line: `denovs flow-add system@k0 '${IP}' 3 --may-exist`,
    status: 1,
    says: /with other actions/,
  },
  {
    line: "denovs flow-add system@k0 'in_port(5),eth(),eth_type(0x0800),ipv4(src=10.0.0.1)' 2",
    status: 1,
    says: /its key is matched already by in_port\(v0\),eth\(\),eth_type\(0x0800\)$/,
  },
  {
    line: "denovs flow-dump system@k0",
    says: "in_port(5),eth(),eth_type(0x0800), packets:0, bytes:0, used:never, actions:2",
  },
  { line: "denovs flow-dump system@k0 -m", says: /^ufid:.*,in_port\(v0\),.* actions:x0$/ },
  { line: "denovs dump-flows system@k0 filter=arp", says: "" },
  { line: "ovs-dpctl dump-flows k0", says: /in_port\(5\),eth\(\),eth_type\(0x0800\),.*actions:2/ },
  {
    line: `denovs flow-mod system@k0 '${IP}' 3,4 -s`,
    says: "packets:0, bytes:0, used:never",
  },
  { line: "ovs-dpctl dump-flows k0", says: /actions:3,4/ },
  { line: `denovs flow-get system@k0 '${IP}'`, says: /actions:3,4/ },
  { line: `denovs flow-del system@k0 '${IP}' -s`, says: "packets:0, bytes:0, used:never" },
  { line: `denovs flow-del system@k0 '${IP}'`, status: 1, says: /system@k0 has no such flow/ },
  { line: `denovs flow-del system@k0 '${IP}' --if-exists`, says: "" },
  // Flows of ovs-dpctl have no UFID.
  {
    line:
      "ovs-dpctl add-flow k0 'in_port(5),eth(),eth_type(0x0800),ipv4(src=10.1.2.3/255.0.0.0)' 3",
  },
  {
    line: "denovs flow-mod system@k0 'in_port(5),eth_type(0x0800),ipv4(src=10.0.0.0/8)' 4",
    says: "",
  },
  { line: "denovs flow-dump system@k0", says: /ipv4\(src=10.0.0.0\/255.0.0.0\).*actions:4$/ },
  {
    line: "denovs flow-del system@k0 'in_port(5),eth_type(0x0800),ipv4(src=10.0.0.0/8)'",
    says: "",
  },
  // Those of users have theirs, which mean the same to ovs-dpctl.
  { line: `denovs flow-add system@k0 'ufid:${UFID},in_port(2)' drop`, says: "" },
  { line: `ovs-dpctl get-flow k0 ufid:${UFID}`, says: /in_port\(2\).*actions:drop/ },
  { line: `denovs flow-mod system@k0 ufid:${UFID} 2`, status: 1, says: /so write it too/ },
  { line: "denovs flow-mod system@k0 'in_port(2)' 3", says: "" },
  { line: `denovs flow-get system@k0 ufid:${UFID}`, says: /actions:3$/ },
  { line: `denovs flow-mod system@k0 ufid:${UFID} --clear`, says: "" },
  {
    line: "denovs flow-add system@k0 'in_port(9),foo()' 2",
    status: 1,
    says: /unknown field "foo"/,
  },
  {
    line: "denovs flow-add system@k0 'in_port(9),eth_type(0x0800),ipv4()' 'set(tcp(src=1)),2'",
    status: 1,
    says: /cannot use these actions: .*tcp/,
  },
  {
    line: "denovs flow-add system@k0 'in_port(9),tunnel(src=1.2.3.4)' 2",
    status: 1,
    says: /the kernel wants a tunnel's dst that is not 0/,
  },
];

const FILES: readonly Step[] = [
  { line: "denovs flow-save system@k0", says: /^# .*\nadd ufid:.*in_port\(2\),eth\(\) 3$/ },
  { line: "denovs flow-save system@k0 /tmp/saved", says: "" },
  {
    line: "sh -c 'printf \"add in_port(9) 1\\ndelete in_port(2)\\nadd in_port(9) 2\\n\" > /tmp/f'",
  },
  { line: "denovs flow-load system@k0 /tmp/f", status: 1, says: /line 3: .*it exists already/ },
  { line: "denovs flow-get system@k0 'in_port(2)'", says: /actions:3$/ },
  { line: "denovs flow-flush system@k0", says: "" },
  { line: "ovs-dpctl dump-flows k0", says: "" },
  { line: "denovs flow-load system@k0 /tmp/saved --replace", says: "" },
  { line: "ovs-dpctl dump-flows k0", says: /in_port\(2\).*actions:3/ },
  {
    line: "sh -c 'printf \"dp-add system@k2\\nport-add system@k2 i2 --type internal\\n" +
      "flow-add system@k2 in_port(1) 0\\nport-add system@k2 nodev\\n\" > /tmp/b'",
  },
  { line: "denovs batch /tmp/b", status: 1, says: /line 4: .*no device "nodev"/ },
  { line: "denovs dp-list", says: "system@k0" },
  { line: "denovs dp-add system@k3 i3,type=internal i4,type=internal", says: "" },
  { line: "denovs port-del system@k3 i3 i9", status: 1, says: /has no such port/ },
  { line: "denovs port-del system@k3 i3 i4", says: "" },
  { line: "sh -c 'printf \"dp-del system@k3\\ndp-add system@k4\\n\" > /tmp/b'" },
  { line: "denovs batch /tmp/b", status: 1, says: /line 2: dp-add can't follow a deletion/ },
  { line: "sh -c 'printf \"dp-add system@k4\\ndp-add dummy@k5\\n\" > /tmp/b'" },
  { line: "denovs batch /tmp/b", status: 1, says: /line 2: one batch can't change both/ },
  { line: "denovs dp-list", says: "system@k0\nsystem@k3" },
];

const RIGHTS: readonly Step[] = [
  {
    line: `${UNPRIVILEGED} dp-add system@x`,
    status: 1,
    says: /not permitted: it needs CAP_NET_ADMIN/,
  },
  { line: `${UNPRIVILEGED} dp-list`, says: "system@k0\nsystem@k3" },
  { line: "denovs port-del system@k0 0", status: 1, says: /it goes with the datapath/ },
  { line: "denovs port-del system@k0 v0", says: "" },
  { line: "denovs dp-del system@k0 system@k1", status: 1, says: /no datapath "system@k1" exists/ },
  { line: "denovs dp-del system@k0 system@k3", says: "" },
  { line: "denovs dp-del system@k0 --if-exists", says: "" },
  { line: "ovs-dpctl dump-dps", says: "" },
];

/** What is said to a kernel. Where it is emulated, programs are slow to start: connections are left out, and who has no rights. */
export function scriptFor(kind: KernelKind): readonly Step[] {
  const steps = [...DATAPATHS, ...PORTS, ...FLOWS, ...FILES, ...RIGHTS, ...METERS, ...LIMITS];
  if (kind === "stable") return [...steps, ...CONNECTIONS];
  return steps.filter(({ line }) => !line.startsWith(UNPRIVILEGED));
}
