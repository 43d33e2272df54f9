/** IPv6 addresses in FTP announcements: text to and from the four words of a tuple. */

/** Four words, undefined: no IPv6 address. */
export function parseIpv6Words(text: string): number[] | undefined {
  const halves = text.split("::");
  if (halves.length > 2) return undefined;
  const groups = (part: string | undefined): string[] => part ? part.split(":") : [];
  const head = groups(halves[0]);
  const tail = groups(halves[1]);
  const missing = 8 - head.length - tail.length;
  if (halves.length === 2 ? missing < 1 : missing !== 0) return undefined;
  const all = [...head, ...Array<string>(halves.length === 2 ? missing : 0).fill("0"), ...tail];
  if (all.some((group) => !/^[0-9a-f]{1,4}$/i.test(group))) return undefined;
  const numbers = all.map((group) => parseInt(group, 16));
  return [0, 2, 4, 6].map((at) => numbers[at]! << 16 | numbers[at + 1]!);
}

/** The four words at words[at] as text: eight groups of four digits. */
export function formatIpv6Words(words: Int32Array, at: number): string {
  const groups: string[] = [];
  for (let word = 0; word < 4; word++) {
    const value = words[at + word]!;
    groups.push(
      ...[value >>> 16, value & 0xffff].map((half) => half.toString(16).padStart(4, "0")),
    );
  }
  return groups.join(":");
}
