/** Tunnel ports against the kernel's geneve and gre devices, in a virtual machine that has them. */
import assert from "node:assert/strict";
import { whyNoKernel } from "../oracle/kernel_vm.ts";
import { THREADS } from "./denovs.ts";
import { run } from "./process.ts";

/** The guest's daemon has one packet thread, whatever is asked for. */
const reason = THREADS > 1 ? "skipped: as with one thread" : whyNoKernel("stable");
const name = "tunnels: kernel geneve and gre devices at the far end: ping, TCP and UDP both ways";

Deno.test({
  name: reason === undefined ? name : `${name} [${reason}]`,
  ignore: reason !== undefined,
  sanitizeOps: false,
  sanitizeResources: false,
  fn: async () => {
    const script = new URL("tunnel_guest.ts", import.meta.url).pathname;
    const tool = new URL("../tools/kernel-vm", import.meta.url).pathname;
    const command = [tool, "--with", "uml", "--timeout", "240", "--", Deno.execPath(), "run", "-A"];
    const done = await run([...command, "--no-check", script], {
      timeoutMs: 250_000,
      env: { KERNEL_VM_MODULES: "ip6_gre" },
    });
    assert.equal(done.code, 0, `${done.stdout}\n${done.stderr}`);
  },
});
