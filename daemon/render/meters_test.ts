import assert from "node:assert/strict";
import { renderMeters } from "./meters.ts";
import type { Methods } from "../api.ts";

const SHOWN: Methods["meter-show"]["result"] = {
  features: { metersMax: 65536, bandsMax: 8, bandTypes: ["drop"], capabilities: ["kbps", "pps"] },
  meters: [
    {
      meter: 1,
      unit: "kbps",
      burst: true,
      stats: true,
      flows: 2,
      packets: 30,
      bytes: 1800,
      durationMs: 1500,
      bands: [
        { type: "drop", rate: 10, burstSize: 20, packets: 3, bytes: 180 },
        { type: "drop", rate: 30, burstSize: 5, packets: 0, bytes: 0 },
      ],
    },
    {
      meter: 2,
      unit: "pps",
      burst: false,
      stats: false,
      flows: 0,
      packets: 0,
      bytes: 0,
      durationMs: null,
      bands: [{ type: "drop", rate: 7, packets: 0, bytes: 0 }],
    },
  ],
};

const TEXT = `meter=1 kbps burst stats bands=
type=drop rate=10 burst_size=20
type=drop rate=30 burst_size=5
meter:1 flow_count:2 packet_in_count:30 byte_in_count:1800 duration:1.500s bands:
0: packet_count:3 byte_count:180
1: packet_count:0 byte_count:0

meter=2 pktps bands=
type=drop rate=7
meter:2 flow_count:0 packet_in_count:0 byte_in_count:0 duration:0s bands:
0: packet_count:0 byte_count:0
`;

Deno.test("renderMeters: in the shape of ovs-ofctl", () => {
  assert.equal(renderMeters(SHOWN), TEXT);
  assert.equal(
    renderMeters(SHOWN, { features: true }),
    "max_meter:65536 max_bands:8 max_color:0\nband_types: drop\ncapabilities: kbps pktps\n\n" +
      TEXT,
  );
});
