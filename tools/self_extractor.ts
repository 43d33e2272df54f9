/**
 * The self-extracting executable: a shell script of fixed size with the Deno executable and the
 * bundle behind it. The first run unpacks them into a cache directory named by the hash of the
 * payload; later runs start what is there.
 *
 * What is unpacked is only ever run from a directory that belongs to the user who runs it, inside a
 * directory that belongs to him too or is sticky (/tmp), so that nobody else can put something there.
 */

/** A file of the payload. */
export interface Part {
  /** Name without a slash, in letters, digits, `.`, `-` and `_`. */
  readonly name: string;
  readonly content: Uint8Array;
}

export interface ExtractorOptions {
  readonly version: string;
  /** The Deno executable; unpacked under the name `denovs`. */
  readonly executable: Uint8Array;
  /** Modules beside it. */
  readonly files: readonly Part[];
  /** The one to run. */
  readonly main: string;
  /** Options of `deno run`. */
  readonly runOptions: readonly string[];
}

/** Size of the script; the payload begins behind it. */
export const HEADER_SIZE = 8192;

/** Bytes of the whole executable. */
export async function makeSelfExtractor(
  options: ExtractorOptions,
): Promise<Uint8Array<ArrayBuffer>> {
  const parts: Part[] = [{ name: "denovs", content: options.executable }, ...options.files];
  const payload = concatenate(parts.map(({ content }) => content));
  const hash = toHex(new Uint8Array(await crypto.subtle.digest("SHA-256", payload)));
  const header = new TextEncoder().encode(renderHeader(options, parts, hash));
  if (header.length > HEADER_SIZE) {
    throw new Error(`Cannot build the executable: the script has ${header.length} bytes`);
  }
  const whole = new Uint8Array(HEADER_SIZE + payload.length);
  // Newlines between the end of the script and the payload.
  whole.fill(0x0a, 0, HEADER_SIZE);
  whole.set(header);
  whole.set(payload, HEADER_SIZE);
  return whole;
}

function renderHeader(options: ExtractorOptions, parts: readonly Part[], hash: string): string {
  let at = HEADER_SIZE;
  const unpack = parts.map(({ name, content }) => {
    if (!/^[\w.-]+$/.test(name)) throw new Error(`Cannot pack a file named "${name}"`);
    const line = `part ${at + 1} ${content.length} ${name}`;
    at += content.length;
    return line;
  });
  return SCRIPT
    .replaceAll("@VERSION@", options.version)
    .replaceAll("@HASH@", hash)
    .replaceAll("@OFFSET@", `${HEADER_SIZE + 1}`)
    .replaceAll("@SIZE@", `${at}`)
    .replaceAll("@PARTS@", unpack.join(" &&\n    "))
    .replaceAll("@OPTIONS@", options.runOptions.join(" "))
    .replaceAll("@MAIN@", options.main);
}

// `test -O`, -k and -L are in dash, bash and busybox, so that a start costs no process.
const SCRIPT = `#!/bin/sh
# denovs @VERSION@, a self-extracting executable: the Deno runtime and the program follow this script.
# They are unpacked once, into $XDG_CACHE_HOME, ~/.cache, /var/cache (root) or $TMPDIR.
set -u
hash=@HASH@
self=$0
case $self in */*) ;; *) self=$(command -v -- "$0") || exit 1 ;; esac
tmp= uid= why="no directory to unpack into (set XDG_CACHE_HOME)"

# Whether $1 is a directory of ours, not a link.
ours() { [ -d "$1" ] && [ ! -L "$1" ] && [ -O "$1" ]; }

part() {
  tail -c "+$1" -- "$self" | head -c "$2" > "$tmp/$3" && [ "$(wc -c < "$tmp/$3")" -eq "$2" ]
}

damaged() { echo "denovs: cannot start: $self is damaged" >&2; exit 1; }

unpack() {
  [ "$(wc -c < "$self")" -eq @SIZE@ ] || damaged
  why="cannot write to $home"
  ours "$home" || mkdir -m 700 -- "$home" 2>/dev/null
  ours "$home" && chmod 700 "$home" && tmp=$(mktemp -d "$home/unpack.XXXXXX" 2>/dev/null) || return 1
  why="cannot unpack into $home (is the disk full?)"
  {
    @PARTS@ &&
    mkdir -m 700 "$tmp/cache" && chmod 400 "$tmp"/*.js && chmod 500 "$tmp/denovs"
  } 2>/dev/null || return 1
  if command -v sha256sum >/dev/null 2>&1; then
    sum=$(tail -c +@OFFSET@ -- "$self" | sha256sum) && [ "\${sum%% *}" = "$hash" ] || damaged
  fi
  why="cannot run programs in $home"
  DENO_DIR="$tmp/cache" "$tmp/denovs" --version >/dev/null 2>&1 || return 1
  # Somebody else may have been faster.
  mv -T -- "$tmp" "$home/$hash" 2>/dev/null && tmp= || [ -d "$home/$hash" ]
}

clean() { [ -z "$tmp" ] || rm -rf -- "$tmp"; tmp=; }
trap clean EXIT
trap 'exit 1' HUP INT TERM

# First look for what is unpacked, in the order of preference; then unpack.
for step in start unpack; do
  for base in "\${XDG_CACHE_HOME:-}" "\${HOME:-}/.cache" /var/cache "\${TMPDIR:-}" /tmp /var/tmp; do
    case $base in /?*) ;; *) continue ;; esac
    if [ $step = unpack ] && [ ! -e "$base" ] && [ -O "\${base%/*}" ]; then
      mkdir -m 700 -- "$base" 2>/dev/null
    fi
    if [ ! -d "$base" ]; then continue
    elif [ -k "$base" ]; then home=$base/denovs-\${uid:=$(id -u)}
    elif [ -O "$base" ]; then home=$base/denovs
    else continue
    fi
    if [ $step = unpack ]; then unpack; clean; fi
    dir=$home/$hash
    if [ -x "$dir/denovs" ] && ours "$home" && ours "$dir" && [ -O "$dir/denovs" ]; then
      export DENO_DIR="$dir/cache" DENO_NO_UPDATE_CHECK=1 DENO_NO_PACKAGE_JSON=1
      exec "$dir/denovs" run @OPTIONS@ "$dir/@MAIN@" "$@"
    fi
  done
done
echo "denovs: cannot start: $why" >&2
exit 1
`;

function concatenate(parts: readonly Uint8Array[]): Uint8Array<ArrayBuffer> {
  const whole = new Uint8Array(parts.reduce((size, part) => size + part.length, 0));
  let at = 0;
  for (const part of parts) {
    whole.set(part, at);
    at += part.length;
  }
  return whole;
}

function toHex(bytes: Uint8Array): string {
  return Array.from(bytes, (byte) => byte.toString(16).padStart(2, "0")).join("");
}
