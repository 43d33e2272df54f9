/** The part of kernel_script.ts that is about connections: two hosts talk through a datapath that tracks. */
import type { Step } from "./kernel_script.ts";

const HOSTS =
  "for n in a b; do ip netns add $n; ip link add w$n type veth peer name eth0 netns $n; " +
  "ip -n $n link set eth0 up; ip link set w$n up; done; " +
  "ip -n a addr add 10.0.0.1/24 dev eth0; ip -n b addr add 10.0.0.2/24 dev eth0";

/** Asks b by UDP, who does not listen, and by ping. */
const ASK = "import socket\n" +
  "s = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)\n" +
  's.bind(("10.0.0.1", 1000))\n' +
  's.sendto(b"x", ("10.0.0.2", 53))\n';

const UDP =
  /^udp,orig=\(src=10\.0\.0\.1,dst=10\.0\.0\.2,sport=1000,dport=53\),reply=\(src=10\.0\.0\.2,dst=10\.0\.0\.1,sport=53,dport=1000\),mark=7,labels=0x1a$/m;
const PING =
  /^icmp,orig=\(src=10\.0\.0\.1,dst=10\.0\.0\.2,id=\d+,type=8,code=0\),reply=\(src=10\.0\.0\.2,dst=10\.0\.0\.1,id=\d+,type=0,code=0\),mark=7,labels=0x1a$/m;
const MORE = /^udp,orig=.*,id=\d+,status=CONFIRMED,timeout=\d+,mark=7,labels=0x1a$/m;

export const CONNECTIONS: readonly Step[] = [
  { line: "modprobe nf_conntrack_netlink" },
  { line: `sh -c '${HOSTS}'` },
  { line: "denovs dp-add system@k6", says: "" },
  { line: "denovs port-add system@k6 wa wb", says: "" },
  { line: "denovs flow-add system@k6 'in_port(1),eth(),eth_type(0x0806)' 2", says: "" },
  { line: "denovs flow-add system@k6 'in_port(2),eth(),eth_type(0x0806)' 1", says: "" },
  {
    line: "denovs flow-add system@k6 'in_port(1),eth(),eth_type(0x0800)' " +
      "'ct(commit,mark=0x7,label=0x1a),2'",
    says: "",
  },
  { line: "denovs flow-add system@k6 'in_port(2),eth(),eth_type(0x0800)' ct,1", says: "" },
  { line: "denovs ct-dump system@k6", says: "" },
  { line: "ip netns exec a ping -c 1 10.0.0.2", says: /1 received/ },
  { line: `ip netns exec a python3 -c '${ASK}'` },
  { line: "ovs-dpctl dump-conntrack", says: UDP },
  { line: "denovs ct-dump system@k6", says: UDP },
  { line: "ovs-dpctl dump-conntrack", says: PING },
  { line: "denovs ct-dump system@k6", says: PING },
  { line: "ovs-dpctl dump-conntrack -m -s", says: MORE },
  { line: "denovs ct-dump system@k6 -m -s", says: MORE },
  {
    line: "denovs ct-stats system@k6 -m",
    says: /^Connections Stats:\n {4}Total: 2\n {2}UDP: 1\n {2}ICMP: 1$/,
  },
  { line: "ovs-dpctl ct-stats-show", says: /Total: 2\n {2}UDP: 1\n {2}ICMP: 1/ },
  { line: "denovs ct-dump system@k6 mark=0x8/0x8", says: "" },
  { line: "denovs ct-dump system@k6 ct_nw_proto=17,ct_tp_dst=53", says: UDP },
  { line: "denovs ct-exp-dump system@k6", says: "" },
  { line: "denovs ct-get-nconns system@k6", says: "2" },
  { line: "denovs ct-flush system@k6 ct_nw_proto=17 --json", says: /"deleted": 1\n/ },
  { line: "ovs-dpctl dump-conntrack", says: /^icmp,.*labels=0x1a$/ },
  { line: "denovs ct-flush system@k6", says: "" },
  { line: "ovs-dpctl dump-conntrack", says: "" },
  { line: "denovs dp-del system@k6", says: "" },
];
