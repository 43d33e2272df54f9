/** The vport types that come with the switch, in the same form as plug-ins. */
import { dummy } from "./dummy.ts";
import { geneve } from "./geneve.ts";
import { gre } from "./gre.ts";
import { internal } from "./internal.ts";
import { netdev } from "./netdev.ts";
import { patch } from "./patch.ts";
import { pcap } from "./pcap.ts";
import { tap } from "./tap.ts";
import { vxlan } from "./vxlan.ts";
import type { VportOps } from "./vport.ts";

// Options are opaque to the switch: a type gets back only what its own parseOptions made.
export const BUILTIN_TYPES: readonly VportOps[] = [
  netdev,
  internal,
  tap,
  patch,
  vxlan,
  geneve,
  gre,
  pcap,
  dummy,
] as VportOps[];
