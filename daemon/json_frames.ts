/**
 * Cuts a stream of bytes into JSON objects that follow each other without any separator, as
 * JSON-RPC 1.0 over a stream has it (Open vSwitch's jsonrpc and unixctl). Looks at braces and
 * strings only; whether a frame is JSON is for the parser to say.
 */

const QUOTE = 0x22;
const BACKSLASH = 0x5c;
const OPEN_BRACE = 0x7b;
const CLOSE_BRACE = 0x7d;
const OPEN_BRACKET = 0x5b;
const CLOSE_BRACKET = 0x5d;

/** What stands between two objects is not JSON, or an object is too large. The stream can't go on. */
export class FrameError extends Error {
  override readonly name = "FrameError";
}

export class JsonFrames {
  readonly #sizeMax: number;
  /** Pieces of the object in progress. */
  #pieces: Uint8Array[] = [];
  #size = 0;
  #depth = 0;
  #inString = false;
  #escaped = false;

  /** `sizeMax`: bytes in one object. */
  constructor(sizeMax: number) {
    this.#sizeMax = sizeMax;
  }

  /** Takes a piece of the stream and gives the texts of the objects that end in it. */
  push(bytes: Uint8Array): string[] {
    const frames: string[] = [];
    let from = 0;
    for (let at = 0; at < bytes.length; at++) {
      const byte = bytes[at]!;
      if (this.#inString) {
        at = this.#skipString(bytes, at);
      } else if (this.#depth === 0) {
        if (byte === OPEN_BRACE) {
          this.#depth = 1;
          from = at;
        } else if (!isBlank(byte)) {
          throw new FrameError("a request must be a JSON object");
        }
      } else if (byte === QUOTE) {
        this.#inString = true;
      } else if (byte === OPEN_BRACE || byte === OPEN_BRACKET) {
        this.#depth++;
      } else if (byte === CLOSE_BRACE || byte === CLOSE_BRACKET) {
        this.#depth--;
        if (this.#depth === 0) {
          this.#keep(bytes.subarray(from, at + 1));
          frames.push(this.#take());
        }
      }
    }
    if (this.#depth > 0) this.#keep(bytes.slice(from));
    return frames;
  }

  /** Whether the stream stands within an object. */
  get partial(): boolean {
    return this.#depth > 0;
  }

  /** Goes on from `at`, inside a string, to its end or that of the bytes. */
  #skipString(bytes: Uint8Array, at: number): number {
    for (; at < bytes.length; at++) {
      const byte = bytes[at];
      if (this.#escaped) this.#escaped = false;
      else if (byte === BACKSLASH) this.#escaped = true;
      else if (byte === QUOTE) {
        this.#inString = false;
        return at;
      }
    }
    return at;
  }

  #keep(piece: Uint8Array): void {
    this.#size += piece.length;
    if (this.#size > this.#sizeMax) {
      throw new FrameError(`a request has more than ${this.#sizeMax} bytes`);
    }
    this.#pieces.push(piece);
  }

  #take(): string {
    const decoder = new TextDecoder("utf-8", { fatal: true });
    try {
      const texts = this.#pieces.map((piece) => decoder.decode(piece, { stream: true }));
      return texts.join("") + decoder.decode();
    } catch {
      throw new FrameError("a request is not UTF-8");
    } finally {
      this.#pieces = [];
      this.#size = 0;
    }
  }
}

function isBlank(byte: number): boolean {
  return byte === 0x20 || byte === 0x09 || byte === 0x0a || byte === 0x0d;
}
