/**
 * The tunnel that a packet came through or is to be sent through: accessors over the tunnel's bytes of
 * a flow key (key.ts), which are what `tunnel(…)` matches and `set(tunnel(…))` writes.
 *
 * A tunnel port's receiver begins one on the packet (`Packet.beginTunnel`) and fills in what the outer
 * headers said; its sender is given one. Numbers are in host order, nothing but the constructor
 * allocates, values are stored modulo their width.
 */
import * as at from "../key.ts";

/** Accessors over the tunnel's bytes of a key, wherever they lie. */
export class TunnelKey {
  readonly #view: DataView;
  /** Where the key's byte 0 lies in the view, which need not have it. */
  readonly #base: number;

  /** Over `view`, in which the key's byte 0 lies, or would lie, at `keyAt`. */
  constructor(view: DataView, keyAt = 0) {
    this.#view = view;
    this.#base = keyAt;
  }

  /** Zeroes everything and sets the IP version. */
  begin(family: 4 | 6): void {
    this.#zeroOptions(0, this.optionsSize);
    for (let byte = at.TUN_ID_AT; byte < at.TUN_OPTIONS_AT; byte += 4) this.#setWord(byte, 0);
    this.#view.setUint8(this.#base + at.TUN_FAMILY_AT, family);
  }

  /** Becomes what another one is. */
  copyFrom(other: TunnelKey): void {
    const size = other.optionsSize;
    this.#zeroOptions(size, this.optionsSize);
    const end = at.TUN_OPTIONS_AT + roundUp(size);
    for (let byte = at.TUN_ID_AT; byte < end; byte += 4) this.#setWord(byte, other.#word(byte));
  }

  /** IP version of the outer header: 4 or 6; 0 if this was never begun. */
  get family(): number {
    return this.#view.getUint8(this.#base + at.TUN_FAMILY_AT);
  }

  /** Upper 32 bits of the tunnel key. */
  get idHigh(): number {
    return this.#word(at.TUN_ID_AT);
  }
  set idHigh(value: number) {
    this.#setWord(at.TUN_ID_AT, value);
  }

  /** Lower 32 bits of the tunnel key: a VNI or GRE key is here. Means something if flags has TUN_FLAG_KEY. */
  get idLow(): number {
    return this.#word(at.TUN_ID_AT + 4);
  }
  set idLow(value: number) {
    this.#setWord(at.TUN_ID_AT + 4, value);
  }

  /** IPv4 source address of the outer header. */
  get source(): number {
    return this.#word(at.TUN_SRC_AT);
  }
  set source(value: number) {
    this.#setWord(at.TUN_SRC_AT, value);
  }

  /** IPv4 destination address of the outer header. */
  get destination(): number {
    return this.#word(at.TUN_DST_AT);
  }
  set destination(value: number) {
    this.#setWord(at.TUN_DST_AT, value);
  }

  /** Word `index`, 0 … 3, of the IPv6 source address. */
  sourceWord(index: number): number {
    return this.#word(at.TUN_IPV6_SRC_AT + 4 * index);
  }
  /** Sets one word of the IPv6 source address. */
  setSourceWord(index: number, value: number): void {
    this.#setWord(at.TUN_IPV6_SRC_AT + 4 * index, value);
  }

  /** Word `index`, 0 … 3, of the IPv6 destination address. */
  destinationWord(index: number): number {
    return this.#word(at.TUN_IPV6_DST_AT + 4 * index);
  }
  /** Sets one word of the IPv6 destination address. */
  setDestinationWord(index: number, value: number): void {
    this.#setWord(at.TUN_IPV6_DST_AT + 4 * index, value);
  }

  /** Type of service or traffic class of the outer header. */
  get tos(): number {
    return this.#view.getUint8(this.#base + at.TUN_TOS_AT);
  }
  set tos(value: number) {
    this.#view.setUint8(this.#base + at.TUN_TOS_AT, value);
  }

  /** Time to live or hop limit of the outer header. */
  get ttl(): number {
    return this.#view.getUint8(this.#base + at.TUN_TTL_AT);
  }
  set ttl(value: number) {
    this.#view.setUint8(this.#base + at.TUN_TTL_AT, value);
  }

