/**
 * Runs action programs (action_program.ts) on packets, as the kernel's do_execute_actions does
 * (net/openvswitch/actions.c).
 *
 * Programs were validated when they were installed; packets were not. An action whose header is not
 * in the packet drops it, as the kernel's failing action does, and with it what the lists around would
 * still have done. Nothing is read or written outside the frame.
 *
 * Bytes that a port has borrowed are copied before they are changed (ActionHost.writable). A nested
 * list has its packet in common with the list around it unless it is that one's last action: what
 * would change it goes into a copy (ActionHost.copy), made at the first change and not before.
 *
 * Accounts: each way out of the lists, a drop included, ends one packet; a list that has none drops
 * its packet as `explicit`. One packet came in: all other ends are of copies.
 */
import type { Accounts } from "../accounting.ts";
import {
  CHECK_PKT_LEN,
  CLONE,
  CT,
  CT_CLEAR,
  DEC_TTL,
  DROP,
  END,
  HASH,
  lessEqualAt,
  METER,
  OUTPUT,
  PSAMPLE,
  RECIRC,
  SAMPLE,
  SET_MASKED,
  TRUNC,
  USERSPACE,
} from "./action_program.ts";
import { change, growthOf, setHeader } from "./change.ts";
import { CT_TAKEN, type CtActions } from "./ct_actions.ts";
import { dropReason } from "../drop_reasons.ts";
import type { DropReason } from "../drop_reasons.ts";
import { isTagged, kernelSize } from "./ethernet_actions.ts";
import { isMetadata, setMetadata } from "./metadata_actions.ts";
import type { PacketObserver } from "../observer.ts";
import { completeChecksum } from "../packet/offload.ts";
import { FRAME_SIZE_MAX, GSO_NONE, type Packet } from "../packet/packet.ts";
import { fitsInto, outputCut } from "../packet/packet_size.ts";
import { isExpired } from "./ttl_actions.ts";

/** What an action list needs of the ports and of the packet pool. */
export interface ActionHost {
  /** Sends the packet to a port and counts what became of it; the bytes are lent from then on. */
  output(packet: Packet, portNo: number): void;
  /** The packet or a copy whose bytes may change and which may grow by `growth` bytes at its head. Undefined: no buffer is free. */
  writable(packet: Packet, growth: number): Packet | undefined;
  /** A copy with the usual headroom. Undefined: no buffer is free. */
  copy(packet: Packet): Packet | undefined;
  /** Gives a copy back. */
  recycle(packet: Packet): void;
}

/** What an action list needs of the datapath around it. */
export interface ActionServices {
  /**
   * Finds the flow of a packet that recirculates (recircId is set) and counts it. Returns where its
   * actions begin in the words that are being run, or −1: it has none, and the packet's end is counted.
   */
  recirculate(packet: Packet): number;
  /** Counts a packet of `size` bytes in a meter. Whether it is over its rate; a meter that is not there lets all pass. */
  isOverRate(meter: number, size: number): boolean;
  /**
   * A USERSPACE action at words[at] of the list that begins at words[listAt]: hands at most `keep` bytes
   * of the packet to the control plane, and counts this end of it.
   */
  upcall(packet: Packet, words: Int32Array, listAt: number, at: number, keep: number): void;
  /** 32 random bits, unsigned. */
  random(): number;
  /** Runs ct and ct_clear; undefined: nothing tracks connections, and such a packet is dropped. */
  readonly conntrack: CtActions | undefined;
}

/** trunc has not been there. */
const WHOLE = 0x7fff_ffff;
/** As deep as recirculation and nested lists go at once (the kernel's OVS_DEFERRED_ACTION_THRESHOLD); what goes deeper waits until the lists around are done. */
const DEPTH_MAX = 3;
/** Recirculations and lists of one packet and its copies that may have to wait (usable slots of DEFERRED_ACTION_FIFO_SIZE). */
const DEFERRED_MAX = 9;
/** Probability that stands for always. */
const ALWAYS = 0xffff_ffff;

const EXPLICIT = dropReason("explicit");
const EXPLICIT_WITH_ERROR = dropReason("explicit-with-error");
const POOL_EXHAUSTED = dropReason("pool-exhausted");
const NO_HEADROOM = dropReason("no-headroom");
const IMPOSSIBLE = dropReason("action-impossible");
const TTL_EXCEEDED = dropReason("ttl-exceeded");
const OVER_RATE = dropReason("meter");
const RECIRC_LIMIT = dropReason("recirc-limit");

