/**
 * The measure of bench/packet_io.ts: the same minimal forwarder in C (TPACKET_V2 ring of the same
 * geometry, virtio-net headers, one sendmmsg per burst), compiled when the benchmark starts.
 */

const SOURCE = String.raw`
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <fcntl.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>
#define FRAME 1984
#define PER_BLOCK 33
#define BLOCKS 124
#define BURST 32
static long cpu(void) {
  char text[64];
  int fd = open("/proc/thread-self/schedstat", O_RDONLY), n = read(fd, text, 63);
  text[n > 0 ? n : 0] = 0;
  close(fd);
  return atol(text);
}
static double now_ms(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1e3 + t.tv_nsec / 1e6;
}
static unsigned next(unsigned at) {
  at += FRAME;
  if ((at & 65535) == PER_BLOCK * FRAME) at += 65536 - PER_BLOCK * FRAME;
  return at == BLOCKS * 65536u ? 0 : at;
}
int main(void) {
  int version = TPACKET_V2, one = 1, reserve = 254;
  int fd = socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK, 0);
  setsockopt(fd, SOL_PACKET, PACKET_VERSION, &version, sizeof version);
  setsockopt(fd, SOL_PACKET, PACKET_VNET_HDR, &one, sizeof one);
  setsockopt(fd, SOL_PACKET, PACKET_RESERVE, &reserve, sizeof reserve);
  setsockopt(fd, SOL_PACKET, PACKET_IGNORE_OUTGOING, &one, sizeof one);
  struct tpacket_req request = {65536, BLOCKS, FRAME, BLOCKS * PER_BLOCK};
  if (setsockopt(fd, SOL_PACKET, PACKET_RX_RING, &request, sizeof request)) return perror("ring"), 1;
  unsigned char *ring = mmap(0, BLOCKS * 65536L, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  struct sockaddr_ll any = {.sll_family = AF_PACKET, .sll_protocol = htons(ETH_P_ALL)}, to[2];
  bind(fd, (void *)&any, sizeof any);
  int device[2] = {if_nametoindex("s0"), if_nametoindex("s1")};
  memset(to, 0, sizeof to);
  for (int i = 0; i < 2; i++) {
    struct packet_mreq promiscuous = {.mr_ifindex = device[i], .mr_type = PACKET_MR_PROMISC};
    setsockopt(fd, SOL_PACKET, PACKET_ADD_MEMBERSHIP, &promiscuous, sizeof promiscuous);
    to[i].sll_family = AF_PACKET, to[i].sll_ifindex = device[i], to[i].sll_halen = 6;
  }
  int out = socket(AF_PACKET, SOCK_RAW | SOCK_NONBLOCK, 0);
  setsockopt(out, SOL_PACKET, PACKET_VNET_HDR, &one, sizeof one);
  static struct mmsghdr messages[BURST];
  static struct iovec iov[BURST];
  long packets = 0, bytes = 0, rounds = 0, drops = 0;
  double report = now_ms() + 500;
  unsigned head = 0;
  for (;;) {
    unsigned tail = head;
    int count = 0;
    while (count < BURST) {
      volatile struct tpacket2_hdr *h = (void *)(ring + head);
      if (!(h->tp_status & TP_STATUS_USER)) break;
      int other = ((struct sockaddr_ll *)(ring + head + 32))->sll_ifindex == device[0];
      unsigned char *frame = ring + head + h->tp_mac;
      memset(frame - 10, 0, 10);
      iov[count] = (struct iovec){frame - 10, h->tp_len + 10};
      messages[count].msg_hdr = (struct msghdr){
        .msg_iov = &iov[count], .msg_iovlen = 1, .msg_name = &to[other], .msg_namelen = sizeof to[0]};
      bytes += h->tp_len, count++, head = next(head);
    }
    for (int i = 0; i < count;) {
      int sent = sendmmsg(out, messages + i, count - i, MSG_DONTWAIT);
      if (sent > 0) i += sent; else i++, drops++;
    }
    for (int i = 0; i < count; i++, tail = next(tail))
      ((struct tpacket2_hdr *)(ring + tail))->tp_status = TP_STATUS_KERNEL;
    packets += count, rounds++;
    if (!count) {
      struct pollfd waiting = {fd, POLLIN, 0};
      poll(&waiting, 1, 500);
    }
    if ((rounds & 255 && count) || now_ms() < report) continue;
    report += 500;
    printf("{\"packets\":%ld,\"bytes\":%ld,\"drops\":%ld,\"lost\":0,\"cpuNs\":%ld,\"rounds\":%ld}\n",
           packets, bytes, drops, cpu(), rounds);
    fflush(stdout);
  }
}
`;

/** Compiles the C forwarder into `folder`; returns its path. Throws with the compiler's complaint. */
export async function buildPeer(folder: string): Promise<string> {
  const path = `${folder}/packet_io_peer`;
  await Deno.writeTextFile(`${path}.c`, SOURCE);
  const args = ["-O2", "-o", path, `${path}.c`];
  const { success, stderr } = await new Deno.Command("gcc", { args }).output();
  if (!success) throw new Error(`gcc: ${new TextDecoder().decode(stderr)}`);
  return path;
}
