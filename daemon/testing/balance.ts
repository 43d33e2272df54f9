/** The accounts of a daemon under test, checked when it is about to end. */
import { imbalance } from "../../datapath/testing/balance.ts";
import type { DatapathInfo } from "../api.ts";
import { connect } from "../client.ts";

/** How long packets on their way may take, and a daemon that is busy to answer. */
const PATIENCE_MS = 5000;
const EVERY_MS = 20;

/**
 * Waits until the accounts of every datapath balance; throws what is wrong with them if they never do.
 * A daemon that does not answer (ended, stopped, in a handler that does not return) has nothing to check.
 */
export async function assertDaemonBalanced(socket: string): Promise<void> {
  const deadline = performance.now() + PATIENCE_MS;
  for (;;) {
    const datapaths = await showAll(socket);
    if (datapaths === undefined) return;
    const wrong = firstImbalance(datapaths);
    if (wrong === undefined) return;
    if (performance.now() > deadline) throw new Error(wrong);
    await new Promise((wake) => setTimeout(wake, EVERY_MS));
  }
}

/** What is wrong with the accounts of the first datapath whose do not balance. */
export function firstImbalance(
  datapaths: readonly Pick<DatapathInfo, "name" | "counters">[],
): string | undefined {
  for (const { name, counters } of datapaths) {
    const wrong = "received" in counters ? imbalance(counters) : undefined;
    if (wrong !== undefined) return `datapath ${name}: ${wrong}`;
  }
  return undefined;
}

/** All datapaths; undefined: nobody answers in time. */
async function showAll(socket: string): Promise<readonly DatapathInfo[] | undefined> {
  const client = await connect(socket).catch(() => undefined);
  if (client === undefined) return undefined;
  let timer: ReturnType<typeof setTimeout> | undefined;
  const late = new Promise<undefined>((done) => timer = setTimeout(done, PATIENCE_MS, undefined));
  const shown = client.execute("dp-show", { dps: [], statistics: true })
    .then(({ datapaths }) => datapaths, () => undefined);
  try {
    return await Promise.race([shown, late]);
  } finally {
    clearTimeout(timer);
    client.close();
  }
}
