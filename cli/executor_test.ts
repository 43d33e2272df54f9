import assert from "node:assert/strict";
import { chooseTarget } from "./executor.ts";

const NOTHING = { socket: undefined, state: undefined };

Deno.test("chooseTarget: nothing named asks the default daemon, then the default state", () => {
  const choice = chooseTarget({}, NOTHING);
  assert.match(choice.socket, /denovs\.ctl$/);
  assert.match(choice.state!, /state\.db$/);
  assert.equal(choice.stateFirst, false);
});

Deno.test("chooseTarget: a named socket must answer", () => {
  for (
    const choice of [
      chooseTarget({ socket: "/s" }, NOTHING),
      chooseTarget({}, { socket: "/s", state: undefined }),
    ]
  ) assert.deepEqual(choice, { socket: "/s", state: undefined, stateFirst: false });
});

Deno.test("chooseTarget: socket and state named: the state when the socket doesn't answer", () => {
  const wanted = { socket: "/s", state: "/t", stateFirst: false };
  assert.deepEqual(chooseTarget({ socket: "/s", state: "/t" }, NOTHING), wanted);
  assert.deepEqual(chooseTarget({ socket: "/s" }, { socket: "/x", state: "/t" }), wanted);
});

Deno.test("chooseTarget: only a state named: the state decides", () => {
  const choice = chooseTarget({ state: "/t" }, NOTHING);
  assert.equal(choice.state, "/t");
  assert.equal(choice.stateFirst, true);
});
