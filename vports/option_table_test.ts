/** Option tables: what is read, refused and shown. */
import assert from "node:assert/strict";
import { OptionError } from "../datapath/errors.ts";
import { optionForms as form, optionTable } from "./option_table.ts";
import type { UdpEnd } from "./vport.ts";

interface Options {
  readonly remote: UdpEnd;
  readonly local: UdpEnd;
  readonly limit: number;
  readonly mode: "fast" | "slow";
  readonly note: string;
  readonly id: number | undefined;
}

const { parseOptions, formatOptions } = optionTable<Options>({
  remote: form.end(),
  local: form.localEnd({ to: "remote", port: 5000 }),
  limit: form.integer({ min: 2, max: 9, fallback: 4 }),
  mode: form.choice(["fast", "slow"]),
  note: form.text({ fallback: "" }),
  id: form.optional(form.integer({ min: 0, max: 7 })),
});

function parse(raw: Record<string, string>): Options {
  return parseOptions(new Map(Object.entries(raw)));
}

const REMOTE = { address: "192.0.2.1", port: 7 };

Deno.test("optionTable: defaults, which are not shown", () => {
  const options = parse({ remote: "192.0.2.1:7" });
  assert.deepEqual(options, {
    remote: REMOTE,
    local: { address: "0.0.0.0", port: 5000 },
    limit: 4,
    mode: "fast",
    note: "",
    id: undefined,
  });
  assert.deepEqual([...formatOptions(options)], [["remote", "192.0.2.1:7"]]);
});

Deno.test("optionTable: what is shown parses to the same", () => {
  for (
    const raw of [
      { remote: "192.0.2.1:7", local: ":6000", limit: "9", mode: "slow", note: "a=b", id: "0" },
      { remote: "[2001:db8::1]:7", local: "[::1]:5000" },
      { remote: "[2001:db8::1]:7", local: ":1" },
      { remote: "192.0.2.1:7", local: "127.0.0.1:5000", id: "7" },
    ]
  ) {
    assert.deepEqual(Object.fromEntries(formatOptions(parse(raw))), raw);
  }
  assert.deepEqual(parse({ remote: "[2001:db8::1]:7", local: ":1" }).local, {
    address: "::",
    port: 1,
  });
});

Deno.test("optionTable: errors name key and value, and say what is allowed", () => {
  const base = { remote: "192.0.2.1:7" };
  for (
    const [raw, wanted] of [
      [{}, /^Option remote is missing/],
      [{ ...base, colour: "red" }, /^Unknown option colour=red .*remote, local, limit, mode/],
      [{ ...base, limit: "1" }, /^Option limit must be a whole number from 2 to 9: it is "1"/],
      [{ ...base, mode: "" }, /^Option mode .*/],
      [{ ...base, mode: "idle" }, /^Option mode must be fast or slow: it is "idle"/],
      [{ ...base, id: "8" }, /^Option id must be a whole number from 0 to 7: it is "8"/],
      [{ ...base, local: ":0" }, /^Option local must be an address and a port/],
      [{ ...base, local: "[::1]:1" }, /^Option local must have an .* family as remote: it is "\[/],
    ] as readonly [Record<string, string>, RegExp][]
  ) {
    assert.throws(() => parse(raw), (error: unknown) => {
      assert(error instanceof OptionError);
      assert.match(error.message, wanted);
      return true;
    });
  }
});
