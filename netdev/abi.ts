/**
 * The Linux ABI: constants under their kernel names, and structure layouts as offset tables, each
 * under the C header that defines it. abi_test.ts compares all of them with what a C program prints.
 *
 * Little endian, 64 bits (x86-64, arm64). Values newer than Debian 12's headers (Linux 6.1) are
 * named in {@link NEWER_THAN_6_1}.
 */

// asm-generic/errno.h
export const EPERM = 1;
export const ENOENT = 2;
export const EINTR = 4;
export const EIO = 5;
export const ENXIO = 6;
export const EAGAIN = 11;
export const EBUSY = 16;
export const EEXIST = 17;
export const ENODEV = 19;
export const EINVAL = 22;
export const ENOSYS = 38;
export const EBADFD = 77;
export const EMSGSIZE = 90;
export const EOPNOTSUPP = 95;
export const EADDRINUSE = 98;
export const ENETDOWN = 100;
export const ENETUNREACH = 101;
export const ENOBUFS = 105;
export const EHOSTUNREACH = 113;

// asm-generic/fcntl.h
export const O_RDONLY = 0;
export const O_RDWR = 2;
export const O_NONBLOCK = 0o4000;
export const O_CLOEXEC = 0o2000000;

// asm-generic/mman-common.h, asm-generic/mman.h
export const PROT_READ = 1;
export const PROT_WRITE = 2;
export const MAP_SHARED = 0x01;
export const MAP_PRIVATE = 0x02;
export const MAP_FIXED = 0x10;
export const MAP_ANONYMOUS = 0x20;
export const MAP_NORESERVE = 0x4000;

// linux/prctl.h
export const PR_SET_TIMERSLACK = 29;

// linux/time.h
export const CLOCK_MONOTONIC = 1;

// linux/sched.h
export const CLONE_NEWNET = 0x40000000;

// sys/eventfd.h
export const EFD_CLOEXEC = 0o2000000;
export const EFD_NONBLOCK = 0o4000;

// sys/epoll.h
export const EPOLL_CLOEXEC = 0o2000000;
export const EPOLL_CTL_ADD = 1;
export const EPOLL_CTL_DEL = 2;
export const EPOLLIN = 0x001;
export const EPOLLERR = 0x008;
export const EPOLLHUP = 0x010;
/** Packed on x86-64, not on arm64. */
export const epoll_event_x86_64 = { size: 12, events: 0, data: 4 } as const;
export const epoll_event_aarch64 = { size: 16, events: 0, data: 8 } as const;

// sys/socket.h
export const AF_UNIX = 1;
export const AF_INET = 2;
export const AF_INET6 = 10;
export const AF_NETLINK = 16;
export const AF_PACKET = 17;
export const SOCK_DGRAM = 2;
export const SOCK_RAW = 3;
export const SOCK_NONBLOCK = 0o4000;
export const SOCK_CLOEXEC = 0o2000000;
export const SOL_SOCKET = 1;
export const SO_SNDBUF = 7;
export const SO_RCVBUF = 8;
export const SO_NO_CHECK = 11;
export const SO_REUSEPORT = 15;
export const SO_ATTACH_FILTER = 26;
export const SO_DETACH_FILTER = 27;
export const SO_MARK = 36;
export const SO_ATTACH_BPF = 50;
export const SO_ATTACH_REUSEPORT_EBPF = 52;
export const SO_SNDBUFFORCE = 32;
export const SO_RCVBUFFORCE = 33;
export const MSG_DONTWAIT = 0x40;
export const MSG_TRUNC = 0x20;
export const msghdr = {
  size: 56,
  msg_name: 0,
  msg_namelen: 8,
  msg_iov: 16,
  msg_iovlen: 24,
  msg_control: 32,
  msg_controllen: 40,
  msg_flags: 48,
} as const;
export const mmsghdr = { size: 64, msg_hdr: 0, msg_len: 56 } as const;
export const iovec = { size: 16, iov_base: 0, iov_len: 8 } as const;

export const cmsghdr = { size: 16, cmsg_len: 0, cmsg_level: 8, cmsg_type: 12 } as const;

// linux/in.h
export const IPPROTO_IP = 0;
export const IPPROTO_UDP = 17;
export const IPPROTO_IPV6 = 41;
export const IPPROTO_GRE = 47;
export const IP_TOS = 1;
export const IP_TTL = 2;
export const IP_PKTINFO = 8;
export const IP_MTU_DISCOVER = 10;
export const IP_RECVTTL = 12;
export const IP_RECVTOS = 13;
export const IP_MTU = 14;
export const IP_PMTUDISC_DONT = 0;
export const IP_PMTUDISC_DO = 2;
export const sockaddr_in = { size: 16, sin_family: 0, sin_port: 2, sin_addr: 4 } as const;
export const in_pktinfo = { size: 12, ipi_ifindex: 0, ipi_spec_dst: 4, ipi_addr: 8 } as const;

