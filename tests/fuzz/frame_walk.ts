/**
 * Finds the places in a frame where damage tells most: where headers begin, and fields that say how
 * long something is or what comes next. Reads on through tags, labels, NSH, IP, tunnels and what ICMP
 * errors quote, as far as the bytes go. Shares nothing with the extraction that it helps to test.
 */

/** A frame that is worked on: the first `size` bytes. */
export interface Draft {
  readonly bytes: Uint8Array<ArrayBuffer>;
  readonly view: DataView<ArrayBuffer>;
  size: number;
}

const HEADERS_MAX = 32;
const FIELDS_MAX = 96;
/** Frames within frames that are looked into. */
const DEPTH_MAX = 4;

const TAGS: readonly number[] = [0x8100, 0x88a8, 0x9100];

export class FrameWalk {
  /** Where headers begin, and where the last one ends: [0, headerCount). */
  readonly headers: Int32Array = new Int32Array(HEADERS_MAX);
  headerCount = 0;
  /** Fields of lengths and kinds: offset << 2 | bytes. [0, fieldCount). */
  readonly fields: Int32Array = new Int32Array(FIELDS_MAX);
  fieldCount = 0;
  /** Where IP headers begin, outermost first. [0, ipCount). */
  readonly ips: Int32Array = new Int32Array(HEADERS_MAX);
  ipCount = 0;
  #draft: Draft;

  constructor(draft: Draft) {
    this.#draft = draft;
  }

  walk(): void {
    this.headerCount = 0;
    this.fieldCount = 0;
    this.ipCount = 0;
    this.#ethernet(0, 0);
  }