/** Runs the programs of one datapath on one thread. */
export class Executor {
  readonly #host: ActionHost;
  readonly #accounts: Accounts;
  readonly #services: ActionServices;
  /** Ends of the packet in hand and of its copies. */
  #ends = 0;
  /** How deep in recirculations and nested lists that may change the packet: 1 is the flow of the packet as it was received. */
  #depth = 0;
  /** Copies whose recirculation or nested list has to wait, and how much of them the next output sends. */
  readonly #deferred: (Packet | undefined)[] = new Array(DEFERRED_MAX).fill(undefined);
  readonly #deferredKeep: Int32Array = new Int32Array(DEFERRED_MAX);
  /** Their nested lists, or RECIRCULATES. */
  readonly #deferredList: Int32Array = new Int32Array(DEFERRED_MAX);
  #deferredCount = 0;
  /** Told of the steps of the packet in hand. */
  #observer: PacketObserver | undefined = undefined;

  constructor(host: ActionHost, accounts: Accounts, services: ActionServices) {
    this.#host = host;
    this.#accounts = accounts;
    this.#services = services;
  }

  /**
   * Runs the program at words[at] on a packet whose key was extracted, and counts copies and drops.
   * The packet stays the caller's; it may have been changed.
   */
  execute(packet: Packet, words: Int32Array, at: number): void {
    // One output and nothing else: most packets.
    if ((words[at]! & 0xff) === OUTPUT && (words[at + 2]! & 0xff) === END) {
      this.#host.output(packet, words[at + 1]!);
      return;
    }
    this.#execute(packet, words, at);
  }

  /** As {@link execute}; tells each step. */
  executeObserved(packet: Packet, words: Int32Array, at: number, observer: PacketObserver): void {
    this.#observer = observer;
    this.#execute(packet, words, at);
    this.#observer = undefined;
  }

  #execute(packet: Packet, words: Int32Array, at: number): void {
    this.#ends = 0;
    this.#depth = 1;
    this.#run(packet, words, at, false, WHOLE);
    if (this.#deferredCount > 0) this.#runDeferred(words);
    const ends = this.#ends;
    if (ends === 0) this.#accounts.dropped(packet.inPort, EXPLICIT, packet);
    else if (ends > 1) this.#accounts.copied(ends - 1);
  }

