/**
 * The flow parser of python3-openvswitch (`ovs.flow.odp`) reads what we print and sees the same fields.
 * Both sides are made flat: a path for each value, and what is matched of it.
 */
import assert from "node:assert/strict";
import { scanIpv4, scanIpv6, scanMac } from "../../datapath/text/addresses.ts";
import { flowToJson } from "../../datapath/json/flow_json.ts";
import { randomFlowText, seededRandom } from "../../datapath/testing/flows.ts";
import { formatFlow, parseFlow } from "../../datapath/text/flow_text.ts";
import { Scanner } from "../../datapath/text/scanner.ts";
import { run } from "../e2e/process.ts";
import { splitText } from "./ovs_differences.ts";

const PYTHON = "/usr/bin/python3";
/** Repeat a failure with DENOVS_SEED=… in the environment. */
const SEED = Number(Deno.env.get("DENOVS_SEED") ?? Math.floor(Math.random() * 2 ** 32));
const FLOW_COUNT = 1000;

/** Reads flows, one a line, from a file; prints a JSON object of flat values for each. */
const SCRIPT = `
import json, sys
from ovs.flow.odp import ODPFlow
from ovs.flow.decoders import IntMask, IPMask, EthMask
def flat(value, path, into):
    if isinstance(value, dict):
        for name, inner in value.items():
            flat(inner, path + "." + name, into)
    elif isinstance(value, list):
        for index, inner in enumerate(value):
            flat(inner, path + "." + str(index), into)
    elif isinstance(value, IntMask):
        into[path] = str(value.value) if value.fully() else "%d/%d" % (value.value, value.mask)
    elif isinstance(value, EthMask):
        mask = "" if value.mask is None else "/%d" % int(value.mask)
        into[path] = "%d%s" % (int(value.eth), mask)
    elif isinstance(value, IPMask):
        into[path] = "%d/%d" % (int(value.ip), int(value.mask))
    elif value is not True:
        into[path] = str(value)
for line in open(sys.argv[1]):
    into = {}
    flow = ODPFlow(line.strip() + ", packets:0, bytes:0, used:never, actions:drop")
    for item in flow.match_kv:
        flat(item.value, item.key, into)
    print(json.dumps(into))
`;

async function hasPython(): Promise<boolean> {
  try {
    return (await run([PYTHON, "-c", "import ovs.flow.odp"])).code === 0;
  } catch {
    return false;
  }
}

type Flat = Record<string, string>;

/** An address or a number as a decimal one. */
function decimal(text: string): string {
  const bytes = new Uint8Array(16);
  const scanner = new Scanner(text);
  if (/^[0-9]+\./.test(text)) scanIpv4(scanner, bytes, 12, "");
  else if (/^([0-9a-f]{2}:){5}[0-9a-f]{2}$/.test(text)) scanMac(scanner, bytes, 10, "");
  else if (text.includes(":")) scanIpv6(scanner, bytes, 0, "");
  else return BigInt(text).toString();
  return BigInt("0x" + bytes.toHex()).toString();
}

/** Full masks of addresses, which Python always has. */
function fullMask(text: string): string {
  if (/^[0-9]+\./.test(text)) return "/" + FULL_MASKS[0];
  const isMac = /^([0-9a-f]{2}:){5}/.test(text) && !text.includes("::") && text.length === 17;
  return text.includes(":") && !isMac ? "/" + FULL_MASKS[1] : "";
}

function flatten(json: unknown, path: string, into: Flat): void {
  if (typeof json === "number") into[path] = String(json);
  else if (typeof json === "string") into[path] = leaf(json);
  else if (Array.isArray(json)) {
    json.forEach((each, index) => flatten(each, `${path}.${index}`, into));
  } else if (typeof json === "object" && json !== null) {
    const { value, mask, ...others } = json as Record<string, unknown>;
    if (value !== undefined) into[path] = `${decimal(String(value))}/${decimal(String(mask))}`;
    const inner = Object.entries(others);
    for (const [name, each] of inner) flatten(each, path === "" ? name : `${path}.${name}`, into);
  }
}

