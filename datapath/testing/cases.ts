/** How many cases a property is tried on. */

/** An argument of test files (`deno test … -- --quick`), which needs no permission, as a variable would. */
const QUICK = "--quick";
const QUICK_SHARE = 0.1;

/** So many in `deno task test`, a tenth of them before a commit (`deno task ok`). */
export function cases(count: number): number {
  return Deno.args.includes(QUICK) ? Math.ceil(count * QUICK_SHARE) : count;
}
