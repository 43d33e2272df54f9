import assert from "node:assert/strict";
import { OptionError } from "../datapath/errors.ts";
import { TunnelKey } from "../datapath/packet/tunnel_key.ts";
import { KEY_SIZE } from "../datapath/key.ts";
import geneve from "./geneve.ts";
import gre from "./gre.ts";
import { TunnelDemux } from "./tunnel_demux.ts";
import { familiesOf, type TunnelOptions } from "./tunnel_options.ts";
import type { VportOps } from "./vport.ts";
import vxlan from "./vxlan.ts";

function parse(ops: VportOps<TunnelOptions>, text: string): TunnelOptions {
  const pairs = text.split(" ").map((pair) => pair.split("=", 2) as [string, string]);
  return ops.parseOptions(new Map(pairs));
}

function formatted(ops: VportOps<TunnelOptions>, text: string): string {
  return [...ops.formatOptions(parse(ops, text))].map(([key, value]) => `${key}=${value}`)
    .join(" ");
}

Deno.test("tunnel options are shown as they were given, without the defaults", () => {
  const cases: readonly (readonly [VportOps<TunnelOptions>, string, string])[] = [
    [vxlan, "remote_ip=192.0.2.1", "remote_ip=192.0.2.1"],
    [vxlan, "remote_ip=192.0.2.1 dst_port=4789 ttl=64 df_default=true", "remote_ip=192.0.2.1"],
    [vxlan, "remote_ip=flow key=flow local_ip=flow", "key=flow local_ip=flow remote_ip=flow"],
    [
      vxlan,
      "remote_ip=2001:db8::1 in_key=1 out_key=0x10 exts=gbp tos=inherit ttl=inherit csum=false",
      "in_key=1 out_key=16 csum=false exts=gbp remote_ip=2001:db8::1 tos=inherit ttl=inherit",
    ],
    [vxlan, "remote_ip=flow exts=gpe packet_type=ptap", "exts=gpe packet_type=ptap remote_ip=flow"],
    [
      geneve,
      "remote_ip=192.0.2.1 key=7 dst_port=6082 df_default=false egress_pkt_mark=0x10",
      "key=7 df_default=false egress_pkt_mark=16 dst_port=6082 remote_ip=192.0.2.1",
    ],
    [
      gre,
      "remote_ip=192.0.2.1 key=4294967295 seq=true csum=true",
      "key=4294967295 csum=true remote_ip=192.0.2.1 seq=true",
    ],
  ];
  for (const [ops, text, wanted] of cases) {
    assert.equal(formatted(ops, text), wanted);
    assert.deepEqual(parse(ops, wanted), parse(ops, text));
  }
});

