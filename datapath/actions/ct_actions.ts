/**
 * The ct and ct_clear actions on packets (net/openvswitch/conntrack.c: ovs_ct_execute, ovs_ct_clear):
 * fragments are gathered first, then the tracker (conntrack/tracker.ts) has the whole packet, and what
 * it finds out goes into the packet's metadata, where the next key is extracted from.
 *
 * A fragment that waits is counted as held, and its packet's list ends quietly. When the packet is
 * whole, the list goes on with it in place of its last fragment; the others count as consumed, or with
 * the reason as dropped when the packet is given up.
 *
 * The tracker's copy of what a packet knows is one object for all packets: nothing is allocated.
 */
import type { Accounts } from "../accounting.ts";
import { CT_CLEAR } from "./action_program.ts";
import type { ConntrackBuffers } from "../conntrack/layout.ts";
import { FRAGMENT_NONE } from "../conntrack/fragment.ts";
import { FragmentControl } from "../conntrack/fragment_control.ts";
import { CtMetadata, writeCtKey } from "../conntrack/metadata.ts";
import {
  FRAGMENT_COMPLETE,
  FRAGMENT_DUPLICATE,
  FRAGMENT_HELD,
  FRAGMENT_REFUSED,
  Reassembler,
} from "../conntrack/reassembly.ts";
import { CT_DROPS } from "../conntrack/reasons.ts";
import { PLAN_ZONE } from "../conntrack/plan.ts";
import { Tracker } from "../conntrack/tracker.ts";
import { CT_PLAN, CT_ZONE } from "./ct_instruction.ts";
import { dropReason } from "../drop_reasons.ts";
import type { DropReason } from "../drop_reasons.ts";
import type { ActionHost } from "./execute.ts";
import { extractKey } from "../extract/extract.ts";
import { KEY_WORDS } from "../key.ts";
import { FRAME_SIZE_MAX, type Packet, WIDE_METADATA_FROM } from "../packet/packet.ts";

/** {@link CtActions.reason}: the packet's end is counted already. */
export const CT_TAKEN = -1;

/** Drop reasons by the tracker's verdicts. */
const REASONS: readonly DropReason[] = CT_DROPS.map((name) => dropReason(name));
const DUPLICATE = dropReason("ct-fragment-duplicate");
const POOL_EXHAUSTED = dropReason("pool-exhausted");
const NO_HEADROOM = dropReason("no-headroom");

/** Unfinished packets that a sweep looks at. */
const SWEEP_MAX = 256;

export interface CtActionsOptions {
  /** Shared by the datapath's threads. */
  readonly buffers: ConntrackBuffers;
  /** Number of this thread. */
  readonly thread: number;
  /** What makes a datapath's time (ms) one since 1970. */
  readonly wallOffsetMs: number;
  /** 32 random bits, unsigned. */
  readonly random: () => number;
  readonly accounts: Accounts;
}

/** Runs the ct and ct_clear actions of one datapath on one thread. */
export class CtActions {
  readonly #options: CtActionsOptions;
  readonly #ct: CtMetadata = new CtMetadata();
  /** For keys of packets that have become whole: what is wanted is what extraction writes to the packet. */
  readonly #key: Int32Array = new Int32Array(KEY_WORDS);
  #tracker: Tracker | undefined;
  #reassembler: Reassembler | undefined;
  /** Fragments of the reassembler that are counted as held. */
  #held = 0;
  #nowMs = 0;
  /** The fragment at hand is not to be put together with others. */
  #isRefused = false;
  /** Why {@link run} gave no packet: a drop reason, or CT_TAKEN. */
  reason: DropReason = 0;

  constructor(options: CtActionsOptions) {
    this.#options = options;
  }

  /** The time of the packets that follow, ms of the datapath's clock. */
  setNow(nowMs: number): void {
    this.#nowMs = nowMs + this.#options.wallOffsetMs;
  }

  /**
   * Runs the CT or CT_CLEAR at words[at]. `isShared`: others need the packet as it is. Returns the packet
   * to go on with: this one or a copy, which is the caller's to recycle; undefined: see `reason`.
   */
  run(
    host: ActionHost,
    packet: Packet,
    words: Int32Array,
    at: number,
    isShared: boolean,
  ): Packet | undefined {
    if ((words[at]! & 0xff) === CT_CLEAR) {
      const own = isShared ? host.copy(packet) : packet;
      if (own === undefined) return this.#want(packet);
      own.ctState = 0;
      return own;
    }
    this.#isRefused = false;
    const isFragment = packet.ip >>> 24 !== 0;
    const whole = isFragment ? this.#gather(host, packet, words[at + CT_ZONE]!) : packet;
    if (whole === undefined) return undefined;
    const tracker = this.#tracker ??= this.#makeTracker();
    let own: Packet | undefined = whole;
    if (whole === packet) {
      if (isShared) own = host.copy(packet);
      else if (tracker.mayWrite(words, at + CT_PLAN)) own = host.writable(packet, 0);
      if (own === undefined) return this.#want(packet);
    }
    const reason = this.#track(tracker, own, words, at + CT_PLAN);
    if (reason === 0) return own;
    if (own !== packet) host.recycle(own);
    this.reason = reason;
    return undefined;
  }

