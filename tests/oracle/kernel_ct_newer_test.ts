import { conntrackTest } from "./kernel_ct_suite.ts";
import { ZONE_SCENARIOS } from "./kernel_ct_zones.ts";

// User-Mode Linux has no zones.
conntrackTest("newer", ZONE_SCENARIOS, { packets: 50, connections: 15, states: 5 });
