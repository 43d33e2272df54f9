/**
 * Sees that an upcall handler does not come back. The control isolate, which runs it, can't: so it
 * notes in shared memory which handler it is in and since when, and the store's Worker looks.
 */
/** When the handler was entered, milliseconds since 1970; 0: none is running. */
const SINCE = 0;
/** Then the path: its size, and its UTF-8 bytes. */
const SIZE_AT = 8;
const PATH_AT = 12;
const PATH_SIZE_MAX = 1024;
/** How long a handler may take. */
const HANG_MS = 2000;
const LOOK_MS = 500;

/** The side of whoever runs handlers. */
export class HangWatch {
  /** Structured-clonable. */
  readonly shared: SharedArrayBuffer = new SharedArrayBuffer(PATH_AT + PATH_SIZE_MAX);
  readonly #since: Float64Array = new Float64Array(this.shared, 0, 1);
  #path = "";

  enter(path: string): void {
    if (path !== this.#path) this.#setPath(path);
    this.#since[SINCE] = Date.now();
  }

  leave(): void {
    this.#since[SINCE] = 0;
  }

  #setPath(path: string): void {
    this.#path = path;
    const bytes = new TextEncoder().encode(path).subarray(0, PATH_SIZE_MAX);
    new Uint8Array(this.shared, PATH_AT).set(bytes);
    new Int32Array(this.shared, SIZE_AT, 1)[0] = bytes.length;
  }
}

/** The side of whoever looks: reports each handler that does not come back, once, and its return. Returns what ends it. */
export function watchForHangs(
  shared: SharedArrayBuffer,
  report: (level: "error" | "warn", text: string) => void,
): () => void {
  const since = new Float64Array(shared, 0, 1);
  let reportedMs = 0;
  const timer = setInterval(() => {
    const enteredMs = since[SINCE]!;
    if (reportedMs !== 0 && enteredMs !== reportedMs) {
      const seconds = Math.round((Date.now() - reportedMs) / 1000);
      report("warn", `upcall handler ${pathOf(shared)} has come back after ${seconds} s`);
      reportedMs = 0;
    }
    if (enteredMs === 0 || enteredMs === reportedMs || Date.now() - enteredMs < HANG_MS) return;
    reportedMs = enteredMs;
    report(
      "error",
      `upcall handler ${pathOf(shared)} has not come back for ${HANG_MS} ms: no command is ` +
        "answered and packets without a flow are lost until it does; packets that match flows go on",
    );
  }, LOOK_MS);
  return () => clearInterval(timer);
}

function pathOf(shared: SharedArrayBuffer): string {
  const size = new Int32Array(shared, SIZE_AT, 1)[0]!;
  return new TextDecoder().decode(new Uint8Array(shared, PATH_AT).slice(0, size));
}
