import assert from "node:assert/strict";
import {
  decodeFamily,
  encodeGetFamily,
  GENL_ID_CTRL,
} from "../datapath/netlink/generic_message.ts";
import {
  ENOENT,
  NLM_F_ACK_TLVS,
  NLM_F_CAPPED,
  NLM_F_DUMP,
  NLM_F_DUMP_INTR,
  NLM_F_MULTI,
  NLMSG_DONE,
  NLMSG_ERROR,
  NLMSGERR_ATTR_MSG,
} from "./abi.ts";
import { GenericNetlink } from "./generic_netlink.ts";
import { type Libc, libc, replaceLibc } from "./libc.ts";
import { MessageWriter, type NetlinkMessage, parseMessages } from "./netlink.ts";
import { SystemError } from "./system_error.ts";
import { libcTest, openDescriptors } from "./testing.ts";

const EAGAIN = 11;
/** Message type of some family. */
const TYPE = 31;
const PURPOSE = { doing: "add the flow", label: "OVS_FLOW_CMD_NEW" };

/** What a scripted kernel answers to a message: datagrams, each of whole messages. */
type Answer = (message: NetlinkMessage) => readonly Uint8Array[];

/** Runs `use` with a C library whose sockets are answered by `answer`. */
function withKernel(answer: Answer, use: (netlink: GenericNetlink) => void): void {
  const real = libc();
  const queue: Uint8Array[] = [];
  let errno = 0;
  const fake: Libc = {
    ...{ file: real.file, memory: real.memory, poll: real.poll, clock: real.clock },
    ...{ kernel: real.kernel, process: real.process },
    socket: {
      ...real.socket,
      send: (_fd, from) => {
        const bytes = new Uint8Array(from as Uint8Array<ArrayBuffer>);
        for (const message of parseMessages(bytes)) queue.push(...answer(message));
        return bytes.length;
      },
      recv: (_fd, to) => {
        const datagram = queue.shift();
        if (datagram === undefined) {
          errno = EAGAIN;
          return -1;
        }
        (to as Uint8Array).set(datagram);
        return datagram.length;
      },
    },
    errno: () => errno,
  };
  replaceLibc(fake);
  try {
    using netlink = new GenericNetlink();
    use(netlink);
  } finally {
    replaceLibc(undefined);
  }
}

/** One message of the family to `request`. */
function reply(request: NetlinkMessage, flags: number, payload: Iterable<number>): Uint8Array {
  const bytes = Uint8Array.from(payload);
  return new MessageWriter(request.type, flags)
    .header(bytes.length, (view) => new Uint8Array(view.buffer, view.byteOffset).set(bytes))
    .finish(request.sequence);
}

function done(request: NetlinkMessage, flags: number, errno = 0): Uint8Array {
  return new MessageWriter(NLMSG_DONE, flags | NLM_F_MULTI)
    .header(4, (view) => view.setInt32(0, -errno, true))
    .finish(request.sequence);
}

function acknowledge(request: NetlinkMessage, errno: number, text?: string): Uint8Array {
  const flags = NLM_F_CAPPED | (text === undefined ? 0 : NLM_F_ACK_TLVS);
  const writer = new MessageWriter(NLMSG_ERROR, flags)
    .header(20, (view) => view.setInt32(0, -errno, true));
  if (text !== undefined) writer.attributeText(NLMSGERR_ATTR_MSG, text);
  return writer.finish(request.sequence);
}

libcTest(
  "GenericNetlink.family: the controller's own, by name; an unknown one is undefined",
  () => {
    using netlink = new GenericNetlink();
    const family = netlink.family("nlctrl");
    assert.equal(family?.id, GENL_ID_CTRL);
    assert.equal(family?.name, "nlctrl");
    assert.ok((family?.groups.get("notify") ?? 0) > 0);
    assert.equal(netlink.family("nlctrl"), family);
    assert.equal(netlink.family("no such family"), undefined);
  },
);

libcTest(
  "GenericNetlink.dump: every family of this kernel, in as many messages as it takes",
  () => {
    using netlink = new GenericNetlink();
    // Without a name the same command is about all.
    const request = { type: GENL_ID_CTRL, payload: encodeGetFamily("").slice(0, 4) };
    const purpose = { doing: "list families", label: "CTRL_CMD_GETFAMILY" };
    const names = netlink.dump(request, purpose).map((payload) => decodeFamily(payload).name);
    assert.ok(names.includes("nlctrl"), names.join());
    assert.equal(new Set(names).size, names.length);
  },
);

