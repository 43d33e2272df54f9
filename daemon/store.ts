/**
 * The saved state: one SQLite file with datapaths, ports and flows. Everything here is synchronous;
 * the daemon runs it in a Worker of its own (store_worker.ts), an offline edit in the client itself.
 *
 * WAL and `synchronous=FULL`: what {@link Store.apply} or `commit` has returned from survives kill
 * -9 and power loss. One transaction per request. Who may open the file is a matter of lock.ts.
 */
import { DatabaseSync, type StatementSync } from "node:sqlite";
import { CommandError, type DatapathType, type MissPolicy } from "./api.ts";
import { makeDirectory } from "./lock.ts";
import { directoryOf } from "./paths.ts";
import type { ConntrackSettings } from "./switch/live_datapath.ts";

export interface SavedDatapath {
  /** 32 hex digits: who this datapath is, whatever its name. */
  readonly id: string;
  readonly name: string;
  readonly type: DatapathType;
  readonly miss: MissPolicy;
  readonly flowsMax: number;
  /** Seed of the flows' identifiers, 32 hex digits. */
  readonly ufidSeed: string;
  readonly settings: DatapathSettings;
}

/** Settings that are not as they are by default. */
export interface DatapathSettings {
  readonly masksCache?: number;
  readonly features?: readonly string[];
  readonly upcallHandler?: string;
  readonly portids?: {
    readonly ports: Readonly<Record<string, readonly number[]>>;
    readonly cpus: readonly number[];
  };
  readonly conntrack?: Partial<ConntrackSettings>;
}

export interface SavedPort {
  readonly portNo: number;
  readonly name: string;
  readonly type: string;
  readonly options: Readonly<Record<string, string>>;
  readonly mac: string | null;
}

export interface SavedFlow {
  /** 32 hex digits. */
  readonly ufid: string;
  /** Canonical text with port numbers. */
  readonly flow: string;
  readonly actions: string;
}

export interface SavedMeter {
  /** Unsigned, 32 bits. */
  readonly id: number;
  /** Canonical text. */
  readonly meter: string;
}

/** One step of a transaction. `dp` is a datapath's id. */
export type StoreChange =
  | { readonly op: "dp-put"; readonly datapath: SavedDatapath }
  | { readonly op: "dp-del"; readonly dp: string }
  | { readonly op: "port-put"; readonly dp: string; readonly port: SavedPort }
  | { readonly op: "port-del"; readonly dp: string; readonly portNo: number }
  | { readonly op: "flow-put"; readonly dp: string; readonly flow: SavedFlow }
  | { readonly op: "flow-del"; readonly dp: string; readonly ufid: string }
  | { readonly op: "flow-flush"; readonly dp: string }
  | { readonly op: "meter-put"; readonly dp: string; readonly meter: SavedMeter }
  | { readonly op: "meter-del"; readonly dp: string; readonly id: number }
  | { readonly op: "loose-put"; readonly device: LooseDevice }
  | { readonly op: "loose-del"; readonly device: LooseDevice };

/** A device of ours that may exist without a port (loose_devices.ts). */
export interface LooseDevice {
  readonly name: string;
  /** Id of its datapath, which may be gone. */
  readonly dp: string;
}

/** Everything but the flows, which are read in pieces. */
export interface SavedState {
  readonly datapaths: readonly (SavedDatapath & {
    readonly ports: readonly SavedPort[];
    readonly meters: readonly SavedMeter[];
  })[];
  readonly loose: readonly LooseDevice[];
}

/** Flows as read in one piece; `next` continues, undefined: that was all. */
export interface FlowPiece {
  readonly flows: readonly SavedFlow[];
  readonly next: number | undefined;
}

/** "dnvs": tells our files from other SQLite files. */
const APPLICATION_ID = 0x646e7673;

/** MIGRATIONS[n] brings schema n to n + 1. */
const MIGRATIONS: readonly string[] = [
  `CREATE TABLE datapaths (
     key INTEGER PRIMARY KEY,
     id TEXT NOT NULL UNIQUE,
     name TEXT NOT NULL UNIQUE,
     type TEXT NOT NULL,
     miss TEXT NOT NULL,
     flows_max INTEGER NOT NULL,
     ufid_seed TEXT NOT NULL
   ) STRICT;
   CREATE TABLE ports (
     datapath INTEGER NOT NULL REFERENCES datapaths ON DELETE CASCADE,
     port_no INTEGER NOT NULL,
     name TEXT NOT NULL,
     type TEXT NOT NULL,
     options TEXT NOT NULL,
     mac TEXT,
     PRIMARY KEY (datapath, port_no)
   ) STRICT;
   CREATE TABLE flows (
     sequence INTEGER PRIMARY KEY,
     datapath INTEGER NOT NULL REFERENCES datapaths ON DELETE CASCADE,
     ufid TEXT NOT NULL,
     flow TEXT NOT NULL,
     actions TEXT NOT NULL,
     UNIQUE (datapath, ufid)
   ) STRICT;
   CREATE TABLE loose_devices (
     name TEXT NOT NULL,
     datapath_id TEXT NOT NULL,
     PRIMARY KEY (name, datapath_id)
   ) STRICT;`,
  "ALTER TABLE datapaths ADD COLUMN settings TEXT NOT NULL DEFAULT '{}'",
  `CREATE TABLE meters (
     datapath INTEGER NOT NULL REFERENCES datapaths ON DELETE CASCADE,
     id INTEGER NOT NULL,
     meter TEXT NOT NULL,
     PRIMARY KEY (datapath, id)
   ) STRICT`,
];

