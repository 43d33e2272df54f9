/**
 * Parameters as they come over the control socket are anybody's JSON: this checks their shape, so
 * that the code behind may believe the types of api.ts. What values mean is checked there.
 */
import type { ConfigMethod, MethodName, Methods } from "./api.ts";
import { refuse } from "./command_errors.ts";

type Kind =
  | "string"
  | "boolean"
  | "number"
  | "strings"
  | "map"
  | "requests"
  | "packets"
  | "numbers"
  | "limits"
  | "timeouts";
/** Parameter → kind; a question mark for those that may be absent. */
type Shape = Readonly<Record<string, Kind | `${Kind}?`>>;

const FLOW: Shape = { dp: "string?", flow: "string" };

const CONNECTIONS: Shape = {
  dp: "string?",
  zone: "number?",
  mark: "string?",
  labels: "string?",
  original: "string?",
  reply: "string?",
};

const SHAPES: Readonly<Record<MethodName, Shape>> = {
  "dp-add": { dp: "string", miss: "string?", flowsMax: "number?", mayExist: "boolean?" },
  "dp-del": { dp: "string", ifExists: "boolean?" },
  "dp-set": {
    dp: "string?",
    miss: "string?",
    masksCacheSize: "number?",
    features: "strings?",
    upcallHandler: "string?",
    portids: "numbers?",
  },
  "dp-list": {},
  "dp-show": { dps: "strings", statistics: "boolean?" },
  "port-add": {
    dp: "string?",
    port: "string",
    type: "string?",
    portNo: "number?",
    options: "map?",
    mayExist: "boolean?",
  },
  "port-del": { dp: "string?", port: "string", ifExists: "boolean?" },
  "port-set": { dp: "string?", port: "string", options: "map?", portids: "numbers?" },
  "port-list": { dp: "string?", statistics: "boolean?" },
  "flow-add": {
    ...FLOW,
    actions: "string",
    mayExist: "boolean?",
    idleTimeout: "number?",
    hardTimeout: "number?",
  },
  "flow-mod": { ...FLOW, actions: "string?", mayCreate: "boolean?", clear: "boolean?" },
  "flow-del": { ...FLOW, ifExists: "boolean?" },
  "flow-get": { ...FLOW, names: "boolean?" },
  "flow-dump": {
    dp: "string?",
    filter: "string?",
    names: "boolean?",
    verbose: "boolean?",
    givenUfids: "boolean?",
  },
  "flow-flush": { dp: "string?" },
  "meter-add": { dp: "string?", meter: "string", mayExist: "boolean?" },
  "meter-mod": { dp: "string?", meter: "string" },
  "meter-del": { dp: "string?", meter: "number?", ifExists: "boolean?" },
  "meter-show": { dp: "string?", meter: "number?" },
  "ct-dump": { ...CONNECTIONS, from: "number?" },
  "ct-exp-dump": { dp: "string?", zone: "number?" },
  "ct-flush": CONNECTIONS,
  "ct-bkts": { dp: "string?", over: "number?" },
  "ct-stats": { dp: "string?", zone: "number?" },
  "ct-limit-set": { dp: "string?", defaultLimit: "number?", zones: "limits?" },
  "ct-limit-del": { dp: "string?", isDefault: "boolean?", zones: "numbers?" },
  "ct-limit-get": { dp: "string?", zones: "numbers?" },
  "ct-maxconns": { dp: "string?" },
  "ct-maxconns-set": { dp: "string?", max: "number" },
  "ct-timeout-set": { dp: "string?", policy: "string", seconds: "timeouts" },
  "ct-timeout-del": { dp: "string?", policy: "string", ifExists: "boolean?" },
  "ct-timeout-get": { dp: "string?", policy: "string?" },
  "ct-set": {
    dp: "string?",
    tcpSequenceCheck: "boolean?",
    fragmentsIpv4: "boolean?",
    fragmentsIpv6: "boolean?",
    fragmentSizeMinIpv4: "number?",
    fragmentSizeMinIpv6: "number?",
    fragmentsMax: "number?",
  },
  "ct-show": { dp: "string?" },
  "flow-load": { dp: "string?", text: "string", replace: "boolean?" },
  "batch": { requests: "requests" },
  "plugin-add": { file: "string" },
  "plugin-del": { type: "string", ifExists: "boolean?" },
  "plugin-list": {},
  "upcalls": { dp: "string?", count: "number?", portids: "numbers?" },
  "trace": {
    dp: "string?",
    flow: "string?",
    packets: "packets?",
    inPort: "string?",
    size: "number?",
    names: "boolean?",
    samples: "string?",
  },
  "capture": {
    dp: "string?",
    port: "string?",
    events: "strings",
    filter: "string?",
    count: "number?",
    size: "number?",
  },
  "trace-live": { dp: "string?", filter: "string?", count: "number?", names: "boolean?" },
  "stop": {},
  "version": {},
  "netdev-dummy/receive": { port: "string", frames: "strings", size: "number?" },
};

