/**
 * A vport type that no other switch has: Ethernet over WebSocket, one frame per binary message. The
 * far end is a browser (websocket.html beside this file, or a virtual machine in a page) or another
 * denovs, behind whatever proxy lets HTTPS through:
 *
 *     denovs plugin-add examples/plugins/websocket.ts
 *     denovs port-add br0 web0 --type websocket listen=127.0.0.1:8080 path=/lan page=/etc/denovs/websocket.html
 *     denovs port-add br0 far0 --type websocket url=wss://switch.example.org/lan
 *
 * A listening port has one far end, and refuses others (503) until that is gone: all frames then go by
 * the switch's flows. With clients=N it is a cable with N far ends: they hear each other without the
 * switch, which sends to one of them what is for an address that it has been seen to have. A page of
 * another site is refused (403) unless origin= names the site, or any. Behind a proxy the port listens
 * on the loopback address; with cert= and key= it does TLS itself.
 *
 * A calling port calls again when the connection is lost: after half a second, then more and more
 * seldom, every 15 s in the end. dp-show says why it is not connected; frames that are sent meanwhile
 * are dropped and counted (port-down). It says "ping" in a text message every keepalive= seconds, which
 * the far end answers with "pong": after three without a word the connection is lost. keepalive=0 is
 * for far ends that know no such thing. A listening port does the same with pings of WebSocket's own.
 */
import type {
  AsyncVport,
  AsyncVportHost,
  AsyncVportOps,
  OptionForm,
  PluginApi,
  UdpEnd,
} from "../../vports/vport.ts";

interface Options {
  /** Where to call: ws:// or wss://. Undefined: it listens. */
  readonly url: string | undefined;
  /** Address and port to listen on. */
  readonly listen: UdpEnd | undefined;
  /** What callers must ask for. */
  readonly path: string;
  /** Subprotocol: what is offered, or what callers must offer. */
  readonly protocol: string | undefined;
  /** Seconds. */
  readonly keepalive: number;
  /** Far ends at a time. */
  readonly clients: number;
  /** The site whose pages may call; "any". */
  readonly origin: string | undefined;
  /** HTML file for who comes with a browser. */
  readonly page: string | undefined;
  /** PEM files: certificate and key to listen with TLS, and whom to trust when calling. */
  readonly cert: string | undefined;
  readonly key: string | undefined;
  readonly ca: string | undefined;
}

/** Bytes that may wait in a socket; beyond that frames wait in the ring, and then are dropped. */
const BUFFERED_MAX = 1 << 20;
const RETRY_MS = 500;
const RETRY_MS_MAX = 15_000;
/** Addresses of far ends that are remembered. */
const PLACES_MAX = 4096;

