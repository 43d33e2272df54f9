import assert from "node:assert/strict";
import { FlowSyntaxError } from "../errors.ts";
import {
  formatMeter,
  formatMeterLines,
  type MeterText,
  parseMeter,
  toMeterConfig,
} from "./meter_text.ts";

const FULL = "meter=1 kbps burst stats bands=type=drop rate=1000 burst_size=2000";

Deno.test("parseMeter reads ovs-ofctl's syntax, whatever separates", () => {
  const meter: MeterText = {
    id: 1,
    unit: "kbps",
    burst: true,
    stats: true,
    bands: [{ rate: 1000, burstSize: 2000 }],
  };
  assert.deepEqual(parseMeter(FULL), meter);
  assert.deepEqual(parseMeter(FULL.replaceAll(" ", ",")), meter);
  assert.deepEqual(parseMeter("kbps, stats burst\tmeter=0x1 band=" + FULL.slice(31)), meter);
});

Deno.test("parseMeter takes pps and Open vSwitch's own pktps; bands need no burst", () => {
  for (const unit of ["pps", "pktps"]) {
    const meter = parseMeter(`meter=4294967295,${unit},bands=type=drop,rate=7,type=drop,rate=9`);
    assert.deepEqual(meter, {
      id: 4294967295,
      unit: "pps",
      burst: false,
      stats: false,
      bands: [{ rate: 7 }, { rate: 9 }],
    });
    assert.equal(
      formatMeter(meter),
      "meter=4294967295 pktps bands=type=drop rate=7 type=drop rate=9",
    );
  }
});

Deno.test("formatMeter gives what parseMeter takes; formatMeterLines has a line per band", () => {
  assert.equal(formatMeter(parseMeter(FULL)), FULL);
  assert.equal(
    formatMeterLines(parseMeter(FULL)),
    "meter=1 kbps burst stats bands=\ntype=drop rate=1000 burst_size=2000\n",
  );
});

Deno.test("toMeterConfig gives a second's worth to a band without burst_size", () => {
  assert.deepEqual(toMeterConfig(parseMeter("meter=1,pps,bands=type=drop,rate=7")).bands, [
    { rate: 7, burst: 7 },
  ]);
  assert.deepEqual(toMeterConfig(parseMeter(FULL)).bands, [{ rate: 1000, burst: 2000 }]);
});

Deno.test("parseMeter names what is wrong and where", () => {
  const cases: readonly (readonly [string, string])[] = [
    ["", "column 1: meter=ID is missing"],
    ["meter=1,bands=type=drop,rate=1", "column 31: kbps or pps is missing"],
    ["meter=1,pps", "column 12: bands=type=drop,rate=R is missing"],
    ["meter=1,pps,bands=", "column 19: bands=type=drop,rate=R is missing"],
    ["meter=1,pps,kbps", "column 13: a meter counts kbps or packets (pps), not both"],
    ["meter=x,pps", 'column 7: meter must be a number (10, 0xa or 012), not "x"'],
    ["meter=4294967296", "column 7: meter must be 0 … 4294967295 (0xffffffff)"],
    ["meter=1,meter=2", "column 9: meter= is given twice"],
    ["meter=1,pps,bands=rate=1", "column 19: a band begins with type=drop"],
    ["meter=1,pps,bands=type=drop", "column 19: the band's rate is missing (rate=R)"],
    ["meter=1,pps,bands=type=drop,rate=0", "column 34: rate must be 1 … 4294967295"],
    ["meter=1,pps,bands=type=drop,rate=1,rate=2", "column 36: rate is given twice for this band"],
    [
      "meter=1,pps,burst,bands=type=drop,rate=1",
      "column 25: with burst every band must have burst_size=B",
    ],
    [
      "meter=1,pps,bands=type=drop,rate=1,burst_size=2",
      "column 19: burst_size needs the flag burst in front of bands=",
    ],
    [
      "meter=1,pps,bands=type=dscp_remark,rate=1",
      'column 24: bands of type "dscp_remark" are not supported (only drop)',
    ],
    ["meter=1,kbs", 'column 9: "kbs" belongs to no meter: did you mean kbps?'],
    [
      "meter=1,pps,bands=type=drop,rat=1",
      'column 29: "rat" belongs to no band: did you mean rate?',
    ],
    [
      "meter=1,pps,bands=;",
      'column 19: ";" belongs to no band: allowed are type, rate, burst_size',
    ],
    [
      "meter=1,pps,bands=" + "type=drop rate=1 ".repeat(9),
      "column 155: a meter has at most 8 bands",
    ],
  ];
  for (const [text, message] of cases) {
    assert.throws(() => parseMeter(text), (error) => {
      assert.ok(error instanceof FlowSyntaxError, `${error}`);
      assert.equal(error.message, message, text);
      return true;
    });
  }
});