Deno.test("tunnel options that can't be are refused with the key, the value and what may be", () => {
  const cases: readonly (readonly [VportOps<TunnelOptions>, string, string, RegExp])[] = [
    [vxlan, "key=1", "remote_ip", /Option remote_ip is missing/],
    [vxlan, "remote_ip=host.example", "remote_ip", /an IPv4 or IPv6 address, or "flow".*host\.ex/],
    [vxlan, "remote_ip=239.1.1.1", "remote_ip", /not a multicast group.*239\.1\.1\.1/],
    [vxlan, "remote_ip=ff02::1", "remote_ip", /multicast/],
    [vxlan, "remote_ip=0.0.0.0", "remote_ip", /not zero/],
    [vxlan, "remote_ip=192.0.2.1 local_ip=flow", "local_ip", /unless remote_ip is "flow"/],
    [vxlan, "remote_ip=192.0.2.1 local_ip=::1", "local_ip", /same family/],
    [vxlan, "remote_ip=192.0.2.1 key=16777216", "key", /from 0 to 16777215, or "flow".*16777216/],
    [geneve, "remote_ip=192.0.2.1 in_key=x", "in_key", /from 0 to 16777215/],
    [gre, "remote_ip=192.0.2.1 out_key=-1", "out_key", /from 0 to 4294967295/],
    [gre, "remote_ip=192.0.2.1 dst_port=1", "dst_port", /Unknown option dst_port=1/],
    [vxlan, "remote_ip=192.0.2.1 seq=true", "seq", /Unknown option seq=true/],
    [vxlan, "remote_ip=192.0.2.1 tos=3", "tos", /multiple of 4/],
    [vxlan, "remote_ip=192.0.2.1 ttl=256", "ttl", /from 0 to 255/],
    [vxlan, "remote_ip=192.0.2.1 egress_pkt_mark=x", "egress_pkt_mark", /0 to 4294967295/],
    [vxlan, "remote_ip=192.0.2.1 csum=yes", "csum", /true or false.*yes/],
    [vxlan, "remote_ip=192.0.2.1 dst_port=0", "dst_port", /from 1 to 65535/],
    [vxlan, "remote_ip=192.0.2.1 exts=foo", "exts", /gbp, gpe.*foo/],
    [vxlan, "remote_ip=192.0.2.1 exts=gbp,gpe", "exts", /one of gbp, gpe/],
    [vxlan, "remote_ip=192.0.2.1 packet_type=ptap", "packet_type", /without exts=gpe/],
    [geneve, "remote_ip=192.0.2.1 packet_type=ptap", "packet_type", /Unknown option/],
  ];
  for (const [ops, text, key, message] of cases) {
    assert.throws(() => parse(ops, text), (error: Error) => {
      assert(error instanceof OptionError, text);
      assert.equal(error.option, key);
      assert.match(error.message, message);
      return true;
    });
  }
});

Deno.test("familiesOf: what can be received is over the family of the addresses, or both", () => {
  assert.deepEqual(familiesOf(parse(vxlan, "remote_ip=192.0.2.1")), [4]);
  assert.deepEqual(familiesOf(parse(vxlan, "remote_ip=2001:db8::1")), [6]);
  assert.deepEqual(familiesOf(parse(vxlan, "remote_ip=flow local_ip=192.0.2.1")), [4]);
  assert.deepEqual(familiesOf(parse(vxlan, "remote_ip=flow")), [4, 6]);
});

Deno.test("TunnelDemux finds the most specific port: key, then remote, then local address", () => {
  const demux = new TunnelDemux<string>();
  const add = (name: string, text: string): void => demux.add(name, parse(vxlan, text));
  add("all", "remote_ip=flow key=flow");
  add("remote", "remote_ip=192.0.2.1 key=flow");
  add("key", "remote_ip=flow key=5");
  add("key remote", "remote_ip=192.0.2.1 key=5");
  add("key remote local", "remote_ip=192.0.2.1 local_ip=192.0.2.9 key=5");
  add("six", "remote_ip=2001:db8::1 key=5");
  add("none", "remote_ip=192.0.2.7");
  const tunnel = new TunnelKey(new DataView(new ArrayBuffer(KEY_SIZE)));
  const find = (source: number, destination: number, key: number): string | undefined => {
    tunnel.begin(4);
    tunnel.source = source;
    tunnel.destination = destination;
    tunnel.idLow = key;
    return demux.find(tunnel);
  };
  assert.equal(find(0xc0000201, 0xc0000209, 5), "key remote local");
  assert.equal(find(0xc0000201, 0xc0000208, 5), "key remote");
  assert.equal(find(0xc0000202, 0xc0000209, 5), "key");
  assert.equal(find(0xc0000201, 0xc0000209, 6), "remote");
  assert.equal(find(0xc0000203, 0xc0000209, 6), "all");
  assert.equal(find(0xc0000207, 0xc0000209, 0), "none");
  tunnel.begin(6);
  tunnel.idLow = 5;
  [0x20010db8, 0, 0, 1].forEach((word, at) => tunnel.setSourceWord(at, word));
  assert.equal(demux.find(tunnel), "six");
  demux.remove("all");
  demux.remove("key remote local");
  assert.equal(find(0xc0000203, 0xc0000209, 6), undefined);
  assert.equal(find(0xc0000201, 0xc0000209, 5), "key remote");
  assert.equal(demux.count, 5);
});
