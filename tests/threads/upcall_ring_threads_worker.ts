/** The producer of upcall_ring_threads_test.ts: a packet thread that pushes numbered packets as fast as it can. */
import { KEY_WORDS } from "../../datapath/key.ts";
import { Packet } from "../../datapath/packet/packet.ts";
import { UpcallProducer } from "../../datapath/upcall_ring.ts";

export interface Task {
  readonly ring: SharedArrayBuffer;
  /** Packets that must get through. */
  readonly count: number;
}

/** What became of them. */
export interface Done {
  readonly pushed: number;
  readonly lost: number;
}

/** Size of packet number n. */
export function sizeOf(number: number): number {
  return 14 + (number * 7919) % 1400;
}

function work({ ring, count }: Task): Done {
  const producer = new UpcallProducer(ring);
  const bytes = new Uint8Array(2048);
  const packet = new Packet({ bytes, view: new DataView(bytes.buffer), address: 0 });
  const key = new Int32Array(KEY_WORDS);
  let pushed = 0;
  let lost = 0;
  while (pushed < count) {
    packet.end = sizeOf(pushed);
    packet.view.setUint32(0, pushed);
    packet.view.setUint32(packet.end - 4, ~pushed);
    key[0] = pushed;
    key[KEY_WORDS - 1 - pushed % 100] = pushed;
    if (producer.push(packet, key, 0, 65535, undefined)) pushed++;
    else lost++;
    key.fill(0);
  }
  return { pushed, lost };
}

interface WorkerScope {
  onmessage: (event: MessageEvent<Task>) => void;
  postMessage(done: Done): void;
  close(): void;
}

const scope = globalThis as unknown as WorkerScope;

scope.onmessage = (event: MessageEvent<Task>): void => {
  scope.postMessage(work(event.data));
  scope.close();
};
