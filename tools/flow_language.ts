/** The text of docs/flow-language.md, from the field table and the table of actions. */
import type { Attribute, Field } from "../datapath/fields/field_types.ts";
import { FIELDS, type FieldTable } from "../datapath/fields/field_table.ts";
import { ENCAP, PACKET_TYPE } from "../datapath/fields/fields.ts";
import { ACTION_TEXTS } from "../datapath/text/actions/table.ts";
import { LOSSY_FORMS } from "../datapath/text/lossy_forms.ts";
import { DIFFERENCES } from "../tests/oracle/ovs_differences.ts";

/** Markdown; `deno fmt` has not been over it. */
export function renderFlowLanguage(table: FieldTable = FIELDS): string {
  return INTRODUCTION + renderFields(table) + MASKS + renderActions() + NETLINK +
    renderLossyForms() + renderDifferences();
}

function renderFields(table: FieldTable): string {
  let text = "\n## Fields\n\nIn the order in which they are printed.\n";
  for (const attribute of table.attributes) {
    text += `\n### ${attribute.name}\n\n${sentence(attribute.summary)}`;
    text += ` Netlink attribute ${attribute.number}${owner(attribute)}.`;
    if (attribute.requires !== undefined) text += ` Needs \`${attribute.requires.text}\`.`;
    if (attribute.set !== undefined) text += " Can be set.";
    text += "\n\n| field | bits | mask | example | meaning |\n| --- | --- | --- | --- | --- |\n";
    for (const field of attribute.fields) {
      const name = field.name === "" ? "(the value)" : field.name;
      text += `| ${name} | ${bitsOf(field)} | ${maskOf(field)} | ` +
        `\`${escape(exampleOf(field))}\` | ${note(attribute, field)} |\n`;
    }
    text += `\n\`\`\`text\n${exampleFlow(attribute, table)}\n\`\`\`\n`;
  }
  text +=
    `\n### ${ENCAP.name}\n\nWhat follows a VLAN tag. Up to two tags can be matched. Netlink ` +
    `attribute ${ENCAP.number}.\n\n\`\`\`text\n${ENCAP_EXAMPLE}\n\`\`\`\n`;
  text += `\n### ${PACKET_TYPE.name}\n\n` +
    "`packet_type(ns=0,id=0)` is a packet with an Ethernet header, as is every flow that does not " +
    "say otherwise; `packet_type(ns=1,id=0x800)` one without, whose first header is of that " +
    "Ethernet type. It is matched whole. Netlink attribute " +
    `${PACKET_TYPE.number} (userspace only; for the kernel a flow without an Ethernet attribute ` +
    `is one without an Ethernet header).\n\n\`\`\`text\n${L3_EXAMPLE}\n\`\`\`\n`;
  return text;
}

const ENCAP_EXAMPLE =
  "eth(),eth_type(0x88a8),vlan(vid=1,pcp=0),encap(eth_type(0x8100),vlan(vid=2,pcp=0)," +
  "encap(eth_type(0x0800),ipv4(proto=6)))";
const L3_EXAMPLE = "packet_type(ns=1,id=0x800),eth_type(0x0800),ipv4(dst=10.0.0.0/255.0.0.0)";

function sentence(summary: string): string {
  return summary[0]!.toUpperCase() + summary.slice(1) + ".";
}

function owner(attribute: Attribute): string {
  return attribute.only === undefined ? "" : ` (${attribute.only} only)`;
}

/** Nothing for what is written in words, or has parts of its own. */
function bitsOf(field: Field): string {
  return field.form === "fragment" || field.at === OPTIONS_AT ? "" : String(field.bits);
}

function maskOf(field: Field): string {
  switch (field.mask) {
    case "bits":
      return "any";
    case "whole":
      return "whole or none";
    case "exact":
      return "whole or none; a part counts as whole";
    case "fixed":
      return "always whole";
  }
}

function note(attribute: Attribute, field: Field): string {
  const fixed = attribute.set !== undefined && !field.settable ? " (can't be set)" : "";
  return escape(field.summary) + fixed;
}

function escape(text: string): string {
  return text.replaceAll("|", "\\|");
}

/** A value of the field, as it is written. */
function exampleOf(field: Field): string {
  switch (field.form) {
    case "decimal":
      if (field.name === "mdtype") return "1";
      return field.bits === 1 ? "1" : field.bits <= 3 ? "5" : "64";
    case "hex":
      return field.bits > 64 ? "0x1234/0xffff" : "0x1";
    case "ether_type":
      return "0x0800";
    case "ipv4":
      return "10.0.0.0/255.0.0.0";
    case "ipv6":
      return "2001:db8::/ffff:ffff::";
    case "mac":
      return "02:00:00:00:00:01/ff:00:00:00:00:00";
    case "fragment":
      return "first";
    case "flags":
      return `+${field.flagNames[0]}-${field.flagNames[1]}`;
    case "port":
      return "1";
    case "geneve":
      return "({class=0x102,type=0x80,len=4,0x1234})";
    case "vxlan":
      return "(gbp(id=10,flags=0x8))";
    case "erspan":
      return "(ver=2,dir=1,hwid=0x7)";
    case "gtpu":
      return "(flags=0x30,msgtype=255)";
  }
}

