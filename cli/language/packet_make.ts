/** packet-make: a frame that has the key of a flow. */
import { toCommandError } from "../../daemon/command_errors.ts";
import { composeFlowFrame, type ComposeOptions } from "../../datapath/compose/compose_flow.ts";
import { parseFlow } from "../../datapath/text/flow_text.ts";

export interface MadePacket {
  readonly frame: Uint8Array<ArrayBuffer>;
  /** It has no Ethernet header. */
  readonly isL3: boolean;
}

/** Throws CommandError: a flow that is wrong, headers that don't fit into `size` bytes, or a key that no packet has. */
export function makePacket(flow: string, options: ComposeOptions): MadePacket {
  try {
    const parsed = parseFlow(flow, { names: options.names });
    const { frame, l3EthType } = composeFlowFrame(parsed, options);
    return { frame, isL3: l3EthType !== undefined };
  } catch (error) {
    throw toCommandError(error);
  }
}
