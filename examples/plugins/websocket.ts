/**
 * A vport type that no other switch has: Ethernet over WebSocket, one frame per binary message. The
 * far end is a browser (a virtual machine in a page, say) or another denovs, behind whatever proxy
 * lets HTTPS through:
 *
 *     denovs plugin-add examples/plugins/websocket.ts
 *     denovs port-add br0 web0 --type websocket listen=0.0.0.0:8443 cert=host.crt key=host.key path=/lan
 *     denovs port-add br0 far0 --type websocket url=wss://switch.example.org:8443/lan ca=ca.crt
 *
 * A listening port has one far end at a time: a new one takes the place of the last. A calling port
 * calls again, after half a second and then more and more seldom, whenever the connection is lost;
 * frames that are sent meanwhile are dropped and counted (port-down).
 */
import type { AsyncVport, AsyncVportOps, AsyncVportParams, PluginApi } from "../../vports/vport.ts";

interface Options {
  /** Where to call: ws:// or wss://. Undefined: it listens. */
  readonly url?: string;
  /** Address and port to listen on. */
  readonly listen?: string;
  /** Path that callers must ask for. */
  readonly path: string;
  /** PEM files: certificate and key to listen with TLS, and whom to trust when calling. */
  readonly cert?: string;
  readonly key?: string;
  readonly ca?: string;
}

const KEYS = ["url", "listen", "path", "cert", "key", "ca"] as const;
/** Bytes that may wait in the socket; beyond that frames wait in the ring, and then are dropped. */
const BUFFERED_MAX = 1 << 20;
const RETRY_MS = 500;
const RETRY_MS_MAX = 15_000;

export default function websocket(api: PluginApi): AsyncVportOps<Options> {
  function wrong(key: string, value: string | undefined, wanted: string): never {
    throw new api.OptionError(key, `Option ${key} must be ${wanted}: it is "${value ?? ""}"`);
  }

  function parseOptions(raw: ReadonlyMap<string, string>): Options {
    api.options.only(raw, KEYS);
    const { url, listen, path, cert, key, ca } = Object.fromEntries(raw);
    if (listen === undefined) {
      api.options.required(raw, "url");
      const isUrl = URL.canParse(url ?? "") && /^wss?:\/\/[^/]/.test(url ?? "");
      if (!isUrl) wrong("url", url, "a URL that begins with ws:// or wss://");
      for (const option of ["path", "cert", "key"]) {
        if (raw.has(option)) wrong(option, raw.get(option), "left out (it goes with listen)");
      }
      return { url: url!, path: "/", ...(ca === undefined ? {} : { ca }) };
    }
    if (url !== undefined) wrong("url", url, "left out (a port either listens or calls)");
    if (ca !== undefined) wrong("ca", ca, "left out (it goes with url)");
    api.options.end(raw, "listen");
    if (path !== undefined && !path.startsWith("/")) wrong("path", path, "a path from / on");
    if (cert !== undefined) api.options.required(raw, "key");
    if (key !== undefined) api.options.required(raw, "cert");
    const tls = cert !== undefined && key !== undefined ? { cert, key } : {};
    return { listen, path: path ?? "/", ...tls };
  }

  function formatOptions(options: Options): ReadonlyMap<string, string> {
    const shown = Object.entries(options).filter(([key, value]) => key !== "path" || value !== "/");
    return new Map(shown);
  }

  return {
    apiVersion: 1,
    kind: "async",
    type: "websocket",
    summary: "Ethernet over WebSocket: to browsers and through HTTPS proxies",
    parseOptions,
    formatOptions,
    open: async (params) => {
      const port = new WebSocketPort(params);
      if (params.options.listen === undefined) await port.call();
      else await port.listen();
      return port;
    },
  };
}

class WebSocketPort implements AsyncVport {
  readonly #host: AsyncVportParams<Options>["host"];
  readonly #options: Options;
  #socket: WebSocket | undefined;
  #server: Deno.HttpServer | undefined;
  #retry: ReturnType<typeof setTimeout> | undefined;
  #closed = false;

  constructor({ host, options }: AsyncVportParams<Options>) {
    this.#host = host;
    this.#options = options;
  }

  /** Takes callers. */
  async listen(): Promise<void> {
    const { listen = "", path, cert, key } = this.#options;
    const [, hostname = "", port] = /^\[?(.+?)\]?:(\d+)$/.exec(listen) ?? [];
    const place = { hostname, port: Number(port), onListen: () => {} };
    const handler = (request: Request): Response => {
      if (new URL(request.url).pathname !== path) return new Response(null, { status: 404 });
      if (request.headers.get("upgrade")?.toLowerCase() !== "websocket") {
        return new Response("This is a WebSocket.\n", { status: 426 });
      }
      const { socket, response } = Deno.upgradeWebSocket(request);
      this.#use(socket);
      return response;
    };
    if (cert === undefined || key === undefined) {
      this.#server = Deno.serve(place, handler);
    } else {
      const pem = { cert: await Deno.readTextFile(cert), key: await Deno.readTextFile(key) };
      this.#server = Deno.serve({ ...place, ...pem }, handler);
    }
  }

  /** Calls the far end, and again whenever the connection is lost. */
  async call(retryMs: number = RETRY_MS): Promise<void> {
    const { url = "", ca } = this.#options;
    const client = ca === undefined
      ? undefined
      : Deno.createHttpClient({ caCerts: [await Deno.readTextFile(ca)] });
    let nextMs = Math.min(2 * retryMs, RETRY_MS_MAX);
    const socket = new WebSocket(url, client === undefined ? {} : { client });
    socket.addEventListener("open", () => nextMs = RETRY_MS);
    socket.addEventListener("close", () => {
      client?.close();
      if (this.#closed) return;
      const again = (): void => void this.call(nextMs).catch((error) => this.#host.failed(error));
      this.#retry = setTimeout(again, retryMs);
    });
    this.#use(socket);
  }

  /** From now on this is the far end. */
  #use(socket: WebSocket): void {
    this.#socket?.close();
    this.#socket = socket;
    socket.binaryType = "arraybuffer";
    socket.addEventListener("message", ({ data }) => {
      // Text is no frame; a far end whose place was taken has nothing to say any more.
      if (data instanceof ArrayBuffer && this.#socket === socket) {
        this.#host.receive(new Uint8Array(data));
      }
    });
    socket.addEventListener("error", (event) => event.preventDefault());
  }

  send(frame: Uint8Array<ArrayBuffer>): boolean | Promise<void | boolean> {
    const socket = this.#socket;
    // A caller may take the connection for open before this end does.
    const isAnswered = this.#server !== undefined && socket?.readyState === WebSocket.CONNECTING;
    if (isAnswered) return this.#opened(socket).then(() => this.send(frame));
    if (socket?.readyState !== WebSocket.OPEN) return false;
    socket.send(frame);
    return socket.bufferedAmount > BUFFERED_MAX ? this.#drained(socket) : true;
  }

  #opened(socket: WebSocket): Promise<void> {
    return new Promise((resolve) => {
      for (const end of ["open", "close"]) socket.addEventListener(end, () => resolve());
    });
  }

  async #drained(socket: WebSocket): Promise<void> {
    while (socket.readyState === WebSocket.OPEN && socket.bufferedAmount > BUFFERED_MAX / 2) {
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
  }

  async close(): Promise<void> {
    this.#closed = true;
    clearTimeout(this.#retry);
    this.#socket?.close();
    await this.#server?.shutdown();
  }
}
