/** Tunnel ports against Debian's ovs-vswitchd with its userspace datapath. */
import assert from "node:assert/strict";
import { rootTest, withLab } from "./lab.ts";
import { assertAccounts, sendTcp, serveTcp } from "./traffic.ts";
import { captured, decoded, FAR, NEAR, nearSide, OvsEnd, underlay } from "./tunnel_lab.ts";

const TLV = "{class=0x0102,type=0x80,len=4}";

rootTest(
  "tunnels: Open vSwitch at the far end of vxlan, gre and geneve with options",
  () =>
    withLab(async (lab) => {
      const far = await underlay(lab, { v6: false });
      const b = await lab.peer("b", { address: "10.0.0.2/24" });
      await lab.sw.ip("link", "set", b.port, "netns", far.name);
      await far.ip("link", "set", b.port, "up");
      await b.ip("link", "set", "eth0", "mtu", "1400");
      const a = await nearSide(lab, ["vxlan", `remote_ip=${FAR}`, "key=7"], { mtu: 1400 });
      // Its packet sockets give and take finished checksums only.
      await lab.sw.run(["ethtool", "-K", far.port, "tx", "off"]);
      await b.run(["ethtool", "-K", "eth0", "tx", "off"]);
      const ovs = await OvsEnd.start(lab, far, b.port);
      const { denovs } = lab;
      await serveTcp(b);
      for (
        const [type, options] of [["vxlan", ["key=7"]], ["gre", ["key=7"]], ["gre", []]] as const
      ) {
        await denovs.cli("port-del", "br0", "tun");
        const words = ["--port-no", "2", "--type", type, `remote_ip=${FAR}`, ...options];
        await denovs.cli("port-add", "br0", "tun", ...words);
        const theirs = options.map((option) => `options:${option}`);
        await ovs.vsctl(
          "add-port",
          "br-int",
          "tun",
          "--",
          "set",
          "interface",
          "tun",
          `type=${type}`,
          `options:remote_ip=${NEAR}`,
          ...theirs,
        );
        await ovs.ofctl("del-flows");
        await ovs.ofctl("add-flow", `in_port=${b.port},actions=output:tun`);
        await ovs.ofctl("add-flow", `in_port=tun,actions=output:${b.port}`);
        // The first packets teach Open vSwitch its neighbours.
        await a.ping("10.0.0.2");
        assert.equal(await a.ping("10.0.0.2"), 3, type);
        await sendTcp(a, "10.0.0.2", { megabytes: 10 });
        await ovs.vsctl("del-port", "br-int", "tun");
      }

      await denovs.cli("port-del", "br0", "tun");
      const words = ["--port-no", "2", "--type", "geneve", "remote_ip=flow", "key=flow"];
      await denovs.cli("port-add", "br0", "tun", ...words);
      await ovs.vsctl(
        "add-port",
        "br-int",
        "tun",
        "--",
        "set",
        "interface",
        "tun",
        "type=geneve",
        `options:remote_ip=${NEAR}`,
        "options:key=9",
      );
      await ovs.ofctl("add-tlv-map", `${TLV}->tun_metadata0`);
      await ovs.ofctl("del-flows");
      await ovs.ofctl(
        "add-flow",
        `in_port=${b.port},actions=set_field:0xaabbccdd->tun_metadata0,output:tun`,
      );
      await ovs.ofctl("add-flow", `in_port=tun,tun_metadata0=0x11223344,actions=output:${b.port}`);
      await denovs.cli("flow-del", "br0", "in_port(1)");
      await denovs.cli("flow-del", "br0", "in_port(2)");
      const option = (value: string): string => `geneve({class=0x102,type=0x80,len=4,${value}})`;
      const out = `set(tunnel(tun_id=0x9,dst=${FAR},ttl=64,tp_dst=6081,${option("0x11223344")},` +
        "flags(df|csum|key))),2";
      await denovs.cli("flow-add", "br0", "in_port(1)", out);
      const back = `tunnel(tun_id=0x9,src=${FAR},dst=${NEAR},${
        option("0xaabbccdd")
      },flags(key)),in_port(2)`;
      await denovs.cli("flow-add", "br0", back, "1");
      const file = await captured(lab, lab.sw, async () => {
        await a.ping("10.0.0.2");
        assert.equal(await a.ping("10.0.0.2"), 3, "geneve with options");
      }, far.port);
      const data = [
        "geneve.vni",
        "geneve.option.class",
        "geneve.option.type",
        "geneve.option.unknown.data",
      ];
      const seen = await decoded(lab.sw, file, "icmp", ["ip.src", ...data]);
      const of = (address: string): string[] | undefined =>
        seen.find(([source = ""]) => source.startsWith(address))?.slice(1);
      assert.deepEqual(of(NEAR), ["0x000009", "0x0102", "0x80", "11223344"]);
      assert.deepEqual(of(FAR), ["0x000009", "0x0102", "0x80", "aabbccdd"]);
      await sendTcp(a, "10.0.0.2", { megabytes: 10 });
      assert.ok((await denovs.flow("0xaabbccdd")).packets > 3);
      await assertAccounts(lab);
    }),
);
