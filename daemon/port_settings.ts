/** Settings of ports: the options of their types, and whom their upcalls are for. The request port-set. */
import type { Methods } from "./api.ts";
import { refuse, toCommandError } from "./command_errors.ts";
import type { Datapath, PortRecord } from "./model.ts";
import { findDatapath, findPort } from "./names.ts";
import type { Transaction } from "./transaction.ts";
import { findPortidsFault } from "../datapath/upcall_dispatch.ts";

/** What a port's options are, by name. */
export type PortOptions = Readonly<Record<string, string>>;

/** Options as the type formats them: defaults left out, spelling made one. */
export function normalOptions(
  transaction: Transaction,
  type: string,
  options: PortOptions,
  doing: string,
): PortOptions {
  const { types } = transaction.backend;
  const ops = types.get(type);
  if (ops === undefined) {
    const known = types.names().join(", ");
    refuse(
      "EINVAL",
      `${doing}: unknown type "${type}" (known: ${known}; load a plug-in's first: denovs plugin-add ` +
        "FILE, or denovs run --plugin FILE)",
    );
  }
  try {
    const parsed = ops.parseOptions(new Map(Object.entries(options)));
    return Object.fromEntries(ops.formatOptions(parsed));
  } catch (error) {
    throw toCommandError(error, { doing });
  }
}

export function equalOptions(
  a: PortOptions,
  b: PortOptions,
): boolean {
  const keys = Object.keys(a);
  return keys.length === Object.keys(b).length && keys.every((key) => a[key] === b[key]);
}

/** Throws CommandError for a list that can't be one. */
export function checkPortids(list: readonly number[]): readonly number[] {
  const fault = findPortidsFault(list);
  return fault === undefined ? list : refuse("EINVAL", `upcall: ${fault}`);
}

/** Sets whom the upcalls of a port are for; an empty list: nothing is set. */
export function setPortids(
  transaction: Transaction,
  datapath: Datapath,
  portNo: number,
  list: readonly number[],
): void {
  const { portids } = datapath.record;
  const { [`${portNo}`]: former = [], ...others } = portids.ports;
  if (`${former}` === `${list}`) return;
  const ports = list.length === 0 ? others : { ...others, [`${portNo}`]: list };
  transaction.setDatapath(datapath, { portids: { ...portids, ports } });
}

/**
 * Changes options of a port. The port is closed and opened again with the new ones: packets of the
 * moment between are lost, number, flows, counters and an internal port's addresses stay.
 */
export function setPort(
  transaction: Transaction,
  { dp, port: text, options, portids }: Methods["port-set"]["params"],
  { line }: { readonly line?: number | undefined },
): Methods["port-set"]["result"] {
  const find = (): Datapath => findDatapath(transaction.model, dp);
  const { name } = find().record;
  const doing = `cannot set port "${text}" of ${name}`;
  const port = findPort(find(), text);
  if (port === undefined) refuse("ENOENT", `${doing}: ${name} has no such port`);
  if (options === undefined && portids === undefined) {
    refuse("EINVAL", `${doing}: nothing to set (options of its type, or upcall)`);
  }
  const before = find();
  if (portids !== undefined) {
    setPortids(transaction, before, port.portNo, checkPortids(portids));
  }
  if (options !== undefined) changeOptions(transaction, find(), { port, options, doing, line });
  return { changed: find() !== before };
}

function changeOptions(
  transaction: Transaction,
  datapath: Datapath,
  { port, options, doing, line }: {
    readonly port: PortRecord;
    readonly options: PortOptions;
    readonly doing: string;
    readonly line: number | undefined;
  },
): void {
  const wanted = Object.entries({ ...port.options, ...options }).filter(([, value]) =>
    value !== ""
  );
  const normal = normalOptions(transaction, port.type, Object.fromEntries(wanted), doing);
  if (equalOptions(normal, port.options)) return;
  const { portNo, name, type, mac } = port;
  const state = transaction.backend.offline ? "offline" : "up";
  transaction.addPort(
    datapath,
    { portNo, name, type, mac, options: normal, state, reason: null },
    line,
  );
}
