/**
 * The control socket of ovs-vswitchd or denovs (JSON-RPC over a Unix socket), without a process for each command:
 * thousands of cases in seconds.
 */

export class OvsControl {
  readonly #connection: Deno.Conn;
  readonly #decoder = new TextDecoder();
  readonly #buffer = new Uint8Array(65536);
  #text = "";
  #id = 0;

  private constructor(connection: Deno.Conn) {
    this.#connection = connection;
  }

  static async open(socket: string): Promise<OvsControl> {
    return new OvsControl(await Deno.connect({ transport: "unix", path: socket }));
  }

  /** Runs a command that must succeed; what it prints. */
  async command(method: string, ...params: string[]): Promise<string> {
    const id = this.#id++;
    const request = new TextEncoder().encode(JSON.stringify({ id, method, params }));
    for (let sent = 0; sent < request.length;) {
      sent += await this.#connection.write(request.subarray(sent));
    }
    const reply = JSON.parse(await this.#object());
    if (reply.error !== null) throw new Error(`${method} ${params.join(" ")}: ${reply.error}`);
    return reply.result;
  }

  /** The text of one JSON object: whatever comes until it parses. */
  async #object(): Promise<string> {
    for (;;) {
      const text = this.#text.trimEnd();
      if (text.endsWith("}")) {
        try {
          JSON.parse(text);
          this.#text = "";
          return text;
        } catch {
          // More is to come.
        }
      }
      const size = await this.#connection.read(this.#buffer);
      if (size === null) throw new Error("ovs-vswitchd has ended");
      this.#text += this.#decoder.decode(this.#buffer.subarray(0, size), { stream: true });
    }
  }

  close(): void {
    this.#connection.close();
  }
}

/** Frames that a capture file has gained since the last call: the switch flushes it after every packet. */
export class GrowingCapture {
  readonly #path: string;
  #at = 24;

  constructor(path: string) {
    this.#path = path;
  }

  /** In hexadecimal. */
  next(): string[] {
    const file = Deno.openSync(this.#path);
    try {
      const size = file.statSync().size - this.#at;
      if (size <= 0) return [];
      const bytes = new Uint8Array(size);
      file.seekSync(this.#at, Deno.SeekMode.Start);
      file.readSync(bytes);
      const view = new DataView(bytes.buffer);
      const frames: string[] = [];
      let at = 0;
      while (at + 16 <= size) {
        const length = view.getUint32(at + 8, true);
        // The rest is still being written.
        if (at + 16 + length > size) break;
        frames.push(bytes.slice(at + 16, at + 16 + length).toHex());
        at += 16 + length;
      }
      this.#at += at;
      return frames;
    } finally {
      file.close();
    }
  }
}
