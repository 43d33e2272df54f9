/**
 * The conformance suite judged: a good type passes all of it, and each of many types with one fault
 * fails the one check that asks for it.
 */
import assert from "node:assert/strict";
import { OptionError } from "../datapath/errors.ts";
import type { Packet } from "../datapath/packet/packet.ts";
import { type ConformanceSubject, type Peer, runConformance } from "./conformance.ts";
import { optionReader } from "./options.ts";
import type { Attachment, Vport, VportOps, VportParams } from "./vport.ts";

/** Frames on a wire that is an array: [to the far side, to the port]. */
interface Wire {
  readonly out: Uint8Array[];
  readonly in: Uint8Array[];
}

interface Options {
  readonly speed: number;
}

let wire: Wire = { out: [], in: [] };

class Failure extends Error {
  readonly code = "ENODEV";
}

/** A port whose far side is {@link wire}. */
class WirePort implements Vport {
  readonly takesPartialChecksums = true;
  readonly takesSegmentTrains = true;
  readonly params: VportParams<unknown>;
  readonly receiver: { receive(budget: number): number };
  readonly sender: { flush(): void };

  constructor(params: VportParams<unknown>) {
    this.params = params;
    this.receiver = { receive: (budget) => this.receive(budget) };
    this.sender = { flush: () => this.flush() };
  }

  send(packet: Packet): number {
    wire.out.push(packet.bytes.slice(packet.start, packet.end));
    return 0;
  }

  flush(): void {}

  receive(budget: number): number {
    for (let count = 0; count < budget; count++) {
      const frame = wire.in.shift();
      if (frame === undefined) return count;
      this.handOver(frame);
    }
    return budget;
  }

  handOver(frame: Uint8Array): void {
    const packet = this.params.host.allocate()!;
    packet.bytes.set(frame, packet.start);
    packet.end = packet.start + frame.length;
    this.params.host.receive(this.params.portNo, packet);
  }

  close(): void {}
}

const GOOD: VportOps = {
  apiVersion: 1,
  type: "wire",
  summary: "for tests",
  headroom: 8,
  parseOptions: (raw): Options => {
    optionReader.only(raw, ["speed"]);
    return { speed: optionReader.integer(raw, "speed", { min: 1, max: 9, fallback: 3 }) };
  },
  formatOptions: (options) => {
    const { speed } = options as Options;
    return new Map(speed === 3 ? [] : [["speed", `${speed}`]]);
  },
  attach: (params): Attachment => {
    if (params.name === "nosuch0") throw new Failure("no such wire");
    return { data: { wire: 7 }, detach: () => {} };
  },
  create: (params) => new WirePort(params),
};

function subject(ops: VportOps): ConformanceSubject {
  return {
    ops,
    name: "w0",
    options: { speed: "5" },
    badOptions: [["speed", "10"]],
    impossible: { name: "nosuch0" },
    deviceExists: () => devices > 0,
    openPeer: (): Peer => {
      wire = { out: [], in: [] };
      return {
        send: (frame) => void wire.in.push(frame),
        received: () => wire.out.splice(0),
        close: () => {},
      };
    },
  };
}

/** Devices that attach has made. */
let devices = 0;

/** GOOD with a device, and parts replaced. */
function type(change: Partial<VportOps> = {}): VportOps {
  const ops = { ...GOOD, ...change };
  const attach = ops.attach!;
  return {
    ...ops,
    attach: (params) => {
      const attachment = attach(params);
      devices++;
      return {
        ...attachment,
        detach: (how) => {
          devices--;
          attachment.detach(how);
        },
      };
    },
  };
}

/** GOOD with ports of another class. */
function portType(make: (params: VportParams<unknown>) => Vport): VportOps {
  return type({ create: make });
}

const open: Deno.FsFile[] = [];
function leakFile(): void {
  open.push(Deno.openSync("/dev/null"));
}

