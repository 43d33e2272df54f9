/**
 * More about each drop reason than its sentence in drop_reasons.ts: where such drops come from as a
 * rule, and what to do about them. For `denovs explain` and docs/cli.md; a test sees to it that no
 * reason is left out.
 */
import type { DropReasonName } from "./drop_reasons.ts";

export interface DropHelp {
  /** Likely causes, in sentences. */
  readonly causes: string;
  /** What to do, in sentences. */
  readonly advice: string;
}

/** By name; "none" is no reason. */
export const DROP_HELP: Readonly<Record<string, DropHelp>> = {
  "explicit": {
    causes: "A flow says so: its actions are `drop`, or none.",
    advice: "If the packets should pass, find the flow with `flow-dump` and change its actions.",
  },
  "explicit-with-error": {
    causes: "A flow has the action `drop(N)` with a number other than 0.",
    advice: "Whoever installed the flow knows what the number means; `flow-dump` shows it.",
  },
  "no-upcall-handler": {
    causes:
      "The packet matched no flow and the datapath's miss policy is `drop`, or a `userspace` " +
      "action was met while no handler and no `denovs upcalls` ran, or the port's upcalls are " +
      "for nobody (`port-set upcall=0`).",
    advice: "Add a flow for the packet (`upcalls DP` shows the keys of such packets), let the " +
      "datapath learn addresses (`dp-set --miss learn`), or give it a handler " +
      "(`dp-set upcall-handler=FILE`).",
  },
  "upcall-queue-full": {
    causes:
      "Packets without a flow came faster than the handler, or the client of `upcalls`, took " +
      "them: a flood of new flows, or a slow handler.",
    advice:
      "Install wider flows, so that fewer packets need a decision, or drop the flood by a flow.",
  },
  "no-such-port": {
    causes: "A flow's actions name the number of a port that was deleted or never added.",
    advice: "`port-list` shows the numbers there are; change the flow, or add the port with " +
      "`--port-no`.",
  },
  "port-down": {
    causes: "The outgoing port's device is administratively down, was removed, or could not be " +
      "attached.",
    advice: "`port-list` shows why. `ip link set DEV up` brings a device up; a device that " +
      "reappears is attached again by itself.",
  },
  "frame-too-short": {
    causes: "A device or an injected frame of fewer than 14 bytes.",
    advice: "Look at the sender: no Ethernet device makes such frames.",
  },
  "frame-too-long": {
    causes:
      "A frame that no packet buffer holds (more than 65558 bytes), or a port type that gave " +
      "a frame outside of its buffer.",
    advice:
      "Lower the sender's MTU or segment size; for a plug-in's port, look for the fault there.",
  },
  "over-mtu": {
    causes: "A single frame (no segment train) is longer than the outgoing device's MTU and its " +
      "Ethernet header; one VLAN tag is free, as in the kernel. Often tunnels behind ports with " +
      "1500 bytes, or devices with different MTUs in one datapath.",
    advice:
      "Give all devices of the datapath the same MTU (`ip link set DEV mtu N`), lower that of " +
      "the senders by the tunnel's header, or catch such packets with `check_pkt_len`.",
  },
  "no-headroom": {
    causes:
      "A header was to be put in front of a packet whose buffer has no room left: many pushes " +
      "one after another.",
    advice: "Push fewer headers. If few are pushed, please report it.",
  },
  "set-header-missing": {
    causes:
      "A `set` action changes a header that this packet does not have whole, mostly a later " +
      "fragment or a packet cut short.",
    advice:
      "Match such packets apart (`ipv4(frag=later)`), with actions that leave the header alone.",
  },
  "rx-truncated": {
    causes: "The kernel gave only the beginning of a frame: it had no memory for the rest.",
    advice: "Look at the host's memory and at the limit net.core.rmem_max.",
  },
  "rx-not-a-port": {
    causes: "Frames of a device that were on their way when its port was deleted.",
    advice: "Nothing: it ends by itself.",
  },
  "rx-invalid-offload": {
    causes:
      "The device handed over a segment train of a kind that has no form in a virtio_net_hdr.",
    advice: "Switch the offload off on that device (`ethtool -K DEV gro off lro off`).",
  },
  "rx-ring-full": {
    causes: "Frames came faster than the packet thread took them, and the receive ring that all " +
      "its ports share was full, so that the kernel dropped them. Which port they came by can't " +
      "be told. It is the sign of an overloaded switch, or of a host whose CPUs are busy elsewhere.",
    advice: "Give the switch more packet threads (`run --threads N`) or CPUs of its own, or slow " +
      "down the senders.",
  },
  "rx-queue-full": {
    causes:
      "Segment trains of virtual machines and SCTP frames are taken from a queue beside the " +
      "receive ring (docs/decisions.md), one at a time. They came faster than that, and the kernel " +
      "dropped those that the queue had no room for. Which port they came by can't be told.",
    advice: "As for rx-ring-full: more packet threads, CPUs of its own, or slower senders.",
  },
  "tx-queue-full": {
    causes:
      "The outgoing device, or its socket's buffer, took no more: it is slower than what is " +
      "sent to it. Also ports that hand each other packets in a circle.",
    advice: "Slow down the senders, meter the flow, or make the device's queue longer " +
      "(`ip link set DEV txqueuelen N`).",
  },
  "tx-error": {
    causes: "The kernel refused to send the frame for a reason that is none of the others.",
    advice: "Look at the device's own counters (`ip -s -s link show DEV`, `ethtool -S DEV`).",
  },
  "tx-gso-invalid": {
    causes:
      "A segment train or a partial checksum whose headers don't say what its offload state " +
      "says: a guest's faulty driver, or actions that changed the headers.",
    advice: "Switch offloads off at the sender (`ethtool -K DEV tso off gso off tx off`).",
  },
  "vport-failed": {
    causes: "The code of the port's type has thrown an exception.",
    advice:
      "The daemon's log has the exception. After the plug-in is mended: `plugin-add` its file " +
      "again, or `port-del` and `port-add`.",
  },
  "pool-exhausted": {
    causes:
      "All packet buffers of a packet thread were in use: very many copies of large packets " +
      "at once.",
    advice: "Flood to fewer ports, or run more packet threads.",
  },
  "flood-no-port": {
    causes: "A packet was to be flooded, and the datapath has no port but the one it came from.",
    advice: "Add ports; `port-list` shows the ones there are.",
  },
  "learned-same-port": {
    causes:
      "The destination is behind the port that the packet came from, so it is there already. " +
      "Some is normal behind hubs and other switches.",
    advice: "Nothing as a rule. If there are many, look for a loop outside.",
  },
  "reserved-multicast": {
    causes: "Spanning tree, LLDP, pause and LACP frames, which are for the next device only " +
      "(IEEE 802.1Q §8.6.3).",
    advice: "Nothing as a rule; a flow that matches their address can forward them.",
  },
  "action-impossible": {
    causes:
      "A push or pop met a packet whose headers don't allow it, such as `pop_mpls` of a packet " +
      "cut short.",
    advice: "Match more of the packet's headers in front of the action.",
  },
  "ttl-exceeded": {
    causes: "`dec_ttl` met a time to live of 0 or 1: a traceroute, or a routing loop.",
    advice: "Give `dec_ttl` actions of its own if such packets should be answered.",
  },
  "meter": {
    causes: "More came than a band of the meter lets through.",
    advice:
      "That is what meters are for. `meter-show` counts by band; `meter-mod` changes rate and " +
      "burst_size.",
  },
  "recirc-limit": {
    causes: "Flows recirculate a packet in a circle, or nest deeper than the kernel allows.",
    advice: "Look at the flows' `recirc` actions and `recirc_id` matches.",
  },
  "l3-packet": {
    causes:
      "A packet without Ethernet header (from a tunnel, or after `pop_eth`) was sent to a port " +
      "that takes Ethernet frames only.",
    advice: "Put `push_eth(...)` in front of the output.",
  },
  "tunnel-no-destination": {
    causes: "A packet came to a tunnel port with remote_ip=flow, and no action had set its tunnel.",
    advice: "Put `set(tunnel(dst=...))` in front of the output, or give the port remote_ip=.",
  },
  "tunnel-no-route": {
    causes: "The host has no route to the tunnel's far end, or its interface is down.",
    advice: "`ip route get ADDRESS` shows what the host knows.",
  },
  "tunnel-not-a-port": {
    causes: "A tunnel packet came whose key, source or destination no port has.",
    advice: "Compare key, remote_ip and local_ip of the port with what the far end sends.",
  },
  "tunnel-malformed": {
    causes:
      "A damaged tunnel header, or one with flags, options or a version that the port's type " +
      "does not know.",
    advice: "Check that both ends speak the same protocol on that UDP port.",
  },
  "tunnel-ecn": {
    causes:
      "A router marked congestion on the outer header of a packet that does not take part in " +
      "ECN (RFC 6040 demands the drop).",
    advice: "Look for the router that marks packets without ECN.",
  },
  "patch-no-peer": {
    causes: "The port that peer= names does not exist, or its own peer= names another.",
    advice: "Add the other port, and name them mutually.",
  },
  "patch-loop": {
    causes:
      "Flows, or floods, send a packet over patch ports in a circle: it has crossed 30 of them.",
    advice:
      "`trace-live` shows the packet's way; break the circle in a flow. Datapaths that flood " +
      "(`--miss flood`, `learn`) must not be joined in a ring.",
  },
  "async-ring-full": {
    causes: "The port's Worker took frames more slowly than they came, or its far end does.",
    advice: "Slow down the senders, or let the plug-in's `send` return sooner.",
  },
  "fragment-impossible": {
    causes:
      "A packet that conntrack had reassembled is longer than the outgoing port takes, and its " +
      "headers can't be repeated on fragments.",
    advice: "Use a larger MTU at that port, or send no fragments.",
  },
  "ct-table-full": {
    causes:
      "As many connections are open as the table may have: real load, or a flood of half-open " +
      "ones.",
    advice: "`ct-stats` shows them, `ct-maxconns` allows more, `ct-limit-set` bounds a zone.",
  },
  "ct-zone-limit": {
    causes: "The zone has as many connections as `ct-limit-set` allows it.",
    advice: "Raise the limit, or look for who opens so many (`ct-dump DP zone=N`).",
  },
  "ct-clash": {
    causes: "Two packets of what looks like one connection came at the same moment on two packet " +
      "threads.",
    advice: "Nothing: the sender repeats the packet.",
  },
  "ct-nat-failed": {
    causes: "The packet to be translated is cut off within its headers.",
    advice: "Look for who sends truncated packets.",
  },
  "ct-helper": {
    causes: "An FTP or TFTP control connection had a command in pieces, or one whose translation " +
      "found no room.",
    advice: "The sender repeats it as a rule; if not, use passive FTP without the helper.",
  },
  "ct-no-ip": {
    causes: "A `ct` action met a packet that is not IPv4 or IPv6, or whose header is cut off.",
    advice: "Match `eth_type(0x0800)` or `eth_type(0x86dd)` in front of it.",
  },
  "ct-fragment-overlap": {
    causes: "Fragments that overlap: an attack, or a very faulty sender.",
    advice: "Look at the sender.",
  },
  "ct-fragment-invalid": {
    causes:
      "Fragments that end beyond 65535 bytes or have an odd size in the middle: an attack, or " +
      "a faulty sender.",
    advice: "Look at the sender.",
  },
  "ct-fragment-memory": {
    causes:
      "Too many packets wait for their other fragments: a flood of fragments, or one whose rest " +
      "is lost on the way.",
    advice: "Drop fragments of hosts that needn't send any by a flow (`ipv4(frag=first)` and " +
      "`frag=later`).",
  },
  "ct-fragment-duplicate": {
    causes: "The network delivered a fragment twice.",
    advice: "Nothing: the packet is put together of the first copies.",
  },
  "ct-fragment-timeout": {
    causes: "Other fragments of the packet were lost on the way.",
    advice: "Look for losses in front of the switch.",
  },
} satisfies Partial<Record<DropReasonName, DropHelp>>;
