/** A module whose Workers are upcall handlers, for tests and benchmarks that have no main.ts. */
import { startHandlerWorker } from "./handler_worker.ts";

startHandlerWorker();
