/** A module whose Workers are asynchronous ports, for tests and embedders that have no main.ts. */
import { startVportWorker } from "./async_worker.ts";

startVportWorker();
