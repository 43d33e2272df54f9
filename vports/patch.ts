/**
 * Vport type `patch`: one end of a patch cable between two datapaths (or two ports of one). peer=NAME is
 * the other end's name, which must name this one in turn. A frame crosses within its packet thread, with
 * its offload state, mark and priority, and without what else was known of it: tunnel, connection.
 */
import { type DropReason, dropReason } from "../datapath/drop_reasons.ts";
import { RuleError } from "../datapath/errors.ts";
import { copyPacket, type Packet } from "../datapath/packet/packet.ts";
import { optionReader } from "./options.ts";
import type { Attachment, PortParams, Vport, VportHost, VportOps, VportParams } from "./vport.ts";

export interface PatchOptions {
  /** Name of the other end. */
  readonly peer: string;
}

/** Patch ports that a packet may cross; fewer than a pipeline's passes (datapath/pipeline.ts). */
export const PATCH_HOPS_MAX = 30;
const NO_PEER = dropReason("patch-no-peer");
const LOOP = dropReason("patch-loop");
const POOL_EXHAUSTED = dropReason("pool-exhausted");
const FRAME_TOO_LONG = dropReason("frame-too-long");
const SHARED = "patch.ends";

/** Names of all ends, in the control isolate. */
const names: Set<string> = new Set();

function parseOptions(raw: ReadonlyMap<string, string>): PatchOptions {
  optionReader.only(raw, ["peer"]);
  return { peer: optionReader.required(raw, "peer") };
}

function attach(params: PortParams<PatchOptions>): Attachment {
  const { name, options } = params;
  if (options.peer === name) {
    throw new RuleError("EINVAL", `Patch port "${name}" can't be its own peer`);
  }
  if (names.has(name)) {
    throw new RuleError("EEXIST", `There is a patch port "${name}" already, in another datapath`);
  }
  names.add(name);
  return { detach: () => names.delete(name) };
}

/** All ends on a packet thread, by name. */
class Ends {
  readonly byName: Map<string, PatchVport> = new Map();

  close(): void {}
}

class PatchVport implements Vport {
  readonly takesPartialChecksums = true;
  readonly takesSegmentTrains = true;
  readonly takesL3Packets = true;
  readonly #name: string;
  readonly #peerName: string;
  readonly #portNo: number;
  readonly #host: VportHost;
  readonly #ends: Ends;
  /** Found when the first packet goes. */
  #peer: PatchVport | undefined;
  #closed = false;

  constructor(params: VportParams<PatchOptions>) {
    this.#name = params.name;
    this.#peerName = params.options.peer;
    this.#portNo = params.portNo;
    this.#host = params.host;
    this.#ends = params.host.share(SHARED, () => new Ends());
    this.#ends.byName.set(this.#name, this);
  }

  send(packet: Packet): DropReason {
    if (packet.patchHops >= PATCH_HOPS_MAX) return LOOP;
    let peer = this.#peer;
    if (peer === undefined || peer.#closed) {
      peer = this.#ends.byName.get(this.#peerName);
      if (peer === undefined || peer.#peerName !== this.#name) return NO_PEER;
      this.#peer = peer;
    }
    return peer.#take(packet);
  }

  close(): void {
    if (this.#closed) return;
    this.#closed = true;
    this.#ends.byName.delete(this.#name);
    this.#host.unshare(SHARED);
  }

  /** The sender's packet stays as it is: the other datapath has a copy to change. */
  #take(packet: Packet): DropReason {
    const host = this.#host;
    const copy = host.allocate();
    if (copy === undefined) return POOL_EXHAUSTED;
    if (!copyPacket(packet, copy)) {
      host.recycle(copy);
      return FRAME_TOO_LONG;
    }
    copy.patchHops = packet.patchHops + 1;
    copy.inPort = this.#portNo;
    copy.recircId = 0;
    copy.dpHash = 0;
    copy.ctState = 0;
    copy.hasTunnel = false;
    copy.hasEgress = false;
    host.receive(this.#portNo, copy);
    return 0;
  }
}

export const patch: VportOps<PatchOptions> = {
  apiVersion: 1,
  type: "patch",
  summary: "one end of a patch cable to another datapath of this switch",
  headroom: 0,
  parseOptions,
  formatOptions: (options) => new Map([["peer", options.peer]]),
  attach,
  create: (params) => new PatchVport(params),
};

export default patch;
