/** The receiver that most ports want: one packet after the other, as long as there are packets, buffers and budget. */
import type { PacketSource, Receiver } from "./vport.ts";

/** A receiver that asks `next` for packets. */
export function makeReceiver({ fd, host, portNo, next }: PacketSource): Receiver {
  const receive = (budget: number): number => {
    for (let count = 0; count < budget; count++) {
      const packet = host.allocate();
      if (packet === undefined) return count; // no buffer is free: what waits goes on waiting
      let isTaken = false;
      try {
        isTaken = next(packet);
      } finally {
        // Also of a port that fails: it is closed, and its buffer is the thread's.
        if (!isTaken) host.recycle(packet);
      }
      if (!isTaken) return count;
      host.receive(portNo, packet);
    }
    return budget;
  };
  return fd === undefined ? { receive } : { fd, receive };
}
