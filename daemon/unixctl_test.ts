import assert from "node:assert/strict";
import type { Executor } from "./api.ts";
import { Log } from "./log.ts";
import { makeConfiguration } from "./testing/memory_backend.ts";
import { type ClockControl, Unixctl } from "./unixctl.ts";

interface Fixture {
  readonly unixctl: Unixctl;
  readonly executor: Executor;
  readonly clock: ClockControl & { readonly moves: string[] };
  /** The text that a method returns, which must not fail. */
  readonly text: (method: string, ...args: string[]) => Promise<string>;
  /** The text of its error. */
  readonly error: (method: string, ...args: string[]) => Promise<string>;
}

function make(): Fixture {
  const { configuration: executor } = makeConfiguration();
  const moves: string[] = [];
  const clock = {
    moves,
    stop: (): void => void moves.push("stop"),
    warp: (ms: number): void => void moves.push(`+${ms}`),
  };
  const log = new Log(undefined, () => {});
  log.module("ports");
  const unixctl = new Unixctl({ executor, log, clock, settle: () => Promise.resolve() });
  const call = async (
    method: string,
    args: string[],
    field: "result" | "error",
  ): Promise<string> => {
    const answer = await unixctl.call(method, args);
    assert.equal(typeof answer[field], "string", JSON.stringify(answer));
    return answer[field] as string;
  };
  return {
    unixctl,
    executor,
    clock,
    text: (method, ...args) => call(method, args, "result"),
    error: (method, ...args) => call(method, args, "error"),
  };
}

Deno.test("Unixctl gives objects for objects and text for strings", async () => {
  const { unixctl, text } = make();
  assert.deepEqual(await unixctl.call("version", [{}]), {
    result: { version: "0.1.0" },
    error: null,
  });
  assert.equal(await text("version"), "denovs 0.1.0\n");
  const refused = await unixctl.call("dp-del", [{ dp: "br0" }]);
  assert.deepEqual(JSON.parse(JSON.stringify(refused.error)), {
    code: "ENODEV",
    message: 'no datapath "br0" exists (there is none; dp-add makes one)',
  });
  assert.deepEqual(await unixctl.call("dp-list", []), { result: { datapaths: [] }, error: null });
});

Deno.test("Unixctl speaks dpctl", async () => {
  const { text, error } = make();
  assert.equal(await text("dpctl/add-dp", "br0"), "");
  await text("dpctl/add-if", "br0", "eth0,port_no=5");
  await text("dpctl/add-flow", "br0", "in_port(5)", "drop");
  assert.match(await text("dpctl/dump-flows"), /^in_port\(5\).* used:never, actions:drop\n$/);
  assert.match(await error("dpctl/add-flow", "in_port(5)", "1"), /exists already.*\n$/);
  assert.match(await error("dpctl/add-flow", "nonsense(1)", "1"), /column \d+: .*\n.*\n *\^\n$/);
  assert.match(await error("dpctl/add-dp"), /'add-dp' command requires at least 1 arguments\n$/);
});

Deno.test("Unixctl refuses unknown methods and wrong numbers of arguments as ovs-vswitchd does", async () => {
  const { unixctl, error } = make();
  assert.equal(
    await error("nonsense"),
    '"nonsense" is not a valid command (use "list-commands" to see a list of valid commands)\n',
  );
  assert.match(await error("time/warp"), /"time\/warp" command requires at least 1 arguments/);
  assert.match(await error("time/stop", "now"), /"time\/stop" command takes at most 0 arguments/);
  assert.equal((await unixctl.call("nonsense", [{}])).result, null);
});

Deno.test("Unixctl lists its commands, sorted, with their usage", async () => {
  const { text } = make();
  const lines = (await text("list-commands")).trimEnd().split("\n");
  assert.equal(lines[0], "The available commands are:");
  assert.deepEqual(lines.slice(1), lines.slice(1).toSorted());
  assert.ok(lines.includes("  time/warp               [large_msecs] msecs"));
});

Deno.test("Unixctl moves the clock by a step, or far in steps", async () => {
  const { text, error, clock } = make();
  await text("time/stop");
  assert.equal(await text("time/warp", "500"), "warped\n");
  assert.equal(await text("time/warp", "250", "100"), "warped\n");
  assert.deepEqual(clock.moves, ["stop", "+500", "+100", "+100", "+50"]);
  assert.match(await error("time/warp", "-1"), /"-1" is not milliseconds/);
});

Deno.test("Unixctl sets log levels", async () => {
  const { text, error } = make();
  await text("vlog/set", "ports:dbg");
  assert.match(await text("vlog/list"), /^ports +DBG +OFF$/m);
  assert.match(await error("vlog/set", "nonsense"), /no log module or level "nonsense"/);
});
