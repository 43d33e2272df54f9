import assert from "node:assert/strict";
import { Accounts } from "./accounting.ts";
import {
  DROPPED,
  DROPS,
  dropsByName,
  makeDatapathBlock,
  makePortBlocks,
  PORT_DROPS,
  RECEIVED,
  RX_DROPPED,
  RX_PACKETS,
  sumDatapath,
  sumPort,
} from "./counters.ts";
import { dropReason } from "./drop_reasons.ts";
import { PORT_NONE } from "./key.ts";

Deno.test("Accounts.rxLost: many at once, more than 32 bits, received and dropped", () => {
  const datapath = new BigUint64Array(makeDatapathBlock());
  const ports = new BigUint64Array(makePortBlocks());
  const accounts = new Accounts(datapath, ports);
  accounts.rxLost(PORT_NONE, dropReason("rx-ring-full"), 5_000_000_000);
  accounts.rxLost(PORT_NONE, dropReason("rx-ring-full"), 2);
  const sums = sumDatapath([datapath]);
  assert.deepEqual([sums[RECEIVED], sums[DROPPED]], [5_000_000_002, 5_000_000_002]);
  assert.deepEqual(dropsByName(sums, DROPS), { "rx-ring-full": 5_000_000_002 });
  const port = sumPort([ports], PORT_NONE);
  assert.deepEqual([port[RX_PACKETS], port[RX_DROPPED]], [0, 5_000_000_002]);
  assert.deepEqual(dropsByName(port, PORT_DROPS), { "rx-ring-full": 5_000_000_002 });
});
