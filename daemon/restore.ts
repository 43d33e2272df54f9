/** The saved state made real when the daemon starts. */
import { type Backend, type DatapathBackend, programContext } from "./backend.ts";
import type { Logger } from "./log.ts";
import { Datapath, fromSavedDatapath, fromSavedMeter, type Model } from "./model.ts";
import { attachSaved } from "./port_keeper.ts";
import { Slices } from "./slices.ts";
import type { SavedFlow, SavedMeter, SavedState, StoreChange } from "./store.ts";
import type { StoreClient } from "./store_client.ts";
import { encodeActions } from "../datapath/actions/action_program.ts";
import type { FlowTableWriter } from "../datapath/flow_table/writer.ts";
import { parseActions } from "../datapath/text/action_text.ts";
import { parseFlow } from "../datapath/text/flow_text.ts";
import { toMeterConfig } from "../datapath/text/meter_text.ts";

const LOAD_COUNT = 1000;

/** Flows first, then ports, so that the first packet finds its flow. A port that can't be had stays absent. */
export async function restore(
  store: Pick<StoreClient, "load" | "loadFlows">,
  backend: Backend,
  log: Logger,
): Promise<Model> {
  const model = new Map<string, Datapath>();
  const state = await store.load();
  await removeLoose(state, backend, log);
  for (const saved of state.datapaths) {
    const record = fromSavedDatapath(saved);
    const datapath = new Datapath(record, await backend.addDatapath(record));
    for (const port of saved.ports) {
      datapath.addPort({ ...port, state: "absent", reason: "not attached yet" });
    }
    restoreMeters(saved.meters, datapath, log);
    const flows = await restoreFlows(store, datapath, log);
    for (const port of datapath.ports()) await attachSaved(datapath, port, log);
    model.set(record.name, datapath);
    log.info(`datapath ${record.name}: ${saved.ports.length} ports, ${flows} flows restored`);
  }
  return model;
}

/** Devices that a killed daemon, or an edit while none ran, has left without a port. */
async function removeLoose(state: SavedState, backend: Backend, log: Logger): Promise<void> {
  const changes: StoreChange[] = [];
  for (const device of state.loose) {
    const owner = state.datapaths.find(({ id }) => id === device.dp);
    const isPort = owner?.ports.some(({ name, type }) =>
      name === device.name && type === "internal"
    );
    if (isPort || await backend.removeLoose(device)) changes.push({ op: "loose-del", device });
    else log.warn(`cannot remove the device ${device.name}, which is no port any more`);
  }
  if (changes.length > 0) await backend.save(changes);
}

/** Puts a saved flow into a table, staged. Its rules were checked when it was added. Throws when its text can't be read. */
export function insertSavedFlow(
  table: FlowTableWriter,
  saved: SavedFlow,
  backend: Pick<DatapathBackend, "timeoutPolicy"> = {},
): void {
  const { key, mask } = parseFlow(saved.flow);
  const actions = encodeActions(parseActions(saved.actions), programContext(backend));
  table.insert({ ufid: saved.ufid, key, mask, actions });
}

function restoreMeters(saved: readonly SavedMeter[], datapath: Datapath, log: Logger): void {
  for (const each of saved) {
    try {
      const meter = fromSavedMeter(each);
      datapath.backend.setMeter(toMeterConfig(meter));
      datapath.putMeter(meter);
    } catch (error) {
      const reason = error instanceof Error ? error.message : String(error);
      log.error(`${datapath.record.name}: left out the saved meter ${each.meter}: ${reason}`);
    }
  }
}

async function restoreFlows(
  store: Pick<StoreClient, "loadFlows">,
  { record, backend }: Datapath,
  log: Logger,
): Promise<number> {
  const table = await backend.table();
  const slices = new Slices();
  let count = 0;
  for (let from: number | undefined = 0; from !== undefined;) {
    const piece = await store.loadFlows(record.id, from, LOAD_COUNT);
    for (const saved of piece.flows) {
      try {
        insertSavedFlow(table, saved, backend);
        count++;
      } catch (error) {
        const reason = error instanceof Error ? error.message : String(error);
        log.error(`${record.name}: left out the saved flow ${saved.flow}: ${reason}`);
      }
      if (slices.due) await slices.rest();
    }
    from = piece.next;
  }
  table.commit();
  return count;
}
