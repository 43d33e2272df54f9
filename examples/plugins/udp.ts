/**
 * A UDP encapsulation of one's own, complete: each datagram is a frame, behind a header of 4 bytes if
 * the port has a segment. Without one QEMU speaks it too (`-netdev dgram,…`, `-netdev socket,udp=…`),
 * so that a virtual machine joins a datapath without root, tap or bridge.
 *
 *     denovs plugin-add examples/plugins/udp.ts
 *     denovs port-add br0 vm1 --type udp remote=192.0.2.7:5001 local=:5000
 *     denovs port-add br0 far --type udp remote=192.0.2.8:5002 local=:5002 segment=17
 */
import type { PluginApi, UdpEnd, Vport, VportOps } from "../../vports/vport.ts";

interface Options {
  readonly remote: UdpEnd;
  readonly local: UdpEnd;
  readonly segment: number | undefined;
}

export default ({ options, udpVport }: PluginApi): VportOps<Options> => ({
  apiVersion: 1,
  type: "udp",
  summary: "Ethernet frames in UDP datagrams, with a segment number or as QEMU sends them",
  headroom: 4,
  ...options.table<Options>({
    remote: options.form.end(),
    local: options.form.localEnd({ to: "remote", port: 5000 }),
    segment: options.form.optional(options.form.integer({ min: 0, max: 0xffff_ffff })),
  }),
  create(params): Vport {
    const { remote, local, segment } = params.options;
    const header = segment === undefined ? undefined : {
      size: 4,
      write: (view: DataView, at: number): void => view.setUint32(at, segment),
      accepts: (view: DataView, at: number): boolean => view.getUint32(at) === segment,
    };
    return udpVport(params, { remote, local, header });
  },
});
