import { seededRandom } from "../../datapath/testing/flows.ts";
import { BASIC_SCENARIOS } from "./kernel_ct_basic.ts";
import { FRAGMENT_SCENARIOS } from "./kernel_ct_fragments.ts";
import { generatedScenarios } from "./kernel_ct_generate.ts";
import { HEADER_SCENARIOS } from "./kernel_ct_headers.ts";
import { HELPER_SCENARIOS } from "./kernel_ct_helpers.ts";
import { NAT_SCENARIOS } from "./kernel_ct_nat.ts";
import { conntrackTest } from "./kernel_ct_suite.ts";
import { TCP_SCENARIOS } from "./kernel_ct_tcp.ts";

/** Other random packets with DENOVS_SEED=…. */
const SEED = Number(Deno.env.get("DENOVS_SEED") ?? 5);

conntrackTest("stable", [
  ...TCP_SCENARIOS,
  ...BASIC_SCENARIOS,
  ...HEADER_SCENARIOS,
  ...NAT_SCENARIOS,
  ...FRAGMENT_SCENARIOS,
  ...HELPER_SCENARIOS,
  ...generatedScenarios(seededRandom(SEED)),
], { packets: 5000, connections: 600, states: 20 });
