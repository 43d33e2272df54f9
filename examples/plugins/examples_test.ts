/** The example types held to the contract, loaded from their files as users load them. */
import { loadType } from "../../vports/loader.ts";
import { type Peer, testVport } from "../../vports/conformance.ts";
import { UdpPeer } from "../../tests/udp_peer.ts";

/** A clone made under umask 002 is group-writable, which the loader refuses: a copy is not. */
async function load(name: string): ReturnType<typeof loadType> {
  const copy = `${folder}/${name}`;
  await Deno.copyFile(new URL(name, import.meta.url), copy);
  await Deno.chmod(copy, 0o644);
  return await loadType(copy);
}

// Workers load the files later on: the folder stays until the process ends.
const folder = await Deno.makeTempDir();
globalThis.addEventListener("unload", () => Deno.removeSync(folder, { recursive: true }));

/** A far end that calls a listening port. */
async function callWebSocket(url: string): Promise<Peer> {
  for (let attempt = 0;; attempt++) {
    const frames: Uint8Array[] = [];
    const socket = new WebSocket(url);
    socket.binaryType = "arraybuffer";
    socket.onmessage = ({ data }) => void frames.push(new Uint8Array(data));
    const isOpen = await new Promise<boolean>((resolve) => {
      socket.onopen = () => resolve(true);
      socket.onerror = (event) => {
        event.preventDefault();
        resolve(false);
      };
    });
    if (isOpen) {
      return {
        send: (frame) => socket.send(new Uint8Array(frame)),
        received: () => frames.splice(0),
        close: () => socket.close(),
      };
    }
    if (attempt > 200) throw new Error(`nobody listens at ${url}`);
    await new Promise((resolve) => setTimeout(resolve, 50));
  }
}

testVport({ ops: await load("null.ts"), name: "n1" });

testVport({
  ops: await load("udp.ts"),
  name: "u1",
  options: { remote: "127.0.0.1:15003", local: "127.0.0.1:15002" },
  badOptions: [["remote", "nowhere"], ["local", ":65536"], ["local", "[::1]:5000"]],
  impossible: { name: "u2", options: { remote: "127.0.0.1:15003", local: "192.0.2.1:5000" } },
  openPeer: () => new UdpPeer(15003, 15002),
});

testVport({
  ops: await load("udp.ts"),
  name: "s1",
  options: { remote: "127.0.0.1:15005", local: "127.0.0.1:15006", segment: "4294967295" },
  badOptions: [["segment", "4294967296"], ["segment", "-1"], ["segment", ""]],
  openPeer: () => new UdpPeer(15005, 15006, [0xff, 0xff, 0xff, 0xff]),
});

testVport({
  ops: await load("websocket.ts"),
  name: "w1",
  options: { listen: "127.0.0.1:15004", path: "/lan" },
  badOptions: [
    ["listen", "15004"],
    ["path", "lan"],
    ["url", "ws://127.0.0.1/"],
    ["ca", "/etc/ca.crt"],
  ],
  openPeer: () => callWebSocket("ws://127.0.0.1:15004/lan"),
});
