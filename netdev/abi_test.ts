import assert from "node:assert/strict";
import * as abi from "./abi.ts";

const HEADERS = `
#define _GNU_SOURCE
#include <stddef.h>
#include <stdio.h>
#include <errno.h>
#include <fcntl.h>
#include <sched.h>
#include <time.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <netinet/in.h>
#include <linux/udp.h>
#include <linux/bpf.h>
#include <linux/filter.h>
#include <linux/if.h>
#include <linux/if_arp.h>
#include <linux/if_ether.h>
#include <linux/if_link.h>
#include <linux/if_packet.h>
#include <linux/if_tun.h>
#include <linux/netlink.h>
#include <linux/prctl.h>
#include <linux/pkt_cls.h>
#include <linux/pkt_sched.h>
#include <linux/rtnetlink.h>
#include <linux/virtio_net.h>
`;

/** Our names whose C names differ, or whose structures are not `struct NAME`. */
const C_TYPES: Readonly<Record<string, string>> = {
  bpf_attr: "union bpf_attr",
  epoll_event_x86_64: "struct epoll_event",
  epoll_event_aarch64: "struct epoll_event",
  mmsghdr: "struct mmsghdr",
  packet_mreq: "struct packet_mreq",
};
const OURS: readonly string[] = ["BPF_ATTR_SIZE", "NEWER_THAN_6_1"];
const OTHER_ARCH = Deno.build.arch === "x86_64" ? "aarch64" : "x86_64";

/** One line of C per constant and member, and what we say it prints. */
function expectations(names: readonly string[]): { source: string; lines: string[] } {
  const source: string[] = [];
  const lines: string[] = [];
  const expect = (label: string, expression: string, value: number): void => {
    source.push(`printf("%s %lld\\n", "${label}", (long long)(${expression}));`);
    lines.push(`${label} ${value}`);
  };
  const entries = new Map(Object.entries<unknown>(abi));
  for (const name of names) {
    const value = entries.get(name);
    if (typeof value === "number") {
      const cName = name.startsWith("SYS_") ? "SYS_bpf" : name;
      expect(name, cName, value);
    } else if (typeof value === "object" && value !== null) {
      const type = C_TYPES[name] ?? `struct ${name}`;
      for (const [member, offset] of Object.entries<number>(value as Record<string, number>)) {
        if (member === "size") expect(`sizeof ${name}`, `sizeof(${type})`, offset);
        else expect(`${name}.${member}`, `offsetof(${type}, ${member})`, offset);
      }
    }
  }
  return { source: source.join("\n"), lines };
}

/** Compiles and runs; undefined if it does not compile. */
function printed(source: string): string[] | undefined {
  const folder = Deno.makeTempDirSync();
  try {
    Deno.writeTextFileSync(`${folder}/a.c`, `${HEADERS}int main(void) {\n${source}\nreturn 0; }\n`);
    const args = ["-w", "-o", `${folder}/a`, `${folder}/a.c`];
    const { success } = new Deno.Command("gcc", { args, stderr: "null" }).outputSync();
    if (!success) return undefined;
    const { stdout } = new Deno.Command(`${folder}/a`).outputSync();
    return new TextDecoder().decode(stdout).trimEnd().split("\n");
  } finally {
    Deno.removeSync(folder, { recursive: true });
  }
}

function hasCompiler(): boolean {
  try {
    return new Deno.Command("gcc", { args: ["--version"], stdout: "null" }).outputSync().success;
  } catch {
    return false;
  }
}

const noCompiler = !hasCompiler();
const note = noCompiler ? " [skipped: needs gcc]" : "";

Deno.test({
  name: `abi: every constant and offset is what the C headers say${note}`,
  ignore: noCompiler,
  fn: () => {
    const names = Object.keys(abi).filter((name) =>
      !OURS.includes(name) && !abi.NEWER_THAN_6_1.includes(name) && !name.includes(OTHER_ARCH)
    );
    const { source, lines } = expectations(names);
    assert.ok(lines.length > 200, `only ${lines.length} expectations`);
    const got = printed(source);
    assert.ok(got !== undefined, "the C program does not compile");
    assert.deepEqual(got, lines);
  },
});

Deno.test({
  name:
    `abi: constants newer than Debian 12's headers are right where the headers have them${note}`,
  ignore: noCompiler,
  fn: () => {
    for (const name of abi.NEWER_THAN_6_1) {
      const { source, lines } = expectations([name]);
      assert.equal(lines.length, 1, `${name} is not in abi.ts`);
      const got = printed(source);
      if (got !== undefined) assert.deepEqual(got, lines);
    }
  },
});

Deno.test("abi: TCX_DROP is TC_ACT_SHOT, so one program serves TCX and clsact", () => {
  assert.equal(abi.TCX_DROP, abi.TC_ACT_SHOT);
});
