import assert from "node:assert/strict";
import { COMMAND_NAMES, DPCTL_ALIASES } from "../cli/commands.ts";
import { COMMAND_GROUPS, DPCTL_ONLY } from "../cli/help.ts";
import { FIELDS, FieldTable } from "../datapath/fields/field_table.ts";
import { attribute, field } from "../datapath/fields/field_types.ts";
import { parseActions } from "../datapath/text/action_text.ts";
import { ACTION_TEXTS } from "../datapath/text/actions/table.ts";
import { parseFlow } from "../datapath/text/flow_text.ts";
import { checkFlow } from "../datapath/validate/validate.ts";
import { GENERATED } from "./docs.ts";
import { exampleFlow, renderFlowLanguage } from "./flow_language.ts";

for (const [path, render] of GENERATED) {
  Deno.test(`${path} is what deno task docs writes`, async () => {
    const url = new URL(`../${path}`, import.meta.url);
    assert.equal(await Deno.readTextFile(url), await render(), "run: deno task docs");
  });
}

Deno.test("docs/flow-language.md: every example is a flow, or actions, that can be used", () => {
  for (const attribute of FIELDS.attributes) {
    const { key, mask } = parseFlow(exampleFlow(attribute));
    checkFlow(key, mask);
  }
  for (const { example } of ACTION_TEXTS) parseActions(example);
});

Deno.test("docs/flow-language.md: an attribute that is only in the table gets its section", () => {
  const fields = [field("level", [548, 1, "decimal"], "how much of it")];
  const madeUp = attribute("made_up", 60, "an attribute that nobody has", fields);
  const text = renderFlowLanguage(new FieldTable([...FIELDS.attributes, madeUp]));
  assert.match(text, /### made_up\n\nAn attribute that nobody has\. Netlink attribute 60\./);
  assert.match(text, /\| level \| 8 \| any \| `64` \| how much of it \|/);
  assert.match(text, /\neth\(\),made_up\(level=64\)\n/);
});

Deno.test("the overview and the reference have every command", () => {
  const shown = [
    ...COMMAND_GROUPS.flatMap(([, names]) => names),
    ...DPCTL_ONLY,
    "__complete",
    "__plugin-check",
  ];
  assert.deepEqual(shown.toSorted(), COMMAND_NAMES.toSorted());
  for (const ours of Object.values(DPCTL_ALIASES)) assert.ok(COMMAND_NAMES.includes(ours), ours);
});
