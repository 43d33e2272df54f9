/** The WebSocket type between its ends, in one process: who is let in, several far ends, connections that go and come. */
import assert from "node:assert/strict";
import { pluginApi } from "../../vports/plugin_api.ts";
import type { AsyncVport, AsyncVportHost } from "../../vports/vport.ts";
import websocket from "./websocket.ts";

const ops = websocket(pluginApi);
const LISTEN = "127.0.0.1:15031";
const URL_HERE = `ws://${LISTEN}/lan`;

/** The switch's side of a port. */
class Side implements AsyncVportHost {
  readonly frames: Uint8Array[] = [];
  /** All that it has said of itself. */
  readonly statuses: string[] = [];

  receive(frame: Uint8Array): boolean {
    this.frames.push(frame.slice());
    return true;
  }

  status(text: string): void {
    this.statuses.push(text);
  }

  lost(reason: string): void {
    throw new Error(reason);
  }

  failed(thrown: unknown): void {
    throw thrown;
  }
}

interface Port {
  readonly side: Side;
  readonly port: AsyncVport;
}

async function open(raw: Record<string, string>): Promise<Port> {
  const side = new Side();
  const options = ops.parseOptions(new Map(Object.entries(raw)));
  const place = { datapath: "dp", name: "w", portNo: 1 };
  return { side, port: await ops.open({ ...place, options, host: side }) };
}

const listen = (more: Record<string, string> = {}): Promise<Port> =>
  open({ listen: LISTEN, path: "/lan", ...more });
const call = (more: Record<string, string> = {}): Promise<Port> =>
  open({ url: URL_HERE, keepalive: "1", ...more });

/** A frame from one host to another, by number; 255: everybody. */
function frame(from: number, to: number): Uint8Array<ArrayBuffer> {
  const bytes = new Uint8Array(60);
  bytes.set([2, 0, 0, 0, 0, to]);
  if (to === 255) bytes.fill(0xff, 0, 6);
  bytes.set([2, 0, 0, 0, 0, from], 6);
  return bytes;
}

async function until(what: string, isSo: () => boolean | Promise<boolean>): Promise<void> {
  for (const end = performance.now() + 20_000; !await isSo();) {
    if (performance.now() > end) throw new Error(`did not happen: ${what}`);
    await new Promise((resolve) => setTimeout(resolve, 5));
  }
}

/** Waits until the port says what matches, as its last word. */
async function says({ side: { statuses } }: Port, text: RegExp): Promise<void> {
  try {
    await until(`it says ${text}`, () => text.test(statuses.at(-1) ?? ""));
  } catch (error) {
    throw new Error(`${error}; it said ${JSON.stringify(statuses)}`);
  }
}

/** Opens the ports one after another, and closes what is open in the end. */
function portTest(name: string, work: (use: (port: Port) => Port) => Promise<void>): void {
  Deno.test(`websocket: ${name}`, async () => {
    const ports: Port[] = [];
    try {
      await work((port) => (ports.push(port), port));
    } finally {
      for (const { port } of ports.reverse()) await port.close();
      await new Promise((resolve) => setTimeout(resolve, 20)); // sockets close behind the scenes
    }
  });
}

portTest("frames cross both ways, and what is sent without a far end is refused", async (use) => {
  const near = use(await listen());
  assert.equal(await near.port.send(frame(1, 2)), false);
  const far = use(await call());
  await says(far, /^connected to ws:/);
  assert.equal(await near.port.send(frame(1, 2)), true);
  assert.equal(await far.port.send(frame(2, 1)), true);
  await until("both arrive", () => near.side.frames.length + far.side.frames.length === 2);
  assert.deepEqual([near.side.frames, far.side.frames], [[frame(2, 1)], [frame(1, 2)]]);
});

portTest(
  "a second far end is refused and told why, and comes in when there is room",
  async (use) => {
    const near = use(await listen());
    const first = await call();
    await says(first, /^connected/);
    const second = use(await call());
    await says(second, /^not connected: .*503.*; calls again in 0\.\d s$/);
    await near.port.send(frame(9, 1));
    await until("the first is still served", () => first.side.frames.length === 1);
    await first.port.close();
    await says(second, /^connected/);
  },
);

portTest("several far ends are a cable; one that goes disturbs no other", async (use) => {
  const near = use(await listen({ clients: "3" }));
  const [one, two, three] = [use(await call()), use(await call()), use(await call())];
  await Promise.all([one, two, three].map((port) => says(port, /^connected/)));
  const counts = (): number[] => [near, one, two, three].map(({ side }) => side.frames.length);
  one.port.send(frame(1, 255)); // everybody hears it
  await until("everybody hears", () => counts().join() === "1,0,1,1");
  two.port.send(frame(2, 1)); // only one, whose place is known: the switch is not bothered
  await until("one hears", () => counts().join() === "1,1,1,1");
  near.port.send(frame(9, 2)); // only two
  await until("two hears", () => counts().join() === "1,1,2,1");
  await two.port.close();
  await says(near, /^2 of 3 far ends$/);
  near.port.send(frame(9, 2)); // where is it now?
  await until("the rest hears", () => counts().join() === "1,2,2,2");
  three.port.send(frame(3, 9)); // known to be behind the switch, and to nobody else
  await until("the switch hears", () => counts()[0] === 2);
});

