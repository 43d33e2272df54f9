/**
 * The BPF programs of the packet sockets: which frames the ring gets, and which its side queue.
 *
 * Why there is a side queue: a TPACKET_V2 ring with PACKET_VNET_HDR has a fault (seen on Linux 6.18):
 * a segment train whose type a virtio_net_hdr can't express (SCTP, UFO) marks the ring's next frame
 * as being written and is then dropped without taking the mark back, and the ring never receives
 * another frame, from any port. In a queue without a ring such a frame is only lost itself. So the
 * ring gets
 *   - frames that are no train;
 *   - trains with a segment count: made or checked by this kernel, so TCP or UDP, inside a tunnel or not;
 *     SCTP has a count too, but gives itself away by the segment size GSO_BY_FRAGS;
 * and the queue gets the rest: SCTP, and trains that a virtual machine or another untrusted writer
 * handed in (TAP devices, virtio NICs), which have no count until the kernel checks them on output.
 * A train and a small frame of one flow of such a device may overtake each other.
 */
import { __sk_buff, BPF_PROG_TYPE_SOCKET_FILTER } from "./abi.ts";
import { EXIT, type Instruction, jump, loadWord, move, type Program } from "./bpf.ts";

/** linux/if_packet.h PACKET_OUTGOING. */
const PACKET_OUTGOING = 4;
/** linux/skbuff.h: the segments are the skb's fragments (SCTP). */
const GSO_BY_FRAGS = 0xffff;
/** So many devices are told apart by comparing one after the other; more by halving first. */
const LEAF = 8;
/** More devices than jumps can cover (16 bits): all are kept, and the receiver sorts them out. */
const DEVICES_MAX = 16_000;

const KEEP: readonly Instruction[] = [move(0, -1), EXIT];
const DROP: readonly Instruction[] = [move(0, 0), EXIT];
const CONTEXT = 1;
const VALUE = 2;

/** Program that keeps the frames of these devices which are the ring's, or the queue's; none that the host sent. An empty list drops all. */
export function gsoFilter(ifindexes: Iterable<number>, place: "ring" | "queue"): Program {
  const sorted = [...new Set(ifindexes)].sort((a, b) => a - b);
  const devices = sorted.length > DEVICES_MAX ? KEEP : choose(sorted, 0, sorted.length);
  const mine = [loadWord(VALUE, CONTEXT, __sk_buff.ifindex), ...devices];
  // Three tests in front of the two outcomes; each says how far away its outcome is.
  const forRing = place === "ring" ? mine : DROP;
  const forQueue = place === "ring" ? DROP : mine;
  const tests: Instruction[] = [
    loadWord(VALUE, CONTEXT, __sk_buff.pkt_type),
    jump("!=", VALUE, PACKET_OUTGOING, DROP.length),
    ...DROP,
    loadWord(VALUE, CONTEXT, __sk_buff.gso_size),
    jump("==", VALUE, 0, 3 + forQueue.length),
    jump("==", VALUE, GSO_BY_FRAGS, 2),
    loadWord(VALUE, CONTEXT, __sk_buff.gso_segs),
    jump("!=", VALUE, 0, forQueue.length),
  ];
  const instructions = [...tests, ...forQueue, ...forRing];
  return { type: BPF_PROG_TYPE_SOCKET_FILTER, name: `denovs_${place}`, instructions };
}

/** Keeps exactly the devices `sorted[from, to)` of those it is asked about. */
function choose(sorted: readonly number[], from: number, to: number): readonly Instruction[] {
  const count = to - from;
  if (count === 0) return DROP;
  if (count <= LEAF) {
    const tests = sorted.slice(from, to).map((ifindex, at) =>
      jump("==", VALUE, ifindex, count - at - 1 + DROP.length)
    );
    return [...tests, ...DROP, ...KEEP];
  }
  const middle = from + Math.ceil(count / LEAF / 2) * LEAF;
  const low = choose(sorted, from, middle);
  return [
    jump(">=", VALUE, sorted[middle] ?? 0, low.length),
    ...low,
    ...choose(sorted, middle, to),
  ];
}
