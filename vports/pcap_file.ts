/** Capture files in the classic pcap format, microseconds, link type Ethernet; several writers may append to one file. */

import { LINKTYPE_ETHERNET } from "../datapath/capture/captured_packet.ts";
import {
  PCAP_HEADER_SIZE,
  PCAP_RECORD_HEADER_SIZE,
  writePcapHeader,
  writePcapRecordHeader,
} from "../datapath/capture/pcap.ts";

export class PcapFile {
  readonly #file: Deno.FsFile;
  /** Grows to the longest frame. */
  #record: Uint8Array<ArrayBuffer> = new Uint8Array(2048);

  private constructor(file: Deno.FsFile) {
    this.#file = file;
  }

  /** Makes an empty capture file at `path`, in place of what is there. Throws what Deno.writeFileSync throws. */
  static create(path: string): void {
    const header = new DataView(new ArrayBuffer(PCAP_HEADER_SIZE));
    writePcapHeader(header, LINKTYPE_ETHERNET);
    Deno.writeFileSync(path, new Uint8Array(header.buffer));
  }

  /** Opens a file made by {@link create} for writing at its end. */
  static append(path: string): PcapFile {
    return new PcapFile(Deno.openSync(path, { append: true }));
  }

  /** Appends a frame by one write, so that records of several threads don't mix. Throws what writeSync throws. */
  write(frame: Uint8Array, wallUs: number): void {
    const size = PCAP_RECORD_HEADER_SIZE + frame.length;
    if (this.#record.length < size) this.#record = new Uint8Array(size);
    const view = new DataView(this.#record.buffer);
    writePcapRecordHeader(view, 0, { size: frame.length, originalSize: frame.length, wallUs });
    this.#record.set(frame, PCAP_RECORD_HEADER_SIZE);
    this.#file.writeSync(this.#record.subarray(0, size));
  }

  close(): void {
    this.#file.close();
  }
}