  /**
   * Runs one list. `isShared`: others still need the packet as it is. `keep`: bytes that the next
   * output sends. Returns why the list failed, so that the one around it fails too; 0: it has not.
   */
  #run(
    packet: Packet,
    words: Int32Array,
    at: number,
    isShared: boolean,
    keep: number,
  ): DropReason {
    const host = this.#host;
    const observer = this.#observer;
    if (observer !== undefined) observer.entered(words, at);
    const listAt = at;
    let current = packet;
    let ends = 0;
    let reason = 0;
    for (;;) {
      const word = words[at]!;
      const operation = word & 0xff;
      if (observer !== undefined && operation !== END) observer.runs(current, words, at);
      if (operation === OUTPUT) {
        if (keep === WHOLE) host.output(current, words[at + 1]!);
        else outputCut(host, current, words[at + 1]!, keep);
        keep = WHOLE;
        ends++;
      } else if (operation === SET_MASKED && !(isShared && current === packet)) {
        if (isMetadata(words[at + 1]!)) {
          setMetadata(current, words, at);
        } else {
          const own = host.writable(current, 0);
          if (own === undefined) {
            reason = want(current);
            break;
          }
          if (own !== current && current !== packet) host.recycle(current);
          current = own;
          reason = setHeader(current, words, at);
          if (reason !== 0) break;
        }
      } else if (operation === END) {
        break;
      } else if (operation === USERSPACE) {
        if (current.needsCsum) {
          const own = this.#withChecksum(current, isShared && current === packet);
          if (own !== current && current !== packet) host.recycle(current);
          current = own;
        }
        this.#services.upcall(current, words, listAt, at, keep);
        keep = WHOLE;
        ends++;
      } else if (operation > DEC_TTL || operation === DROP) {
        const shared = isShared && current === packet;
        if (operation === TRUNC) {
          keep = Math.min(words[at + 1]! >>> 0, WHOLE);
        } else if (operation === CT || operation === CT_CLEAR) {
          const own = this.#track(current, words, at, shared);
          if (own === undefined) {
            reason = this.#trackReason();
            if (reason === CT_TAKEN) ends++;
            break;
          }
          if (own !== current && current !== packet) host.recycle(current);
          current = own;
        } else {
          reason = this.#control(current, words, at, shared, keep);
          if (reason !== 0) break;
          if (operation === PSAMPLE) keep = WHOLE;
        }
      } else if (operation === DEC_TTL && isExpired(current)) {
        reason = this.#expire(current, words, at, isShared && current === packet, keep);
        break;
      } else {
        const own = isShared && current === packet
          ? host.copy(current)
          : operation === HASH
          ? current
          : host.writable(current, growthOf(words, at));
        if (own === undefined) {
          reason = want(current);
          break;
        }
        // A second copy: the first is done with, though perhaps still lent.
        if (own !== current && current !== packet) host.recycle(current);
        current = own;
        reason = change(current, words, at);
        if (reason !== 0) break;
      }
      at += word >>> 8;
    }
    if (observer !== undefined) observer.ran(current);
    if (current !== packet) host.recycle(current);
    this.#ends += ends;
    const failure = reason === 0 ? 0 : this.#fail(packet, reason);
    if (observer !== undefined) observer.left();
    return failure;
  }

  /**
   * The packet as userspace sees it, its partial checksum completed: it stays so for the actions behind
   * (net/openvswitch/datapath.c, queue_userspace_packet, which takes a copy of a tagged packet).
   */
  #withChecksum(packet: Packet, isShared: boolean): Packet {
    if (packet.gsoType !== GSO_NONE || isTagged(packet)) return packet;
    const own = isShared ? this.#host.copy(packet) : this.#host.writable(packet, 0);
    if (own === undefined) return packet;
    completeChecksum(own);
    return own;
  }

  /** Runs ct or ct_clear; see CtActions.run. */
  #track(packet: Packet, words: Int32Array, at: number, isShared: boolean): Packet | undefined {
    return this.#services.conntrack?.run(this.#host, packet, words, at, isShared);
  }

  #trackReason(): DropReason {
    return this.#services.conntrack?.reason ?? IMPOSSIBLE;
  }

  /** Counts the drop that a list ended with, unless a nested one has. Returns the reason if lists around fail with it. */
  #fail(packet: Packet, reason: DropReason): DropReason {
    if (reason < 0) return DONE - reason;
    this.#accounts.dropped(packet.inPort, reason, packet);
    this.#ends++;
    return isFailure(reason) ? reason : 0;
  }

  /** Runs what leaves the packet as it is. Returns 0, or why the list ends: DONE less what the nested one failed with. */
  #control(
    packet: Packet,
    words: Int32Array,
    at: number,
    isShared: boolean,
    keep: number,
  ): DropReason {
    const operation = words[at]! & 0xff;
    switch (operation) {
      case DROP:
        return words[at + 1] === 0 ? EXPLICIT : EXPLICIT_WITH_ERROR;
      case METER:
        return this.#services.isOverRate(words[at + 1]! >>> 0, kernelSize(packet)) ? OVER_RATE : 0;
      case PSAMPLE:
        this.#accounts.sampled(packet, words, at, keep);
        return 0;
      case RECIRC:
      case SAMPLE:
      case CLONE:
      case CHECK_PKT_LEN:
        break;
      default:
        return IMPOSSIBLE;
    }
    const isLast = (words[at + (words[at]! >>> 8)]! & 0xff) === END;
    const shared = isShared || !isLast;
    if (operation === RECIRC) {
      this.#recirculate(packet, words[at + 1]!, words, shared, keep);
      return isLast ? DONE : 0;
    }
    const list = this.#listOf(packet, words, at);
    if (list < 0) return isLast ? DONE : 0;
    if (isLast || !mayChange(words, list)) {
      const reason = this.#run(packet, words, list, shared, keep);
      return isLast ? DONE - reason : reason;
    }
    // The kernel needs one more copy of the key here, and has no more than DEPTH_MAX.
    if (this.#depth > DEPTH_MAX) {
      this.#defer(packet, packet.recircId, list, keep);
      return 0;
    }
    this.#depth++;
    const reason = this.#run(packet, words, list, shared, keep);
    this.#depth--;
    return reason;
  }

  /** Where the nested list begins that is to run; −1: none. */
  #listOf(packet: Packet, words: Int32Array, at: number): number {
    switch (words[at]! & 0xff) {
      case CLONE:
        return at + 1;
      case SAMPLE: {
        const probability = words[at + 1]! >>> 0;
        if (probability === ALWAYS) return at + 2;
        return probability === 0 || this.#services.random() > probability ? -1 : at + 2;
      }
      default:
        return fitsInto(packet, words[at + 1]!) ? lessEqualAt(words, at) : at + 3;
    }
  }

  /** dec_ttl on a packet whose time is up: its own list is all that follows. */
  #expire(
    packet: Packet,
    words: Int32Array,
    at: number,
    isShared: boolean,
    keep: number,
  ): DropReason {
    if ((words[at + 1]! & 0xff) === END) return TTL_EXCEEDED;
    return DONE - this.#run(packet, words, at + 1, isShared, keep);
  }

  #recirculate(
    packet: Packet,
    id: number,
    words: Int32Array,
    isShared: boolean,
    keep: number,
  ): void {
    if (this.#depth > DEPTH_MAX) {
      this.#defer(packet, id, RECIRCULATES, keep);
      return;
    }
    const { recircId, l3At, l4At, ip } = packet;
    packet.recircId = id >>> 0;
    const at = this.#services.recirculate(packet);
    const ends = this.#ends;
    if (at >= 0) {
      this.#depth++;
      this.#run(packet, words, at, isShared, keep);
      this.#depth--;
      if (this.#ends === ends) this.#accounts.dropped(packet.inPort, EXPLICIT, packet);
    }
    if (this.#ends === ends) this.#ends++;
    packet.recircId = recircId;
    // The lookup may have found less (nothing behind a third tag) than the actions behind know of.
    packet.l3At = l3At;
    packet.l4At = l4At;
    packet.ip = ip;
  }

  /** `listAt`: the nested list that is to run, or RECIRCULATES. */
  #defer(packet: Packet, id: number, listAt: number, keep: number): void {
    const count = this.#deferredCount;
    const copy = count < DEFERRED_MAX ? this.#host.copy(packet) : undefined;
    if (copy === undefined) {
      const reason = count < DEFERRED_MAX ? POOL_EXHAUSTED : RECIRC_LIMIT;
      this.#accounts.dropped(packet.inPort, reason, packet);
      this.#ends++;
      return;
    }
    copy.recircId = id >>> 0;
    this.#deferred[count] = copy;
    this.#deferredKeep[count] = keep;
    this.#deferredList[count] = listAt;
    this.#deferredCount = count + 1;
    // The end that it will have.
    this.#ends++;
  }

  /** Those that are deferred meanwhile are not counted down until all are done, as in the kernel: a loop ends. */
  #runDeferred(words: Int32Array): void {
    for (let at = 0; at < this.#deferredCount; at++) {
      const packet = this.#deferred[at]!;
      this.#depth = 1;
      this.#ends--;
      const keep = this.#deferredKeep[at]!;
      const list = this.#deferredList[at]!;
      if (list === RECIRCULATES) {
        this.#recirculate(packet, packet.recircId, words, false, keep);
      } else this.#run(packet, words, list, false, keep);
      this.#host.recycle(packet);
      this.#deferred[at] = undefined;
    }
    this.#deferredCount = 0;
  }
}

/** No nested list. */
const RECIRCULATES = -1;

/** Whether a nested list changes the packet or its key (net/openvswitch/flow_netlink.c, actions_may_change_flow). */
function mayChange(words: Int32Array, listAt: number): boolean {
  let at = listAt;
  for (;;) {
    const word = words[at]!;
    switch (word & 0xff) {
      case END:
        return false;
      case OUTPUT:
      case RECIRC:
      case TRUNC:
      case USERSPACE:
      case DROP:
      case PSAMPLE:
        at += word >>> 8;
        break;
      default:
        return true;
    }
  }
}

/** A list is done and its packet's end counted: no drop reason. */
const DONE = -1;

/** Why there is no copy of a packet. */
function want(packet: Packet): DropReason {
  return packet.size > FRAME_SIZE_MAX ? NO_HEADROOM : POOL_EXHAUSTED;
}

/** Whether an action could not be done, as opposed to having ended the packet. Want of memory skips the nested list alone. */
function isFailure(reason: DropReason): boolean {
  return reason > 0 && reason !== EXPLICIT && reason !== EXPLICIT_WITH_ERROR &&
    reason !== OVER_RATE && reason !== TTL_EXCEEDED && reason !== POOL_EXHAUSTED;
}
