/**
 * A generator of floods: a C program, compiled when a benchmark starts, that sends frames of one kind
 * from a packet socket at a given rate. Every frame is different, but for `known`.
 */
import { run } from "../tests/e2e/process.ts";

/** `known`: one UDP flow; `tuples`: UDP from random addresses and ports; `syns`: TCP that begins; `fragments`: first fragments of datagrams that never get whole. */
export type FloodKind = "known" | "tuples" | "syns" | "fragments";

const SOURCE = String.raw`
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#define BATCH 32
#define SIZE 60
static uint64_t state = 88172645463325252ull;
static uint32_t noise(void) {
  state ^= state << 13, state ^= state >> 7, state ^= state << 17;
  return state >> 16;
}
static unsigned checksum(const unsigned char *at, int size, unsigned sum) {
  for (int j = 0; j < size; j += 2) sum += at[j] << 8 | at[j + 1];
  sum = (sum & 0xffff) + (sum >> 16);
  return ~(sum + (sum >> 16)) & 0xffff;
}
static void put(unsigned char *at, unsigned value) { at[0] = value >> 8, at[1] = value; }
/* flood DEVICE DESTINATION-MAC KIND FRAMES-PER-SECOND SECONDS */
int main(int argc, char **argv) {
  if (argc < 6) return 2;
  unsigned mac[6];
  sscanf(argv[2], "%x:%x:%x:%x:%x:%x", mac, mac + 1, mac + 2, mac + 3, mac + 4, mac + 5);
  char kind = argv[3][0];
  double rate = atof(argv[4]), seconds = atof(argv[5]);
  int fd = socket(AF_PACKET, SOCK_RAW, 0);
  struct sockaddr_ll to = {.sll_family = AF_PACKET, .sll_ifindex = if_nametoindex(argv[1])};
  if (fd < 0 || !to.sll_ifindex || bind(fd, (void *)&to, sizeof to)) return perror("flood"), 1;
  static unsigned char frames[BATCH][SIZE];
  struct iovec iov[BATCH];
  struct mmsghdr messages[BATCH] = {0};
  for (int i = 0; i < BATCH; i++) {
    for (int j = 0; j < 6; j++) frames[i][j] = mac[j];
    memcpy(frames[i] + 6, "\x02\0\0\0\0\x77\x08\0\x45\0\0\x2e\0\0\0\0\x40\x11\0\0", 20);
    memcpy(frames[i] + 26, "\x0a\0\0\x01\x0a\0\0\x02\x04\0\x08\0\0\x1a\0\0", 16);
    iov[i] = (struct iovec){frames[i], SIZE};
    messages[i].msg_hdr.msg_iov = &iov[i];
    messages[i].msg_hdr.msg_iovlen = 1;
  }
  struct timespec now, begin;
  clock_gettime(CLOCK_MONOTONIC, &begin);
  unsigned long sent = 0;
  for (double passed = 0; passed < seconds;) {
    for (int i = 0; i < BATCH; i++) {
      unsigned char *f = frames[i];
      if (kind != 'k') {
        uint32_t source = noise(), ports = noise(), number = noise();
        memcpy(f + 27, &source, 3);
        memcpy(f + 18, &number, 2);
        memcpy(f + 34, &ports, 4);
      }
      if (kind == 's') {
        f[23] = 6;
        memcpy(f + 46, "\x50\x02\x20\0\0\0\0\0", 8);
        put(f + 50, checksum(f + 26, SIZE - 26, 6 + SIZE - 34)); /* addresses, protocol, length */
      }
      if (kind == 'f') f[20] = 0x20, f[21] = 0, f[17] = 0x2c; /* 24 bytes of data, more to come */
      put(f + 24, 0);
      put(f + 24, checksum(f + 14, 20, 0));
    }
    int n = sendmmsg(fd, messages, BATCH, 0);
    if (n > 0) sent += n;
    do {
      clock_gettime(CLOCK_MONOTONIC, &now);
      passed = now.tv_sec - begin.tv_sec + (now.tv_nsec - begin.tv_nsec) * 1e-9;
      double ahead = sent / rate - passed;
      if (ahead <= 0) break;
      struct timespec nap = {0, ahead * 1e9 > 5e6 ? 5000000 : (long)(ahead * 1e9)};
      nanosleep(&nap, 0);
    } while (passed < seconds);
  }
  printf("%lu\n", sent);
  return 0;
}
`;

/** Compiles the generator into `folder`; the path of the program. */
export async function buildFloodGenerator(folder: string): Promise<string> {
  const program = `${folder}/flood`;
  Deno.writeTextFileSync(`${program}.c`, SOURCE);
  const done = await run(["gcc", "-O2", "-w", "-o", program, `${program}.c`]);
  if (done.code !== 0) throw new Error(`gcc: ${done.stderr}`);
  return program;
}