/** A flow that matches on the attribute, with what it needs. */
export function exampleFlow(attribute: Attribute, table: FieldTable = FIELDS): string {
  const alone = attribute.fields.filter((field) =>
    field.at !== OPTIONS_AT || field.name === "geneve"
  );
  const inside = alone[0]!.name === ""
    ? exampleOf(alone[0]!)
    : alone.filter((field) => !isOtherFamily(field)).map(assignment).join(",");
  const own = `${attribute.name}(${inside})`;
  if (attribute.name === "vlan") return `eth(),eth_type(0x8100),${own},encap()`;
  if (attribute.name === "eth") return own;
  if (attribute.name === "eth_type") return `eth(),${own}`;
  const before = table.attributes.indexOf(attribute) < ethIndex(table);
  if (before) {
    const needs = attribute.requires === undefined ? "" : `,${firstOf(attribute.requires.text)}`;
    return `${own},eth()${needs}`;
  }
  const needs = attribute.requires === undefined ? "" : `${firstOf(attribute.requires.text)},`;
  return `eth(),${needs}${own}`;
}

const OPTIONS_AT = FIELDS.byName("tunnel")!.fields.find(({ name }) => name === "geneve")!.at;

function ethIndex(table: FieldTable): number {
  return table.indexOf(table.byName("eth")!);
}

/** A tunnel has addresses of one family. */
function isOtherFamily(field: Field): boolean {
  return field.name.startsWith("ipv6_") || field.name === "cfi";
}

function assignment(field: Field): string {
  const isOption = field.at === OPTIONS_AT;
  return field.name + (isOption || field.name === "flags" && field.form === "flags" ? "" : "=") +
    (field.form === "flags" && field.name === "flags" ? `(${exampleOf(field)})` : exampleOf(field));
}

/** The first of the alternatives that a requirement names. */
function firstOf(text: string): string {
  return text.split(" or ")[0]!;
}

function renderActions(): string {
  let text = "\n## Actions\n\nIn the order of their names. An empty list, and `drop`, drop the " +
    "packet.\n\n| action | meaning | example |\n| --- | --- | --- |\n";
  for (const { name, summary, example } of ACTION_TEXTS) {
    text += `| ${name} | ${escape(summary)} | \`${escape(example)}\` |\n`;
  }
  return text;
}

function renderLossyForms(): string {
  let text = "\n## Where the text of Open vSwitch loses something\n\n" +
    "Here we print the shortest form that reads back to the same, which is that of Open vSwitch " +
    "whenever it does.\n\n| what | Open vSwitch prints | we print |\n| --- | --- | --- |\n";
  for (const { what, theirs, ours } of LOSSY_FORMS) {
    text += `| ${escape(what)} | ${escape(theirs)} | ${escape(ours)} |\n`;
  }
  return text;
}

function renderDifferences(): string {
  let text = "\n## Differences from Open vSwitch 3.1\n\n" +
    "What tests that compare with Debian's Open vSwitch allow for, and nothing else.\n\n";
  for (const difference of DIFFERENCES) text += `- ${difference}\n`;
  return text;
}

const INTRODUCTION = `# The flow language

Generated by \`deno task docs\` from the tables in datapath/fields/fields.ts and datapath/text/actions/.

A flow says which packets it matches, actions what happens to them, both in the syntax of ovs-dpctl.
\`denovs flow-parse FLOW ACTIONS\` checks them and shows their canonical text, JSON and netlink
attributes; \`--explain\` says them in words. \`denovs packet-parse\` shows the flow of a packet,
\`denovs packet-make\` makes a packet of a flow.

Attributes stand one after another, with commas or blanks between them, in any order. Numbers are
decimal, hexadecimal after 0x, octal after 0. A field that is not written matches everything. Without
vlan() only untagged frames match. An attribute needs those beside it that say that its header is
there. An error names the column.
`;

const MASKS = `
## Masks

\`field=value/mask\` matches the bits that the mask has; without a mask all are matched. IPv4 and IPv6
masks may be a prefix length. Flags are names joined by \`|\` (exactly these are set) or each with \`+\`
(set) or \`-\` (not set). Masks of fields that are matched whole are taken as all ones.
`;

const NETLINK = `
## JSON and netlink

\`flow-parse\` prints, and takes, a flow as a JSON object from attribute to value, or to an object of
its fields. A masked value is \`{"value": …, "mask": …}\`; numbers wider than 32 bits, addresses and
flags are strings; tags (\`vlan\`), labels (\`mpls\`) and Geneve options are arrays. Actions are an array
of objects with a \`type\`: addresses in them are strings too, other bytes hexadecimal digits. Netlink
attributes are those of uapi/linux/openvswitch.h; where the kernel and ovs-vswitchd's own datapath
number differently, \`--dialect\` says whose are meant.
`;
