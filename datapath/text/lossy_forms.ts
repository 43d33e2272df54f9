/**
 * Where the text of actions is not Open vSwitch's: what its text would lose, and what it prints but
 * can't read. Everything here reads back to the same actions; elsewhere the texts are equal. The
 * reference page and the oracle test (tests/oracle/action_text_test.ts) are made from this table.
 */

export interface LossyForm {
  /** What is said. */
  readonly what: string;
  /** What Open vSwitch prints, and what it makes of that. */
  readonly theirs: string;
  /** What is printed here. */
  readonly ours: string;
}

export const LOSSY_FORMS: readonly LossyForm[] = [
  {
    what: "sample's probability, a number of 32 bits",
    theirs: "one decimal: sample=0.0%",
    ours: "as many decimals as it takes, at least one: sample=0.00001%",
  },
  {
    what: "an empty list within clone, sample or dec_ttl",
    theirs: "clone(drop), which it can't read",
    ours: "clone(); clone(drop) has the action drop in it",
  },
  {
    what: "an empty list within check_pkt_len, and one with nothing but drop",
    theirs: "gt(drop) for both, which it reads as the empty one",
    ours: "gt(drop) is the empty one, gt(drop(0)) has the action drop in it",
  },
  {
    what: "an empty list of a flow, and one with nothing but drop",
    theirs: "drop for both, which it reads as the action",
    ours: "drop for both, as Open vSwitch: a dump must show something, and both do the same",
  },
  {
    what: "drop with a reason",
    theirs: "drop",
    ours: "drop(3); without a reason drop",
  },
  {
    what: "drop behind other actions",
    theirs: "1,drop, which it can't read",
    ours: "1,drop",
  },
  {
    what: "userspace without userdata",
    theirs: "userspace(pid=1), which it reads as 48 zero bytes of userdata",
    ours: "userspace(pid=1), which has none; zeros are userdata(0000…)",
  },
  {
    what: "userspace with less than 8 bytes of userdata",
    theirs: "userdata(01), which it reads as 8 bytes, filled up with zeros",
    ours: "userdata(01), which is one byte",
  },
  {
    what: "a cookie of userspace with more in it than its text, as a bridge's own have",
    theirs: "controller(…) without the bridge's UUID and port",
    ours: "userdata(…) with all bytes; controller(…) where that says all",
  },
  {
    what: "several reasons of slow_path",
    theirs: "slow_path(cfm,bfd), which it can't read: it wants cfm|bfd",
    ours: "slow_path(cfm,bfd); both are read",
  },
  {
    what: "recirc",
    theirs: "recirc(0x1), but it reads decimal numbers alone",
    ours: "recirc(0x1); both are read, and 010 is 10",
  },
  {
    what: "hash, push_mpls, pop_mpls, push_eth, pop_eth, dec_ttl",
    theirs: "printed, but not read",
    ours: "printed and read",
  },
  {
    what: "add_mpls behind the Ethernet header",
    theirs: "add_mpls(…) without its flag",
    ours: "add_mpls(…,tun_flags=1)",
  },
  {
    what: "zeros in front of push_nsh's md2 and psample's cookie",
    theirs: "md2=0x1020304 for 01 02 03 04, which it reads as 10 20 30 00",
    ours: "md2=0x1020304, which reads back; in full (0x00010203) where zeros would be lost",
  },
  {
    what: "push_nsh with flags over 3 or a TTL over 63, which a header has no room for",
    theirs: "the lowest bits of them",
    ours: "the numbers as they are",
  },
  {
    what: "push_nsh with much metadata of type 2",
    theirs: "printed; over about 200 bytes not read",
    ours: "printed and read, up to 248 bytes",
  },
  {
    what: "push_nsh of metadata type 2 without metadata",
    theirs: "md2=0, which it can't read",
    ours: "no md2",
  },
  {
    what: "ct with zone 0 said, as dumps of the kernel have it",
    theirs: "ct",
    ours: "ct(zone=0)",
  },
  {
    what: "ct's event mask",
    theirs: "nothing",
    ours: "eventmask=0x517",
  },
  {
    what: "a mask of ct's mark or label that is zero",
    theirs: "mark=0x1/0, which it reads as no mark",
    ours: "mark=0x1/0, which reads back",
  },
  {
    what: "nat with a last address or port that is the first one, or port 0",
    theirs: "nat(src=192.0.2.1)",
    ours: "nat(src=192.0.2.1-192.0.2.1:0)",
  },
  {
    what: "nat with ports and no address",
    theirs: "nat(error: proto but no IP.)",
    ours: "nat(src=:80-90)",
  },
  {
    what: "nat(src,persistent), and hash or random without an address",
    theirs: "printed; read as nat(src)",
    ours: "printed and read",
  },
  {
    what:
      "set(tunnel(…)): 3.1 keeps it as a masked set where value and mask have the same attributes",
    theirs: "the mask behind the value, without flags(…), or with flags(+key)",
    ours: "flags(0), and with tun_id flags(key), as Open vSwitch prints all others",
  },
  {
    what: "set(tunnel(…)) with an ERSPAN hwid over 15",
    theirs: "its lowest four bits",
    ours: "all six",
  },
  {
    what: "set(tunnel(…)) with a VXLAN group policy of zeros",
    theirs: "nothing of it",
    ours: "vxlan(gbp(id=0,flags=0))",
  },
  {
    what: "ct_tuple6 in a set",
    theirs: "src_port= and dst_port=, but it reads tp_src= and tp_dst=",
    ours: "src_port= and dst_port=; both are read",
  },
  {
    what: "set of an attribute of one value, with a mask of zero",
    theirs: "set(ct_zone()), which it can't read",
    ours: "set(ct_zone(0/0))",
  },
  {
    what: "set with bits outside of the mask",
    theirs: "set(tcp(src=80/0xff00)), which the kernel refuses",
    ours: "read, but those bits are cleared: set(tcp(src=0/0xff00))",
  },
  {
    what: "set(nsh(…))",
    theirs: "printed, but not read",
    ours: "printed and read",
  },
  {
    what: "set(encap(…)), set(packet_type(…))",
    theirs: "printed and read, but no datapath can run it",
    ours: "not read",
  },
  {
    what: "tnl_push with erspan, or gtpu behind udp(…)",
    theirs: "printed, but not read",
    ours: "printed and read",
  },
  {
    what: "tnl_push whose header has bytes that its text can't say",
    theirs: "the text without them",
    ours: "header(size=…,type=…,data(0a1b…))",
  },
  {
    what: "numbers that are too wide or negative, a part written twice",
    theirs: "cut to their width; the last one counts",
    ours: "refused, with the column",
  },
  {
    what: "an action that has no name here",
    theirs: "action200(01 02), which it can't read",
    ours: "action200(01 02), which reads back",
  },
];
