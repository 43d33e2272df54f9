/** What the control isolate and the Worker of an upcall handler share, and say to each other. */
import type { InjectedPacket, RawUpcall } from "../../datapath/upcall_ring.ts";
import type { UpcallDispatch } from "../../datapath/upcall_dispatch.ts";
import type { HandlerFlow, HandlerPort } from "./upcall_handler.ts";

/** Of the shared Int32 words: counted up by the Worker with each upcall, and while its event loop turns. */
export const PROGRESS = 0;
/** How many words there are. */
export const PROGRESS_WORDS = 1;

/** Requests of a handler that may wait to be carried out. */
export const REQUESTS_MAX = 4096;

/** The datapath as its handler sees it. */
export interface HandlerView {
  /** In order of number. */
  readonly ports: readonly HandlerPort[];
  readonly dispatch: UpcallDispatch;
}

/** What the control isolate posts. */
export type ToHandler =
  | {
    readonly op: "start";
    /** Handler's file. */
    readonly path: string;
    readonly datapath: string;
    readonly progress: SharedArrayBuffer;
    /** Of the switch's clock. */
    readonly clock: SharedArrayBuffer;
  }
  | { readonly op: "view"; readonly view: HandlerView }
  | { readonly op: "upcalls"; readonly thread: number; readonly upcalls: readonly RawUpcall[] }
  /** So many requests have been carried out. */
  | { readonly op: "done"; readonly count: number }
  | { readonly op: "close" };

/** What a handler asks for, as text that the Worker has found right. */
export type HandlerAsk =
  | { readonly op: "add"; readonly flow: Required<HandlerFlow> }
  | { readonly op: "delete"; readonly flow: string }
  | {
    readonly op: "execute";
    /** The packet thread that the packet came from. */
    readonly thread: number;
    readonly packet: InjectedPacket;
    readonly actions: string;
  };

/** What the Worker posts. */
export type FromHandler =
  /** It listens: what is posted before may be lost. */
  | { readonly op: "hello" }
  | { readonly op: "loaded"; readonly name: string; readonly path: string }
  | { readonly op: "refused"; readonly message: string }
  /** To the oldest `upcalls` that has no answer yet. */
  | { readonly op: "answered"; readonly asks: readonly HandlerAsk[] }
  /** Outside of upcalls. */
  | { readonly op: "asked"; readonly asks: readonly HandlerAsk[] }
  | { readonly op: "thrown"; readonly text: string }
  | { readonly op: "log"; readonly level: "info" | "warn"; readonly text: string }
  | { readonly op: "closed" };