// linux/in6.h
export const IPV6_MTU_DISCOVER = 23;
export const IPV6_MTU = 24;
export const IPV6_V6ONLY = 26;
export const IPV6_RECVPKTINFO = 49;
export const IPV6_PKTINFO = 50;
export const IPV6_RECVHOPLIMIT = 51;
export const IPV6_HOPLIMIT = 52;
export const IPV6_RECVTCLASS = 66;
export const IPV6_TCLASS = 67;
export const sockaddr_in6 = { size: 28, sin6_family: 0, sin6_port: 2, sin6_addr: 8 } as const;
export const in6_pktinfo = { size: 20, ipi6_addr: 0, ipi6_ifindex: 16 } as const;

// linux/udp.h
export const UDP_NO_CHECK6_TX = 101;
export const UDP_NO_CHECK6_RX = 102;
export const UDP_SEGMENT = 103;
export const UDP_GRO = 104;

// linux/filter.h, linux/bpf_common.h
export const BPF_LD = 0x00;
export const BPF_RET = 0x06;
export const BPF_JMP = 0x05;
export const BPF_LDX = 0x01;
export const BPF_X = 0x08;
export const BPF_H = 0x08;
export const BPF_JEQ = 0x10;
export const BPF_JGE = 0x30;
export const BPF_JA = 0x00;
export const BPF_K = 0x00;
export const BPF_W = 0x00;
export const BPF_ABS = 0x20;
export const SKF_AD_OFF = -0x1000;
export const SKF_AD_IFINDEX = 8;
export const SKF_AD_RXHASH = 32;
export const BPF_ALU = 0x04;
export const BPF_MOD = 0x90;
export const sock_filter = { size: 8, code: 0, jt: 2, jf: 3, k: 4 } as const;
export const sock_fprog = { size: 16, len: 0, filter: 8 } as const;

// linux/if_ether.h
export const ETH_P_ALL = 0x0003;
export const ETH_P_8021Q = 0x8100;

// linux/if_packet.h
export const SOL_PACKET = 263;
export const PACKET_ADD_MEMBERSHIP = 1;
export const PACKET_DROP_MEMBERSHIP = 2;
export const PACKET_RX_RING = 5;
export const PACKET_STATISTICS = 6;
export const PACKET_COPY_THRESH = 7;
export const PACKET_AUXDATA = 8;
export const PACKET_VERSION = 10;
export const PACKET_RESERVE = 12;
export const PACKET_TX_RING = 13;
export const PACKET_VNET_HDR = 15;
export const PACKET_FANOUT = 18;
export const PACKET_IGNORE_OUTGOING = 23;
export const PACKET_MR_PROMISC = 1;
export const PACKET_FANOUT_HASH = 0;
/** Linux 6.4: fanout groups look at this flag, not at PACKET_IGNORE_OUTGOING. */
export const PACKET_FANOUT_FLAG_IGNORE_OUTGOING = 0x4000;
export const TPACKET_V2 = 1;
export const TP_STATUS_AVAILABLE = 0;
export const TP_STATUS_SEND_REQUEST = 1;
export const TP_STATUS_WRONG_FORMAT = 4;
export const TP_STATUS_KERNEL = 0;
export const TP_STATUS_USER = 1;
export const TP_STATUS_COPY = 2;
export const TP_STATUS_CSUMNOTREADY = 8;
export const TP_STATUS_VLAN_VALID = 0x10;
export const TP_STATUS_VLAN_TPID_VALID = 0x40;
export const TP_STATUS_CSUM_VALID = 0x80;
export const TPACKET2_HDRLEN = 52;
export const tpacket2_hdr = {
  size: 32,
  tp_status: 0,
  tp_len: 4,
  tp_snaplen: 8,
  tp_mac: 12,
  tp_net: 14,
  tp_sec: 16,
  tp_nsec: 20,
  tp_vlan_tci: 24,
  tp_vlan_tpid: 26,
} as const;
export const tpacket_req = {
  size: 16,
  tp_block_size: 0,
  tp_block_nr: 4,
  tp_frame_size: 8,
  tp_frame_nr: 12,
} as const;
export const tpacket_stats = { size: 8, tp_packets: 0, tp_drops: 4 } as const;
export const sockaddr_ll = {
  size: 20,
  sll_family: 0,
  sll_protocol: 2,
  sll_ifindex: 4,
  sll_hatype: 8,
  sll_pkttype: 10,
  sll_halen: 11,
  sll_addr: 12,
} as const;
export const tpacket_auxdata = {
  size: 20,
  tp_status: 0,
  tp_len: 4,
  tp_vlan_tci: 16,
  tp_vlan_tpid: 18,
} as const;
export const packet_mreq = {
  size: 16,
  mr_ifindex: 0,
  mr_type: 4,
  mr_alen: 6,
  mr_address: 8,
} as const;

