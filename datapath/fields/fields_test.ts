import assert from "node:assert/strict";
import { ATTRIBUTES, SETTABLE } from "./fields.ts";
import { KEY_SIZE } from "../key.ts";

Deno.test("ATTRIBUTES: names and netlink numbers are unique", () => {
  const names = ATTRIBUTES.map((attribute) => attribute.name);
  const numbers = ATTRIBUTES.map((attribute) => attribute.number);
  assert.equal(new Set(names).size, names.length);
  assert.equal(new Set(numbers).size, numbers.length);
});

Deno.test("ATTRIBUTES: every field lies in the key, and its value in its storage", () => {
  for (const attribute of ATTRIBUTES) {
    for (const field of attribute.fields) {
      assert(field.at >= 0 && field.at + field.size <= KEY_SIZE, field.label);
      assert(field.shift + field.bits <= field.size * 8, field.label);
    }
  }
});

Deno.test("ATTRIBUTES: netlink payloads have the sizes of uapi/linux/openvswitch.h", () => {
  const sizes = new Map([
    ["eth", 12], // struct ovs_key_ethernet
    ["vlan", 2],
    ["eth_type", 2],
    ["ipv4", 12], // struct ovs_key_ipv4
    ["ipv6", 40], // struct ovs_key_ipv6
    ["arp", 22], // struct ovs_key_arp, without its padding to 24
    ["tcp", 4],
    ["icmp", 2],
    ["nd", 28], // struct ovs_key_nd
    ["in_port", 4],
    ["recirc_id", 4],
  ]);
  for (const [name, size] of sizes) {
    const { fields } = ATTRIBUTES.find((attribute) => attribute.name === name)!;
    const end = Math.max(...fields.map((field) => field.netlinkAt + field.netlinkSize));
    assert.equal(end, size, name);
  }
});

Deno.test("SETTABLE: what the kernel or Open vSwitch's own datapath can set, each with its number", () => {
  const names = [...SETTABLE.values()].map((attribute) => attribute.name).toSorted();
  const kernel = ["eth", "ipv4", "ipv6", "mpls", "sctp", "skb_mark", "skb_priority", "tcp", "udp"];
  const wanted = ["arp", "dp_hash", "icmp", "icmpv6", "nd", "nd_ext", "nsh", "recirc_id", "tunnel"];
  assert.deepEqual(names, [...kernel, ...wanted].toSorted());
  assert.equal(SETTABLE.size, ATTRIBUTES.filter(({ set }) => set !== undefined).length);
});
