/**
 * Random bytes and damaged messages go through every reader of netlink: each returns or throws
 * NetlinkCodecError, in time, and what was read can be written again.
 */
import assert from "node:assert/strict";
import type { Dialect } from "../../datapath/fields/field_types.ts";
import { decodeActions, encodeActions } from "../../datapath/netlink/action_codec.ts";
import { NetlinkCodecError } from "../../datapath/netlink/attributes.ts";
import { decodeCtLimitMessage } from "../../datapath/netlink/ct_limit_message.ts";
import { decodeDatapathMessage } from "../../datapath/netlink/datapath_message.ts";
import { decodeFlowMessage, encodeFlowMessage } from "../../datapath/netlink/flow_message.ts";
import { decodeFamily } from "../../datapath/netlink/generic_message.ts";
import { decodeKey, decodeTunnelKey, encodeKey } from "../../datapath/netlink/key_codec.ts";
import { decodeMeterMessage } from "../../datapath/netlink/meter_message.ts";
import { decodePacketMessage } from "../../datapath/netlink/packet_message.ts";
import { decodeVportMessage } from "../../datapath/netlink/vport_message.ts";
import { randomActions } from "../../datapath/testing/actions.ts";
import { type Random, randomFlowText, seededRandom } from "../../datapath/testing/flows.ts";
import { parseFlow } from "../../datapath/text/flow_text.ts";

const RUNS = 4000;
const SEED = Number(Deno.env.get("DENOVS_FUZZ_SEED") ?? 1);
const DIALECTS: readonly Dialect[] = ["kernel", "userspace"];

/** What isn't of the codec's own error is a bug. */
function attempt<T>(read: () => T): T | undefined {
  try {
    return read();
  } catch (error) {
    if (error instanceof NetlinkCodecError) return undefined;
    throw error;
  }
}

function readEverything(bytes: Uint8Array): void {
  for (const dialect of DIALECTS) {
    const options = { dialect };
    attempt(() => decodeFlowMessage(bytes, options));
    attempt(() => decodePacketMessage(bytes, options));
    attempt(() => decodeTunnelKey(bytes, options));
    const actions = attempt(() => decodeActions(bytes, options));
    if (actions !== undefined) encodeActions(actions, options);
    const key = attempt(() => decodeKey(bytes, undefined, options));
    if (key !== undefined) encodeKey(key.key, key.mask, { ...options, unknown: key.unknown });
  }
  attempt(() => decodeDatapathMessage(bytes));
  attempt(() => decodeVportMessage(bytes));
  attempt(() => decodeMeterMessage(bytes));
  attempt(() => decodeCtLimitMessage(bytes));
  attempt(() => decodeFamily(bytes));
}

function randomBytes(random: Random, size: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(size);
  for (let at = 0; at < size; at++) bytes[at] = random(4) === 0 ? random(256) : random(40);
  return bytes;
}

/** A valid flow message. */
function randomMessage(random: Random, dialect: Dialect): Uint8Array<ArrayBuffer> | undefined {
  const flow = parseFlow(randomFlowText(random, { everything: true }));
  const actions = randomActions(random, { dialect });
  return attempt(() =>
    encodeFlowMessage({ command: 1, dpIfindex: 1, match: flow, actions }, { dialect })
  );
}

/** Changes bytes, lengths and types; cuts off, repeats, inserts. */
function damage(random: Random, bytes: Uint8Array<ArrayBuffer>): Uint8Array<ArrayBuffer> {
  const damaged = bytes.slice();
  const at = random(Math.max(1, damaged.length));
  switch (random(6)) {
    case 0:
      return damaged.slice(0, at);
    case 1:
      damaged[at] = random(256);
      return damaged;
    case 2: {
      // A length or a type, wherever one is likely.
      const place = at & ~1;
      damaged.set([random(40), 0].slice(0, damaged.length - place), place);
      return damaged;
    }
    case 3:
      return new Uint8Array([...damaged.slice(0, at & ~3), ...damaged.slice(random(at + 1) & ~3)]);
    case 4:
      damaged.copyWithin(at, random(damaged.length), random(damaged.length));
      return damaged;
    default:
      return new Uint8Array([...damaged, ...randomBytes(random, random(12))]);
  }
}

Deno.test("fuzz netlink: random bytes", () => {
  const random = seededRandom(SEED);
  for (let run = 0; run < RUNS; run++) readEverything(randomBytes(random, random(120)));
});

Deno.test("fuzz netlink: damaged flow messages", () => {
  const random = seededRandom(SEED + 1);
  let readable = 0;
  for (let run = 0; run < RUNS; run++) {
    const dialect = DIALECTS[run % 2]!;
    const message = randomMessage(random, dialect);
    if (message === undefined) continue;
    let damaged = message;
    for (let count = 1 + random(3); count > 0; count--) damaged = damage(random, damaged);
    const read = attempt(() => decodeFlowMessage(damaged, { dialect }));
    if (read !== undefined) readable++;
    if (run % 8 === 0) readEverything(damaged);
    const again = read && attempt(() => encodeFlowMessage(read, { dialect }));
    if (again !== undefined) decodeFlowMessage(again, { dialect });
  }
  // Else the damage is too great to test anything behind the first check.
  assert(readable > RUNS / 50, `only ${readable} of ${RUNS} could be read`);
});

Deno.test("fuzz netlink: attributes within attributes, as deep as a message can be", () => {
  for (const type of [1, 6, 20, 21, 23, 12, 16, 28]) {
    let bytes = new Uint8Array(0);
    while (bytes.length < 60_000) {
      const size = bytes.length + 4;
      const outer = new Uint8Array(size);
      outer.set([size & 255, size >> 8, type, 0]);
      outer.set(bytes, 4);
      bytes = outer;
      if (size < 2000 || size % 4096 < 4) readEverything(bytes);
    }
  }
});
