/**
 * What goes into the virtual machine and comes out of it in the comparison of packets: plain data,
 * shared by the tests on the host and the guest script.
 */

/** A port of the datapath, in the kernel a TAP or TUN device. */
export interface PortShape {
  readonly portNo: number;
  readonly device: string;
  /** Packets without Ethernet header: a TUN device. */
  readonly isL3: boolean;
  /** What it takes unfinished: nothing, partial checksums, or segment trains too. */
  readonly takes: "nothing" | "partial" | "trains";
  /** Longest L3 packet, in bytes. */
  readonly mtu: number;
}

export const PORTS: readonly PortShape[] = [
  { portNo: 1, device: "in", isL3: false, takes: "trains", mtu: 1500 },
  { portNo: 2, device: "trains", isL3: false, takes: "trains", mtu: 1500 },
  { portNo: 3, device: "partial", isL3: false, takes: "partial", mtu: 1500 },
  { portNo: 4, device: "plain", isL3: false, takes: "nothing", mtu: 1500 },
  { portNo: 5, device: "short", isL3: false, takes: "trains", mtu: 600 },
  { portNo: 6, device: "l3", isL3: true, takes: "trains", mtu: 1500 },
];

/** Bytes of struct virtio_net_hdr, in front of every frame. */
export const VNET_SIZE = 10;
/** Bytes of struct tun_pi (flags, Ethernet type), in front of that for an L3 port. */
export const PI_SIZE = 4;
/** Netlink port of the guest's socket for upcalls. */
export const UPCALL_PID = 4242;

/** Payloads of a flow's attributes, hexadecimal. */
export interface PacketFlow {
  readonly key: string;
  readonly mask: string;
  readonly actions: string;
}

/** A meter with one band, whose rate is the smallest that there is: no bucket fills while a case runs. */
export interface PacketMeter {
  readonly id: number;
  readonly unit: "kbps" | "pps";
  /** Kilobits or packets. */
  readonly burst: number;
}

/** Of every {@link PacketMeter}, in its unit. */
export const METER_RATE = 1;

/** Flows, and frames that meet them one after the other. */
export interface PacketInput {
  /** Absent: none. */
  readonly meters?: readonly PacketMeter[];
  readonly flows: readonly PacketFlow[];
  readonly inPort: number;
  /** Hexadecimal: virtio_net_hdr and frame, for an L3 port tun_pi before them. */
  readonly frames: readonly string[];
}

/** What came of a case. */
export interface PacketOutput {
  /** Errno's name of what the kernel refused, and what it was; "": nothing. */
  readonly refused: string;
  /** What each port was sent, in the order of PORTS and of sending, in the form of {@link PacketInput.frames}. */
  readonly sent: readonly (readonly string[])[];
  /** Payloads of netlink messages of ovs_packet. */
  readonly upcalls: readonly string[];
}

export interface PacketGuestOutput {
  /** `uname -r`. */
  readonly kernel: string;
  readonly outputs: readonly PacketOutput[];
  /** What was written by the kernel to its log meanwhile. */
  readonly log: string;
}