const KEY = "(SELECT key FROM datapaths WHERE id = ?)";
const SQL = {
  "dp-put": `INSERT INTO datapaths (id, name, type, miss, flows_max, ufid_seed, settings)
    VALUES (?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (id) DO UPDATE SET miss = excluded.miss, settings = excluded.settings`,
  "dp-del": "DELETE FROM datapaths WHERE id = ?",
  "port-put": `INSERT OR REPLACE INTO ports (datapath, port_no, name, type, options, mac)
    VALUES (${KEY}, ?, ?, ?, ?, ?)`,
  "port-del": `DELETE FROM ports WHERE datapath = ${KEY} AND port_no = ?`,
  "flow-put": `INSERT INTO flows (datapath, ufid, flow, actions) VALUES (${KEY}, ?, ?, ?)
    ON CONFLICT (datapath, ufid) DO UPDATE SET flow = excluded.flow, actions = excluded.actions`,
  "flow-del": `DELETE FROM flows WHERE datapath = ${KEY} AND ufid = ?`,
  "flow-flush": `DELETE FROM flows WHERE datapath = ${KEY}`,
  "meter-put": `INSERT OR REPLACE INTO meters (datapath, id, meter) VALUES (${KEY}, ?, ?)`,
  "meter-del": `DELETE FROM meters WHERE datapath = ${KEY} AND id = ?`,
  "loose-put": "INSERT OR IGNORE INTO loose_devices (name, datapath_id) VALUES (?, ?)",
  "loose-del": "DELETE FROM loose_devices WHERE name = ? AND datapath_id = ?",
  "loose": "SELECT name, datapath_id FROM loose_devices",
  "datapaths": `SELECT id, name, type, miss, flows_max, ufid_seed, settings FROM datapaths
    ORDER BY key`,
  "ports": `SELECT port_no, name, type, options, mac FROM ports WHERE datapath = ${KEY}
    ORDER BY port_no`,
  "meters": `SELECT id, meter FROM meters WHERE datapath = ${KEY} ORDER BY id`,
  // The plus keeps the index on datapath out: the rows are read in their own order, not sorted anew for every piece.
  "flows": `SELECT sequence, ufid, flow, actions FROM flows WHERE +datapath = ${KEY}
    AND sequence > ? ORDER BY sequence LIMIT ?`,
  "begin": "BEGIN IMMEDIATE",
  "commit": "COMMIT",
  "rollback": "ROLLBACK",
} as const;

/** An open state file. */
export class Store {
  readonly #database: DatabaseSync;
  readonly #statements: Map<string, StatementSync> = new Map();

  /**
   * Opens the file, made with mode 0600 in a directory of mode 0700 when missing, and brings its
   * schema up to date.
   * @throws CommandError when it can't be opened, is damaged, is not ours, or is newer than this program.
   */
  constructor(path: string) {
    let database: DatabaseSync | undefined;
    try {
      makeDirectory(directoryOf(path));
      const umask = Deno.umask(0o077);
      try {
        database = new DatabaseSync(path);
        // The first statement is what opens the file for good.
        database.exec("PRAGMA journal_mode=WAL");
      } finally {
        Deno.umask(umask);
      }
      database.exec("PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON; PRAGMA busy_timeout=5000");
      migrate(database, path);
    } catch (error) {
      database?.close();
      throw asCommandError(error, `cannot use the state file ${path}`);
    }
    this.#database = database;
  }

