/** Ports of examples/plugins/websocket.ts: through a reverse proxy that ends TLS, and with a browser's page as a host. */
import assert from "node:assert/strict";
import type { Denovs } from "./denovs.ts";
import { type Lab, type Namespace, rootTest, withLab } from "./lab.ts";
import { eventually, run } from "./process.ts";
import { NEAR, otherDenovs, underlay } from "./tunnel_lab.ts";

const EXAMPLES = new URL("../../examples/plugins/", import.meta.url).pathname;

/** Copies an example into the lab, as only its user may write it. */
function install(lab: Lab, name: string): string {
  const path = `${lab.folder}/${name}`;
  Deno.copyFileSync(EXAMPLES + name, path);
  Deno.chmodSync(path, 0o644);
  return path;
}

/** Key and certificate of the proxy, which its clients are to trust. */
async function makeCertificate(lab: Lab): Promise<{ cert: string; key: string }> {
  const [cert, key] = [`${lab.folder}/host.crt`, `${lab.folder}/host.key`];
  const made = await run([
    ...["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1"],
    ...["-nodes", "-days", "2", "-subj", "/CN=switch.example", "-keyout", key, "-out", cert],
    ...["-addext", `subjectAltName=IP:${NEAR}`, "-addext", "basicConstraints=CA:FALSE"],
  ]);
  assert.equal(made.code, 0, made.stderr);
  return { cert, key };
}

/** nginx as docs/ports.md has it: TLS outside, plain WebSocket on the loopback address inside. Returns what stops it. */
async function startProxy(lab: Lab): Promise<() => Promise<void>> {
  const { cert, key } = await makeCertificate(lab);
  const folder = `${lab.folder}/nginx`; // nginx makes it its own user's
  await Deno.mkdir(folder, { recursive: true });
  const config = `${lab.folder}/nginx.conf`;
  await Deno.writeTextFile(
    config,
    `daemon off;
master_process off;
pid ${lab.folder}/nginx.pid;
error_log ${lab.folder}/nginx.log;
events {}
http {
  access_log off;
  client_body_temp_path ${folder};
  proxy_temp_path ${folder};
  server {
    listen ${NEAR}:443 ssl;
    ssl_certificate ${cert};
    ssl_certificate_key ${key};
    location /lan {
      proxy_pass http://127.0.0.1:8080;
      proxy_http_version 1.1;
      proxy_set_header Host $host;
      proxy_set_header Upgrade $http_upgrade;
      proxy_set_header Connection upgrade;
    }
  }
}
`,
  );
  const child = lab.sw.start(["nginx", "-c", config]);
  return async () => {
    child.kill("SIGTERM");
    await child.status;
  };
}

/** What a port says of itself. */
async function status(denovs: Denovs, dp: string, port: string): Promise<string> {
  const { ports } = await denovs.show(dp);
  return (ports.find(({ name }) => name === port) as { status?: string } | undefined)?.status ?? "";
}

async function says(denovs: Denovs, dp: string, port: string, text: RegExp): Promise<void> {
  let last = "";
  await eventually(
    `${port} says ${text}`,
    async () => text.test(last = await status(denovs, dp, port)),
    { timeoutMs: 30_000 },
  ).catch((error) => {
    throw new Error(`${error}; it says "${last}"`);
  });
}

/** br0 with host a on port 1 and a listening WebSocket on port 2. */
async function nearSide(lab: Lab, ...options: string[]): Promise<Namespace> {
  const { denovs } = lab;
  const a = await lab.peer("a", { address: "10.0.0.1/24" });
  await denovs.start(["--plugin", install(lab, "websocket.ts")]);
  await denovs.batch([
    "dp-add br0",
    `port-add br0 ${a.port}`,
    `port-add br0 web0 --type websocket listen=127.0.0.1:8080 path=/lan ${options.join(" ")}`,
    "flow-add br0 in_port(1) 2",
    "flow-add br0 in_port(2) 1",
  ]);
  return a;
}

