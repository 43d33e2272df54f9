/**
 * Standard output and standard error as the command line uses them: synchronous, plain text. The one
 * module that writes to them; no `node:process`, which would double the start-up time.
 */

export interface Output {
  /** Standard output. Buffered until {@link flush}. */
  print(text: string): void;
  /** Standard output, for what is no text. At once. */
  printBytes(bytes: Uint8Array): void;
  /** Standard error, at once. */
  note(text: string): void;
  flush(): void;
}

// Enough that a dump of 100,000 flows is few writes.
const BUFFER_LENGTH_MAX = 1 << 20;

/** The process's own streams. */
export class ProcessOutput implements Output {
  #parts: string[] = [];
  #length = 0;

  print(text: string): void {
    this.#parts.push(text);
    this.#length += text.length;
    if (this.#length > BUFFER_LENGTH_MAX) this.flush();
  }

  printBytes(bytes: Uint8Array): void {
    this.flush();
    writeBytes(Deno.stdout, bytes);
  }

  note(text: string): void {
    this.flush();
    writeAll(Deno.stderr, text);
  }

  flush(): void {
    if (this.#length === 0) return;
    const text = this.#parts.join("");
    this.#parts = [];
    this.#length = 0;
    writeAll(Deno.stdout, text);
  }
}

function writeAll(stream: { writeSync(bytes: Uint8Array): number }, text: string): void {
  writeBytes(stream, new TextEncoder().encode(text));
}

/** Writes everything. A reader that has gone away ends the program quietly, as SIGPIPE would. */
function writeBytes(stream: { writeSync(bytes: Uint8Array): number }, bytes: Uint8Array): void {
  for (let at = 0; at < bytes.length;) {
    try {
      at += stream.writeSync(bytes.subarray(at));
    } catch (error) {
      if (error instanceof Deno.errors.BrokenPipe) Deno.exit(141);
      if (!(error instanceof Deno.errors.WouldBlock)) fail(error);
      Atomics.wait(new Int32Array(new SharedArrayBuffer(4)), 0, 0, 1);
    }
  }
}

/** A full disk, for one, is no bug of ours. */
function fail(error: unknown): never {
  const reason = error instanceof Error ? error.message : String(error);
  try {
    Deno.stderr.writeSync(new TextEncoder().encode(`denovs: cannot write the output: ${reason}\n`));
  } catch {
    // Nobody to tell.
  }
  Deno.exit(1);
}

/** Keeps everything as text: for tests and for the lines of a batch. */
export class TextOutput implements Output {
  printed = "";
  noted = "";
  /** What was printed as bytes. */
  printedBytes: Uint8Array = new Uint8Array(0);

  print(text: string): void {
    this.printed += text;
  }

  printBytes(bytes: Uint8Array): void {
    this.printedBytes = bytes;
  }

  note(text: string): void {
    this.noted += text;
  }

  flush(): void {}
}
