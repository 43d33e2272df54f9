/**
 * Generic netlink (linux/genetlink.h): kernel families that are found by name, such as
 * `ovs_datapath`. Carries payloads over one {@link NetlinkSocket}; what they say is the codec's
 * (datapath/netlink/).
 */
import {
  decodeFamily,
  encodeGetFamily,
  type GenericFamily,
  GENL_ID_CTRL,
} from "../datapath/netlink/generic_message.ts";
import { ENOENT, NETLINK_GENERIC, NLM_F_ACK, NLM_F_DUMP, NLM_F_REQUEST } from "./abi.ts";
import { MessageWriter } from "./netlink.ts";
import { NetlinkSocket, type RequestPurpose } from "./netlink_socket.ts";
import { SystemError } from "./system_error.ts";

export interface GenericRequest {
  /** Message type: the number of the family. */
  readonly type: number;
  /** NLM_F_* besides REQUEST, ACK and DUMP. */
  readonly flags?: number | undefined;
  /** From struct genlmsghdr on. */
  readonly payload: Uint8Array;
}

export class GenericNetlink {
  readonly #socket: NetlinkSocket;
  readonly #families = new Map<string, GenericFamily>();

  /** Throws SystemError and leaves nothing behind. */
  constructor() {
    this.#socket = new NetlinkSocket(NETLINK_GENERIC);
  }

  /**
   * The family of that name; undefined when the kernel has none: it tries to load the family's
   * module first. Numbers of families stay for as long as their modules do.
   */
  family(name: string): GenericFamily | undefined {
    const known = this.#families.get(name);
    if (known !== undefined) return known;
    const doing = `look up the generic netlink family "${name}"`;
    const request = { type: GENL_ID_CTRL, payload: encodeGetFamily(name) };
    try {
      const answer = this.request(request, { doing, label: "CTRL_CMD_GETFAMILY" });
      if (answer === undefined) return undefined;
      const family = decodeFamily(answer);
      this.#families.set(name, family);
      return family;
    } catch (error) {
      if (error instanceof SystemError && error.errno === ENOENT) return undefined;
      throw error;
    }
  }

  /**
   * Carries out one command. Returns the payload that it is answered with, if it is: changes are
   * answered with NLM_F_ECHO only. Throws SystemError with the kernel's own words.
   */
  request(request: GenericRequest, purpose: RequestPurpose): Uint8Array<ArrayBuffer> | undefined {
    const message = makeMessage(request, NLM_F_REQUEST | NLM_F_ACK);
    return this.#socket.request(message, purpose)[0]?.payload;
  }

  /** Payloads of everything that a command can tell: of one state, where the kernel knows. Throws SystemError. */
  dump(request: GenericRequest, purpose: RequestPurpose): Uint8Array<ArrayBuffer>[] {
    const message = (): MessageWriter => makeMessage(request, NLM_F_REQUEST | NLM_F_DUMP);
    return this.#socket.dump(message, purpose).map(({ payload }) => payload);
  }

  close(): void {
    this.#socket.close();
  }

  [Symbol.dispose](): void {
    this.close();
  }
}

function makeMessage({ type, flags = 0, payload }: GenericRequest, more: number): MessageWriter {
  return new MessageWriter(type, flags | more).header(
    payload.length,
    (view) => new Uint8Array(view.buffer, view.byteOffset, payload.length).set(payload),
  );
}
