/**
 * What a flow must be for the kernel besides what checkFlow() asks of every flow, since the kernel
 * itself answers EINVAL without a reason (net/openvswitch/flow_netlink.c: ip_tun_from_nlattr,
 * nsh_key_put_from_nlattr).
 */
import { RuleError } from "../../datapath/errors.ts";
import {
  KEY_SIZE,
  NSH_CONTEXT_AT,
  NSH_MDTYPE_AT,
  TUN_DST_AT,
  TUN_FAMILY_AT,
  TUN_FLAG_INFO_BRIDGE,
  TUN_FLAGS_AT,
  TUN_IPV6_DST_AT,
} from "../../datapath/key.ts";

const NSH_M_TYPE1 = 1;
/** Bytes of the four context headers. */
const NSH_CONTEXT_SIZE = 16;

/** Throws RuleError. `key` as it is sent: values outside the mask count. */
export function checkKernelFlow(key: Int32Array, mask: Int32Array): void {
  const keyBytes = new Uint8Array(key.buffer, key.byteOffset, KEY_SIZE);
  const maskBytes = new Uint8Array(mask.buffer, mask.byteOffset, KEY_SIZE);
  checkTunnelDestination(keyBytes, maskBytes);
  checkBridgeFlag(keyBytes, maskBytes);
  const contexts = maskBytes.subarray(NSH_CONTEXT_AT, NSH_CONTEXT_AT + NSH_CONTEXT_SIZE);
  if (contexts.every((byte) => byte === 0)) return;
  if (maskBytes[NSH_MDTYPE_AT] !== 0xff || keyBytes[NSH_MDTYPE_AT] !== NSH_M_TYPE1) {
    refuse("nsh(c1=…) to c4 need nsh(mdtype=1), without a mask, in the kernel");
  }
}

function checkTunnelDestination(key: Uint8Array, mask: Uint8Array): void {
  if (mask[TUN_FAMILY_AT] === 0) return;
  const flags = new DataView(key.buffer, key.byteOffset).getUint16(TUN_FLAGS_AT);
  if ((flags & TUN_FLAG_INFO_BRIDGE) !== 0) return;
  const [from, size, name] = key[TUN_FAMILY_AT] === 6
    ? [TUN_IPV6_DST_AT, 16, "ipv6_dst"] as const
    : [TUN_DST_AT, 4, "dst"] as const;
  if (key.subarray(from, from + size).some((byte) => byte !== 0)) return;
  refuse(
    `the kernel wants a tunnel's ${name} that is not 0, also where it is not matched ` +
      `(${name}=ADDRESS/0 matches any)`,
  );
}

/** The attribute of the flag bridge makes the message one about IPv4, in the mask too. */
function checkBridgeFlag(key: Uint8Array, mask: Uint8Array): void {
  if (mask[TUN_FAMILY_AT] === 0 || key[TUN_FAMILY_AT] !== 6) return;
  const flags = new DataView(mask.buffer, mask.byteOffset).getUint16(TUN_FLAGS_AT);
  if ((flags & TUN_FLAG_INFO_BRIDGE) !== 0) {
    refuse("tunnel flags(±bridge) can't be matched with IPv6 addresses in the kernel");
  }
}

function refuse(problem: string): never {
  throw new RuleError("EINVAL", problem);
}