libcTest("GenericNetlink.request: type, flags and payload as given", () => {
  const seen: NetlinkMessage[] = [];
  withKernel((message) => {
    seen.push(message);
    return [reply(message, 0, [1, 1, 0, 0, 9, 8, 7, 6]), acknowledge(message, 0)];
  }, (netlink) => {
    const payload = Uint8Array.of(3, 1, 0, 0, 5, 6, 7, 8);
    const answer = netlink.request({ type: TYPE, flags: 0x400, payload }, PURPOSE);
    assert.deepEqual([...answer ?? []], [1, 1, 0, 0, 9, 8, 7, 6]);
    netlink.request({ type: TYPE, payload }, PURPOSE);
  });
  assert.deepEqual(seen.map(({ type, flags }) => [type, flags]), [[31, 0x405], [31, 0x005]]);
  assert.deepEqual([...seen[0]!.payload], [3, 1, 0, 0, 5, 6, 7, 8]);
  // The second request skipped the first one's acknowledgement.
  assert.equal(seen[1]!.sequence, seen[0]!.sequence + 1);
});

libcTest("GenericNetlink.request: no answer but an acknowledgement is undefined", () => {
  withKernel((message) => [acknowledge(message, 0)], (netlink) => {
    const request = { type: TYPE, payload: new Uint8Array(8) };
    assert.equal(netlink.request(request, PURPOSE), undefined);
  });
});

libcTest("GenericNetlink.request: an error has the kernel's words", () => {
  withKernel((message) => [acknowledge(message, ENOENT, "no such flow")], (netlink) => {
    assert.throws(
      () => netlink.request({ type: TYPE, payload: new Uint8Array(8) }, PURPOSE),
      (error) =>
        error instanceof SystemError && error.code === "ENOENT" &&
        error.reason === "no such flow" &&
        error.message === "Cannot add the flow: OVS_FLOW_CMD_NEW returned ENOENT (no such flow)",
    );
  });
});

libcTest("GenericNetlink.request: a kernel that does not answer is EAGAIN, not a wait", () => {
  withKernel(() => [], (netlink) => {
    assert.throws(
      () => netlink.request({ type: TYPE, payload: new Uint8Array(8) }, PURPOSE),
      { code: "EAGAIN", syscall: "recv(OVS_FLOW_CMD_NEW)" },
    );
  });
});

libcTest("GenericNetlink.dump: begun anew when the kernel says that it was interrupted", () => {
  let dumps = 0;
  withKernel((message) => {
    assert.equal(message.flags & NLM_F_DUMP, NLM_F_DUMP);
    dumps++;
    const interrupted = dumps < 3 ? NLM_F_DUMP_INTR : 0;
    return [
      reply(message, NLM_F_MULTI | interrupted, [1, 0, 0, dumps]),
      reply(message, NLM_F_MULTI, [2, 0, 0, dumps]),
      done(message, 0),
    ];
  }, (netlink) => {
    const payloads = netlink.dump({ type: TYPE, payload: new Uint8Array(8) }, PURPOSE);
    assert.deepEqual(payloads.map((payload) => [...payload]), [[1, 0, 0, 3], [2, 0, 0, 3]]);
  });
});

libcTest(
  "GenericNetlink.dump: one that is never at rest ends; an error at the end is thrown",
  () => {
    const request = { type: TYPE, payload: new Uint8Array(8) };
    let dumps = 0;
    withKernel((message) => {
      dumps++;
      return [reply(message, NLM_F_MULTI, [1, 2, 3, 4]), done(message, NLM_F_DUMP_INTR)];
    }, (netlink) => {
      assert.equal(netlink.dump(request, PURPOSE).length, 1);
      assert.equal(dumps, 10);
    });
    withKernel((message) => [done(message, 0, 19)], (netlink) => {
      assert.throws(() => netlink.dump(request, PURPOSE), { code: "ENODEV" });
    });
  },
);

libcTest("GenericNetlink: messages of more than 64 KiB go through whole, both ways", () => {
  withKernel((message) => [reply(message, 0, message.payload)], (netlink) => {
    const payload = new Uint8Array(120_000).map((_, at) => at * 7);
    assert.deepEqual(netlink.request({ type: TYPE, payload }, PURPOSE), payload);
  });
});

libcTest("GenericNetlink.close: gives the descriptor back, once", () => {
  const before = openDescriptors();
  const netlink = new GenericNetlink();
  netlink.close();
  netlink.close();
  assert.equal(openDescriptors(), before);
});