  #header(at: number): void {
    if (this.headerCount < HEADERS_MAX) this.headers[this.headerCount++] = at;
  }

  #field(at: number, size: number): void {
    if (this.fieldCount < FIELDS_MAX && this.#has(at, size)) {
      this.fields[this.fieldCount++] = at << 2 | size;
    }
  }

  #has(at: number, size: number): boolean {
    return at + size <= this.#draft.size;
  }

  #byte(at: number): number {
    return this.#has(at, 1) ? this.#draft.bytes[at]! : 0;
  }

  #word(at: number): number {
    return this.#has(at, 2) ? this.#draft.view.getUint16(at) : 0;
  }

  #ethernet(at: number, depth: number): void {
    this.#header(at);
    let type = at + 12;
    while (TAGS.includes(this.#word(type))) {
      this.#field(type, 2);
      this.#field(type + 2, 2);
      type += 4;
    }
    this.#field(type, 2);
    this.#byType(this.#word(type), type + 2, depth);
  }

  #byType(type: number, at: number, depth: number): void {
    this.#header(at);
    if (depth > DEPTH_MAX || !this.#has(at, 1)) return;
    if (type === 0x0800) this.#ipv4(at, depth);
    else if (type === 0x86dd) this.#ipv6(at, depth);
    else if (type === 0x8847 || type === 0x8848) this.#labels(at, depth);
    else if (type === 0x894f) this.#nsh(at, depth);
    else if (type === 0x6558) this.#ethernet(at, depth + 1);
    else if (type === 0x0806 || type === 0x8035) {
      for (const offset of [0, 2, 6]) this.#field(at + offset, 2);
      for (const offset of [4, 5]) this.#field(at + offset, 1);
    } else if (type < 0x600) this.#field(at, 2);
  }

  #ipv4(at: number, depth: number): void {
    if (this.ipCount < HEADERS_MAX) this.ips[this.ipCount++] = at;
    for (const offset of [0, 8, 9]) this.#field(at + offset, 1);
    for (const offset of [2, 4, 6, 10]) this.#field(at + offset, 2);
    const l4 = at + 4 * (this.#byte(at) & 15);
    if (l4 > at + 20) this.#field(at + 21, 1);
    if ((this.#word(at + 6) & 0x1fff) === 0) this.#byProtocol(this.#byte(at + 9), l4, depth);
  }

  #ipv6(at: number, depth: number): void {
    if (this.ipCount < HEADERS_MAX) this.ips[this.ipCount++] = at;
    this.#field(at + 4, 2);
    for (const offset of [0, 6, 7]) this.#field(at + offset, 1);
    let next = this.#byte(at + 6);
    let header = at + 40;
    for (let count = 0; count < 8 && [0, 43, 44, 51, 60].includes(next); count++) {
      this.#header(header);
      this.#field(header, 1);
      this.#field(header + 1, 1);
      if (next === 44) this.#field(header + 2, 2);
      const length = this.#byte(header + 1);
      const size = next === 44 ? 8 : next === 51 ? 4 * (length + 2) : 8 * (length + 1);
      next = this.#byte(header);
      header += size;
    }
    this.#byProtocol(next, header, depth);
  }

  #byProtocol(protocol: number, at: number, depth: number): void {
    this.#header(at);
    if (depth > DEPTH_MAX || !this.#has(at, 1)) return;
    switch (protocol) {
      case 1:
      case 58:
        return this.#icmp(at, depth);
      case 4:
        return this.#ipv4(at, depth + 1);
      case 41:
        return this.#ipv6(at, depth + 1);
      case 6:
        this.#field(at + 12, 1);
        this.#field(at + 13, 1);
        this.#field(at + 20, 1);
        this.#field(at + 21, 1);
        return this.#header(at + 4 * (this.#byte(at + 12) >>> 4));
      case 17:
        return this.#udp(at, depth);
      case 47:
        return this.#gre(at, depth);
      case 132:
        this.#field(at + 12, 1);
        this.#field(at + 14, 2);
    }
  }

  #icmp(at: number, depth: number): void {
    this.#field(at, 1);
    this.#field(at + 1, 1);
    this.#field(at + 25, 1); // length of a neighbour discovery option
    this.#header(at + 8);
    const version = this.#byte(at + 8) >>> 4;
    if (version === 4) this.#ipv4(at + 8, depth + 1);
    else if (version === 6) this.#ipv6(at + 8, depth + 1);
  }

  #udp(at: number, depth: number): void {
    this.#field(at + 2, 2);
    this.#field(at + 4, 2);
    this.#header(at + 8);
    const port = this.#word(at + 2);
    if (port === 4789) {
      this.#field(at + 8, 1);
      this.#field(at + 11, 1);
      this.#ethernet(at + 16, depth + 1);
    } else if (port === 6081) {
      this.#field(at + 8, 1);
      this.#field(at + 10, 2);
      this.#field(at + 19, 1);
      this.#byType(this.#word(at + 10), at + 16 + 4 * (this.#byte(at + 8) & 63), depth + 1);
    }
  }

  #gre(at: number, depth: number): void {
    this.#field(at, 2);
    this.#field(at + 2, 2);
    const flags = this.#byte(at);
    const words = (flags >>> 7) + (flags >>> 5 & 1) + (flags >>> 4 & 1);
    this.#byType(this.#word(at + 2), at + 4 + 4 * words, depth + 1);
  }

  #labels(at: number, depth: number): void {
    let entry = at;
    for (let count = 0; count < 8 && this.#has(entry, 4); count++) {
      this.#field(entry + 2, 1);
      this.#field(entry + 3, 1);
      entry += 4;
      if ((this.#byte(entry - 2) & 1) !== 0) break;
    }
    this.#header(entry);
    const version = this.#byte(entry) >>> 4;
    if (version === 4) this.#ipv4(entry, depth + 1);
    else if (version === 6) this.#ipv6(entry, depth + 1);
  }

  #nsh(at: number, depth: number): void {
    this.#field(at, 2);
    this.#field(at + 2, 1);
    this.#field(at + 3, 1);
    const next = at + 4 * (this.#byte(at + 1) & 63);
    if (next <= at) return;
    const types = [0, 0x0800, 0x86dd, 0x6558, 0x894f, 0x8847];
    this.#byType(types[this.#byte(at + 3)] ?? 0, next, depth + 1);
  }
}
