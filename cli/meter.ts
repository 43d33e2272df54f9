/** Commands on meters: meter-add, meter-mod, meter-del, meter-show. */
import { buildCommand, type Command } from "@stricli/core";
import { UsageError } from "../daemon/dpctl.ts";
import { renderMeters } from "../daemon/render/meters.ts";
import {
  asText,
  type CliContext,
  type CommandText,
  COMMON_FLAGS,
  type CommonFlags,
  documentation,
  switchFlag,
} from "./flags.ts";
import { proposeFirstDatapath, proposeMeters } from "./propose.ts";

interface AddFlags extends CommonFlags {
  readonly mayExist?: boolean | undefined;
}
interface DelFlags extends CommonFlags {
  readonly ifExists?: boolean | undefined;
}
interface ShowFlags extends CommonFlags {
  readonly features?: boolean | undefined;
}

const METER_USAGE =
  "[DP] meter=ID,kbps|pps,[burst,][stats,]bands=type=drop,rate=R[,burst_size=B]...";

const METER_ADD: CommandText = {
  brief: "Add a meter, which flows limit packets with",
  usage: [`${METER_USAGE} [--may-exist]`],
  description:
    "Adds a meter in the syntax of ovs-ofctl. The action meter(ID) sends packets through it:\n" +
    "each band has a bucket that is filled with R kilobits or packets a second (pps; Open vSwitch\n" +
    "says pktps) up to B, a second's worth without burst; packets that find too little in it are\n" +
    "dropped. A flow may name a meter that does not exist: its packets pass. Commas and blanks\n" +
    "separate; stats is accepted, and statistics there always are.",
  examples: [
    "meter-add br0 meter=1,pps,bands=type=drop,rate=1000",
    "meter-add br0 meter=2,kbps,burst,bands=type=drop,rate=10000,burst_size=2000",
    "flow-add br0 'in_port(1)' 'meter(2),2'",
  ],
};

export const meterAdd: Command<CliContext> = buildCommand<AddFlags, string[], CliContext>({
  parameters: {
    flags: { ...COMMON_FLAGS, mayExist: switchFlag("Do nothing if the same meter exists") },
    positional: meterWords("Datapath, then the meter"),
  },
  docs: documentation(METER_ADD),
  async func(flags, ...words): Promise<void> {
    const { mayExist } = flags;
    const params = { ...splitWords(words), mayExist };
    await this.session.submit(flags, { method: "meter-add", params });
  },
});

const METER_MOD: CommandText = {
  brief: "Change a meter",
  usage: [METER_USAGE],
  description:
    "Sets a meter anew, spelled as in meter-add. Its buckets are full afterwards, and what\n" +
    "it has counted begins at 0.",
  examples: ["meter-mod br0 meter=1,pps,bands=type=drop,rate=2000"],
};

export const meterMod: Command<CliContext> = buildCommand<CommonFlags, string[], CliContext>({
  parameters: { flags: COMMON_FLAGS, positional: meterWords("Datapath, then the meter") },
  docs: documentation(METER_MOD),
  async func(flags, ...words): Promise<void> {
    await this.session.submit(flags, { method: "meter-mod", params: splitWords(words) });
  },
});

const METER_DEL: CommandText = {
  brief: "Delete a meter, or all",
  usage: ["[DP] ID|meter=ID|all [--if-exists]"],
  description: "Deletes a meter. Flows that name it stay, and let packets pass from then on.",
  examples: ["meter-del br0 1", "meter-del br0 meter=1 --if-exists", "meter-del br0 all"],
};

export const meterDel: Command<CliContext> = buildCommand<DelFlags, string[], CliContext>({
  parameters: {
    flags: { ...COMMON_FLAGS, ifExists: switchFlag("Do nothing if there is no such meter") },
    positional: meterWords("Datapath, then a meter's number or all"),
  },
  docs: documentation(METER_DEL),
  async func(flags, ...words): Promise<void> {
    if (words.length > 2) throw new UsageError(`unexpected "${words[2]}" after 2 arguments`);
    const { ifExists } = flags;
    const meter = parseNumber(words.at(-1)!);
    const dp = words.length === 2 ? words[0] : undefined;
    await this.session.submit(flags, { method: "meter-del", params: { dp, meter, ifExists } });
  },
});

const METER_SHOW: CommandText = {
  brief: "Show meters with what they have counted",
  usage: ["[DP] [ID|meter=ID|all] [--features] [--json]"],
  description:
    "Prints meters as ovs-ofctl dump-meters and meter-stats do: how each is set, the flows that\n" +
    "name it, packets and bytes that came to it, and what each band has dropped. --features prints\n" +
    "first what meters can be.",
  examples: ["meter-show br0", "meter-show br0 1 --json", "meter-show br0 --features"],
};

export const meterShow: Command<CliContext> = buildCommand<ShowFlags, string[], CliContext>({
  parameters: {
    flags: { ...COMMON_FLAGS, features: switchFlag("Print first what meters can be") },
    positional: meterWords("Datapath, then a meter's number or all", 0),
  },
  docs: documentation(METER_SHOW),
  async func(flags, ...words): Promise<void> {
    if (words.length > 2) throw new UsageError(`unexpected "${words[2]}" after 2 arguments`);
    const last = words.at(-1);
    const hasNumber = words.length === 2 || (last !== undefined && isNumber(last));
    const meter = hasNumber ? parseNumber(last!) : undefined;
    const dp = words.length === 2 || !hasNumber ? words[0] : undefined;
    await this.session.submit(
      flags,
      { method: "meter-show", params: { dp, meter } },
      (result) => renderMeters(result, { features: flags.features }),
    );
  },
});

/** A command's words; the first is proposed from the datapaths, the second from their meters. */
function meterWords(brief: string, minimum = 1): {
  kind: "array";
  parameter: {
    brief: string;
    parse: typeof asText;
    placeholder: string;
    proposeCompletions: (this: CliContext, partial: string) => Promise<string[]>;
  };
  minimum: number;
} {
  return {
    kind: "array",
    parameter: { brief, parse: asText, placeholder: "METER", proposeCompletions: propose },
    minimum,
  };
}

async function propose(this: CliContext, partial: string): Promise<string[]> {
  const datapaths = await proposeFirstDatapath.call(this, partial);
  return datapaths.length > 0 ? datapaths : await proposeMeters.call(this, partial);
}

/** `[DP] METER…`: a meter's words have an equals sign or a comma, or are its flags. */
function splitWords(words: readonly string[]): { dp: string | undefined; meter: string } {
  const first = words[0]!;
  const isMeter = /[=,]/.test(first) || /^(kbps|pps|pktps|burst|stats)$/.test(first);
  if (isMeter) return { dp: undefined, meter: words.join(" ") };
  if (words.length === 1) throw new UsageError("the meter is missing (meter=ID,…)");
  return { dp: first, meter: words.slice(1).join(" ") };
}

function isNumber(text: string): boolean {
  return /^(meter=.*|all|\d+)$/.test(text);
}

/** Undefined: all. */
function parseNumber(text: string): number | undefined {
  const word = text.replace(/^meter=/, "");
  if (word === "all") return undefined;
  const number = /^(\d{1,10}|0x[0-9a-f]{1,8})$/i.test(word) ? Number(word) : NaN;
  if (number <= 0xffff_ffff) return number;
  throw new UsageError(`"${text}" is no meter (0 to 4294967295, or all)`);
}
