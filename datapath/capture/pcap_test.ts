import assert from "node:assert/strict";
import fc from "fast-check";
import { type CapturedPacket, CaptureError, readCapture, writePcap } from "./pcap.ts";

/** Builds a file: numbers of 16 and 32 bits in one byte order, and bytes. */
class Builder {
  readonly #bytes: number[] = [];
  readonly #little: boolean;

  constructor(little: boolean) {
    this.#little = little;
  }

  u16(...values: number[]): this {
    return this.#numbers(2, values);
  }

  u32(...values: number[]): this {
    return this.#numbers(4, values);
  }

  raw(values: Iterable<number>): this {
    this.#bytes.push(...values);
    return this;
  }

  /** A pcapng block around what `write` writes, padded. */
  block(type: number, write: (inner: Builder) => void): this {
    const inner = new Builder(this.#little);
    write(inner);
    while (inner.#bytes.length % 4 !== 0) inner.#bytes.push(0);
    const size = inner.#bytes.length + 12;
    return this.u32(type, size).raw(inner.#bytes).u32(size);
  }

  get file(): Uint8Array<ArrayBuffer> {
    return Uint8Array.from(this.#bytes);
  }

  #numbers(size: number, values: readonly number[]): this {
    for (const value of values) {
      const bytes = Array.from({ length: size }, (_, at) => value >>> (8 * at) & 0xff);
      this.#bytes.push(...(this.#little ? bytes : bytes.toReversed()));
    }
    return this;
  }
}

const FRAME = Uint8Array.from({ length: 21 }, (_, at) => at);

function pcap(little: boolean, magic: number, linkType: number): Builder {
  return new Builder(little).u32(magic).u16(2, 4).u32(0, 0, 65535, linkType);
}

Deno.test("readCapture: pcap in both byte orders, micro- and nanoseconds", () => {
  for (const little of [true, false]) {
    for (const [magic, fraction] of [[0xa1b2c3d4, 250_000], [0xa1b23c4d, 250_000_000]] as const) {
      const file = pcap(little, magic, 1).u32(1_700_000_000, fraction, 21, 1514).raw(FRAME)
        .u32(1_700_000_001, 0, 2, 2).raw([8, 9]).file;
      assert.deepEqual([...readCapture(file)], [
        { bytes: FRAME, isL3: false, time: 1_700_000_000.25, originalSize: 1514 },
        { bytes: Uint8Array.of(8, 9), isL3: false, time: 1_700_000_001 },
      ]);
    }
  }
});

Deno.test("readCapture: raw IP is an L3 packet with its type", () => {
  const typeOf = (linkType: number, first: number): number | undefined => {
    const file = pcap(true, 0xa1b2c3d4, linkType).u32(0, 0, 1, 1).raw([first]).file;
    const [packet] = [...readCapture(file)];
    assert.equal(packet?.isL3, true);
    return packet?.ethType;
  };
  assert.equal(typeOf(101, 0x45), 0x0800);
  assert.equal(typeOf(101, 0x60), 0x86dd);
  assert.equal(typeOf(101, 0x00), 0);
  assert.equal(typeOf(228, 0x00), 0x0800);
  assert.equal(typeOf(229, 0x00), 0x86dd);
});

Deno.test("readCapture: what can't be read says why", () => {
  const refuse = (file: Uint8Array, reason: RegExp): void =>
    assert.throws(() => [...readCapture(file)], (error) => {
      assert(error instanceof CaptureError);
      assert.match(error.message, reason);
      return true;
    });
  refuse(new Uint8Array(3), /shorter than 4/);
  refuse(Uint8Array.of(1, 2, 3, 4, 5), /begins with 0x01020304/);
  refuse(pcap(true, 0xa1b2c3d4, 1).file.subarray(0, 23), /within its header/);
  refuse(pcap(true, 0xa1b2c3d4, 113).file, /link type 113 \(Linux cooked\)/);
  refuse(pcap(true, 0xa1b2c3d4, 147).file, /link type 147 can't/);
  const one = pcap(false, 0xa1b2c3d4, 1).u32(0, 0, 21, 21).raw(FRAME);
  refuse(one.file.subarray(0, 60), /within packet 1/);
  refuse(one.u32(0, 0).file, /within packet 2/);
  const section = (): Builder => new Builder(true).block(0x0a0d0d0a, (b) => b.u32(0x1a2b3c4d));
  refuse(new Builder(true).block(0x0a0d0d0a, (b) => b.u32(1)).file, /no byte order magic/);
  refuse(section().block(6, (b) => b.u32(0, 0, 0, 0, 0)).file, /interface 0, which/);
  refuse(section().block(1, (b) => b.u16(276, 0).u32(0)).block(3, (b) => b.u32(0)).file, /276/);
  refuse(section().block(1, () => {}).file, /too small/);
  refuse(section().u32(7, 13, 0, 0).file, /size of 13/);
  refuse(section().u32(7, 64, 0).file, /within the block at byte 16/);
  refuse(section().u32(7).file, /within the block at byte 16/);
});

Deno.test("readCapture: pcapng with several interfaces, resolutions and sections", () => {
  const packet = (b: Builder, device: number, high: number, low: number): unknown =>
    b.u32(device, high, low, 21, 100).raw(FRAME);
  for (const little of [true, false]) {
    const file = new Builder(little)
      .block(0x0a0d0d0a, (b) => b.u32(0x1a2b3c4d).u16(1, 0).u32(0xffffffff, 0xffffffff))
      .block(1, (b) => b.u16(1, 0).u32(8))
      .block(1, (b) => b.u16(101, 0).u32(0).u16(9, 1).raw([9, 0, 0, 0]).u32(0))
      .block(1, (b) => {
        b.u16(1, 0).u32(0).u16(2, 3).raw([65, 66, 67, 0]).u16(9, 1).raw([0x8a, 0, 0, 0]);
        b.u16(14, 8).raw(little ? [5, 0, 0, 0, 0, 0, 0, 0] : [0, 0, 0, 0, 0, 0, 0, 5]);
      })
      .block(0x0bad, (b) => b.u32(1, 2, 3))
      .block(6, (b) => packet(b, 0, 0, 1_500_000))
      .block(6, (b) => packet(b, 1, 1, 205_032_704)) // 4.5e9
      .block(6, (b) => packet(b, 2, 0, 1536))
      .block(3, (b) => b.u32(21).raw(FRAME.subarray(0, 8)))
      .block(0x0a0d0d0a, (b) => b.u32(0x1a2b3c4d).u16(1, 0).u32(0xffffffff, 0xffffffff))
      .block(1, (b) => b.u16(229, 0).u32(0))
      .block(3, (b) => b.u32(21).raw(FRAME))
      .file;
    const common = { bytes: FRAME, originalSize: 100 };
    assert.deepEqual([...readCapture(file)], [
      { ...common, isL3: false, time: 1.5 },
      { ...common, isL3: true, ethType: 0, time: 4.5 },
      { ...common, isL3: false, time: 6.5 },
      { bytes: FRAME.subarray(0, 8), isL3: false, originalSize: 21 },
      { bytes: FRAME, isL3: true, ethType: 0x86dd },
    ]);
  }
});

Deno.test("property: readCapture reads what writePcap writes", () => {
  const bytes = fc.uint8Array({ maxLength: 80 });
  const time = fc.nat(2 ** 31).map((half) => half / 2);
  fc.assert(fc.property(fc.array(fc.tuple(bytes, time)), fc.boolean(), (packets, isL3) => {
    const wanted: CapturedPacket[] = packets.map(([bytes, time]) =>
      isL3
        ? { bytes: Uint8Array.of(0x45, ...bytes), isL3, ethType: 0x0800, time }
        : { bytes, isL3, time }
    );
    assert.deepEqual([...readCapture(writePcap(wanted))], wanted);
  }));
});

Deno.test("writePcap: one link type to a file", () => {
  const ethernet = { bytes: FRAME, isL3: false };
  const raw = { bytes: Uint8Array.of(0x45), isL3: true };
  assert.throws(() => writePcap([ethernet, raw]), CaptureError);
  assert.throws(() => writePcap([raw, { bytes: FRAME, isL3: true }]), /packet 2 /);
});

Deno.test("readCapture returns or throws CaptureError, whatever the bytes", () => {
  const start = fc.constantFrom("a1b2c3d4", "d4c3b2a1", "4d3cb2a1", "0a0d0d0a0000001c1a2b3c4d", "");
  const file = fc.tuple(start, fc.uint8Array({ maxLength: 200 })).map(([hex, rest]) =>
    Uint8Array.from([...Uint8Array.fromHex(hex), ...rest])
  );
  fc.assert(
    fc.property(file, (bytes) => {
      try {
        for (const packet of readCapture(bytes)) assert(packet.bytes.length <= bytes.length);
      } catch (error) {
        assert(error instanceof CaptureError, String(error));
      }
    }),
    { numRuns: 2000 },
  );
});