export default function websocket({ options, OptionError }: PluginApi): AsyncVportOps<Options> {
  const { form, table } = options;

  function wrong(key: string, value: string | undefined, wanted: string): never {
    throw new OptionError(key, `Option ${key} must be ${wanted}: it is "${value ?? ""}"`);
  }

  /** A text that `isRight`. */
  function text(wanted: string, isRight: (value: string) => boolean): OptionForm<string> {
    return {
      parse: (raw, key) => {
        const value = raw.get(key) ?? "";
        return isRight(value) ? value : wrong(key, value, wanted);
      },
      format: (value) => value,
    };
  }

  const isUrl = (url: string): boolean => URL.canParse(url) && /^wss?:\/\/[^/]/.test(url);
  const isToken = (word: string): boolean => /^[\w!#$%&'*+.^`|~-]+$/.test(word);
  const isSite = (site: string): boolean => site === "any" || /^https?:\/\/[^/]+$/.test(site);
  const isFile = (path: string): boolean => path !== "";
  const file = form.optional(text("the path of a file", isFile));
  const path = form.optional(text("a path from / on", (path) => path.startsWith("/")));
  const codec = table<Options>({
    url: form.optional(text("a URL that begins with ws:// or wss://", isUrl)),
    listen: form.optional(form.end()),
    path: {
      parse: (raw, key) => path.parse(raw, key) ?? "/",
      format: (value) => value === "/" ? undefined : value,
    },
    protocol: form.optional(text("a word", isToken)),
    keepalive: form.integer({ min: 0, max: 3600, fallback: 10 }),
    clients: form.integer({ min: 1, max: 256, fallback: 1 }),
    origin: form.optional(text('"any" or a site, as https://example.org', isSite)),
    page: file,
    cert: file,
    key: file,
    ca: file,
  });

  return {
    apiVersion: 1,
    kind: "async",
    type: "websocket",
    summary: "Ethernet over WebSocket: to browsers and through HTTPS proxies",
    parseOptions(raw): Options {
      const parsed = codec.parseOptions(raw);
      const { url, listen, cert, key } = parsed;
      if (url !== undefined && listen !== undefined) {
        wrong("url", url, "left out (a port either listens or calls)");
      }
      if (url === undefined && listen === undefined) options.required(raw, "url");
      const [others, why] = url === undefined ? [["ca"], "left out (it goes with url)"] as const : [
        ["path", "clients", "origin", "page", "cert", "key"],
        "left out (it goes with listen)",
      ] as const;
      for (const other of others) if (raw.has(other)) wrong(other, raw.get(other), why);
      if (cert !== undefined) options.required(raw, "key");
      if (key !== undefined) options.required(raw, "cert");
      return parsed;
    },
    formatOptions: codec.formatOptions,
    open: async ({ host, options }) => {
      if (options.listen === undefined) return new Caller(options, host);
      const listener = new Listener(options, host);
      await listener.listen(options.listen);
      return listener;
    },
  };
}

/** One far end. */
class Link {
  readonly socket: WebSocket;
  /** Messages that have come from it. */
  heard = 0;

  /** `receive` gets its frames. */
  constructor(socket: WebSocket, receive: (frame: Uint8Array<ArrayBuffer>, link: Link) => void) {
    this.socket = socket;
    socket.binaryType = "arraybuffer";
    socket.addEventListener("error", (event) => event.preventDefault());
    socket.addEventListener("message", ({ data }) => {
      this.heard++;
      if (data instanceof ArrayBuffer) receive(new Uint8Array(data), this);
      else if (data === "ping") socket.send("pong");
    });
  }

  get isFull(): boolean {
    return this.socket.bufferedAmount > BUFFERED_MAX;
  }

  /** False: it is closed, or does not keep up. */
  send(frame: Uint8Array<ArrayBuffer>): boolean {
    const isTaken = this.socket.readyState === WebSocket.OPEN && !this.isFull;
    if (isTaken) this.socket.send(frame);
    return isTaken;
  }

  /** The same, when it takes frames again. */
  async sendLater(frame: Uint8Array<ArrayBuffer>): Promise<boolean> {
    while (this.isFull && this.socket.readyState === WebSocket.OPEN) {
      await new Promise((resolve) => setTimeout(resolve, 1));
    }
    return this.send(frame);
  }
}

/** A port that calls its far end, and again whenever the connection is lost. */
class Caller implements AsyncVport {
  readonly #host: AsyncVportHost;
  readonly #options: Options;
  #link: Link | undefined;
  #retryMs = RETRY_MS;
  #timer: ReturnType<typeof setTimeout> | undefined;
  #closed = false;

  constructor(options: Options, host: AsyncVportHost) {
    this.#options = options;
    this.#host = host;
    this.#host.status(`calling ${options.url}`);
    this.#call();
  }

  send(frame: Uint8Array<ArrayBuffer>): boolean | Promise<boolean> {
    const link = this.#link;
    if (link === undefined) return false;
    return link.isFull ? link.sendLater(frame) : link.send(frame);
  }

  close(): void {
    this.#closed = true;
    clearTimeout(this.#timer);
    this.#link?.socket.close();
  }

  #call(): void {
    this.#connect().catch((error: Error) => this.#again(error.message));
  }

  async #connect(): Promise<void> {
    const { url = "", ca, protocol } = this.#options;
    const caCerts = ca === undefined ? [] : [await Deno.readTextFile(ca)];
    const client = ca === undefined ? undefined : Deno.createHttpClient({ caCerts });
    if (this.#closed) return client?.close();
    const protocols = protocol === undefined ? [] : [protocol];
    const socket = new WebSocket(url, client === undefined ? { protocols } : { protocols, client });
    let isOpened = false;
    let why = "the far end has closed the connection";
    const link = new Link(socket, (frame) => {
      if (this.#link === link) this.#host.receive(frame);
    });
    socket.addEventListener("open", () => {
      isOpened = true;
      this.#opened(link);
    });
    socket.addEventListener("error", (event) => {
      if (event instanceof ErrorEvent) {
        why = event.message.replace(/^.*failed to connect to WebSocket: /, "");
      }
    });
    socket.addEventListener("close", async ({ reason }) => {
      client?.close();
      const fault = isOpened ? undefined : await findTlsFault(url, caCerts);
      this.#lost(link, fault ?? (reason === "" ? why : `${why}: ${reason}`));
    });
    this.#link = link;
  }

  #opened(link: Link): void {
    const { url, protocol, keepalive } = this.#options;
    if (this.#link !== link) return link.socket.close();
    if (protocol !== undefined && link.socket.protocol !== protocol) {
      return this.#lost(link, `the far end does not speak ${protocol}`);
    }
    this.#host.status(`connected to ${url}`);
    if (keepalive > 0) this.#keepAlive(link, 0);
  }

  /** `missed`: how often nothing was heard for as long as a keepalive. */
  #keepAlive(link: Link, missed: number): void {
    if (this.#link !== link) return;
    if (missed === 3) return this.#lost(link, "the far end has fallen silent");
    const { heard } = link;
    link.socket.send("ping");
    const next = (): void => this.#keepAlive(link, link.heard > heard ? 0 : missed + 1);
    this.#timer = setTimeout(next, this.#options.keepalive * 1000);
  }

  /** A socket whose far end is dead does not tell so soon: it is forgotten here. */
  #lost(link: Link, why: string): void {
    if (this.#link !== link) return;
    this.#link = undefined;
    link.socket.close();
    if (link.heard > 0) this.#retryMs = RETRY_MS;
    this.#again(why);
  }

  #again(why: string): void {
    if (this.#closed) return;
    const waitMs = this.#retryMs * (0.8 + 0.4 * Math.random()); // not all callers at once
    this.#retryMs = Math.min(2 * this.#retryMs, RETRY_MS_MAX);
    this.#host.status(`not connected: ${why}; calls again in ${(waitMs / 1000).toFixed(1)} s`);
    clearTimeout(this.#timer);
    this.#timer = setTimeout(() => this.#call(), waitMs);
  }
}

/** What is wrong with a far end's TLS, which a WebSocket keeps to itself; undefined: nothing. */
async function findTlsFault(url: string, caCerts: string[]): Promise<string | undefined> {
  const { protocol, hostname, port } = new URL(url);
  if (protocol !== "wss:") return undefined;
  const place = { hostname: hostname.replace(/^\[(.*)\]$/, "$1"), port: Number(port || 443) };
  try {
    using connection = await Deno.connectTls({ ...place, caCerts });
    await connection.handshake();
    return undefined;
  } catch (error) {
    return error instanceof Error ? error.message : String(error);
  }
}

/** A port that is called: one far end, or a cable with several. */
class Listener implements AsyncVport {
  readonly #host: AsyncVportHost;
  readonly #options: Options;
  readonly #links: Set<Link> = new Set();
  /** Which far end has an address, seen longest ago first. */
  readonly #places: Map<number, Link> = new Map();
  #server: Deno.HttpServer | undefined;
  #lost = 0;

  constructor(options: Options, host: AsyncVportHost) {
    this.#options = options;
    this.#host = host;
  }

  async listen({ address, port }: UdpEnd): Promise<void> {
    const { cert, key } = this.#options;
    const place = { hostname: address, port, onListen: (): void => {} };
    const answer = (request: Request): Response | Promise<Response> => this.#answer(request);
    if (cert === undefined || key === undefined) {
      this.#server = Deno.serve(place, answer);
    } else {
      const pem = { cert: await Deno.readTextFile(cert), key: await Deno.readTextFile(key) };
      this.#server = Deno.serve({ ...place, ...pem }, answer);
    }
    this.#show();
  }

  send(frame: Uint8Array<ArrayBuffer>): boolean | Promise<boolean> {
    const [first] = this.#links;
    if (first === undefined) return false;
    if (this.#options.clients === 1) {
      // A caller may take the connection for open before this end does.
      if (first.socket.readyState === WebSocket.CONNECTING) return this.#openedFor(first, frame);
      return first.isFull ? first.sendLater(frame) : first.send(frame);
    }
    this.#places.delete(address(frame, 6)); // it is on the switch's side now
    return this.#spread(frame);
  }

  async close(): Promise<void> {
    for (const { socket } of this.#links) socket.close();
    await this.#server?.shutdown();
  }

  #openedFor(link: Link, frame: Uint8Array<ArrayBuffer>): Promise<boolean> {
    return new Promise((resolve) => {
      for (const event of ["open", "close"]) {
        link.socket.addEventListener(event, () => resolve(link.send(frame)), { once: true });
      }
    });
  }

  #answer(request: Request): Response | Promise<Response> {
    const { path, page, protocol, clients, keepalive } = this.#options;
    const refuse = (status: number, why: string): Response => new Response(`${why}\n`, { status });
    if (new URL(request.url).pathname !== path) return refuse(404, "Nothing is here.");
    if (request.headers.get("upgrade")?.toLowerCase() !== "websocket") {
      return page === undefined ? refuse(426, "This is a WebSocket.") : showPage(page);
    }
    if (!this.#isWelcome(request)) return refuse(403, "Pages of this site may not call (origin=).");
    const offered = request.headers.get("sec-websocket-protocol")?.split(/\s*,\s*/) ?? [];
    if (protocol !== undefined && !offered.includes(protocol)) {
      return refuse(400, `The subprotocol is ${protocol}.`);
    }
    if (this.#links.size >= clients) return refuse(503, "The port has its far end (clients=).");
    const settings = { idleTimeout: keepalive, ...(protocol === undefined ? {} : { protocol }) };
    const { socket, response } = Deno.upgradeWebSocket(request, settings);
    const link = new Link(socket, (frame, link) => this.#receive(frame, link));
    this.#links.add(link);
    for (const end of ["close", "error"]) socket.addEventListener(end, () => this.#leave(link));
    this.#show();
    return response;
  }

  /** Only browsers say whose page calls. */
  #isWelcome({ headers }: Request): boolean {
    const site = headers.get("origin");
    const { origin } = this.#options;
    if (site === null || origin === "any" || origin === site) return true;
    return origin === undefined && site.replace(/^https?:\/\//, "") === headers.get("host");
  }

  #receive(frame: Uint8Array<ArrayBuffer>, from: Link): void {
    if (this.#options.clients === 1 || frame.length < 14) return void this.#host.receive(frame);
    const source = address(frame, 6);
    this.#places.delete(source);
    this.#places.set(source, from);
    const [oldest] = this.#places.keys();
    if (this.#places.size > PLACES_MAX) this.#places.delete(oldest!);
    this.#spread(frame, from);
    if (!this.#places.has(address(frame, 0))) this.#host.receive(frame);
  }

  /** To the far end that has the address, or to all but the one it is from. False: nobody took it. */
  #spread(frame: Uint8Array<ArrayBuffer>, from?: Link): boolean {
    const place = this.#places.get(address(frame, 0));
    let isTaken = false;
    for (const link of place === undefined ? this.#links : [place]) {
      if (link === from) continue;
      if (link.socket.readyState !== WebSocket.OPEN) continue;
      // One that does not keep up must not hold up the others.
      if (link.send(frame)) isTaken = true;
      else if (this.#lost++ % 1000 === 0) this.#show();
    }
    return isTaken;
  }

  #leave(link: Link): void {
    if (!this.#links.delete(link)) return;
    for (const [source, place] of this.#places) if (place === link) this.#places.delete(source);
    this.#show();
  }

  #show(): void {
    const { clients } = this.#options;
    const lost = this.#lost === 0 ? "" : `, ${this.#lost} frames lost to slow ones`;
    this.#host.status(`${this.#links.size} of ${clients} far ends${lost}`);
  }
}

/** The address at an offset of a frame as a number. */
function address(frame: Uint8Array, at: number): number {
  let value = 0;
  for (let index = at; index < at + 6; index++) value = value * 256 + (frame[index] ?? 0);
  return value;
}

async function showPage(path: string): Promise<Response> {
  const headers = { "content-type": "text/html; charset=utf-8" };
  try {
    return new Response(await Deno.readFile(path), { headers });
  } catch (error) {
    return new Response(`Cannot read ${path}: ${error}\n`, { status: 500 });
  }
}
