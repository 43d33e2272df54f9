import assert from "node:assert/strict";
import {
  parseBucketWords,
  parseConnectionWords,
  parseDatapathWord,
  parseFamilyWords,
  parseLimitWords,
  parseMaxWords,
  parseOptionWords,
  parseTimeoutWords,
  parseZonesWords,
  parseZoneWords,
} from "./ct_words.ts";
import { UsageError } from "./dpctl.ts";

Deno.test("ct_words: the forms of ovs-dpctl", () => {
  assert.deepEqual(parseZoneWords(["br0", "zone=5"]), { dp: "br0", zone: 5 });
  assert.deepEqual(parseZoneWords([]), {});
  assert.deepEqual(
    parseConnectionWords(["br0", "zone=1", "mark=1/3", "ct_nw_proto=6", "ct_tp_src=1"]),
    {
      dp: "br0",
      zone: 1,
      mark: "1/3",
      original: "ct_nw_proto=6",
      reply: "ct_tp_src=1",
    },
  );
  assert.deepEqual(parseLimitWords(["default=3", "zone=1,limit=0x10"]), {
    dp: undefined,
    defaultLimit: 3,
    zones: [{ zone: 1, limit: 16 }],
  });
  assert.deepEqual(parseZonesWords(["br0", "default", "zone=1,2"]), {
    dp: "br0",
    isDefault: true,
    zones: [1, 2],
  });
  assert.deepEqual(parseMaxWords(["7"]), { dp: undefined, max: 7 });
  assert.deepEqual(parseMaxWords(["br0"]), { dp: "br0", max: undefined });
});

Deno.test("ct_words: buckets, families, timeouts and settings", () => {
  assert.deepEqual(parseConnectionWords(["zone=5", "", "ct_nw_proto=6"]), {
    zone: 5,
    original: "",
    reply: "ct_nw_proto=6",
  });
  assert.deepEqual(parseBucketWords(["br0", "gt=3"]), { dp: "br0", over: 3 });
  assert.deepEqual(parseFamilyWords(["br0", "v4"], undefined), {
    dp: "br0",
    isIpv4: true,
    number: 0,
  });
  assert.deepEqual(parseFamilyWords(["v6", "1280"], "minfragment"), {
    dp: undefined,
    isIpv4: false,
    number: 1280,
  });
  assert.deepEqual(parseTimeoutWords(["br0", "slow", "icmp=5,udp_first=6", "generic=7"]), {
    dp: "br0",
    policy: "slow",
    seconds: { icmp: 5, udp_first: 6, generic: 7 },
  });
  assert.deepEqual(parseTimeoutWords(["slow"]), { dp: undefined, policy: "slow", seconds: {} });
  assert.deepEqual(parseOptionWords(["br0", "tcp-seq-chk=off", "frags-v6=on", "max-frags=9"]), {
    dp: "br0",
    tcpSequenceCheck: false,
    fragmentsIpv6: true,
    fragmentsMax: 9,
  });
});

Deno.test("ct_words: what is no such form", () => {
  assert.throws(() => parseMaxWords(["br0", "x"]), /"x" is no number of connections/);
  for (
    const parse of [
      () => parseZoneWords(["br0", "br1"]),
      () => parseZoneWords(["zone=x"]),
      () => parseConnectionWords(["br0", "a=1", "b=1", "c=1"]),
      () => parseLimitWords(["zone=1"]),
      () => parseZonesWords(["zone=1,a"]),
      () => parseMaxWords(["br0", "br1"]),
      () => parseDatapathWord(["br0", "br1"]),
      () => parseBucketWords(["gt=a"]),
      () => parseBucketWords(["le=1"]),
      () => parseFamilyWords(["br0", "v5"], undefined),
      () => parseFamilyWords(["br0", "v4", "x"], "minfragment"),
      () => parseFamilyWords(["br0", "br1", "v4", "1"], "minfragment"),
      () => parseTimeoutWords(["icmp=5"]),
      () => parseTimeoutWords(["br0", "a", "b", "icmp=5"]),
      () => parseTimeoutWords(["a", "icmp=5", "icmp=6"]),
      () => parseTimeoutWords(["a", "icmp="]),
      () => parseOptionWords(["tcp-seq-chk=yes"]),
      () => parseOptionWords(["max-frags=on"]),
      () => parseOptionWords(["frags=on"]),
      () => parseOptionWords(["tcp-seq-chk=on", "br0"]),
    ]
  ) assert.throws(parse, UsageError);
});
