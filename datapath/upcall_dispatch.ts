/**
 * Which of several listeners an upcall is for: the kernel's netlink port identifiers (portids), as
 * numbers that whoever takes upcalls may choose by. After ovs_vport_find_upcall_portid in the kernel's
 * vport.c and ovs_dp_get_upcall_portid in datapath.c.
 */

/** How a datapath chooses portids; all of them are unsigned 32-bit numbers. */
export interface UpcallDispatch {
  /** By port number, a list that the flow's hash chooses from; 0 alone: the port has no upcalls. */
  readonly ports: Readonly<Record<string, readonly number[]>>;
  /** One for each packet thread in turn, for all ports; used when the datapath dispatches per CPU. */
  readonly cpus: readonly number[];
  /** Whether `cpus` counts, and not `ports` and what userspace actions say. */
  readonly isPerCpu: boolean;
}

/** Nothing set: upcalls have no portid but what a userspace action says. */
export const NO_DISPATCH: UpcallDispatch = { ports: {}, cpus: [], isPerCpu: false };

/** The portid of a list that stops a port's upcalls. */
export const NO_UPCALLS = 0;

/** Most portids in one list (the kernel has no limit but its message size). */
export const PORTIDS_MAX = 64;

/** What of an upcall decides. */
export interface DispatchedUpcall {
  readonly inPort: number;
  /** Hash of the flow, unsigned 32 bits. */
  readonly hash: number;
  /** Packet thread that it comes from. */
  readonly thread: number;
  /** What a userspace action says; undefined: a miss. */
  readonly pid: number | undefined;
}

/** The portid of an upcall; undefined: nothing says one. */
export function portidOf(dispatch: UpcallDispatch, upcall: DispatchedUpcall): number | undefined {
  const { cpus, isPerCpu, ports } = dispatch;
  if (isPerCpu && cpus.length > 0) return cpus[upcall.thread % cpus.length];
  if (upcall.pid !== undefined) return upcall.pid;
  const list = ports[upcall.inPort] ?? [];
  return list[upcall.hash % list.length];
}

/** Ports without upcalls. */
export function quietPorts(dispatch: UpcallDispatch): number[] {
  if (dispatch.isPerCpu && dispatch.cpus.length > 0) return [];
  return Object.entries(dispatch.ports)
    .filter(([, list]) => list.length === 1 && list[0] === NO_UPCALLS)
    .map(([portNo]) => Number(portNo));
}

/** Why a list can't be one; undefined: it can. */
export function findPortidsFault(list: readonly number[]): string | undefined {
  const wrong = list.find((one) => !Number.isInteger(one) || one < 0 || one > 0xffff_ffff);
  if (wrong !== undefined) return `${wrong} is not a portid (0 to 4294967295)`;
  if (list.length > 1 && list.includes(NO_UPCALLS)) {
    return `0, which stops upcalls, can't stand beside others (${list.join(",")})`;
  }
  if (list.length > PORTIDS_MAX) return `${list.length} portids are too many (${PORTIDS_MAX})`;
  return undefined;
}