rootTest(
  "websocket: two switches reach each other through a proxy that ends TLS, and again after it was gone",
  () =>
    withLab(async (lab) => {
      const far = await underlay(lab, { v6: false });
      const a = await nearSide(lab);
      const { denovs } = lab;
      let stopProxy = await startProxy(lab);
      await otherDenovs(lab, far, async (other) => {
        await other.cli("plugin-add", `${lab.folder}/websocket.ts`);
        const call = `--type websocket url=wss://${NEAR}/lan`;
        await other.batch([
          "dp-add br1",
          "port-add br1 host0 --type internal",
          `port-add br1 up0 ${call} keepalive=1`,
          "flow-add br1 in_port(1) 2",
          "flow-add br1 in_port(2) 1",
        ]);
        await far.ip("addr", "add", "10.0.0.2/24", "dev", "host0");
        await far.ip("link", "set", "host0", "up");
        // Whom nobody has vouched for is not trusted, and the user is told.
        await says(other, "br1", "up0", /^not connected: .*certificate.*; calls again in/);
        assert.match(await other.cli("dp-show", "br1"), /port 2: up0 \(websocket: .*\) \[not conn/);
        await other.batch([
          "port-del br1 up0",
          `port-add br1 up0 ${call} keepalive=1 ca=${lab.folder}/host.crt`,
        ]);
        await says(other, "br1", "up0", /^connected to wss:/);
        await says(denovs, "br0", "web0", /^1 of 1 far ends$/);
        assert.equal(await a.ping("10.0.0.2"), 3);
        assert.equal(await far.ping("10.0.0.1", { size: 1400 }), 3);
        await stopProxy();
        await says(other, "br1", "up0", /^not connected: /);
        await says(denovs, "br0", "web0", /^0 of 1 far ends$/);
        assert.equal(await a.ping("10.0.0.2", { count: 1 }), 0);
        stopProxy = await startProxy(lab);
        // The proxy has a new certificate, and who trusts the file trusts it.
        await says(other, "br1", "up0", /^connected to wss:/);
        assert.equal(await a.ping("10.0.0.2"), 3);
        await stopProxy();
      });
    }),
);

/** The page's script, without the page. */
function pageScript(): string {
  const html = Deno.readTextFileSync(`${EXAMPLES}websocket.html`);
  return /<script>([\s\S]*)<\/script>/.exec(html)?.[1] ?? "";
}

/** Joins as a host from another runtime with the WebSocket of the web; its states are lines. */
function joinFromScript(lab: Lab, ip: string, mac: string): Deno.ChildProcess {
  const file = `${lab.folder}/${ip}.js`;
  const settings = JSON.stringify({ url: "ws://127.0.0.1:8080/lan", ip, mac });
  const show = "show: (seen) => console.log(JSON.stringify(seen))";
  Deno.writeTextFileSync(file, `${pageScript()}\njoin({ ...${settings}, ${show} });\n`);
  return lab.sw.start([Deno.execPath(), "run", "--allow-net", file]);
}

rootTest(
  "websocket: the page's script is a host that answers pings, and one that goes disturbs no other",
  () =>
    withLab(async (lab) => {
      const a = await nearSide(lab, "clients=2", "keepalive=1");
      const { denovs } = lab;
      const first = joinFromScript(lab, "10.0.0.8", "02:00:00:00:08:08");
      joinFromScript(lab, "10.0.0.9", "02:00:00:00:09:09");
      await says(denovs, "br0", "web0", /^2 of 2 far ends/);
      assert.equal(await a.ping("10.0.0.8"), 3);
      assert.equal(await a.ping("10.0.0.9", { size: 1400 }), 3);
      assert.match(await a.ip("neigh", "show", "10.0.0.9"), /02:00:00:00:09:09/);
      assert.equal(await a.ping("10.0.0.7", { count: 1 }), 0);
      // A far end that has died, with its machine, is missed and given up.
      first.kill("SIGSTOP");
      await says(denovs, "br0", "web0", /^1 of 2 far ends/);
      assert.equal(await a.ping("10.0.0.9"), 3);
      first.kill("SIGCONT");
      await says(denovs, "br0", "web0", /^2 of 2 far ends/);
      assert.equal(await a.ping("10.0.0.8"), 3);
    }),
);

/** A browser to try the page in; it is no package that the tests install. */
const BROWSER = ["/usr/bin/chromium", "/usr/bin/google-chrome"].find((path) => {
  try {
    return Deno.statSync(path).isFile;
  } catch {
    return false;
  }
});

if (BROWSER !== undefined) {
  rootTest("websocket: a browser that is shown the page is a host", () =>
    withLab(async (lab) => {
      const page = install(lab, "websocket.html");
      const a = await nearSide(lab, `page=${page}`);
      lab.sw.start([
        ...[BROWSER, "--headless=new", "--no-sandbox", "--disable-gpu"],
        ...[`--user-data-dir=${lab.folder}/browser`, "--disable-dev-shm-usage"],
        "http://127.0.0.1:8080/lan?ip=10.0.0.9&mac=02:00:00:00:09:09",
      ]);
      await says(lab.denovs, "br0", "web0", /^1 of 1 far ends$/);
      assert.equal(await a.ping("10.0.0.9"), 3);
      assert.equal(await a.ping("10.0.0.9", { size: 1400 }), 3);
      assert.match(await a.ip("neigh", "show", "10.0.0.9"), /02:00:00:00:09:09/);
    }));
}
