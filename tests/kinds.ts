/** The kinds of test: what `deno task test` (run.ts) runs. Every test file belongs to one. */

/** One kind of test: a `deno test` run, or a program whose exit status is the one result. */
export interface Kind {
  readonly name: string;
  /** What it shows, for `--help`. */
  readonly about: string;
  /** Files and folders given to `deno test`. */
  readonly paths?: readonly string[];
  /** Permissions of `deno test`; default all. */
  readonly permissions?: readonly string[];
  /** A program instead of `deno test`. */
  readonly command?: readonly string[];
  readonly env?: Readonly<Record<string, string>>;
  /** Files and folders below `paths` that are another kind's. */
  readonly except?: readonly string[];
  /** How many `deno test` run at a time, each with some of the files; default 1. */
  readonly jobs?: number;
  /** It may run while other kinds do, and is waited for at the end. */
  readonly beside?: boolean;
  /** Part of `deno task test` without arguments. */
  readonly byDefault: boolean;
}

const EXE = "dist/denovs";
/** More than one in any case: tests wait as well. */
const JOBS = Math.max(2, Math.min(4, navigator.hardwareConcurrency));
/** Those with real devices wait more than they work. */
const E2E_JOBS = JOBS + 1;
const UNITS = [
  "cli/",
  "daemon/",
  "vports/",
  "netdev/",
  "examples/",
  "tools/",
  "tests/tidy_test.ts",
];
/** Of these the tests that start processes, make namespaces, or wait for what hangs: seconds each. */
const LIVE = [
  "daemon/run_test.ts",
  "daemon/switch/allocations_test.ts",
  "daemon/switch/async_port_test.ts",
  "daemon/switch/devices_test.ts",
  "daemon/switch/hang_test.ts",
  "daemon/testing/",
  "daemon/upcalls/upcalls_test.ts",
  "examples/",
  "netdev/packet_socket_test.ts",
  "tools/self_extractor_test.ts",
  "vports/conformance_test.ts",
  "vports/contract_test.ts",
  "vports/tunnel_too_big_test.ts",
  "vports/tunnels_contract_test.ts",
];

/** In the order in which they run. */
export const KINDS: readonly Kind[] = [
  {
    name: "check",
    about: "every file type-checks",
    command: [Deno.execPath(), "check", "--quiet", "."],
    beside: true,
    byDefault: true,
  },
  {
    name: "unit-datapath",
    about: "unit and property tests of datapath/, with no permission",
    paths: ["datapath/"],
    permissions: ["--no-prompt"],
    jobs: JOBS,
    byDefault: true,
  },
  {
    name: "unit",
    about: "unit tests of everything else",
    paths: UNITS,
    except: LIVE,
    jobs: JOBS,
    byDefault: true,
  },
  {
    name: "live",
    about: "those of them that start processes, use devices or wait for what hangs",
    paths: LIVE,
    jobs: JOBS,
    byDefault: true,
  },
  {
    name: "threads",
    about: "what threads share, under all of them at once",
    paths: ["tests/threads/"],
    byDefault: true,
  },
  {
    name: "fuzz",
    about: "hostile packets and messages",
    paths: ["tests/fuzz/"],
    jobs: JOBS,
    byDefault: true,
  },
  {
    name: "property",
    about: "the switch against a model",
    paths: ["tests/property/"],
    byDefault: true,
  },
  {
    name: "property-threads-2",
    about: "the same with two packet threads",
    paths: ["tests/property/"],
    env: { DENOVS_TEST_THREADS: "2" },
    byDefault: true,
  },
  {
    name: "oracle",
    about: "same input to Open vSwitch, same answers",
    paths: ["tests/oracle/"],
    jobs: JOBS,
    byDefault: true,
  },
  {
    name: "faults",
    about: "every system call fails once",
    paths: ["tests/faults/"],
    byDefault: true,
  },
  {
    name: "golden",
    about: "text cases with a virtual clock",
    paths: ["tests/golden/"],
    jobs: JOBS,
    byDefault: true,
  },
  {
    name: "build",
    about: `makes ${EXE}`,
    command: [Deno.execPath(), "task", "build"],
    byDefault: true,
  },
  {
    name: "golden-exe",
    about: `the same with ${EXE}`,
    paths: ["tests/golden/"],
    jobs: JOBS,
    env: { DENOVS_EXE: EXE },
    byDefault: true,
  },
  {
    name: "e2e",
    about: "real devices in network namespaces, from the sources",
    paths: ["tests/e2e/"],
    jobs: E2E_JOBS,
    byDefault: true,
  },
  {
    name: "e2e-threads-2",
    about: "the same with two packet threads",
    paths: ["tests/e2e/"],
    jobs: E2E_JOBS,
    env: { DENOVS_TEST_THREADS: "2" },
    byDefault: true,
  },
  {
    name: "e2e-exe",
    about: `the same with ${EXE}`,
    paths: ["tests/e2e/"],
    jobs: E2E_JOBS,
    env: { DENOVS_EXE: EXE },
    byDefault: true,
  },
];
