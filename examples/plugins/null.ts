/**
 * The smallest vport type, complete: a port that takes every frame and never has one. Good for
 * measuring what the switch itself costs, and to begin a type of one's own from.
 *
 *     denovs run --plugin examples/plugins/null.ts
 *     denovs port-add br0 sink0 --type null
 */
import type { PluginApi, VportOps } from "../../vports/vport.ts";

export default (api: PluginApi): VportOps => ({
  apiVersion: 1,
  type: "null",
  summary: "takes every frame and never has one",
  headroom: 0,
  ...api.options.table({}), // it has none
  create: () => ({
    takesPartialChecksums: true, // whatever comes is fine
    takesSegmentTrains: true,
    send: () => 0, // taken
    close: () => {},
  }),
});