portTest("a connection that is lost comes back by itself, later and later", async (use) => {
  const far = use(await call());
  await says(far, /calls again in 0\.\d s$/);
  await says(far, /calls again in 1\.\d s|calls again in 0\.[89] s/);
  const near = await listen();
  await says(far, /^connected/);
  await near.port.close();
  await says(far, /^not connected: the far end has closed the connection.*; calls again/);
  use(await listen());
  await says(far, /^connected/);
});

portTest("a far end that says nothing is given up", async (use) => {
  const server = Deno.serve(
    { hostname: "127.0.0.1", port: 15032, onListen: () => {} },
    (request) => Deno.upgradeWebSocket(request, { idleTimeout: 0 }).response,
  );
  try {
    const far = use(await call({ url: "ws://127.0.0.1:15032/" }));
    await says(far, /^connected/);
    await says(far, /^not connected: the far end has fallen silent/);
    await far.port.close();
  } finally {
    await server.shutdown();
  }
});

portTest("subprotocols must agree", async (use) => {
  const near = use(await listen({ protocol: "lan.v1" }));
  const [none, other] = [use(await call()), use(await call({ protocol: "lan.v2" }))];
  await says(none, /^not connected: .*400/);
  await says(other, /^not connected: .*400/);
  const right = use(await call({ protocol: "lan.v1" }));
  await says(right, /^connected/);
  assert.deepEqual(near.side.statuses.at(-1), "1 of 1 far ends");
});

/** Status of an answer to a browser that calls from a page of `origin`. */
async function knock(origin: string, host: string = LISTEN): Promise<string> {
  const connection = await Deno.connect({ hostname: "127.0.0.1", port: 15031 });
  const lines = [
    "GET /lan HTTP/1.1",
    `Host: ${host}`,
    "Connection: Upgrade",
    "Upgrade: websocket",
    "Sec-WebSocket-Version: 13",
    "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    `Origin: ${origin}`,
  ];
  await connection.write(new TextEncoder().encode(`${lines.join("\r\n")}\r\n\r\n`));
  const bytes = new Uint8Array(4096);
  const size = await connection.read(bytes) ?? 0;
  connection.close();
  return /^HTTP\/1.1 (\d+)/.exec(new TextDecoder().decode(bytes.subarray(0, size)))?.[1] ?? "";
}

portTest("pages of other sites are refused unless the option names them", async (use) => {
  const strict = await listen({ clients: "9" });
  assert.equal(await knock("https://evil.example"), "403");
  assert.equal(await knock("https://switch.example", "switch.example"), "101");
  await strict.port.close();
  const one = await listen({ clients: "9", origin: "https://lab.example" });
  assert.equal(await knock("https://evil.example"), "403");
  assert.equal(await knock("https://lab.example"), "101");
  await one.port.close();
  use(await listen({ clients: "9", origin: "any" }));
  assert.equal(await knock("https://evil.example"), "101");
});

portTest("the page is served, and what is no WebSocket gets an answer", async (use) => {
  const page = new URL("websocket.html", import.meta.url).pathname;
  use(await listen({ page }));
  const [shown, elsewhere] = await Promise.all(
    ["/lan", "/wan"].map((path) => fetch(`http://${LISTEN}${path}`)),
  );
  assert.equal(await shown!.text(), await Deno.readTextFile(page));
  assert.equal(shown!.headers.get("content-type"), "text/html; charset=utf-8");
  assert.equal(elsewhere!.status, 404);
  await elsewhere!.body?.cancel();
});

Deno.test("websocket: wrong options are refused by name", () => {
  for (
    const [raw, wanted] of [
      [{}, /Option url is missing/],
      [{ url: "http://x/" }, /Option url must be a URL that begins with ws:\/\//],
      [{ url: "ws://x/", listen: LISTEN }, /Option url must be left out/],
      [{ url: "ws://x/", clients: "2" }, /Option clients must be left out/],
      [{ listen: "8080" }, /Option listen must be an address and a port/],
      [{ listen: LISTEN, path: "lan" }, /Option path must be a path from \/ on: it is "lan"/],
      [{ listen: LISTEN, ca: "x" }, /Option ca must be left out \(it goes with url\)/],
      [{ listen: LISTEN, cert: "x" }, /Option key is missing/],
      [{ listen: LISTEN, clients: "0" }, /Option clients must be a whole number from 1 to 256/],
      [{ listen: LISTEN, protocol: "a b" }, /Option protocol must be a word/],
      [{ listen: LISTEN, origin: "lab.example" }, /Option origin must be "any" or a site/],
    ] as readonly [Record<string, string>, RegExp][]
  ) {
    assert.throws(() => ops.parseOptions(new Map(Object.entries(raw))), wanted);
  }
  const full = {
    ...{ listen: "[::1]:8443", path: "/lan", protocol: "p", keepalive: "0", clients: "7" },
    ...{ origin: "any", page: "/p.html", cert: "/c", key: "/k" },
  };
  const options = ops.parseOptions(new Map(Object.entries(full)));
  assert.deepEqual(Object.fromEntries(ops.formatOptions(options)), full);
});
