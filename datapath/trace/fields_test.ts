import assert from "node:assert/strict";
import { parseFlow } from "../text/flow_text.ts";
import { differingFields } from "./fields.ts";

Deno.test("differingFields: labels by their fields, then how many there are", () => {
  const flow = parseFlow("eth_type(0x8847),mpls(label=5,label=0/0)");
  const differences = (labels: string): unknown =>
    differingFields(flow, parseFlow(`eth_type(0x8847),mpls(${labels})`).key);
  const rest = "tc=0,ttl=1,bos=1";
  assert.deepEqual(differences(`label=6,${rest}`), [
    { field: "mpls[0].label", wanted: "5", got: "6" },
  ]);
  assert.deepEqual(differences(`label=5,${rest}`), [
    { field: "mpls labels", wanted: "2", got: "1" },
  ]);
  assert.deepEqual(differences(`label=5,tc=0,ttl=1,bos=0,label=7,${rest}`), []);
});