// linux/virtio_net.h
export const VIRTIO_NET_HDR_F_NEEDS_CSUM = 1;
export const VIRTIO_NET_HDR_F_DATA_VALID = 2;
export const virtio_net_hdr = {
  size: 10,
  flags: 0,
  gso_type: 1,
  hdr_len: 2,
  gso_size: 4,
  csum_start: 6,
  csum_offset: 8,
} as const;

// linux/if_tun.h
export const TUNSETIFF = 0x400454ca;
export const TUNSETPERSIST = 0x400454cb;
export const TUNSETOFFLOAD = 0x400454d0;
export const TUNGETVNETHDRSZ = 0x800454d7;
export const TUNSETVNETHDRSZ = 0x400454d8;
export const IFF_TAP = 0x0002;
export const IFF_NO_PI = 0x1000;
export const IFF_VNET_HDR = 0x4000;
export const IFF_MULTI_QUEUE = 0x0100;
export const IFF_TUN_EXCL = 0x8000;
export const TUN_F_CSUM = 0x01;
export const TUN_F_TSO4 = 0x02;
export const TUN_F_TSO6 = 0x04;
export const TUN_F_TSO_ECN = 0x08;
/** Linux 6.2. */
export const TUN_F_USO4 = 0x20;
export const TUN_F_USO6 = 0x40;

// linux/if.h
export const IFNAMSIZ = 16;
export const IFF_UP = 0x1;
export const IFF_LOOPBACK = 0x8;
export const IFF_RUNNING = 0x40;
export const ifreq = { size: 40, ifr_name: 0, ifr_flags: 16 } as const;

// linux/if_arp.h
export const ARPHRD_ETHER = 1;
export const ARPHRD_LOOPBACK = 772;

// linux/netlink.h
export const SOL_NETLINK = 270;
export const NETLINK_ROUTE = 0;
export const NETLINK_NETFILTER = 12;
export const NETLINK_GENERIC = 16;
export const NETLINK_ADD_MEMBERSHIP = 1;
export const NETLINK_CAP_ACK = 10;
export const NETLINK_EXT_ACK = 11;
export const NETLINK_GET_STRICT_CHK = 12;
export const NLM_F_REQUEST = 0x01;
export const NLM_F_MULTI = 0x02;
export const NLM_F_ACK = 0x04;
export const NLM_F_ECHO = 0x08;
export const NLM_F_DUMP_INTR = 0x10;
export const NLM_F_CAPPED = 0x100;
export const NLM_F_ACK_TLVS = 0x200;
export const NLM_F_DUMP = 0x300;
export const NLM_F_EXCL = 0x200;
export const NLM_F_CREATE = 0x400;
export const NLMSG_ERROR = 2;
export const NLMSG_DONE = 3;
export const NLMSG_OVERRUN = 4;
export const NLMSGERR_ATTR_MSG = 1;
export const NLA_F_NESTED = 0x8000;
export const NLA_TYPE_MASK = -0xc001;
export const nlmsghdr = {
  size: 16,
  nlmsg_len: 0,
  nlmsg_type: 4,
  nlmsg_flags: 6,
  nlmsg_seq: 8,
  nlmsg_pid: 12,
} as const;
export const nlattr = { size: 4, nla_len: 0, nla_type: 2 } as const;
export const sockaddr_nl = { size: 12, nl_family: 0, nl_pid: 4, nl_groups: 8 } as const;

// linux/rtnetlink.h
export const RTM_NEWLINK = 16;
export const RTM_DELLINK = 17;
export const RTM_GETLINK = 18;
export const RTM_NEWQDISC = 36;
export const RTM_DELQDISC = 37;
export const RTM_NEWTFILTER = 44;
export const RTM_DELTFILTER = 45;
export const RTM_GETTFILTER = 46;
export const RTNLGRP_LINK = 1;
export const ifinfomsg = {
  size: 16,
  ifi_family: 0,
  ifi_type: 2,
  ifi_index: 4,
  ifi_flags: 8,
  ifi_change: 12,
} as const;
export const tcmsg = {
  size: 20,
  tcm_family: 0,
  tcm_ifindex: 4,
  tcm_handle: 8,
  tcm_parent: 12,
  tcm_info: 16,
} as const;
export const TCA_KIND = 1;
export const TCA_OPTIONS = 2;

