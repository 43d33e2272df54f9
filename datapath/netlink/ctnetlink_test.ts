import assert from "node:assert/strict";
import { formatConnection, formatExpected, plainExpected } from "../conntrack/dump_text.ts";
import { seededRandom } from "../testing/flow_values.ts";
import { AttributeWriter, fromHex, NetlinkCodecError, toHex } from "./attributes.ts";
import { decodeConnection, decodeExpected, encodeCtDelete, encodeCtRequest } from "./ctnetlink.ts";

/** One direction's tuple of TCP 10.0.0.1:5 > 10.0.0.2:80, or back. */
function tuple(writer: AttributeWriter, type: number, isReply: boolean): void {
  const [from, to] = isReply ? ["0a000002", "0a000001"] : ["0a000001", "0a000002"];
  writer.nested(type, () => {
    writer.nested(1, () => {
      writer.attribute(1, fromHex(from, ""));
      writer.attribute(2, fromHex(to, ""));
    });
    writer.nested(2, () => {
      writer.attributeU8(1, 6);
      writer.attributeBe16(2, isReply ? 80 : 5);
      writer.attributeBe16(3, isReply ? 5 : 80);
    });
  });
}

/** What the kernel says of a connection. */
function connection(): AttributeWriter {
  const writer = new AttributeWriter({ marksNested: true })
    .header(4, (view) => view.setUint8(0, 2));
  tuple(writer, 1, false);
  tuple(writer, 2, true);
  writer.attribute(3, fromHex("0000000e", "")); // status
  writer.nested(4, () =>
    writer.nested(1, () => {
      writer.attributeU8(1, 3);
      writer.attributeU8(2, 7);
      writer.attributeU8(3, 7);
      writer.attribute(4, fromHex("2300", ""));
      writer.attribute(5, fromHex("2300", ""));
    }));
  writer.nested(5, () => writer.attributeText(1, "ftp"));
  writer.attribute(7, fromHex("0000012c", "")); // timeout
  writer.attribute(8, fromHex("00000007", "")); // mark
  for (const type of [9, 10]) {
    writer.nested(type, () => {
      writer.attribute(1, fromHex("0000000000000003", ""));
      writer.attribute(2, fromHex("0000000000000100", ""));
    });
  }
  writer.attribute(12, fromHex("80000001", "")); // id
  writer.attributeBe16(18, 5); // zone
  writer.nested(20, () => writer.attribute(1, fromHex("000000e8d4a51000", ""))); // 1,000 s
  return writer.attribute(22, fromHex("01" + "00".repeat(15), ""));
}

Deno.test("decodeConnection: everything that the kernel says", () => {
  const info = decodeConnection(connection().bytes());
  assert.equal(
    formatConnection(info, { statistics: true, verbose: true }),
    "tcp,orig=(src=10.0.0.1,dst=10.0.0.2,sport=5,dport=80,packets=3,bytes=256)," +
      "reply=(src=10.0.0.2,dst=10.0.0.1,sport=80,dport=5,packets=3,bytes=256)," +
      "start=1970-01-01T00:16:40.000,id=2147483649,zone=5,status=SEEN_REPLY|ASSURED|CONFIRMED," +
      "timeout=300,mark=7,labels=0x1,protoinfo=(state_orig=ESTABLISHED,state_reply=ESTABLISHED," +
      "wscale_orig=7,wscale_reply=7,flags_orig=WINDOW_SCALE|SACK_PERM|MAXACK_SET," +
      "flags_reply=WINDOW_SCALE|SACK_PERM|MAXACK_SET),helper=ftp",
  );
});

Deno.test("encodeCtDelete: the original tuple, zone and identifier", () => {
  const info = decodeConnection(connection().bytes());
  const again = decodeConnection(
    // A request has one tuple; a connection needs both.
    Uint8Array.of(...encodeCtDelete(info), ...replyOnly()),
  );
  assert.deepEqual([again.original, again.zone, again.id], [info.original, 5, 0x80000001]);
  assert.equal(toHex(encodeCtRequest(10)), "0a000000");
});

function replyOnly(): Uint8Array {
  const writer = new AttributeWriter({ marksNested: true });
  tuple(writer, 2, true);
  return writer.bytes();
}

Deno.test("decodeConnection: ICMPv6, and what is damaged", () => {
  const writer = new AttributeWriter({ marksNested: true })
    .header(4, (view) => view.setUint8(0, 10));
  for (const [type, number] of [[1, 128], [2, 129]] as const) {
    writer.nested(type, () => {
      writer.nested(1, () => {
        writer.attribute(3, fromHex("fd" + "00".repeat(14) + "01", ""));
        writer.attribute(4, fromHex("fd" + "00".repeat(14) + "02", ""));
      });
      writer.nested(2, () => {
        writer.attributeU8(1, 58);
        writer.attributeBe16(7, 9);
        writer.attributeU8(8, number);
        writer.attributeU8(9, 0);
      });
    });
  }
  assert.equal(
    formatConnection(decodeConnection(writer.bytes())),
    "icmpv6,orig=(src=fd00::1,dst=fd00::2,id=9,type=128,code=0)," +
      "reply=(src=fd00::1,dst=fd00::2,id=9,type=129,code=0)",
  );
  const whole = connection().bytes();
  for (let size = 0; size < whole.length; size++) {
    try {
      decodeConnection(whole.subarray(0, size));
    } catch (error) {
      assert.ok(error instanceof NetlinkCodecError, `${size}: ${error}`);
    }
  }
  assert.throws(() => decodeConnection(whole.subarray(0, 2)), NetlinkCodecError);
});

Deno.test("decodeExpected", () => {
  const writer = new AttributeWriter({ marksNested: true })
    .header(4, (view) => view.setUint8(0, 2));
  tuple(writer, 1, false);
  tuple(writer, 2, true);
  writer.attribute(4, fromHex("0000012c", ""));
  writer.attributeText(6, "ftp").attributeBe16(7, 3);
  const expected = decodeExpected(writer.bytes());
  assert.deepEqual([expected.helper, expected.timeoutSeconds], ["ftp", 300]);
  assert.equal(
    formatExpected(plainExpected(expected)),
    "tcp,orig=(src=10.0.0.2,dst=10.0.0.1,sport=80,dport=5),zone=3," +
      "parent=(src=10.0.0.1,dst=10.0.0.2,sport=5,dport=80)",
  );
});

Deno.test("property: damaged messages are a connection or the codec's own error", () => {
  const random = seededRandom(7);
  const whole = connection().bytes();
  let read = 0;
  for (let run = 0; run < 5000; run++) {
    const bytes = whole.slice();
    for (let count = 1 + random(3); count > 0; count--) bytes[random(bytes.length)] = random(256);
    try {
      formatConnection(decodeConnection(bytes), { statistics: true, verbose: true });
      read++;
    } catch (error) {
      assert.ok(error instanceof NetlinkCodecError, `run ${run}: ${error}`);
    }
  }
  assert.ok(read > 500 && read < 4500, `${read} were read`);
});
