/**
 * A packet generator: forty lines of C, compiled when a benchmark starts, that send one UDP frame
 * again and again by sendmmsg from a packet socket. Pinned and of high priority, so that the switch
 * under test is what limits the rate.
 */
import { run } from "../tests/e2e/process.ts";

const SOURCE = String.raw`
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#define BATCH 64
/* generator DEVICE DESTINATION-MAC FRAME-SIZE SECONDS FLOWS */
int main(int argc, char **argv) {
  if (argc < 6) return 2;
  unsigned mac[6], size = atoi(argv[3]), flows = atoi(argv[5]), seed = 1;
  sscanf(argv[2], "%x:%x:%x:%x:%x:%x", mac, mac + 1, mac + 2, mac + 3, mac + 4, mac + 5);
  int fd = socket(AF_PACKET, SOCK_RAW, 0);
  struct sockaddr_ll to = {.sll_family = AF_PACKET, .sll_ifindex = if_nametoindex(argv[1])};
  if (fd < 0 || !to.sll_ifindex || bind(fd, (void *)&to, sizeof to)) return perror("generator"), 1;
  static unsigned char frames[BATCH][2048];
  struct iovec iov[BATCH];
  struct mmsghdr messages[BATCH] = {0};
  for (int i = 0; i < BATCH; i++) {
    unsigned char *f = frames[i];
    for (int j = 0; j < 6; j++) f[j] = mac[j];
    memcpy(f + 6, "\x02\0\0\0\0\x77\x08\0\x45\0", 10);
    unsigned short ip_size = htons(size - 14), udp_size = htons(size - 34);
    memcpy(f + 16, &ip_size, 2);
    memcpy(f + 22, "\x40\x11\0\0\x0a\0\0\x01\x0a\0\0\x02\x04\0\x08\0", 16);
    memcpy(f + 38, &udp_size, 2);
    unsigned sum = 0;
    for (int j = 14; j < 34; j += 2) sum += f[j] << 8 | f[j + 1];
    sum = (sum & 0xffff) + (sum >> 16);
    unsigned short check = htons(~(sum + (sum >> 16)));
    memcpy(f + 24, &check, 2);
    iov[i] = (struct iovec){f, size};
    messages[i].msg_hdr.msg_iov = &iov[i];
    messages[i].msg_hdr.msg_iovlen = 1;
  }
  struct timespec begin, now;
  clock_gettime(CLOCK_MONOTONIC, &begin);
  unsigned long sent = 0;
  do {
    if (flows > 1)
      for (int i = 0; i < BATCH; i++) {  /* another source port and address: another flow */
        unsigned flow = (seed = seed * 1103515245 + 12345) / 65536 % flows;
        frames[i][34] = flow >> 8, frames[i][35] = flow;
      }
    int n = sendmmsg(fd, messages, BATCH, 0);
    if (n > 0) sent += n;
    clock_gettime(CLOCK_MONOTONIC, &now);
  } while (now.tv_sec + now.tv_nsec * 1e-9 < begin.tv_sec + begin.tv_nsec * 1e-9 + atof(argv[4]));
  printf("%lu\n", sent);
  return 0;
}
`;

/** Compiles the generator into `folder`; the path of the program. */
export async function buildGenerator(folder: string): Promise<string> {
  const program = `${folder}/generator`;
  Deno.writeTextFileSync(`${program}.c`, SOURCE);
  const done = await run(["gcc", "-O2", "-w", "-o", program, `${program}.c`]);
  if (done.code !== 0) throw new Error(`gcc: ${done.stderr}`);
  return program;
}
