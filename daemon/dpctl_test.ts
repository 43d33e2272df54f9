import assert from "node:assert/strict";
import {
  parseDumpWords,
  parseFlowWords,
  parsePortNo,
  parsePortWords,
  splitFlow,
  UsageError,
  withDefaultVerb,
} from "./dpctl.ts";

Deno.test("parseFlowWords: the datapath may be left out", () => {
  const none = { dp: undefined, flow: "in_port(1)", actions: "2" };
  assert.deepEqual(parseFlowWords(["in_port(1)", "2"], "required"), none);
  assert.deepEqual(parseFlowWords(["dp0", "in_port(1)", "2"], "required"), { ...none, dp: "dp0" });
  assert.deepEqual(parseFlowWords(["netdev@dp0", "", "2"], "required"), {
    dp: "netdev@dp0",
    flow: "",
    actions: "2",
  });
  assert.deepEqual(parseFlowWords(["ufid:1234", "2"], "optional"), {
    dp: undefined,
    flow: "ufid:1234",
    actions: "2",
  });
  assert.deepEqual(parseFlowWords(["dp0", "ufid:1234"], "none"), {
    dp: "dp0",
    flow: "ufid:1234",
    actions: undefined,
  });
});

Deno.test("parseFlowWords: missing parts are named", () => {
  assert.throws(() => parseFlowWords([], "none"), UsageError);
  assert.throws(() => parseFlowWords(["dp0"], "required"), /FLOW is missing/);
  assert.throws(() => parseFlowWords(["in_port(1)"], "required"), /ACTIONS are missing/);
});

Deno.test("splitFlow: words torn by blanks are put together", () => {
  const cases: [string, string, string | undefined][] = [
    ["in_port(1) 2", "in_port(1)", "2"],
    ["in_port(1), eth() 2, 3", "in_port(1),eth()", "2,3"],
    ["in_port(1) , eth() 2 ,3", "in_port(1),eth()", "2,3"],
    ["in_port(1) eth() drop", "in_port(1),eth()", "drop"],
    ["in_port(1) eth() push_vlan(vid=5, pcp=0) 2", "in_port(1),eth()", "push_vlan(vid=5, pcp=0),2"],
    [
      "ufid:12 in_port(1) set(eth(src=00:00:00:00:00:01)),2",
      "ufid:12,in_port(1)",
      "set(eth(src=00:00:00:00:00:01)),2",
    ],
    ["ipv4(src=1.2.3.4, dst=5.6.7.8) pop_vlan", "ipv4(src=1.2.3.4, dst=5.6.7.8)", "pop_vlan"],
    ["in_port(1), eth()", "in_port(1),eth()", undefined],
    ["in_port(1) eth() eth_type(0x0800)", "in_port(1),eth(),eth_type(0x0800)", undefined],
  ];
  for (const [text, flow, actions] of cases) {
    assert.deepEqual(splitFlow(text.split(" ")), { flow, actions }, text);
  }
});

Deno.test("parsePortWords: settings by comma and by word", () => {
  assert.deepEqual(parsePortWords(["v0,type=vxlan,port_no=5,dst_port=4789", "key=flow", "e1"]), [
    { port: "v0", type: "vxlan", portNo: 5, options: { dst_port: "4789", key: "flow" } },
    { port: "e1", type: undefined, portNo: undefined, options: {} },
  ]);
  assert.deepEqual(parsePortWords(["v0,k="])[0]!.options, { k: "" });
});

Deno.test("parsePortWords: what is wrong is named", () => {
  assert.throws(() => parsePortWords(["v0,a=1,a=2"]), /duplicate "a" option/);
  assert.throws(() => parsePortWords(["v0,bare"]), /"bare" is not an option \(key=value\)/);
  assert.throws(() => parsePortWords(["a=1"]), /stands before any port/);
  assert.throws(() => parsePortWords([","]), /not a port/);
  assert.throws(() => parsePortWords(["v0,=x"]), UsageError);
});

Deno.test("parsePortNo: decimal and hexadecimal up to 65534; 0 asks for any", () => {
  assert.equal(parsePortNo("65534"), 65534);
  assert.equal(parsePortNo("0x10"), 16);
  assert.equal(parsePortNo("0"), 0);
  for (const text of ["65535", "-1", "1.5", "", "x", "1e3", "99999999999"]) {
    assert.throws(() => parsePortNo(text), UsageError, text);
  }
});

Deno.test("parseDumpWords: filter, type and datapath in any order", () => {
  assert.deepEqual(parseDumpWords(["filter=tcp,tp_dst=80", "dp0", "type=ovs"]), {
    dp: "dp0",
    filter: "tcp,tp_dst=80",
    wanted: true,
  });
  assert.equal(parseDumpWords(["type=tc,offloaded"]).wanted, false);
  assert.equal(parseDumpWords(["type=tc,ovs", "pmd=-1"]).wanted, true);
  assert.throws(() => parseDumpWords(["type=x"]), /unknown flow type "x"/);
  assert.throws(() => parseDumpWords(["a", "b"]), UsageError);
});

Deno.test("withDefaultVerb: verbs, their prefixes and comments stay", () => {
  const text = "# c\n\nin_port(1) 2\nadd in_port(2) 3\n  d in_port(3)\nmod in_port(4) 1";
  assert.equal(
    withDefaultVerb(text, "modify"),
    "# c\n\nmodify in_port(1) 2\nadd in_port(2) 3\n  d in_port(3)\nmod in_port(4) 1",
  );
  assert.equal(withDefaultVerb(text, "add"), text);
});
