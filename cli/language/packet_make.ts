/** packet-make: a frame that has the key of a flow. */
import { toCommandError } from "../../daemon/command_errors.ts";
import { composeFrame } from "../../datapath/compose/compose.ts";
import { L3_PACKET, TCP_FLAGS_AT } from "../../datapath/key.ts";
import { parseFlow, type PortNames } from "../../datapath/text/flow_text.ts";

export interface MadePacket {
  readonly frame: Uint8Array<ArrayBuffer>;
  /** It has no Ethernet header. */
  readonly isL3: boolean;
}

interface MakeOptions {
  readonly names?: PortNames | undefined;
  /** Bytes of the frame; undefined: as many as its headers need, and a payload. */
  readonly size?: number | undefined;
}

/** Throws CommandError: a flow that is wrong, or headers that don't fit into `size` bytes. */
export function makePacket(flow: string, options: MakeOptions): MadePacket {
  try {
    return make(flow, options);
  } catch (error) {
    throw toCommandError(error);
  }
}

function make(flow: string, options: MakeOptions): MadePacket {
  const { key, mask } = parseFlow(flow, { names: options.names });
  for (let word = 0; word < key.length; word++) key[word]! &= mask[word]!;
  const flags = new DataView(key.buffer).getUint16(TCP_FLAGS_AT);
  return { frame: composeFrame(key, options.size), isL3: (flags & L3_PACKET) !== 0 };
}
