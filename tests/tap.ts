/** Reads what `deno test --reporter=tap` writes, as it comes. Steps count as part of their test. */

export interface TestResult {
  readonly file: string;
  readonly name: string;
  readonly status: "ok" | "failed" | "skipped";
  /** Why it failed; the messages of failed steps included. */
  readonly message: string;
  /** From the result before to this one. */
  readonly durationMs: number;
}

const RESULT = /^(not )?ok \d+ - (.*)$/;
const STEP_RESULT = /^\s+(not )?ok \d+ - (.*)$/;
// deno-lint-ignore no-control-regex
const COLOUR = /\x1b\[[0-9;]*m/g;

/** Message of the YAML block that follows a failure: one line of JSON. */
function messageOf(line: string): string {
  try {
    const data: unknown = JSON.parse(line);
    if (typeof data === "object" && data !== null && "message" in data) {
      return String(data.message).replace(COLOUR, "");
    }
  } catch {
    // Not the JSON line: shown as it is.
  }
  return line.trim();
}

/** Yields a result per test, a failed one once its message is complete. */
export async function* parseTap(stream: ReadableStream<Uint8Array>): AsyncGenerator<TestResult> {
  let file = "";
  let stepMessages: string[] = [];
  let step = "";
  let pending: { name: string; message: string } | undefined;
  let last = performance.now();
  const took = (): number => {
    const now = performance.now();
    const ms = now - last;
    last = now;
    return ms;
  };
  const failed = (): TestResult => ({
    file,
    name: pending?.name ?? "",
    status: "failed",
    message: [pending?.message ?? "", ...stepMessages].filter(Boolean).join("\n"),
    durationMs: took(),
  });
  for await (const line of lines(stream)) {
    if (pending) {
      if (/^ {2}(---|\.\.\.)$/.test(line) || /^ {2}\{/.test(line)) {
        if (line.startsWith("  {")) pending.message = messageOf(line);
        if (line !== "  ...") continue;
      }
      yield failed();
      pending = undefined;
      stepMessages = [];
      if (line === "  ...") continue;
    }
    const result = RESULT.exec(line);
    if (line.startsWith("# ./") || line.startsWith("# file:")) {
      file = line.slice(2).replace(/^\.\//, "");
    } else if (result) {
      const name = result[2] ?? "";
      if (result[1]) pending = { name, message: "" };
      else {
        const skipped = name.endsWith(" # SKIP");
        yield {
          file,
          name: skipped ? name.slice(0, -" # SKIP".length) : name,
          status: skipped ? "skipped" : "ok",
          message: "",
          durationMs: took(),
        };
        stepMessages = [];
      }
    } else if (STEP_RESULT.test(line)) {
      const found = STEP_RESULT.exec(line);
      step = found?.[1] ? found[2] ?? "" : "";
    } else if (step && /^\s+\{/.test(line)) {
      stepMessages.push(`step "${step}": ${messageOf(line)}`);
    }
  }
  if (pending) yield failed();
}

async function* lines(stream: ReadableStream<Uint8Array>): AsyncGenerator<string> {
  let rest = "";
  for await (const text of stream.pipeThrough(new TextDecoderStream())) {
    const parts = (rest + text).split("\n");
    rest = parts.pop() ?? "";
    yield* parts;
  }
  if (rest) yield rest;
}
