/** The kernel's rules and every kind of bad input, as the user sees them. No privileges: class dummy. */
import assert from "node:assert/strict";
import { Denovs } from "./denovs.ts";
import { rootTest, withLab } from "./lab.ts";
import { twoHosts } from "./traffic.ts";

/** Runs `fn` with a daemon that has the dummy datapath dp0 with ports 1 (p1) and 2 (p2). */
function dummyTest(name: string, fn: (denovs: Denovs) => Promise<void>): void {
  Deno.test({
    name,
    sanitizeOps: false,
    sanitizeResources: false,
    async fn(): Promise<void> {
      const folder = Deno.makeTempDirSync({ prefix: "dnv-dummy-" });
      const denovs = new Denovs(folder);
      try {
        await denovs.start();
        await denovs.cli("dp-add", "dummy@dp0");
        await denovs.cli("port-add", "dp0", "p1", "--type", "dummy");
        await denovs.cli("port-add", "dp0", "p2", "--type", "dummy");
        await fn(denovs);
        assert.equal(await denovs.end(), 0, denovs.log());
      } finally {
        denovs.kill();
        Deno.removeSync(folder, { recursive: true });
      }
    },
  });
}

const UDP = "in_port(1),eth(),eth_type(0x0800),ipv4(proto=17),udp(dst=53)";

dummyTest("rules: a duplicate flow is EEXIST, --may-exist is not", async (denovs) => {
  await denovs.cli("flow-add", "dp0", "in_port(1)", "2");
  assert.match(await denovs.refused("flow-add", "dp0", "in_port(1)", "drop"), /exists/i);
  await denovs.cli("flow-add", "dp0", "in_port(1)", "2", "--may-exist");
  // An installed flow that already matches the new flow's unmasked key.
  assert.match(await denovs.refused("flow-add", "dp0", UDP, "2"), /exists|matched/i);
  assert.equal((await denovs.flows("dp0")).length, 1);
});

dummyTest("rules: changing, getting and deleting a missing flow is ENOENT", async (denovs) => {
  for (
    const command of [["flow-mod", "dp0", UDP, "2"], ["flow-get", "dp0", UDP], [
      "flow-del",
      "dp0",
      UDP,
    ]]
  ) {
    assert.match(await denovs.refused(...command), /no (such )?flow|not found|no flow/i);
  }
  await denovs.cli("flow-del", "dp0", UDP, "--if-exists");
  await denovs.cli("flow-mod", "dp0", UDP, "2", "--may-create");
  assert.match(await denovs.cli("flow-get", "dp0", UDP), /udp\(dst=53\).*actions:2/);
});

dummyTest("rules: port numbers and names", async (denovs) => {
  assert.match(
    await denovs.refused("port-add", "dp0", "p3", "--type", "dummy", "--port-no", "2"),
    /port (number )?2/,
  );
  assert.match(await denovs.refused("port-add", "dp0", "p1", "--type", "dummy"), /p1/);
  await denovs.cli("port-add", "dp0", "p1", "--type", "dummy", "--may-exist");
  assert.match(await denovs.refused("port-del", "dp0", "dp0"), /LOCAL|port 0|local/i);
  assert.match(await denovs.refused("port-del", "dp0", "0"), /LOCAL|port 0|local/i);
  assert.match(await denovs.refused("port-del", "dp0", "nobody"), /nobody/);
  await denovs.cli("port-del", "dp0", "nobody", "--if-exists");
  const tooLong = await denovs.try(["port-add", "dp0", "abcdefghijklmnop", "--type", "dummy"]);
  assert.ok(tooLong.code === 1 || tooLong.code === 2);
  assert.match(tooLong.stderr, /15/);
  for (const number of ["65535", "70000", "-1", "x"]) {
    const done = await denovs.try([
      "port-add",
      "dp0",
      "p9",
      "--type",
      "dummy",
      `--port-no=${number}`,
    ]);
    assert.notEqual(done.code, 0, number);
    assert.match(done.stderr, /65534|port/i);
  }
  // The lowest free number is given again.
  await denovs.cli("port-del", "dp0", "p1");
  await denovs.cli("port-add", "dp0", "p7", "--type", "dummy");
  const ports = (await denovs.show("dp0")).ports.map(({ portNo, name }) => `${portNo}:${name}`);
  assert.deepEqual(ports, ["0:dp0", "1:p7", "2:p2"]);
});

dummyTest("rules: datapaths", async (denovs) => {
  assert.match(await denovs.refused("dp-add", "dummy@dp0"), /dp0.*exists/i);
  await denovs.cli("dp-add", "dummy@dp0", "--may-exist");
  assert.match(await denovs.refused("dp-del", "nobody"), /nobody/);
  await denovs.cli("dp-del", "nobody", "--if-exists");
  assert.match(await denovs.refused("flow-dump", "nobody"), /nobody/);
  await denovs.cli("flow-dump"); // the only one
  await denovs.cli("dp-add", "dummy@dp1");
  assert.match((await denovs.try(["flow-dump"])).stderr, /dp0|datapath/);
});

