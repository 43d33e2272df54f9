/**
 * An upcall handler, complete: a learning switch. It notes on which port each address is, installs a
 * flow for each pair of addresses that talk, and floods what it does not know.
 *
 *     denovs dp-set br0 upcall-handler=examples/handlers/learning_switch.ts
 */
import type { UpcallHandler, UpcallHost } from "../../daemon/upcalls/upcall_handler.ts";

/** Addresses remembered; the oldest is forgotten first. */
const PLACES_MAX = 8192;
/** Flows go when nothing has used them for so many seconds, and in any case after so many. */
const TIMEOUTS = { idleTimeout: 60, hardTimeout: 300 };

interface Place {
  readonly port: number;
  /** Flows that send to it: they go when it moves. */
  readonly flows: Set<string>;
}

export default function learningSwitch(): UpcallHandler {
  const places = new Map<string, Place>();

  function learn(address: string, port: number, host: UpcallHost): void {
    const known = places.get(address);
    if (known?.port === port) return;
    for (const flow of known?.flows ?? []) host.deleteFlow(flow);
    places.delete(address);
    places.set(address, { port, flows: new Set() });
    const [oldest] = places.keys();
    if (places.size > PLACES_MAX) places.delete(oldest!);
  }

  return {
    apiVersion: 1,
    name: "learning-switch",
    upcall(packet, key, host): void {
      const source = String(key.get("eth.src"));
      const target = String(key.get("eth.dst"));
      learn(source, packet.inPort, host);
      const place = places.get(target);
      if (place?.port === packet.inPort) return; // the sender's side has it already
      if (place === undefined) {
        const others = host.ports().filter(({ portNo }) => portNo !== packet.inPort);
        host.execute(packet, others.map(({ portNo }) => portNo).join(",") || "drop");
        return;
      }
      const flow = `in_port(${packet.inPort}),eth(src=${source},dst=${target})`;
      if (place.flows.size < PLACES_MAX) place.flows.add(flow);
      host.addFlow({ flow, actions: `${place.port}`, ...TIMEOUTS });
      host.execute(packet, `${place.port}`);
    },
  };
}