  #track(tracker: Tracker, packet: Packet, words: Int32Array, plan: number): DropReason {
    const ct = this.#ct;
    ct.state = packet.ctState;
    ct.zone = packet.ctZone;
    ct.record = ct.state === 0 ? 0 : packet.ctRecord;
    ct.id = packet.ctId;
    if (this.#isRefused) tracker.refuse(ct, words[plan + PLAN_ZONE]!);
    else {
      tracker.setNow(this.#nowMs);
      const verdict = tracker.execute(packet, ct, words, plan);
      if (verdict !== 0) return REASONS[verdict]!;
    }
    packet.ctState = ct.state;
    packet.ctZone = ct.zone;
    packet.ctRecord = ct.record;
    packet.ctId = ct.id;
    writeCtKey(ct, packet.metadata().view, -4 * WIDE_METADATA_FROM);
    return 0;
  }

  /** The packet that a fragment completes, a copy; the fragment itself, if it is none; undefined: see `reason`. */
  #gather(host: ActionHost, packet: Packet, zone: number): Packet | undefined {
    const reassembler = this.#reassembler ??= this.#makeReassembler();
    const verdict = reassembler.add(packet, zone, this.#nowMs);
    if (verdict === FRAGMENT_NONE) {
      this.#settle(reassembler); // it may have ended others
      return packet;
    }
    if (verdict === FRAGMENT_REFUSED) {
      this.#isRefused = true;
      return packet;
    }
    if (verdict === FRAGMENT_COMPLETE) return this.#complete(host, packet, reassembler);
    this.#settle(reassembler);
    this.reason = verdict === FRAGMENT_HELD
      ? CT_TAKEN
      : verdict === FRAGMENT_DUPLICATE
      ? DUPLICATE
      : REASONS[verdict]!;
    return undefined;
  }

  #complete(host: ActionHost, packet: Packet, reassembler: Reassembler): Packet | undefined {
    const before = reassembler.held;
    this.#settle(reassembler);
    const whole = host.copy(packet);
    const mru = whole === undefined ? 0 : reassembler.take(whole);
    if (whole === undefined || mru === 0) {
      reassembler.discard();
      this.#settle(reassembler);
      if (whole !== undefined) host.recycle(whole);
      this.reason = CT_TAKEN; // dropped with all the others
      return undefined;
    }
    const fragments = before - reassembler.held;
    this.#settle(reassembler);
    // All but this one, which goes on.
    this.#options.accounts.consumed(fragments - 1);
    whole.mru = mru;
    extractKey(whole, this.#key, 0);
    return whole;
  }

  /** Counts what is held now. */
  #settle(reassembler: Reassembler): void {
    this.#options.accounts.held(reassembler.held - this.#held);
    this.#held = reassembler.held;
  }

  /** Gives up packets whose fragments did not come in time. */
  sweep(nowMs: number): void {
    const reassembler = this.#reassembler;
    if (reassembler === undefined) return;
    reassembler.sweep(nowMs + this.#options.wallOffsetMs, SWEEP_MAX);
    this.#settle(reassembler);
  }

  #want(packet: Packet): undefined {
    this.reason = packet.size > FRAME_SIZE_MAX ? NO_HEADROOM : POOL_EXHAUSTED;
    return undefined;
  }

  #makeTracker(): Tracker {
    const { buffers, thread, random } = this.#options;
    // As openvswitch.ko: it sets be_liberal on established connections.
    return new Tracker(buffers, thread, random, { tcpLiberalEstablished: true });
  }

  #makeReassembler(): Reassembler {
    const { accounts, buffers, thread } = this.#options;
    return new Reassembler({
      control: new FragmentControl(buffers, thread),
      seed: Uint8Array.from(new Uint8Array(buffers.constants, 0, 32)),
      onGivenUp: (fragments, inPort, reason) => {
        for (let count = 0; count < fragments; count++) {
          accounts.dropped(inPort, REASONS[reason]!);
        }
      },
    });
  }
}