/** Words that must be refused, and what the message has to name. */
const BAD_INPUT: readonly (readonly [string, readonly string[], RegExp])[] = [
  ["unknown field", ["flow-add", "dp0", "in_port(1),color(red)", "2"], /color/],
  ["unknown action", ["flow-add", "dp0", "in_port(1)", "teleport(2)"], /teleport/],
  ["unknown option of a command", ["flow-add", "dp0", "in_port(1)", "2", "--nonsense"], /nonsense/],
  ["unknown command", ["flow-frobnicate"], /flow-frobnicate/],
  ["unknown port type", ["port-add", "dp0", "x1", "--type", "warp"], /warp/],
  ["unknown port option", ["port-add", "dp0", "x1", "--type", "dummy", "colour=blue"], /colour/],
  [
    "malformed MAC",
    ["flow-add", "dp0", "in_port(1),eth(src=02:00:00:00:00)", "2"],
    /02:00|src|eth/,
  ],
  [
    "malformed MAC digit",
    ["flow-add", "dp0", "in_port(1),eth(src=02:00:00:00:00:zz)", "2"],
    /src|eth|zz/,
  ],
  ["malformed mask", [
    "flow-add",
    "dp0",
    "in_port(1),eth(),eth_type(0x0800),ipv4(src=10.0.0.1/33.0.0.0.0)",
    "2",
  ], /mask|src|ipv4/i],
  ["malformed IPv4 address", [
    "flow-add",
    "dp0",
    "in_port(1),eth(),eth_type(0x0800),ipv4(src=10.0.0.300)",
    "2",
  ], /10\.0\.0\.300|src|ipv4/],
  ["port in a flow", ["flow-add", "dp0", "in_port(65536)", "2"], /65536|in_port|65535/],
  ["output port", ["flow-add", "dp0", "in_port(1)", "65536"], /65536|65534|port/],
  [
    "tcp without ipv4 or ipv6",
    ["flow-add", "dp0", "in_port(1),eth(),tcp(dst=80)", "2"],
    /eth_type|ipv4|proto/,
  ],
  ["tcp without proto 6", [
    "flow-add",
    "dp0",
    "in_port(1),eth(),eth_type(0x0800),ipv4(),tcp(dst=80)",
    "2",
  ], /proto/],
  [
    "ipv4 without eth_type",
    ["flow-add", "dp0", "in_port(1),eth(),ipv4(src=10.0.0.1)", "2"],
    /eth_type|0x0800/,
  ],
  [
    "vlan without a tag's type",
    ["flow-add", "dp0", "in_port(1),eth(),vlan(vid=5),encap()", "2"],
    /eth_type|0x8100|vlan/,
  ],
  [
    "vid out of range",
    ["flow-add", "dp0", "in_port(1)", "push_vlan(vid=4096,pcp=0),2"],
    /4096|4095|vid/,
  ],
  ["unclosed parenthesis", ["flow-add", "dp0", "in_port(1", "2"], /in_port|\)/],
  ["twice the same field", ["flow-add", "dp0", "in_port(1),in_port(2)", "2"], /in_port/],
  [
    "set of what is not matched",
    ["flow-add", "dp0", "in_port(1)", "set(ipv4(src=1.2.3.4)),2"],
    /ipv4|eth_type/,
  ],
  ["set tcp on udp", ["flow-add", "dp0", UDP, "set(tcp(dst=1)),2"], /tcp|proto/],
  [
    "set of a read-only field",
    ["flow-add", "dp0", "in_port(1)", "set(in_port(2)),2"],
    /in_port|set/,
  ],
];

dummyTest("rules: bad input is refused with a reason and changes nothing", async (denovs) => {
  const before = await denovs.cli("dp-show");
  for (const [what, command, names] of BAD_INPUT) {
    const done = await denovs.try(command);
    assert.ok(
      done.code === 1 || done.code === 2,
      `${what}: exit status ${done.code} ${done.stdout}`,
    );
    assert.match(done.stderr, names, what);
    assert.doesNotMatch(done.stderr, /\bat file:|\bat async |Uncaught|TypeError|undefined/, what);
  }
  assert.equal(await denovs.cli("flow-dump", "dp0"), "");
  assert.equal(
    (await denovs.cli("dp-show")).replace(/lookups.*/, ""),
    before.replace(/lookups.*/, ""),
  );
});

dummyTest("rules: a syntax error shows the column with a caret", async (denovs) => {
  const { stderr } = await denovs.try(["flow-add", "dp0", "in_port(1),eth(src=zz)", "2"]);
  assert.match(stderr, /\n\s*\^/);
});

