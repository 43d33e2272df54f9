/**
 * Devices of our own that may exist without a port. The state names a device here before it is made,
 * until the request that wanted it is saved, and from the request that deletes its port until it is
 * gone. So a daemon that is killed in between, or a port deleted while no daemon runs, leaves no
 * device behind that nobody would own: the next `run` removes it.
 */
import { Rtnetlink } from "../netdev/rtnetlink.ts";
import { IFALIAS_PREFIX } from "../vports/internal.ts";

/** Removes the device `name` if it bears the mark of datapath `dp` (an id). Returns whether there is none afterwards. */
export function removeLooseDevice(name: string, dp: string): boolean {
  try {
    using links = new Rtnetlink();
    const link = links.linkByName(name);
    if (link?.ifalias === IFALIAS_PREFIX + dp) links.deleteLink(link.ifindex);
    return true;
  } catch {
    return false; // not allowed to: the next run is asked again
  }
}
