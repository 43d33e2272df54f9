/**
 * The peers of bench/rtt.ts, in C, compiled when the benchmark starts: an echo server, and a client
 * that keeps a number of requests on their way and prints how long each answer took.
 */
import { run } from "../tests/e2e/process.ts";

const SOURCE = String.raw`
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#define PORT 7007
#define SAMPLES 4000000
static unsigned samples[SAMPLES];
static long now_ns(void) {
  struct timespec t;
  clock_gettime(CLOCK_MONOTONIC, &t);
  return t.tv_sec * 1000000000L + t.tv_nsec;
}
static int compare(const void *a, const void *b) {
  unsigned x = *(const unsigned *)a, y = *(const unsigned *)b;
  return x < y ? -1 : x > y;
}
/* peer echo | peer ADDRESS OUTSTANDING SECONDS */
int main(int argc, char **argv) {
  int fd = socket(AF_INET, SOCK_DGRAM, 0);
  struct sockaddr_in at = {.sin_family = AF_INET, .sin_port = htons(PORT)};
  long message[2] = {0};
  if (argc == 2) {
    if (bind(fd, (void *)&at, sizeof at)) return perror("bind"), 1;
    for (;;) {
      socklen_t size = sizeof at;
      ssize_t got = recvfrom(fd, message, sizeof message, 0, (void *)&at, &size);
      if (got > 0) sendto(fd, message, got, 0, (void *)&at, size);
    }
  }
  if (argc != 4 || !inet_aton(argv[1], &at.sin_addr)) return 2;
  if (connect(fd, (void *)&at, sizeof at)) return perror("connect"), 1;
  int outstanding = atoi(argv[2]), count = 0;
  long begin = now_ns(), end = begin + (long)(atof(argv[3]) * 1e9), warm = begin + 500000000L;
  struct timeval patience = {0, 200000};
  setsockopt(fd, SOL_SOCKET, SO_RCVTIMEO, &patience, sizeof patience);
  for (int i = 0; i < outstanding; i++) message[0] = now_ns(), send(fd, message, sizeof message, 0);
  long lost = 0, now;
  do {
    if (recv(fd, message, sizeof message, 0) < 0) {  /* all are lost: begin anew */
      for (int i = 0; i < outstanding; i++)
        message[0] = now_ns(), send(fd, message, sizeof message, 0), lost++;
      now = now_ns();
      continue;
    }
    now = now_ns();
    if (now > warm && count < SAMPLES) samples[count++] = now - message[0];
    message[0] = now;
    send(fd, message, sizeof message, 0);
  } while (now < end);
  if (count == 0) return 1;
  qsort(samples, count, sizeof *samples, compare);
  printf("{\"count\":%d,\"lost\":%ld,\"p50\":%.1f,\"p99\":%.1f,\"p999\":%.1f,\"rate\":%.0f}\n", count, lost,
         samples[count / 2] / 1e3, samples[(long)count * 99 / 100] / 1e3,
         samples[(long)count * 999 / 1000] / 1e3, count / ((end - warm) / 1e9));
  return 0;
}
`;

/** Compiles the peer into `folder`; the path of the program. Throws with the compiler's complaint. */
export async function buildRttPeer(folder: string): Promise<string> {
  const program = `${folder}/rtt_peer`;
  Deno.writeTextFileSync(`${program}.c`, SOURCE);
  const done = await run(["gcc", "-O2", "-w", "-o", program, `${program}.c`]);
  if (done.code !== 0) throw new Error(`gcc: ${done.stderr}`);
  return program;
}