dummyTest("rules: a batch is all or nothing and names its first bad line", async (denovs) => {
  const bad = [
    "# two flows and a mistake",
    "flow-add dp0 in_port(1) 2",
    "",
    "flow-add dp0 in_port(2) warp",
  ];
  const refused = await denovs.try(["batch", "-"], bad.join("\n"));
  assert.equal(refused.code, 1);
  assert.match(refused.stderr, /\b4\b/);
  assert.deepEqual(await denovs.flows("dp0"), []);
  const clash = [
    "dp-add dummy@dp7",
    "port-add dp7 q1 --type dummy",
    "port-add dp7 q1 --type dummy",
  ];
  const second = await denovs.try(["batch", "-"], clash.join("\n"));
  assert.equal(second.code, 1);
  assert.match(second.stderr, /\b3\b/);
  assert.equal(await denovs.cli("dp-list"), "dummy@dp0\n");
  const good = ["dp-add dummy@dp7", "port-add dp7 q1 --type dummy", "flow-add dp7 in_port(1) 1"];
  const third = await denovs.try(["batch", "-"], good.join("\n"));
  assert.equal(third.code, 0, third.stderr);
  assert.equal((await denovs.flows("dp7")).length, 1);
});

dummyTest(
  "rules: flow-load is all or nothing; flow-save gives back what was loaded",
  async (denovs) => {
    const flows = [
      "add in_port(1),eth(),eth_type(0x0806) 2",
      "add in_port(2) 1",
      "add in_port(3),eth() drop",
    ];
    const bad = await denovs.try(
      ["flow-load", "dp0", "-"],
      [...flows, "add in_port(4) warp"].join("\n"),
    );
    assert.equal(bad.code, 1);
    assert.match(bad.stderr, /\b4\b/);
    assert.deepEqual(await denovs.flows("dp0"), []);
    const good = await denovs.try(["flow-load", "dp0", "-"], flows.join("\n"));
    assert.equal(good.code, 0, good.stderr);
    const saved = await denovs.cli("flow-save", "dp0");
    const replaced = await denovs.try(["flow-load", "dp0", "-", "--replace"], saved);
    assert.equal(replaced.code, 0, replaced.stderr);
    assert.equal(await denovs.cli("flow-save", "dp0"), saved);
  },
);

dummyTest("rules: dpctl's spellings work", async (denovs) => {
  await denovs.cli("add-flow", "dummy@dp0", "in_port(1)", "2");
  await denovs.cli("mod-flow", "dummy@dp0", "in_port(2)", "1", "--may-create");
  await denovs.cli("add-if", "dummy@dp0", "p9,type=dummy,port_no=9");
  assert.match(await denovs.cli("dump-flows", "dp0"), /in_port\(1\),.*actions:2/);
  assert.match(await denovs.cli("show", "dp0"), /port 9: p9/);
  assert.equal(await denovs.cli("dump-dps"), "dummy@dp0\n");
  await denovs.cli("del-flow", "dp0", "in_port(1)");
  await denovs.cli("del-flows", "dp0");
  await denovs.cli("del-if", "dp0", "p9");
  await denovs.cli("del-dp", "dp0");
});

dummyTest("rules: port number 0 asks for any number, as in the kernel", async (denovs) => {
  await denovs.cli("port-add", "dp0", "p9", "--type", "dummy", "--port-no", "0");
  const port = (await denovs.show("dp0")).ports.find(({ name }) => name === "p9");
  assert.equal(port?.portNo, 3);
});

rootTest(
  "rules: devices that can't be ports are refused with the reason",
  () =>
    withLab(async (lab) => {
      const { a } = await twoHosts(lab);
      const { denovs, sw } = lab;
      await denovs.cli("dp-add", "br1");
      assert.match(await denovs.refused("port-add", "br1", a.port), /br0/);
      assert.match(await denovs.refused("port-add", "br1", "lo"), /loopback/i);
      assert.match(await denovs.refused("port-add", "br1", "br0"), /br0|internal/);
      assert.match(await denovs.refused("port-add", "br1", "nosuchdev"), /nosuchdev/);
      await sw.ip("link", "add", "lb0", "type", "bridge");
      await sw.ip("link", "add", "m1", "type", "veth", "peer", "name", "m2");
      await sw.ip("link", "set", "m1", "master", "lb0");
      assert.match(await denovs.refused("port-add", "br1", "m1"), /bridge|lb0|master/);
      assert.deepEqual((await denovs.show("br1")).ports.map(({ name }) => name), ["br1"]);
      assert.match(await denovs.refused("port-del", "br0", "br0"), /LOCAL|port 0|local/i);
      // The device is free once its datapath gives it up.
      await denovs.cli("port-del", "br0", a.port);
      await denovs.cli("port-add", "br1", a.port);
    }),
);
