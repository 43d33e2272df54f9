/** Path MTU discovery by hosts whose packets a flow sends into a tunnel. */
import assert from "node:assert/strict";
import { rootTest, withLab } from "./lab.ts";
import { assertAccounts, sendTcp, serveTcp } from "./traffic.ts";
import { FAR, FAR6, NEAR, NEAR6, nearSide, underlay } from "./tunnel_lab.ts";

rootTest(
  "path MTU: remote_ip=flow: senders are told what fits, through flows that match the tunnel",
  () =>
    withLab(async (lab) => {
      const far = await underlay(lab);
      const device = ["vx0", "type", "vxlan", "id", "42", "dstport", "4789", "remote"];
      const a = await nearSide(lab, ["vxlan", "remote_ip=flow", "key=flow"], { mtu: 1500 });
      const { denovs } = lab;
      for (
        const { here, there, match, overhead } of [
          { here: NEAR, there: FAR, match: `src=${FAR},dst=${NEAR}`, overhead: 50 },
          { here: NEAR6, there: FAR6, match: `ipv6_src=${FAR6},ipv6_dst=${NEAR6}`, overhead: 70 },
        ]
      ) {
        await far.run(["ip", "link", "del", "vx0"], { fails: true });
        await far.ip("link", "add", ...device, here);
        await far.ip("addr", "add", "10.0.0.2/24", "dev", "vx0");
        await far.ip("addr", "add", "fd00::2/64", "dev", "vx0", "nodad");
        await far.ip("link", "set", "vx0", "up");
        await a.ip("route", "flush", "cache");
        await a.ip("-6", "route", "flush", "cache");
        await a.ip("neigh", "flush", "dev", "eth0");
        await denovs.cli("flow-flush", "br0");
        const to = here === NEAR ? `dst=${there}` : `ipv6_dst=${there}`;
        const out = `set(tunnel(tun_id=42,${to},ttl=64,flags(df|csum|key))),2`;
        await denovs.cli("flow-add", "br0", "in_port(1)", out);
        // As ovs-vswitchd writes it: the kernel's datagrams have checksums, and so have the answers.
        const from = `tunnel(tun_id=42,${match},flags(-df+csum+key)),in_port(2)`;
        await denovs.cli("flow-add", "br0", from, "1");
        assert.equal(await a.ping("10.0.0.2"), 3);
        const ping = ["ping", "-n", "-c", "2", "-i", "0.2", "-W", "1", "-M", "do", "-s", "1452"];
        const four = await a.run([...ping, "10.0.0.2"], { fails: true });
        const mtu = 1500 - overhead;
        assert.match(four.stdout, new RegExp(`Frag needed and DF set \\(mtu = ${mtu}\\)`));
        const six = await a.run([...ping, "fd00::2"], { fails: true });
        assert.match(six.stdout, new RegExp(`Packet too big: mtu=${mtu}`));
        await serveTcp(far);
        await sendTcp(a, "10.0.0.2", { megabytes: 10 });
        await sendTcp(a, "fd00::2", { megabytes: 10 });
      }
      await assertAccounts(lab);
    }),
);
