/** Upcalls as handlers and clients see them, made from what lies in the rings. */
import { decodeActions } from "../../datapath/actions/action_program.ts";
import type { UserspaceAction } from "../../datapath/actions/actions.ts";
import { exactMask } from "../../datapath/fields/exact_mask.ts";
import { flowToJson, type JsonFlow } from "../../datapath/json/flow_json.ts";
import { IN_PORT_AT } from "../../datapath/key.ts";
import { completeChecksum } from "../../datapath/packet/offload.ts";
import { GSO_NONE, Packet } from "../../datapath/packet/packet.ts";
import { formatActions } from "../../datapath/text/action_text.ts";
import { formatFlow, type PortNames } from "../../datapath/text/flow_text.ts";
import { NO_DISPATCH, portidOf, type UpcallDispatch } from "../../datapath/upcall_dispatch.ts";
import { type InjectedPacket, type RawUpcall, UPCALL_MISS } from "../../datapath/upcall_ring.ts";
import type { UpcallInfo } from "../api.ts";
import type { FlowKey, UpcallPacket } from "./upcall_handler.ts";

/** A {@link FlowKey}; text and JSON are made when they are asked for. */
export class UpcallKey implements FlowKey {
  readonly words: Int32Array<ArrayBuffer>;
  readonly #names: PortNames | undefined;
  #mask: Int32Array<ArrayBuffer> | undefined;
  #json: JsonFlow | undefined;

  constructor(words: Int32Array<ArrayBuffer>, names?: PortNames) {
    this.words = words;
    this.#names = names;
  }

  /** Mask of all fields that the packet has. */
  get mask(): Int32Array<ArrayBuffer> {
    return this.#mask ??= exactMask(this.words);
  }

  get text(): string {
    return formatFlow(
      this.words,
      this.mask,
      this.#names === undefined ? {} : { names: this.#names },
    );
  }

  get json(): JsonFlow {
    return this.#json ??= flowToJson(this.words, this.mask);
  }

  get(path: string): string | number | undefined {
    let value: unknown = this.json;
    for (const name of path.split(".")) {
      if (typeof value !== "object" || value === null || !Object.hasOwn(value, name)) {
        return undefined;
      }
      value = (value as Readonly<Record<string, unknown>>)[name];
    }
    return typeof value === "string" || typeof value === "number" ? value : undefined;
  }
}

/** An upcall with all that is known of it. */
export interface Upcall {
  readonly packet: UpcallPacket;
  readonly key: UpcallKey;
  /** The packet as it goes back to its packet thread. */
  readonly injected: InjectedPacket;
}

/** Makes an upcall of what the ring of packet thread `thread` gave. */
export function toUpcall(
  raw: RawUpcall,
  dispatch: UpcallDispatch = NO_DISPATCH,
  thread = 0,
): Upcall {
  const { bytes, fullSize, l3EthType, hash, mru } = raw;
  const offload = finishChecksum(raw);
  const key = new UpcallKey(raw.key);
  const inPort = new DataView(raw.key.buffer).getUint16(IN_PORT_AT);
  const action = raw.instruction === undefined
    ? undefined
    : decodeActions(raw.instruction)[0] as UserspaceAction;
  const { userdata, pid } = action ?? {};
  const portid = portidOf(dispatch, { inPort, hash, thread, pid });
  return {
    key,
    injected: { bytes, inPort, l3EthType, key: raw.key, mru, offload },
    packet: {
      reason: raw.kind === UPCALL_MISS ? "miss" : "action",
      inPort,
      portid,
      bytes,
      length: fullSize,
      isL3: l3EthType !== undefined,
      hash,
      mru,
      userdata: userdata === undefined ? undefined : Uint8Array.fromHex(userdata),
      action: action === undefined ? undefined : formatActions([action]),
      actions: raw.actions === undefined ? undefined : formatActions(decodeActions(raw.actions)),
      egressTunnel: raw.tunnel === undefined ? undefined : tunnelText(raw.tunnel),
    },
  };
}

/** As `denovs upcalls` shows it. */
export function toUpcallInfo(
  { packet, key }: Upcall,
  extra: { readonly time: number; readonly lost: number },
): UpcallInfo {
  const { reason, inPort, portid, bytes, length, isL3, hash, mru, userdata } = packet;
  const { action, actions, egressTunnel } = packet;
  return {
    type: reason,
    time: extra.time,
    inPort,
    ...(portid === undefined ? {} : { portid }),
    key: key.text,
    packet: bytes.toHex(),
    length,
    hash,
    ...(isL3 ? { l3: true } : {}),
    ...(mru === 0 ? {} : { mru }),
    ...(action === undefined ? {} : { action }),
    ...(userdata === undefined ? {} : { userdata: userdata.toHex() }),
    ...(actions === undefined ? {} : { actions }),
    ...(egressTunnel === undefined ? {} : { egressTunnel }),
    lost: extra.lost,
  };
}

/** Completes the checksum in the upcall's bytes, as the kernel does, but for trains and cut packets. */
function finishChecksum({ bytes, fullSize, offload }: RawUpcall): RawUpcall["offload"] {
  if (!offload.needsCsum || offload.gsoType !== GSO_NONE || bytes.length < fullSize) return offload;
  const packet = new Packet({ bytes, view: new DataView(bytes.buffer), address: 0 });
  packet.end = bytes.length;
  packet.needsCsum = true;
  packet.csumStart = offload.csumStart;
  packet.csumOffset = offload.csumOffset;
  if (!completeChecksum(packet)) return offload;
  return { ...offload, needsCsum: false, csumStart: 0, csumOffset: 0 };
}

/** `tunnel(…)` of a key in which nothing but the tunnel is set. */
function tunnelText(key: Int32Array): string {
  const text = formatFlow(key, exactMask(key));
  const from = text.indexOf("tunnel(");
  if (from < 0) return "";
  let depth = 0;
  for (let at = from; at < text.length; at++) {
    if (text[at] === "(") depth++;
    else if (text[at] === ")" && --depth === 0) return text.slice(from, at + 1);
  }
  return text.slice(from);
}
