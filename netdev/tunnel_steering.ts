/**
 * How a tunnel learns whether a datagram had a checksum. A UDP socket does not tell, and no control
 * message does. So each packet thread has two sockets for a tunnel's UDP port, and a BPF program, which
 * the kernel asks which socket of the port (SO_REUSEPORT) gets a datagram, reads the checksum in its
 * UDP header: zero, the first socket; anything else, the second. Threads share the datagrams by the
 * hash of addresses and ports, as without a program.
 *
 * Where bpf(2) is not allowed, or not built in, there is one socket, and nobody knows.
 */
import {
  BPF_FUNC_sk_select_reuseport,
  BPF_MAP_TYPE_REUSEPORT_SOCKARRAY,
  BPF_PROG_TYPE_SK_REUSEPORT,
  SK_DROP,
  SK_PASS,
  sk_reuseport_md,
  SO_ATTACH_REUSEPORT_EBPF,
  SOL_SOCKET,
} from "./abi.ts";
import {
  calculate,
  call,
  copy,
  createMap,
  EXIT,
  type Instruction,
  jump,
  jumpIfGreater,
  load,
  loadMap,
  loadProgram,
  move,
  storeWord,
  updateMap,
} from "./bpf.ts";
import { type Libc, libc } from "./libc.ts";
import { setOption } from "./socket.ts";
import { SystemError } from "./system_error.ts";

/** The program and its sockets, for all threads. Descriptors of the process; structured-clonable. */
export interface Steering {
  readonly programFd: number;
  readonly mapFd: number;
}

const DOING = "tell datagrams with a checksum from others";
const UDP_SIZE = 8;
const UDP_CHECKSUM = 6;
/** Sockets of a thread. */
const KINDS = 2;

/** For the UDP port of `threads` threads over one IP version; undefined: not on this host, or not by us. */
export function openSteering(threads: number): Steering | undefined {
  const calls = libc();
  let mapFd = -1;
  try {
    const kind = { type: BPF_MAP_TYPE_REUSEPORT_SOCKARRAY, entriesMax: KINDS * threads };
    mapFd = createMap(calls, kind, DOING);
    const program = {
      type: BPF_PROG_TYPE_SK_REUSEPORT,
      name: "denovs_tunnel",
      instructions: chooser(threads, mapFd),
    };
    return { programFd: loadProgram(calls, program, DOING), mapFd };
  } catch (error) {
    if (mapFd >= 0) calls.file.close(mapFd);
    if (error instanceof SystemError) return undefined;
    throw error;
  }
}

/** Sockets that are open go on being chosen from. Never throws. */
export function closeSteering(steering: Steering): void {
  const { file } = libc();
  file.close(steering.programFd);
  file.close(steering.mapFd);
}

/**
 * Makes a bound socket, which has SO_REUSEPORT, one of those that are chosen from: it gets its own
 * datagrams from now on. Those of sockets that have not joined are refused. Throws SystemError.
 */
export function joinSteering(
  calls: Libc,
  fd: number,
  place: { readonly steering: Steering; readonly thread: number; readonly hasChecksum: boolean },
): void {
  const { steering, thread, hasChecksum } = place;
  const label = "SO_ATTACH_REUSEPORT_EBPF";
  const name = SO_ATTACH_REUSEPORT_EBPF;
  setOption(calls, fd, { level: SOL_SOCKET, name, label, doing: DOING }, steering.programFd);
  const key = KINDS * thread + (hasChecksum ? 1 : 0);
  updateMap(calls, steering.mapFd, { key, value: fd, doing: DOING });
}

/** Chooses socket 2 · (hash modulo threads) + (0 if the checksum is zero, else 1). */
function chooser(threads: number, mapFd: number): readonly Instruction[] {
  const [result, context, mapArgument, keyArgument, flagsArgument] = [0, 1, 2, 3, 4];
  const [checksum, stack] = [7, 10];
  const key = -4;
  const choose: readonly Instruction[] = [
    load(checksum, mapArgument, { offset: UDP_CHECKSUM, size: 2 }),
    load(result, context, { offset: sk_reuseport_md.hash, size: 4 }),
    calculate(result, "%", threads),
    calculate(result, "<<", 1),
    jump("==", checksum, 0, 1),
    calculate(result, "|", 1),
    storeWord(stack, key, result),
    ...loadMap(mapArgument, mapFd),
    copy(keyArgument, stack),
    calculate(keyArgument, "+", key),
    move(flagsArgument, 0),
    call(BPF_FUNC_sk_select_reuseport),
    jump("!=", result, 0, 2),
    move(result, SK_PASS),
    EXIT,
  ];
  return [
    load(mapArgument, context, { offset: sk_reuseport_md.data, size: 8 }),
    load(keyArgument, context, { offset: sk_reuseport_md.data_end, size: 8 }),
    copy(flagsArgument, mapArgument),
    calculate(flagsArgument, "+", UDP_SIZE),
    jumpIfGreater(flagsArgument, keyArgument, choose.length),
    ...choose,
    move(result, SK_DROP),
    EXIT,
  ];
}