  load(): SavedState {
    const datapaths = this.#statement("datapaths").all().map((row) => {
      const id = String(row.id);
      return {
        id,
        name: String(row.name),
        type: row.type as DatapathType,
        miss: row.miss as MissPolicy,
        flowsMax: Number(row.flows_max),
        ufidSeed: String(row.ufid_seed),
        settings: JSON.parse(String(row.settings)) as DatapathSettings,
        ports: this.#statement("ports").all(id).map(toPort),
        meters: this.#statement("meters").all(id).map(toMeter),
      };
    });
    const loose = this.#statement("loose").all().map((row) => ({
      name: String(row.name),
      dp: String(row.datapath_id),
    }));
    return { datapaths, loose };
  }

  /** Flows of datapath `dp` in the order they were added; `from` is 0 or what the last call gave. */
  loadFlows(dp: string, from: number, countMax: number): FlowPiece {
    const rows = this.#statement("flows").all(dp, from, countMax);
    const flows = rows.map((row) => ({
      ufid: String(row.ufid),
      flow: String(row.flow),
      actions: String(row.actions),
    }));
    const last = rows.at(-1);
    return { flows, next: rows.length < countMax ? undefined : Number(last?.sequence) };
  }

  begin(): void {
    this.#statement("begin").run();
  }

  /** Part of a transaction; when it throws, the caller rolls back. */
  change(changes: readonly StoreChange[]): void {
    for (const change of changes) this.#change(change);
  }

  /** Returns when the transaction is on the disk. */
  commit(): void {
    this.#statement("commit").run();
  }

  rollback(): void {
    // A failed commit may have rolled back already.
    if (this.#database.isTransaction) this.#statement("rollback").run();
  }

  /** One transaction: all of it, or nothing and an error. */
  apply(changes: readonly StoreChange[]): void {
    try {
      this.begin();
      this.change(changes);
      this.commit();
    } catch (error) {
      this.rollback();
      throw asCommandError(error, "cannot save");
    }
  }

  close(): void {
    this.#statements.clear();
    this.#database.close();
  }

  #change(change: StoreChange): void {
    const statement = this.#statement(change.op);
    switch (change.op) {
      case "dp-put": {
        const { id, name, type, miss, flowsMax, ufidSeed, settings } = change.datapath;
        const text = JSON.stringify(settings);
        statement.run(id, name, type, miss, flowsMax, ufidSeed, text);
        break;
      }
      case "dp-del":
      case "flow-flush":
        statement.run(change.dp);
        break;
      case "port-put": {
        const { portNo, name, type, options, mac } = change.port;
        statement.run(change.dp, portNo, name, type, JSON.stringify(options), mac);
        break;
      }
      case "port-del":
        statement.run(change.dp, change.portNo);
        break;
      case "flow-put":
        statement.run(change.dp, change.flow.ufid, change.flow.flow, change.flow.actions);
        break;
      case "flow-del":
        statement.run(change.dp, change.ufid);
        break;
      case "meter-put":
        statement.run(change.dp, change.meter.id, change.meter.meter);
        break;
      case "meter-del":
        statement.run(change.dp, change.id);
        break;
      case "loose-put":
      case "loose-del":
        statement.run(change.device.name, change.device.dp);
        break;
    }
  }

  #statement(name: keyof typeof SQL): StatementSync {
    let statement = this.#statements.get(name);
    if (statement === undefined) {
      statement = this.#database.prepare(SQL[name]);
      this.#statements.set(name, statement);
    }
    return statement;
  }
}

/** A failure of the store as a command's error. */
export function asCommandError(error: unknown, doing: string): CommandError {
  if (error instanceof CommandError) return error;
  const reason = error instanceof Error ? error.message : String(error);
  const code = error instanceof Deno.errors.PermissionDenied ? "EACCES" : "EIO";
  return new CommandError(code, `${doing}: ${reason}`, { cause: error });
}

function migrate(database: DatabaseSync, path: string): void {
  const version = pragma(database, "user_version");
  const application = pragma(database, "application_id");
  const tables = database.prepare("SELECT count(*) AS n FROM sqlite_schema").get();
  if (application !== APPLICATION_ID && Number(tables?.n) > 0) {
    throw new CommandError("EINVAL", `${path} is an SQLite file of another program`);
  }
  if (version > MIGRATIONS.length) {
    throw new CommandError(
      "EINVAL",
      `${path} was written by a newer denovs (schema ${version}; this one knows up to ` +
        `${MIGRATIONS.length})`,
    );
  }
  if (version === MIGRATIONS.length) return;
  database.exec("BEGIN IMMEDIATE");
  for (const migration of MIGRATIONS.slice(version)) database.exec(migration);
  database.exec(`PRAGMA user_version=${MIGRATIONS.length}`);
  database.exec(`PRAGMA application_id=${APPLICATION_ID}`);
  database.exec("COMMIT");
}

function pragma(database: DatabaseSync, name: string): number {
  return Number(database.prepare(`PRAGMA ${name}`).get()?.[name]);
}

function toMeter(row: Record<string, unknown>): SavedMeter {
  return { id: Number(row.id), meter: String(row.meter) };
}

function toPort(row: Record<string, unknown>): SavedPort {
  return {
    portNo: Number(row.port_no),
    name: String(row.name),
    type: String(row.type),
    options: JSON.parse(String(row.options)),
    mac: row.mac === null ? null : String(row.mac),
  };
}
