/** A module whose Workers are packet threads, for tests and embedders that have no main.ts. */
import { startPacketThread } from "./packet_thread.ts";

startPacketThread();
