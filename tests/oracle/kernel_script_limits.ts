/** The part of kernel_script.ts that is about meters and limits of connections. */
import type { Step } from "./kernel_script.ts";

const METER = "kbps,bands=type=drop,rate=100";

export const METERS: readonly Step[] = [
  { line: "denovs dp-add system@k5", says: "" },
  { line: "denovs meter-show system@k5 1", status: 1, says: /system@k5 has no such meter/ },
  { line: `denovs meter-add system@k5 meter=1,${METER}`, says: "" },
  { line: `denovs meter-add system@k5 meter=1,${METER}`, status: 1, says: /it exists already/ },
  {
    line: "denovs meter-add system@k5 meter=4,pps,bands=type=drop,rate=1,type=drop,rate=2",
    status: 1,
    says: /takes no such meter \(2 bands\)/,
  },
  { line: "denovs flow-add system@k5 'in_port(0)' 'meter(1),0'", says: "" },
  { line: "ovs-dpctl dump-flows k5", says: /actions:meter\(1\),0/ },
  {
    line: "denovs meter-show system@k5 1",
    says: "meter:1 flow_count:1 packet_in_count:0 byte_in_count:0 duration:0s bands:\n" +
      "0: packet_count:0 byte_count:0",
  },
  {
    line: "denovs meter-show system@k5 1 --features",
    says: /^max_meter:\d+ max_bands:1 max_color:0\nband_types: drop\n/,
  },
  { line: "denovs meter-show system@k5", status: 1, says: /does not tell which there are/ },
  { line: "denovs meter-mod system@k5 meter=1,pps,bands=type=drop,rate=1000", says: "" },
  { line: `denovs meter-mod system@k5 meter=2,${METER}`, status: 1, says: /has no such meter/ },
  // A batch that fails leaves no meter behind; what could not be taken back stands last.
  {
    line:
      `sh -c 'printf "meter-add system@k5 meter=8,${METER}\\nport-add system@k5 nodev\\n" > /tmp/b'`,
  },
  { line: "denovs batch /tmp/b", status: 1, says: /line 2: .*no device "nodev"/ },
  { line: "denovs meter-show system@k5 8", status: 1, says: /has no such meter/ },
  {
    line:
      `sh -c 'printf "meter-mod system@k5 meter=1,${METER}\\nport-add system@k5 p\\n" > /tmp/b'`,
  },
  { line: "denovs batch /tmp/b", status: 1, says: /line 2: port-add can't follow .* of a meter/ },
  { line: "denovs meter-del system@k5 7", status: 1, says: /has no such meter/ },
  { line: "denovs meter-del system@k5 7 --if-exists", says: "" },
  { line: "denovs meter-del system@k5 1", says: "" },
  { line: "denovs meter-show system@k5 1", status: 1, says: /has no such meter/ },
];

const FAILING = "ct-limit-set system@k5 default=7 zone=3,limit=9 zone=9,limit=9\\n" +
  "ct-limit-del system@k5 zone=3\\nport-add system@k5 nodev\\n";

export const LIMITS: readonly Step[] = [
  { line: "denovs ct-limit-get system@k5", says: "default limit=0" },
  { line: "denovs ct-limit-set system@k5 default=100 zone=3,limit=5", says: "" },
  {
    line: "ovs-dpctl ct-get-limits zone=3,4",
    says: "default limit=100\nzone=3,limit=5,count=0\nzone=4,limit=100,count=0",
  },
  {
    line: "denovs ct-limit-get system@k5 zone=3,4",
    says: "default limit=100\nzone=3,limit=5,count=0\nzone=4,limit=100,count=0",
  },
  // A batch that fails leaves the limits as they were.
  { line: `sh -c 'printf "${FAILING}" > /tmp/b'` },
  { line: "denovs batch /tmp/b", status: 1, says: /line 3: .*no device "nodev"/ },
  { line: "denovs ct-limit-get system@k5", says: "default limit=100\nzone=3,limit=5,count=0" },
  { line: "ovs-dpctl ct-set-limits default=11 zone=12,limit=13" },
  {
    line: "denovs ct-limit-get system@k5",
    says: "default limit=11\nzone=3,limit=5,count=0\nzone=12,limit=13,count=0",
  },
  { line: "denovs ct-limit-del system@k5 default zone=3", says: "" },
  { line: "ovs-dpctl ct-get-limits", says: "default limit=0\nzone=12,limit=13,count=0" },
  { line: "denovs ct-limit-set system@k5", status: 1, says: /no limit is given/ },
  { line: "denovs ct-maxconns system@k5", says: /^\d+$/ },
  { line: "denovs ct-maxconns system@k5 10", status: 1, says: /sysctl net.netfilter.nf_conntrack/ },
  { line: "denovs dp-del system@k5", says: "" },
];
