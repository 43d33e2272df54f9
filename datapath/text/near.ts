/** Names that somebody may have meant. */

/**
 * Ends a sentence about an unknown name: `: did you mean a or b?`, or, if none is near, the list of
 * all (`: allowed are a, b, c`).
 */
export function nearest(name: string, names: Iterable<string>): string {
  const all = [...names];
  const distanceMax = Math.max(1, Math.floor(name.length / 3));
  const near = all
    .map((candidate) => ({ candidate, distance: distance(name, candidate) }))
    .filter((each) => each.distance <= distanceMax || isPart(name, each.candidate))
    .sort((a, b) => a.distance - b.distance)
    .slice(0, 3)
    .map((each) => each.candidate);
  if (near.length > 0) return `: did you mean ${near.join(" or ")}?`;
  return all.length > 0 ? `: allowed are ${all.join(", ")}` : "";
}

function isPart(name: string, candidate: string): boolean {
  return name.length >= 3 && candidate.includes(name.toLowerCase());
}

/** Levenshtein distance; names longer than 32 characters are far from everything. */
function distance(a: string, b: string): number {
  if (a.length > 32 || b.length > 32) return 64;
  let previous = Array.from({ length: b.length + 1 }, (_, index) => index);
  for (let i = 1; i <= a.length; i++) {
    const row = [i];
    for (let j = 1; j <= b.length; j++) {
      const change = previous[j - 1]! + (a[i - 1] === b[j - 1] ? 0 : 1);
      row.push(Math.min(change, previous[j]! + 1, row[j - 1]! + 1));
    }
    previous = row;
  }
  return previous[b.length]!;
}