const CONFIG_METHODS: Readonly<Record<ConfigMethod, true>> = {
  "dp-add": true,
  "dp-del": true,
  "dp-set": true,
  "port-add": true,
  "port-del": true,
  "port-set": true,
  "flow-add": true,
  "flow-mod": true,
  "flow-del": true,
  "flow-flush": true,
  "meter-add": true,
  "meter-mod": true,
  "meter-del": true,
  "ct-limit-set": true,
  "ct-limit-del": true,
  "ct-maxconns-set": true,
  "ct-timeout-set": true,
  "ct-timeout-del": true,
  "ct-set": true,
};

/** Whether a text is the name of a method. */
export function isMethod(method: string): method is MethodName {
  return Object.hasOwn(SHAPES, method);
}

/** Whether a method may stand in a batch. */
export function isConfigMethod(method: string): method is ConfigMethod {
  return Object.hasOwn(CONFIG_METHODS, method);
}

/** Throws CommandError EINVAL unless `params` has the shape of `method`'s parameters. */
export function checkParams<M extends MethodName>(
  method: M,
  params: unknown,
): asserts params is Methods[M]["params"] {
  if (!isObject(params)) refuse("EINVAL", `${method}: parameters must be one object`);
  const shape = SHAPES[method];
  for (const name of Object.keys(params)) {
    if (Object.hasOwn(shape, name)) continue;
    const known = Object.keys(shape).join(", ") || "none";
    refuse("EINVAL", `${method}: unknown parameter "${name}" (known: ${known})`);
  }
  for (const [name, kind] of Object.entries(shape)) {
    const value = params[name];
    if ((value === undefined || value === null) && kind.endsWith("?")) continue;
    const wanted = kind.replace("?", "") as Kind;
    if (!IS[wanted](value)) refuse("EINVAL", `${method}: "${name}" must be ${WORDS[wanted]}`);
  }
}

const WORDS: Readonly<Record<Kind, string>> = {
  string: "a text",
  boolean: "true or false",
  number: "a number",
  strings: "a list of texts",
  numbers: "a list of numbers",
  limits: "a list of {zone, limit}",
  timeouts: "an object with numbers",
  map: "an object with texts",
  packets: "a list of {bytes, l3, time}",
  requests: "a list of {line, method, params} of methods that change the configuration",
};

const IS: Readonly<Record<Kind, (value: unknown) => boolean>> = {
  string: (value) => typeof value === "string",
  boolean: (value) => typeof value === "boolean",
  number: (value) => typeof value === "number" && Number.isFinite(value),
  strings: (value) => Array.isArray(value) && value.every((one) => typeof one === "string"),
  numbers: (value) => Array.isArray(value) && value.every((one) => typeof one === "number"),
  limits: (value) =>
    Array.isArray(value) &&
    value.every((one) =>
      isObject(one) && typeof one.zone === "number" && typeof one.limit === "number"
    ),
  timeouts: (value) => isObject(value) && Object.values(value).every(Number.isFinite),
  map: (value) =>
    isObject(value) && Object.values(value).every((option) => typeof option === "string"),
  packets: (value) => Array.isArray(value) && value.every(isTracePacket),
  requests: (value) => Array.isArray(value) && value.every(isBatchRequest),
};

function isTracePacket(value: unknown): boolean {
  if (!isObject(value) || typeof value.bytes !== "string") return false;
  return [value.l3, value.time].every((one) => one === undefined || IS.number(one));
}

/** The parameters of each are checked when it is its turn, so that a fault has its line. */
function isBatchRequest(value: unknown): boolean {
  return isObject(value) && typeof value.line === "number" && typeof value.method === "string" &&
    isConfigMethod(value.method) && isObject(value.params);
}

function isObject(value: unknown): value is Record<string, unknown> {
  return typeof value === "object" && value !== null && !Array.isArray(value);
}
