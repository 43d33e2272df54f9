/**
 * ARP packet for Ethernet and IPv4, 28 bytes (RFC 826). `at` is the offset of its first byte.
 * Hardware addresses are given as two parts: `High`, the first four bytes, `Low`, the last two.
 * Allocates nothing.
 */

export const SIZE = 28;
const HARDWARE_TYPE = 0;
const PROTOCOL_TYPE = 2;
const HARDWARE_SIZE = 4;
const PROTOCOL_SIZE = 5;
const OPERATION = 6;
const SENDER_HARDWARE = 8;
const SENDER_PROTOCOL = 14;
const TARGET_HARDWARE = 18;
const TARGET_PROTOCOL = 24;

const ARPHRD_ETHER = 1;
const ETH_P_IP = 0x0800;

export const REQUEST = 1;
export const REPLY = 2;

/** Whether a whole packet lies in [at, end) and is about Ethernet and IPv4 addresses. */
export function fits(view: DataView, at: number, end: number): boolean {
  return at + SIZE <= end && view.getUint16(at + HARDWARE_TYPE) === ARPHRD_ETHER &&
    view.getUint16(at + PROTOCOL_TYPE) === ETH_P_IP && view.getUint8(at + HARDWARE_SIZE) === 6 &&
    view.getUint8(at + PROTOCOL_SIZE) === 4;
}

export function operation(view: DataView, at: number): number {
  return view.getUint16(at + OPERATION);
}

export function senderHardwareHigh(view: DataView, at: number): number {
  return view.getUint32(at + SENDER_HARDWARE);
}

export function senderHardwareLow(view: DataView, at: number): number {
  return view.getUint16(at + SENDER_HARDWARE + 4);
}

/** IPv4 address, unsigned. */
export function senderProtocol(view: DataView, at: number): number {
  return view.getUint32(at + SENDER_PROTOCOL);
}

export function targetHardwareHigh(view: DataView, at: number): number {
  return view.getUint32(at + TARGET_HARDWARE);
}

export function targetHardwareLow(view: DataView, at: number): number {
  return view.getUint16(at + TARGET_HARDWARE + 4);
}

/** IPv4 address, unsigned. */
export function targetProtocol(view: DataView, at: number): number {
  return view.getUint32(at + TARGET_PROTOCOL);
}

/** A packet's fields. */
export interface Fields {
  readonly operation: number;
  readonly senderHardwareHigh: number;
  readonly senderHardwareLow: number;
  readonly senderProtocol: number;
  readonly targetHardwareHigh: number;
  readonly targetHardwareLow: number;
  readonly targetProtocol: number;
}

/** Writes all 28 bytes. */
export function write(view: DataView, at: number, fields: Fields): void {
  view.setUint16(at + HARDWARE_TYPE, ARPHRD_ETHER);
  view.setUint16(at + PROTOCOL_TYPE, ETH_P_IP);
  view.setUint8(at + HARDWARE_SIZE, 6);
  view.setUint8(at + PROTOCOL_SIZE, 4);
  view.setUint16(at + OPERATION, fields.operation);
  view.setUint32(at + SENDER_HARDWARE, fields.senderHardwareHigh);
  view.setUint16(at + SENDER_HARDWARE + 4, fields.senderHardwareLow);
  view.setUint32(at + SENDER_PROTOCOL, fields.senderProtocol);
  view.setUint32(at + TARGET_HARDWARE, fields.targetHardwareHigh);
  view.setUint16(at + TARGET_HARDWARE + 4, fields.targetHardwareLow);
  view.setUint32(at + TARGET_PROTOCOL, fields.targetProtocol);
}
