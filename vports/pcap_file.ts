/** Capture files in the classic pcap format, microseconds, link type Ethernet; several writers may append to one file. */

const MAGIC_US = 0xa1b2c3d4;
const LINKTYPE_ETHERNET = 1;
const SNAP_SIZE = 262144;
const FILE_HEADER_SIZE = 24;
const RECORD_HEADER_SIZE = 16;

export class PcapFile {
  readonly #file: Deno.FsFile;
  /** Grows to the longest frame. */
  #record: Uint8Array<ArrayBuffer> = new Uint8Array(2048);

  private constructor(file: Deno.FsFile) {
    this.#file = file;
  }

  /** Makes an empty capture file at `path`, in place of what is there. Throws what Deno.writeFileSync throws. */
  static create(path: string): void {
    const header = new DataView(new ArrayBuffer(FILE_HEADER_SIZE));
    header.setUint32(0, MAGIC_US, true);
    header.setUint16(4, 2, true);
    header.setUint16(6, 4, true);
    header.setUint32(16, SNAP_SIZE, true);
    header.setUint32(20, LINKTYPE_ETHERNET, true);
    Deno.writeFileSync(path, new Uint8Array(header.buffer));
  }

  /** Opens a file made by {@link create} for writing at its end. */
  static append(path: string): PcapFile {
    return new PcapFile(Deno.openSync(path, { append: true }));
  }

  /** Appends a frame by one write, so that records of several threads don't mix. Throws what writeSync throws. */
  write(frame: Uint8Array, wallUs: number): void {
    const size = RECORD_HEADER_SIZE + frame.length;
    if (this.#record.length < size) this.#record = new Uint8Array(size);
    const view = new DataView(this.#record.buffer);
    view.setUint32(0, Math.floor(wallUs / 1e6), true);
    view.setUint32(4, wallUs % 1e6, true);
    view.setUint32(8, frame.length, true);
    view.setUint32(12, frame.length, true);
    this.#record.set(frame, RECORD_HEADER_SIZE);
    this.#file.writeSync(this.#record.subarray(0, size));
  }

  close(): void {
    this.#file.close();
  }
}