/** Types with one fault each, under the check that must fail. */
const BROKEN: readonly (readonly [fault: string, check: string, VportOps])[] = [
  ["has a summary of two lines", "describes itself", type({ summary: "for\ntests" })],
  ["asks for half a byte of headroom", "describes itself", type({ headroom: 0.5 })],
  [
    "forgets an option in formatOptions",
    "options: what is formatted parses to the same",
    type({ formatOptions: () => new Map() }),
  ],
  [
    "accepts unknown options",
    "options: wrong ones are refused, naming key and value",
    type({
      parseOptions: (raw) =>
        GOOD.parseOptions(new Map([...raw].filter(([key]) => key !== "no_such_option"))),
    }),
  ],
  [
    "refuses options with an error of no kind",
    "options: wrong ones are refused, naming key and value",
    type({
      parseOptions: (raw) => {
        try {
          return GOOD.parseOptions(raw);
        } catch (error) {
          throw new Error(String(error));
        }
      },
    }),
  ],
  [
    "does not name the value that it refuses",
    "options: wrong ones are refused, naming key and value",
    type({
      parseOptions: (raw) => {
        try {
          return GOOD.parseOptions(raw);
        } catch (error) {
          throw new OptionError((error as OptionError).option, "wrong");
        }
      },
    }),
  ],
  [
    "takes options out of the map that it is given",
    "options: parsing leaves what it is given as it is",
    type({
      parseOptions: (raw) => {
        const options = GOOD.parseOptions(raw);
        (raw as Map<string, string>).delete("speed");
        return options;
      },
    }),
  ],
  [
    "throws in create",
    "create: makes a port of the contract's shape",
    portType(() => {
      throw new TypeError("broken");
    }),
  ],
  [
    "returns a port without takesSegmentTrains",
    "create: makes a port of the contract's shape",
    portType((params) => Object.assign(new WirePort(params), { takesSegmentTrains: undefined })),
  ],
  [
    "hands a function to the threads",
    "attach: what it hands to the threads can be copied to them",
    type({ attach: (params) => ({ ...GOOD.attach!(params), data: () => 7 }) }),
  ],
  [
    "throws in close",
    "close: does not throw",
    portType((params) =>
      new (class extends WirePort {
        override close(): void {
          throw new Error("not yet");
        }
      })(params)
    ),
  ],
  [
    "throws in detach",
    "close: does not throw",
    type({
      attach: (params) => ({
        ...GOOD.attach!(params),
        detach: () => {
          throw new Error("not yet");
        },
      }),
    }),
  ],
  [
    "leaves a descriptor open",
    "close: gives back every descriptor, however often",
    portType((params) => {
      leakFile();
      return new WirePort(params);
    }),
  ],
  [
    "keeps what it shares",
    "close: lets go of what was shared",
    portType((params) => {
      params.host.share("wire", () => ({ close: () => {} }));
      return new WirePort(params);
    }),
  ],
  [
    "leaves a descriptor open when it fails",
    "create: a port that can't be made throws an error with a code, and leaves nothing behind",
    type({
      attach: (params) => {
        if (params.name === "nosuch0") leakFile();
        return GOOD.attach!(params);
      },
    }),
  ],
  [
    "fails without a code",
    "create: a port that can't be made throws an error with a code, and leaves nothing behind",
    type({
      attach: (params) => {
        if (params.name === "nosuch0") throw new Error("no such wire");
        return GOOD.attach!(params);
      },
    }),
  ],
  [
    "waits for packets in receive",
    "receive: hands over nothing when nothing came, and does not block",
    portType((params) =>
      new (class extends WirePort {
        override receive(budget: number): number {
          if (wire.in.length === 0) {
            Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 30);
          }
          return super.receive(budget);
        }
      })(params)
    ),
  ],
  [
    "loses the packet that it allocated for nothing",
    "receive: recycles packets that it does not hand over",
    portType((params) =>
      new (class extends WirePort {
        override receive(budget: number): number {
          if (wire.in.length === 0) params.host.allocate();
          return super.receive(budget);
        }
      })(params)
    ),
  ],
  [
    "returns nothing from send",
    "send: takes frames of all sizes, or says why not",
    portType((params) =>
      new (class extends WirePort {
        override send(packet: Packet): number {
          const size = packet.end - packet.start;
          if (size > 2000) return undefined as unknown as number;
          return super.send(packet);
        }
      })(params)
    ),
  ],
  [
    "turns the MAC addresses round in place",
    "send: leaves the packet as it is",
    portType((params) =>
      new (class extends WirePort {
        override send(packet: Packet): number {
          const reason = super.send(packet);
          packet.bytes[packet.start]! ^= 0xff;
          return reason;
        }
      })(params)
    ),
  ],
  [
    "puts its header in front of the frame for good",
    "send: leaves the packet as it is",
    portType((params) =>
      new (class extends WirePort {
        override send(packet: Packet): number {
          const reason = super.send(packet);
          packet.start -= 8;
          return reason;
        }
      })(params)
    ),
  ],
  [
    "writes a header longer than its headroom",
    "send: writes in front of a packet no more than its headroom, and nothing behind",
    portType((params) =>
      new (class extends WirePort {
        override send(packet: Packet): number {
          packet.bytes.fill(0, packet.start - 12, packet.start);
          return super.send(packet);
        }
      })(params)
    ),
  ],
  [
    "pads behind the frame",
    "send: writes in front of a packet no more than its headroom, and nothing behind",
    portType((params) =>
      new (class extends WirePort {
        override send(packet: Packet): number {
          if (packet.end < packet.tailLimit) packet.bytes[packet.end] = 0;
          return super.send(packet);
        }
      })(params)
    ),
  ],
  [
    "can't queue a packet twice",
    "send: a packet may go twice in a round",
    portType((params) => {
      const queued = new Set<Packet>();
      return new (class extends WirePort {
        override send(packet: Packet): number {
          if (queued.has(packet)) throw new Error("queued already");
          queued.add(packet);
          return super.send(packet);
        }
        override flush(): void {
          queued.clear();
        }
      })(params);
    }),
  ],
  [
    "can't flush nothing",
    "flush: may be called with nothing queued",
    portType((params) => {
      let queued = 0;
      return new (class extends WirePort {
        override send(packet: Packet): number {
          queued++;
          return super.send(packet);
        }
        override flush(): void {
          if (queued === 0) throw new RangeError("nothing to send");
          queued = 0;
        }
      })(params);
    }),
  ],
  [
    "sends the last frame first",
    "traffic: frames sent arrive at the far side, whole and in order",
    portType((params) =>
      new (class extends WirePort {
        override send(packet: Packet): number {
          wire.out.unshift(packet.bytes.slice(packet.start, packet.end));
          return 0;
        }
      })(params)
    ),
  ],
  [
    "cuts what it receives",
    "traffic: frames from the far side are received, whole and in order",
    portType((params) =>
      new (class extends WirePort {
        override handOver(frame: Uint8Array): void {
          super.handOver(frame.subarray(0, Math.min(frame.length, 900)));
        }
      })(params)
    ),
  ],
  [
    "hands over all there is, whatever the budget",
    "traffic: receive hands over no more than its budget",
    portType((params) =>
      new (class extends WirePort {
        override receive(_budget: number): number {
          return super.receive(1000) % 1000;
        }
      })(params)
    ),
  ],
  [
    "hands packets over as another port's",
    "traffic: packets are handed over with the port's number",
    portType((params) => new WirePort({ ...params, portNo: 9 })),
  ],
];

async function failures(ops: VportOps): Promise<readonly string[]> {
  const failed: string[] = [];
  devices = 0;
  wire = { out: [], in: [] };
  for await (const { name, status } of runConformance(subject(ops))) {
    if (status === "failed") failed.push(name);
  }
  for (const file of open.splice(0)) file.close();
  return failed;
}

function conformanceTest(name: string, fn: () => Promise<void>): void {
  Deno.test({ name, sanitizeResources: false, fn });
}

conformanceTest("runConformance: a type that keeps the contract fails no check", async () => {
  assert.deepEqual(await failures(type()), []);
});

for (const [fault, check, ops] of BROKEN) {
  conformanceTest(
    `runConformance: a type that ${fault} fails exactly the check for it`,
    async () => {
      assert.deepEqual(await failures(ops), [check]);
    },
  );
}

conformanceTest(
  "runConformance: a device that detach leaves behind fails exactly the check for it",
  async () => {
    const ops = {
      ...GOOD,
      attach: (params: Parameters<NonNullable<VportOps["attach"]>>[0]): Attachment => {
        const attachment = GOOD.attach!(params);
        devices = 1;
        return attachment;
      },
    };
    assert.deepEqual(await failures(ops), ["detach: a device that attach made is deleted"]);
  },
);