  /** TUN_FLAG_* of key.ts. */
  get flags(): number {
    return this.#view.getUint16(this.#base + at.TUN_FLAGS_AT);
  }
  set flags(value: number) {
    this.#view.setUint16(this.#base + at.TUN_FLAGS_AT, value);
  }

  /** UDP source port of the outer header; 0 when sending: the port's choice. */
  get sourcePort(): number {
    return this.#view.getUint16(this.#base + at.TUN_TP_SRC_AT);
  }
  set sourcePort(value: number) {
    this.#view.setUint16(this.#base + at.TUN_TP_SRC_AT, value);
  }

  /** UDP destination port of the outer header; 0 when sending: the port's. */
  get destinationPort(): number {
    return this.#view.getUint16(this.#base + at.TUN_TP_DST_AT);
  }
  set destinationPort(value: number) {
    this.#view.setUint16(this.#base + at.TUN_TP_DST_AT, value);
  }

  /** TUN_OPTIONS_*: what the option bytes are. */
  get optionsKind(): number {
    return this.#view.getUint8(this.#base + at.TUN_OPTIONS_KIND_AT);
  }

  /** Bytes of options, 0 … TUN_OPTIONS_MAX. */
  get optionsSize(): number {
    return Math.min(
      this.#view.getUint16(this.#base + at.TUN_OPTIONS_SIZE_AT),
      at.TUN_OPTIONS_MAX,
    );
  }

  /** Copies the option bytes to target[targetAt …); the caller has room for {@link optionsSize}. */
  copyOptions(target: DataView, targetAt: number): void {
    const size = this.optionsSize;
    const from = this.#base + at.TUN_OPTIONS_AT;
    for (let byte = 0; byte < size; byte++) {
      target.setUint8(targetAt + byte, this.#view.getUint8(from + byte));
    }
  }

  /**
   * Sets the options to the bytes source[sourceAt, sourceAt + size), which are of `kind` TUN_OPTIONS_*.
   * False: there are more than TUN_OPTIONS_MAX, nothing is changed.
   */
  setOptions(kind: number, source: DataView, sourceAt: number, size: number): boolean {
    if (size > at.TUN_OPTIONS_MAX) return false;
    this.#zeroOptions(0, this.optionsSize);
    const to = this.#base + at.TUN_OPTIONS_AT;
    for (let byte = 0; byte < size; byte++) {
      this.#view.setUint8(to + byte, source.getUint8(sourceAt + byte));
    }
    this.#describeOptions(kind, size);
    return true;
  }

  /** Group policy of VXLAN: flags << 16 | identifier; 0 if there is none. */
  get vxlanPolicy(): number {
    return this.optionsKind === at.TUN_OPTIONS_VXLAN ? this.#word(at.TUN_OPTIONS_AT) : 0;
  }
  set vxlanPolicy(value: number) {
    this.#zeroOptions(0, this.optionsSize);
    this.#setWord(at.TUN_OPTIONS_AT, value);
    this.#describeOptions(at.TUN_OPTIONS_VXLAN, 4);
  }

  #describeOptions(kind: number, size: number): void {
    this.#view.setUint8(this.#base + at.TUN_OPTIONS_KIND_AT, kind);
    this.#view.setUint16(this.#base + at.TUN_OPTIONS_SIZE_AT, size);
  }

  /** Zeroes the words that hold option bytes [from, to), without those that hold bytes before `from`. */
  #zeroOptions(from: number, to: number): void {
    for (let byte = roundUp(from); byte < to; byte += 4) this.#setWord(at.TUN_OPTIONS_AT + byte, 0);
  }

  #word(keyByte: number): number {
    return this.#view.getUint32(this.#base + keyByte);
  }

  #setWord(keyByte: number, value: number): void {
    this.#view.setUint32(this.#base + keyByte, value);
  }
}

/** To whole words. */
function roundUp(size: number): number {
  return (size + 3) & ~3;
}
