/** What a thread holds can be taken from it, and its numbers stay its own. */
import assert from "node:assert/strict";
import { makeHoldings, noteHoldings, takeOver } from "./descriptors.ts";
import { libc } from "./libc.ts";
import { UdpSocket } from "./udp_socket.ts";

const local = { address: "127.0.0.1", port: 15088 };
const remote = { address: "127.0.0.1", port: 9 };

function open(): UdpSocket {
  return new UdpSocket({ local, remote, shared: false, refused: () => {} });
}

Deno.test({
  name: "takeOver: what was noted is closed, its number stays taken; what was closed is left alone",
  sanitizeResources: false, // libraries stay open
  fn: () => {
    const holdings = makeHoldings();
    noteHoldings(holdings);
    open().close();
    const held = open();
    noteHoldings(makeHoldings());
    assert.throws(open, /address already in use/);
    assert.equal(takeOver(holdings), 1);
    const again = open(); // the port is free
    assert.notEqual(again.fd, held.fd);
    assert.equal(Deno.readLinkSync(`/proc/self/fd/${held.fd}`), "/dev/null");
    held.close();
    again.close();
    assert(libc().file);
  },
});
