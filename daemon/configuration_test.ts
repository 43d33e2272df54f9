import assert from "node:assert/strict";
import { type BatchRequest, CommandError, type MethodName, type Methods } from "./api.ts";
import type { Configuration } from "./configuration.ts";
import { makeConfiguration } from "./testing/memory_backend.ts";

const TCP = "in_port(1),eth(),eth_type(0x0800),ipv4(proto=6),tcp(dst=80)";

/** That a request is refused with this code and a message that fits. */
async function refuses<M extends MethodName>(
  configuration: Configuration,
  [method, params]: [M, Methods[M]["params"]],
  [code, message]: [string, RegExp],
): Promise<CommandError> {
  let thrown: unknown;
  try {
    await configuration.execute(method, params);
  } catch (error) {
    thrown = error;
  }
  assert.ok(thrown instanceof CommandError, `${method} ${JSON.stringify(params)} is refused`);
  assert.equal(thrown.code, code, thrown.message);
  assert.match(thrown.message, message);
  return thrown;
}

function batch(
  ...items: [BatchRequest["method"], BatchRequest["params"]][]
): Methods["batch"]["params"] {
  return { requests: items.map(([method, params], at) => ({ line: at + 1, method, params })) };
}

async function dump(configuration: Configuration, dp?: string): Promise<string[]> {
  const { flows } = await configuration.execute("flow-dump", { dp });
  return flows.map(({ flow, actions }) => `${flow} ${actions}`);
}

async function ports(configuration: Configuration, dp?: string): Promise<string[]> {
  const list = await configuration.execute("port-list", { dp });
  return list.ports.map(({ portNo, name, type }) => `${portNo} ${name} ${type}`);
}

Deno.test("dp-add makes a datapath with port 0, of its type, once", async () => {
  const { backend, configuration } = makeConfiguration();
  assert.deepEqual(await configuration.execute("dp-add", { dp: "br0" }), { created: true });
  assert.deepEqual(await ports(configuration), ["0 br0 internal"]);
  const [loose, put, port, owned] = backend.saved;
  assert.ok(put?.op === "dp-put" && port?.op === "port-put");
  // Before the device is made it is noted as loose, and no more when it has its port.
  assert.deepEqual([loose?.op, owned?.op], ["loose-put", "loose-del"]);
  assert.match(port.port.mac!, /^.[26ae](:..){5}$/);
  await refuses(configuration, ["dp-add", { dp: "br0" }], ["EEXIST", /"br0": it exists already/]);
  await refuses(configuration, ["dp-add", { dp: "dummy@br0" }], ["EEXIST", /exists already/]);
  assert.deepEqual(
    await configuration.execute("dp-add", { dp: "netdev@br0", mayExist: true }),
    { created: false },
  );
  await refuses(
    configuration,
    ["dp-add", { dp: "br0", miss: "learn", mayExist: true }],
    ["EEXIST", /exists with miss drop \(dp-set changes it\)/],
  );
  await refuses(
    configuration,
    ["dp-add", { dp: "dummy@br0", mayExist: true }],
    ["EEXIST", /exists as netdev@br0/],
  );
  await configuration.execute("dp-add", { dp: "dummy@dp1" });
  assert.deepEqual(await ports(configuration, "dp1"), ["0 dp1 dummy"]);
  assert.deepEqual(await configuration.execute("dp-list", {}), {
    datapaths: [{ name: "br0", type: "netdev" }, { name: "dp1", type: "dummy" }],
  });
});