// linux/if_link.h
export const IFLA_ADDRESS = 1;
export const IFLA_IFNAME = 3;
export const IFLA_MTU = 4;
export const IFLA_LINK = 5;
export const IFLA_MASTER = 10;
export const IFLA_LINKINFO = 18;
export const IFLA_IFALIAS = 20;
export const IFLA_NUM_TX_QUEUES = 31;
export const IFLA_EXT_MASK = 29;
export const IFLA_INFO_KIND = 1;
export const IFLA_INFO_DATA = 2;
export const IFLA_INFO_SLAVE_KIND = 4;
export const RTEXT_FILTER_SKIP_STATS = 8;

// linux/pkt_sched.h, linux/pkt_cls.h
export const TC_H_CLSACT = 0xfffffff1;
export const TC_H_MIN_INGRESS = 0xfff2;
export const TC_H_MIN_EGRESS = 0xfff3;
export const TC_ACT_SHOT = 2;
export const TCA_BPF_FD = 6;
export const TCA_BPF_NAME = 7;
export const TCA_BPF_FLAGS = 8;
export const TCA_BPF_FLAG_ACT_DIRECT = 1;

// linux/bpf.h
export const BPF_MAP_CREATE = 0;
export const BPF_MAP_UPDATE_ELEM = 2;
export const BPF_PROG_LOAD = 5;
export const BPF_LINK_CREATE = 28;
export const BPF_PROG_TYPE_SOCKET_FILTER = 1;
export const BPF_PROG_TYPE_SCHED_CLS = 3;
export const BPF_PROG_TYPE_SK_REUSEPORT = 21;
export const BPF_MAP_TYPE_REUSEPORT_SOCKARRAY = 20;
export const BPF_FUNC_sk_select_reuseport = 82;
export const BPF_PSEUDO_MAP_FD = 1;
export const SK_DROP = 0;
export const SK_PASS = 1;
export const BPF_STX = 0x03;
export const BPF_DW = 0x18;
export const BPF_IMM = 0x00;
export const BPF_ADD = 0x00;
export const BPF_OR = 0x40;
export const BPF_LSH = 0x60;
export const BPF_JGT = 0x20;
export const BPF_CALL = 0x80;
export const BPF_ALU64 = 0x07;
export const BPF_MOV = 0xb0;
export const BPF_MEM = 0x60;
export const BPF_JNE = 0x50;
export const BPF_EXIT = 0x90;
/** Linux 6.6. */
export const BPF_F_BEFORE = 8;
export const BPF_TCX_INGRESS = 46;
/** Linux 6.6: the verdict's name in TCX; the same number as TC_ACT_SHOT. */
export const TCX_DROP = 2;
export const __sk_buff = { pkt_type: 4, ifindex: 40, gso_segs: 164, gso_size: 176 } as const;
export const sk_reuseport_md = { data: 0, data_end: 8, hash: 32 } as const;
export const bpf_insn = { size: 8, code: 0, off: 2, imm: 4 } as const;
/** union bpf_attr, the members used. `target_ifindex` of link_create stands where `target_fd` does. */
export const bpf_attr = {
  prog_type: 0,
  insn_cnt: 4,
  insns: 8,
  license: 16,
  log_level: 24,
  log_size: 28,
  log_buf: 32,
  prog_flags: 44,
  prog_name: 48,
  map_type: 0,
  key_size: 4,
  value_size: 8,
  max_entries: 12,
  map_fd: 0,
  key: 8,
  value: 16,
  "link_create.prog_fd": 0,
  "link_create.target_fd": 4,
  "link_create.attach_type": 8,
  "link_create.flags": 12,
} as const;
/** What we fill in of it for any command (64 with TCX's relative_fd and expected_revision). */
export const BPF_ATTR_SIZE = 64;

// asm/unistd.h
export const SYS_bpf_x86_64 = 321;
export const SYS_bpf_aarch64 = 280;

/** Names above that Debian 12's headers lack; their values are from Linux 6.6's uapi headers. */
export const NEWER_THAN_6_1: readonly string[] = [
  "PACKET_FANOUT_FLAG_IGNORE_OUTGOING",
  "TUN_F_USO4",
  "TUN_F_USO6",
  "BPF_F_BEFORE",
  "BPF_TCX_INGRESS",
  "TCX_DROP",
];
