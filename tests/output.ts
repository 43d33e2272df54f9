/** Where the test runner, the benchmarks and the demo write: lines of text, at once, to stdout. */

const encoder = new TextEncoder();

function writeAll(to: typeof Deno.stdout | typeof Deno.stderr, text: string): void {
  let bytes = encoder.encode(text);
  while (bytes.length > 0) bytes = bytes.subarray(to.writeSync(bytes));
}

/** Writes one line to stdout. */
export function say(line = ""): void {
  writeAll(Deno.stdout, line + "\n");
}

/** Writes one line to stderr. */
export function warn(line: string): void {
  writeAll(Deno.stderr, line + "\n");
}

/** Columns padded to the widest cell; a column whose name starts with `>` is right-aligned. */
export function table(head: readonly string[], rows: readonly (readonly string[])[]): string[] {
  const names = head.map((name) => name.replace(/^>/, ""));
  const widths = names.map((name, i) =>
    Math.max(name.length, ...rows.map((row) => (row[i] ?? "").length))
  );
  const line = (cells: readonly string[]): string =>
    cells.map((cell, i) =>
      head[i]?.startsWith(">") ? cell.padStart(widths[i] ?? 0) : cell.padEnd(widths[i] ?? 0)
    ).join("  ").trimEnd();
  return [line(names), ...rows.map(line)];
}

/** Middle of the sorted values; NaN of none. */
export function median(values: readonly number[]): number {
  if (values.length === 0) return NaN;
  const sorted = values.toSorted((a, b) => a - b);
  const half = sorted.length >> 1;
  const upper = sorted[half] ?? NaN;
  return sorted.length % 2 === 1 ? upper : ((sorted[half - 1] ?? NaN) + upper) / 2;
}