function leaf(text: string): string {
  if (!/^(0x[0-9a-f]+|[0-9.]+|[0-9a-f:.]*:[0-9a-f:.]*)$/.test(text)) return text;
  return decimal(text) + fullMask(text);
}

/** What we see in a flow. */
function ours(text: string): Flat {
  const { key, mask } = parseFlow(text);
  const { mpls, ipv6_exthdrs: _, ...json } = flowToJson(key, mask) as Record<string, unknown>;
  const into: Flat = {};
  flatten(json, "", into);
  // Python overwrites each label by the next.
  if (Array.isArray(mpls)) flatten(mpls.at(-1), "mpls", into);
  for (const path of Object.keys(into)) if (path.startsWith("nsh.ttl")) delete into[path];
  return into;
}

/** Our text without what Python doesn't know, and with its names for what it does. */
function asPython(text: string): string {
  return splitText(text).filter((each) => !each.startsWith("ipv6_exthdrs(")).map((attribute) => {
    if (attribute.startsWith("nsh(")) return attribute.replace(/([(,])ttl=[^,)]*,?/, "$1");
    if (!attribute.startsWith("ct_tuple6(")) return attribute;
    return attribute.replace("src_port=", "tcp_src=").replace("dst_port=", "tcp_dst=");
  }).join(",");
}

/** Both sides in one form. */
function evenOut(flat: Flat): Flat {
  const even: Flat = {};
  for (const [path, value] of Object.entries(flat)) {
    if (path.startsWith("mpls.")) {
      // Python doesn't know the widths: a mask in full is one. Beside masks, zero ones are printed too.
      const kept = value.replace(/\/(1048575|255|7|1)$/, "");
      if (!value.endsWith("/0")) even[path] = kept;
    } else if (!/geneve\.\d+\.(len|data|mask)$/.test(path)) {
      even[path.replace("tcp_src", "tp_src").replace("tcp_dst", "tp_dst")] = value;
    }
  }
  return even;
}

/** Not for Python: tags (its parser is not recursive), wide data, masks of hosts, which it inverts. */
function isRead(text: string): boolean {
  if (text.includes("encap(") || /len=(2[0-9]|1[0-9]{2})/.test(text)) return false;
  return Object.entries(ours(text)).every(([path, value]) => {
    const [, digits] = value.split("/");
    if (digits === undefined || !/^(?!eth)(.*[._])?(src|dst|sip|tip|target)$/.test(path)) {
      return true;
    }
    const mask = BigInt(digits);
    return FULL_MASKS.includes(mask) || (mask & (mask + 1n)) !== 0n;
  });
}

/** Of IPv4 and IPv6 addresses. */
const FULL_MASKS = [2n ** 32n - 1n, 2n ** 128n - 1n];

Deno.test({
  name: `flow text: python3-openvswitch sees the fields that we print (seed ${SEED})`,
  ignore: !(await hasPython()),
  fn: async () => {
    const random = seededRandom(SEED);
    const texts = Array.from({ length: FLOW_COUNT }, () => {
      const { key, mask } = parseFlow(randomFlowText(random, { everything: true }));
      return formatFlow(key, mask);
    }).filter(isRead);
    const file = Deno.makeTempFileSync({ prefix: "dnv-flows-" });
    try {
      Deno.writeTextFileSync(file, texts.map((text) => asPython(text) + "\n").join(""));
      const done = await run([PYTHON, "-c", SCRIPT, file]);
      assert.equal(done.code, 0, done.stderr);
      const lines = done.stdout.trimEnd().split("\n");
      assert.equal(lines.length, texts.length);
      for (const [index, text] of texts.entries()) {
        const theirs: Flat = JSON.parse(lines[index]!);
        assert.deepEqual(evenOut(ours(text)), evenOut(theirs), text);
      }
    } finally {
      Deno.removeSync(file);
    }
  },
});
