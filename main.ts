/**
 * The one entry: a command, the daemon's control isolate, a packet thread or the state store, told
 * apart by whether this is a Worker and by its name. Each role's part is loaded by itself, after a
 * Deno that is too old has said so.
 *
 * `import("…" as string)`, here and in cli/ and daemon/client.ts, hides a module from Deno, which
 * reads the whole graph behind a literal import() before it starts (15 ms for the daemon's). The
 * bundler, which drops the types first, still sees it.
 */

import { oldDeno } from "./daemon/version.ts";

const complaint = oldDeno();
if (complaint !== undefined) {
  Deno.stderr.writeSync(new TextEncoder().encode(`denovs: ${complaint}\n`));
  Deno.exit(1);
}

const role = "WorkerGlobalScope" in globalThis ? self.name : "";
if (role.startsWith("packet-")) {
  await runRole(async () => {
    const { startPacketThread }: typeof import("./daemon/switch/packet_thread.ts") = await import(
      "./daemon/switch/packet_thread.ts" as string
    );
    startPacketThread();
  });
} else if (role.startsWith("vport-")) {
  await runRole(async () => {
    const { startVportWorker }: typeof import("./vports/async_worker.ts") = await import(
      "./vports/async_worker.ts" as string
    );
    startVportWorker();
  });
} else if (role.startsWith("upcalls-")) {
  await runRole(async () => {
    const { startHandlerWorker }: typeof import("./daemon/upcalls/handler_worker.ts") =
      await import("./daemon/upcalls/handler_worker.ts" as string);
    startHandlerWorker();
  });
} else if (role === "store") {
  await runRole(async () => {
    const { runStoreWorker }: typeof import("./daemon/store_worker.ts") = await import(
      "./daemon/store_worker.ts" as string
    );
    runStoreWorker();
  });
} else {
  const { main } = await import("./cli/main.ts");
  Deno.exit(await main(Deno.args, { mainUrl: import.meta.url }));
}

/** Starts a Worker's role. What is posted to the Worker while its modules load would be lost: it is kept and repeated. */
async function runRole(start: () => Promise<void>): Promise<void> {
  const early: MessageEvent[] = [];
  const keep = (event: Event): void => void early.push(event as MessageEvent);
  self.addEventListener("message", keep);
  await start();
  self.removeEventListener("message", keep);
  for (const { data, ports } of early) {
    self.dispatchEvent(new MessageEvent("message", { data, ports: [...ports] }));
  }
}