Deno.test("names that no device can have, and unknown types, are refused with what is allowed", async () => {
  const { configuration } = makeConfiguration();
  const names: [string, RegExp][] = [
    ["", /empty \(1 to 15 bytes\)/],
    ["sixteen-bytes-xx", /16 bytes \(at most 15\)/],
    ["ääääääää", /16 bytes/],
    ["a/b", /slash/],
    ["a:1", /colon/],
    [".", /directory/],
    ["a b", /blank/],
    ["a\u0007b", /control/],
  ];
  for (const [name, message] of names) {
    await refuses(configuration, ["dp-add", { dp: name }], ["EINVAL", message]);
  }
  await refuses(
    configuration,
    ["dp-add", { dp: "system@br0" }],
    ["EOPNOTSUPP", /system@br0 is the kernel's: denovs commands drive it, the daemon does not/],
  );
  await refuses(
    configuration,
    ["dp-add", { dp: "kernel@br0" }],
    ["EINVAL", /unknown datapath type "kernel"/],
  );
  await configuration.execute("dp-add", { dp: "br0" });
  for (const [name, message] of names) {
    await refuses(configuration, ["port-add", { port: name }], ["EINVAL", message]);
  }
  await refuses(
    configuration,
    ["port-add", { port: "v0", type: "vxlan" }],
    ["EINVAL", /unknown type "vxlan" \(known: netdev, internal, dummy; load a plug-in/],
  );
  await refuses(
    configuration,
    ["port-add", { port: "v0", options: { color: "red" } }],
    ["EINVAL", /cannot add port "v0" to br0: Unknown option color=red/],
  );
});

Deno.test("DP may be left out only while there is one datapath", async () => {
  const { configuration } = makeConfiguration();
  await refuses(configuration, ["port-list", {}], ["ENODEV", /no datapath exists \(dp-add/]);
  await configuration.execute("dp-add", { dp: "br0" });
  await configuration.execute("port-list", {});
  await configuration.execute("dp-add", { dp: "br1" });
  await refuses(configuration, ["port-list", {}], ["EINVAL", /There are 2; name one \(.*br0, br1/]);
  await refuses(configuration, ["port-list", { dp: "br2" }], ["ENODEV", /no datapath "br2"/]);
  await refuses(configuration, ["port-list", { dp: "dummy@br0" }], ["ENODEV", /netdev@br0/]);
  await refuses(configuration, ["dp-del", { dp: "br2" }], ["ENODEV", /no datapath "br2"/]);
  assert.deepEqual(await configuration.execute("dp-del", { dp: "br2", ifExists: true }), {
    deleted: false,
  });
  await configuration.execute("dp-del", { dp: "br1" });
  await configuration.execute("port-list", {});
});

Deno.test("port-add gives the lowest free number from 1 and refuses taken and impossible ones", async () => {
  const { configuration } = makeConfiguration();
  await configuration.execute("dp-add", { dp: "br0" });
  const add = async (port: string, portNo?: number): Promise<number> =>
    (await configuration.execute("port-add", { port, portNo })).portNo;
  assert.deepEqual([await add("a"), await add("b", 3), await add("c"), await add("d")], [
    1,
    3,
    2,
    4,
  ]);
  await configuration.execute("port-del", { port: "a" });
  assert.equal(await add("e", 0), 1);
  await refuses(configuration, ["port-add", { port: "f", portNo: 3 }], [
    "EBUSY",
    /3 is taken by "b"/,
  ]);
  await refuses(configuration, ["port-add", { port: "f", portNo: 65535 }], ["EFBIG", /65535/]);
  await refuses(configuration, ["port-add", { port: "f", portNo: 1e9 }], ["EFBIG", /too large/]);
  await refuses(configuration, ["port-add", { port: "f", portNo: -1 }], ["EINVAL", /-1/]);
  await refuses(configuration, ["port-add", { port: "f", portNo: 1.5 }], ["EINVAL", /1\.5/]);
  assert.equal(await add("g", 65534), 65534);
  await refuses(configuration, ["port-add", { port: "b" }], ["EEXIST", /it is port 3 of br0/]);
  assert.deepEqual(
    await configuration.execute("port-add", { port: "b", portNo: 3, mayExist: true }),
    { created: false, portNo: 3 },
  );
  await refuses(
    configuration,
    ["port-add", { port: "b", portNo: 4, mayExist: true }],
    ["EEXIST", /it exists with number 3/],
  );
});

Deno.test("a device is in one datapath only, and a datapath's name is a device", async () => {
  const { configuration } = makeConfiguration();
  await configuration.execute("dp-add", { dp: "br0" });
  await configuration.execute("dp-add", { dp: "br1" });
  await configuration.execute("port-add", { dp: "br0", port: "eth0" });
  await refuses(
    configuration,
    ["port-add", { dp: "br1", port: "eth0" }],
    ["EBUSY", /to br1: it is port 1 of br0 already/],
  );
  await refuses(configuration, ["port-add", { dp: "br1", port: "br0" }], [
    "EBUSY",
    /port 0 of br0/,
  ]);
  await refuses(configuration, ["dp-add", { dp: "eth0" }], [
    "EEXIST",
    /br0 has a port of this name/,
  ]);
});

Deno.test("port-del takes a name or a number, but never port 0", async () => {
  const { configuration } = makeConfiguration();
  await configuration.execute("dp-add", { dp: "br0" });
  await configuration.execute("port-add", { port: "eth0", portNo: 5 });
  await refuses(configuration, ["port-del", { port: "br0" }], ["EINVAL", /port 0.*\(dp-del\)/]);
  await refuses(configuration, ["port-del", { port: "0" }], ["EINVAL", /port 0/]);
  await refuses(configuration, ["port-del", { port: "eth1" }], ["ENOENT", /br0 has no such port/]);
  await configuration.execute("port-del", { port: "5" });
  assert.deepEqual(await configuration.execute("port-del", { port: "5", ifExists: true }), {
    deleted: false,
  });
});

Deno.test("flow-add refuses duplicates, also where an installed flow matches the new flow's key", async () => {
  const { configuration } = makeConfiguration();
  await configuration.execute("dp-add", { dp: "br0" });
  const { ufid } = await configuration.execute("flow-add", { flow: TCP, actions: "2" });
  assert.match(ufid, /^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$/);
  await refuses(
    configuration,
    ["flow-add", { flow: TCP, actions: "drop" }],
    ["EEXIST", /it exists already: .*in_port\(1\).*tcp\(dst=80\)/],
  );
  const narrower = TCP.replace("dst=80", "src=7,dst=80");
  await refuses(
    configuration,
    ["flow-add", { flow: narrower, actions: "drop" }],
    ["EEXIST", /its key is matched already by .*tcp\(dst=80\)/],
  );
  assert.deepEqual(
    await configuration.execute("flow-add", { flow: TCP, actions: "2", mayExist: true }),
    { ufid, created: false },
  );
  await refuses(
    configuration,
    ["flow-add", { flow: TCP, actions: "3", mayExist: true }],
    ["EEXIST", /exists with other actions.*flow-mod/],
  );
});

Deno.test("flow-mod, flow-get and flow-del find a flow by its text or UFID", async () => {
  const { configuration } = makeConfiguration();
  await configuration.execute("dp-add", { dp: "br0" });
  await refuses(configuration, ["flow-mod", { flow: TCP, actions: "1" }], [
    "ENOENT",
    /no such flow/,
  ]);
  await refuses(configuration, ["flow-del", { flow: TCP }], ["ENOENT", /no such flow/]);
  await refuses(
    configuration,
    ["flow-mod", { flow: TCP, mayCreate: true }],
    ["EINVAL", /no actions are given/],
  );
  const made = await configuration.execute("flow-mod", {
    flow: TCP,
    actions: "1",
    mayCreate: true,
  });
  assert.equal(made.created, true);
  const byUfid = `ufid:${made.ufid}`;
  await refuses(
    configuration,
    ["flow-mod", { flow: byUfid, actions: "2" }],
    ["EINVAL", /checked against the flow's key/],
  );
  await configuration.execute("flow-mod", { flow: byUfid, clear: true });
  const changed = await configuration.execute("flow-mod", { flow: TCP, actions: "2" });
  assert.deepEqual(changed, {
    ufid: made.ufid,
    created: false,
    stats: { packets: 0, bytes: 0, usedMs: null, tcpFlags: 0 },
  });
  const { flow } = await configuration.execute("flow-get", { flow: byUfid });
  assert.equal(flow.actions, "2");
  await refuses(
    configuration,
    ["flow-del", { flow: TCP.replace("dst=80", "src=7,dst=80") }],
    ["ENOENT", /its key is matched by .*, which has another mask/],
  );
  assert.equal((await configuration.execute("flow-del", { flow: byUfid })).deleted, true);
  assert.deepEqual(await configuration.execute("flow-del", { flow: TCP, ifExists: true }), {
    deleted: false,
    stats: null,
  });
  assert.deepEqual(await dump(configuration), []);
});

Deno.test("syntax errors show where; rules say what is needed; nothing is half done", async () => {
  const { backend, configuration } = makeConfiguration();
  await configuration.execute("dp-add", { dp: "br0" });
  const saved = backend.saved.length;
  const syntax = await refuses(
    configuration,
    ["flow-add", { flow: "in_port(1),nonsense(2)", actions: "1" }],
    ["ESYNTAX", /column 12/],
  );
  assert.match(syntax.caret!, /^in_port\(1\),nonsense\(2\)\n {11}\^$/);
  await refuses(configuration, ["flow-add", { flow: TCP, actions: "fly(1)" }], [
    "ESYNTAX",
    /column 1/,
  ]);
  await refuses(
    configuration,
    ["flow-add", { flow: "in_port(1),eth(),eth_type(0x0800),tcp(dst=80)", actions: "1" }],
    ["ESYNTAX", /tcp\(\) needs .*proto=6/],
  );
  assert.equal(backend.saved.length, saved);
  assert.deepEqual(await dump(configuration), []);
});

Deno.test("names of ports stand for their numbers in keys and actions", async () => {
  const { configuration } = makeConfiguration();
  await configuration.execute("dp-add", { dp: "br0" });
  await configuration.execute("port-add", { port: "eth0", portNo: 7 });
  await configuration.execute("flow-add", { flow: "in_port(eth0)", actions: "br0,eth0" });
  const [numbers] = await dump(configuration);
  assert.match(numbers!, /in_port\(7\).* 0,7$/);
  const named = await configuration.execute("flow-dump", { names: true });
  assert.match(named.flows[0]!.flow, /in_port\(eth0\)/);
  assert.equal(named.flows[0]!.actions, "br0,eth0");
  await refuses(
    configuration,
    ["flow-add", { flow: "in_port(eth9)", actions: "1" }],
    ["ESYNTAX", /eth9/],
  );
});

Deno.test("batch is all or nothing, and its error has the line", async () => {
  const { backend, configuration } = makeConfiguration();
  backend.missing.add("gone0");
  const setUp = (...last: Parameters<typeof batch>): Methods["batch"]["params"] =>
    batch(
      ["dp-add", { dp: "br0" }],
      ["port-add", { dp: "br0", port: "eth0" }],
      ["flow-add", { dp: "br0", flow: "in_port(eth0)", actions: "drop" }],
      ...last,
    );
  const fault = await refuses(
    configuration,
    ["batch", setUp(["flow-add", { dp: "br0", flow: "in_port(eth0)", actions: "1" }])],
    ["EEXIST", /exists already/],
  );
  assert.equal(fault.line, 4);
  const attach = await refuses(
    configuration,
    ["batch", setUp(["port-add", { dp: "br0", port: "gone0" }], ["dp-add", { dp: "br1" }])],
    ["ENODEV", /cannot add port "gone0" to br0: cannot find device/],
  );
  assert.equal(attach.line, 4);
  backend.saveFails = true;
  await refuses(configuration, ["batch", setUp()], ["EINTERNAL", /the disk is full/]);
  backend.saveFails = false;
  assert.deepEqual(await configuration.execute("dp-list", {}), { datapaths: [] });
  assert.deepEqual(backend.saved.filter(({ op }) => !op.startsWith("loose-")), []);
  const events = backend.takeEvents();
  const count = (event: RegExp): number => events.filter((one) => event.test(one)).length;
  assert.equal(count(/^\+br0$/), count(/^-br0 delete$/));
  assert.equal(count(/^\+br0:1=eth0$/), count(/^-br0:1 delete$/));

  assert.deepEqual(await configuration.execute("batch", setUp()), { done: 3 });
  assert.equal((await dump(configuration)).length, 1);
});

Deno.test("batch gives ports that ask for a number theirs first", async () => {
  const { configuration } = makeConfiguration();
  await configuration.execute(
    "batch",
    batch(
      ["dp-add", { dp: "br0" }],
      ["port-add", { port: "a" }],
      ["port-add", { port: "b", portNo: 1 }],
      ["port-add", { port: "c" }],
    ),
  );
  assert.deepEqual((await ports(configuration)).slice(1), [
    "1 b netdev",
    "2 a netdev",
    "3 c netdev",
  ]);
});

Deno.test("batch may delete and make anew what has the same name, device or number", async () => {
  const { backend, configuration } = makeConfiguration();
  await configuration.execute(
    "batch",
    batch(
      ["dp-add", { dp: "br0" }],
      ["port-add", { port: "eth0" }],
      ["port-add", { port: "in0", type: "internal" }],
      ["flow-add", { flow: "in_port(1)", actions: "drop" }],
    ),
  );
  backend.takeEvents();
  await configuration.execute(
    "batch",
    batch(
      ["port-del", { port: "in0" }],
      ["port-add", { port: "in0", type: "internal", portNo: 9 }],
      ["port-del", { port: "eth0" }],
      ["port-add", { port: "eth1", portNo: 1 }],
    ),
  );
  assert.deepEqual(backend.takeEvents(), [
    "-br0:1 delete",
    "-br0:2 close",
    "+br0:1=eth1",
    "+br0:9=in0",
  ]);
  await configuration.execute(
    "batch",
    batch(
      ["dp-del", { dp: "br0" }],
      ["dp-add", { dp: "br0" }],
      ["port-add", { port: "eth1" }],
    ),
  );
  assert.deepEqual(await dump(configuration), []);
  assert.deepEqual(await ports(configuration), ["0 br0 internal", "1 eth1 netdev"]);
  const events = backend.takeEvents();
  assert.ok(events.indexOf("-br0:1 delete") < events.indexOf("+br0:1=eth1"), events.join());
  assert.deepEqual(events.slice(-3), ["-br0 delete", "no br0", "no in0"]);
});

Deno.test("an undone batch puts back what it had taken", async () => {
  const { backend, configuration } = makeConfiguration();
  await configuration.execute("dp-add", { dp: "br0" });
  await configuration.execute("port-add", { port: "eth0" });
  backend.missing.add("gone0");
  backend.takeEvents();
  await refuses(
    configuration,
    ["batch", batch(["port-del", { port: "eth0" }], ["port-add", { port: "gone0" }])],
    ["ENODEV", /gone0/],
  );
  assert.deepEqual(backend.takeEvents(), ["-br0:1 delete", "!br0:1=gone0", "+br0:1=eth0"]);
  assert.deepEqual(await ports(configuration), ["0 br0 internal", "1 eth0 netdev"]);
});

Deno.test("flow-load adds, modifies and deletes in one go, or tells the line of the first fault", async () => {
  const { configuration } = makeConfiguration();
  await configuration.execute("dp-add", { dp: "br0" });
  const text = "# two flows\nin_port(1) 2\n\n  add in_port(2)   1 # and back\r\n";
  assert.deepEqual(await configuration.execute("flow-load", { text }), {
    added: 2,
    modified: 0,
    deleted: 0,
  });
  const before = await dump(configuration);
  const bad = "del in_port(1)\nmod in_port(2) drop\nin_port(2) 3\n";
  const fault = await refuses(configuration, ["flow-load", { text: bad }], ["EEXIST", /exists/]);
  assert.equal(fault.line, 3);
  assert.deepEqual(await dump(configuration), before);
  for (
    const [line, message] of [["in_port(3)", /no actions/], ["sub in_port(1) 2", /"sub"/]] as const
  ) {
    const error = await refuses(
      configuration,
      ["flow-load", { text: `\n${line}` }],
      ["EINVAL", message],
    );
    assert.equal(error.line, 2);
  }
  const result = await configuration.execute("flow-load", {
    text: bad.replace("in_port(2) 3", ""),
  });
  assert.deepEqual(result, { added: 0, modified: 1, deleted: 1 });
  assert.match((await dump(configuration)).join(), /^[^ ]*in_port\(2\)[^ ]* drop$/);
});

Deno.test("flow-load with replace makes the table what the text says", async () => {
  const { backend, configuration } = makeConfiguration();
  await configuration.execute("dp-add", { dp: "br0" });
  await configuration.execute("flow-load", { text: "in_port(1) 1\nin_port(2) 2\nin_port(3) 3" });
  const saved = backend.saved.length;
  const result = await configuration.execute("flow-load", {
    text: "in_port(2) 2\nin_port(3) 4\nin_port(4) 4",
    replace: true,
  });
  assert.deepEqual(result, { added: 1, modified: 2, deleted: 1 });
  // What stays as it is is not written again.
  assert.equal(backend.saved.length - saved, 3);
  assert.deepEqual((await dump(configuration)).map((line) => line.split(" ")[1]), ["2", "4", "4"]);
  const twice = await refuses(
    configuration,
    ["flow-load", { text: "in_port(2) 2\nin_port(2) 3", replace: true }],
    ["EEXIST", /same flow as in line 1/],
  );
  assert.equal(twice.line, 2);
  assert.equal((await dump(configuration)).length, 3);
});

Deno.test("flow-dump filters by an OpenFlow match; flow-flush empties the table", async () => {
  const { configuration } = makeConfiguration();
  await configuration.execute("dp-add", { dp: "br0" });
  await configuration.execute("flow-load", { text: `${TCP} 2\nin_port(2),eth_type(0x0806) 1` });
  const filtered = await configuration.execute("flow-dump", { filter: "arp" });
  assert.deepEqual(filtered.flows.map(({ actions }) => actions), ["1"]);
  assert.deepEqual(await configuration.execute("flow-flush", {}), { deleted: 2 });
  assert.deepEqual(await dump(configuration), []);
});

Deno.test("flow-dump says which UFIDs users gave, when asked", async () => {
  const { configuration } = makeConfiguration();
  await configuration.execute("dp-add", { dp: "br0" });
  const ufid = "8a6e0b5c-0000-4b5e-9d7b-0123456789ab";
  await configuration.execute("flow-load", { text: `ufid:${ufid},in_port(1) 2\nin_port(2) 1` });
  const { flows } = await configuration.execute("flow-dump", { givenUfids: true });
  assert.deepEqual(flows.map((flow) => [flow.actions, flow.givenUfid]), [
    ["2", true],
    ["1", undefined],
  ]);
  assert.equal(flows[0]!.ufid, ufid);
});

Deno.test("dp-set changes the miss policy; dp-del takes ports and flows with it", async () => {
  const { backend, configuration } = makeConfiguration();
  await configuration.execute("dp-add", { dp: "br0" });
  await configuration.execute("dp-set", { miss: "learn" });
  await refuses(configuration, ["dp-set", {}], ["EINVAL", /nothing to set/]);
  await refuses(configuration, ["dp-set", { miss: "fly" as "drop" }], [
    "EINVAL",
    /drop, flood, learn/,
  ]);
  const { datapaths } = await configuration.execute("dp-show", { dps: [] });
  assert.equal(datapaths[0]?.miss, "learn");
  await configuration.execute("dp-del", { dp: "br0" });
  assert.deepEqual(backend.takeEvents(), [
    "+br0",
    "+br0:0=br0",
    "br0 misses learn",
    "-br0 delete",
    "no br0",
  ]);
});

Deno.test("parameters of a wrong shape are refused before anything is done", async () => {
  const { configuration } = makeConfiguration();
  const execute = (method: string, params: unknown): Promise<unknown> =>
    configuration.execute(method as "dp-add", params as Methods["dp-add"]["params"]);
  await assert.rejects(execute("dp-add", { dp: 1 }), /"dp" must be a text/);
  await assert.rejects(execute("dp-add", { dp: "x", nonsense: 1 }), /unknown parameter "nonsense"/);
  await assert.rejects(execute("dp-add", []), /must be one object/);
  await assert.rejects(execute("dp-add", { dp: "x", flowsMax: 1e99 }), /flows at most/);
  await assert.rejects(
    execute("batch", { requests: [{ line: 1, method: "stop", params: {} }] }),
    /list/,
  );
  const inner = { requests: [{ line: 4, method: "dp-add", params: { dp: 5 } }] };
  await assert.rejects(
    execute("batch", inner),
    (error) => error instanceof CommandError && error.line === 4,
  );
});

Deno.test("requests that change go one after another; dumps run beside them", async () => {
  const { configuration } = makeConfiguration();
  const results = await Promise.allSettled([
    configuration.execute("dp-add", { dp: "br0" }),
    configuration.execute("dp-list", {}),
    configuration.execute("dp-add", { dp: "br0" }),
    configuration.execute("port-add", { port: "eth0" }),
  ]);
  assert.deepEqual(results.map(({ status }) => status), [
    "fulfilled",
    "fulfilled",
    "rejected",
    "fulfilled",
  ]);
  assert.deepEqual(results[1], { status: "fulfilled", value: { datapaths: [] } });
});

Deno.test("flow-dump does not show what a request has only staged", async () => {
  const { backend, configuration } = makeConfiguration();
  await configuration.execute("dp-add", { dp: "br0" });
  await configuration.execute("flow-load", { text: "in_port(1) 1\nin_port(2) 2" });
  const before = await dump(configuration);
  const gate = Promise.withResolvers<void>();
  backend.onSave = () => gate.promise;
  const text = "delete in_port(1)\nmodify in_port(2) 9\nin_port(3) 3";
  const load = configuration.execute("flow-load", { text });
  await new Promise((done) => setTimeout(done, 5));
  assert.deepEqual(await dump(configuration), before);
  gate.resolve();
  await load;
  assert.deepEqual((await dump(configuration)).map((line) => line.split(" ")[1]), ["9", "3"]);
});
