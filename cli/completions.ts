/**
 * Completion for bash, zsh and fish: the scripts that a shell loads, and the hidden command
 * `__complete` that they ask, one proposal per line with its description after a tab.
 */
import {
  type Application,
  buildCommand,
  type Command,
  proposeCompletions,
  type StricliDynamicCommandContext,
} from "@stricli/core";
import { UsageError } from "../daemon/dpctl.ts";
import { DPCTL_ALIASES } from "./commands.ts";
import { asText, type CliContext, type CommandText, documentation } from "./flags.ts";

const SHELLS = ["bash", "zsh", "fish"] as const;
type Shell = typeof SHELLS[number];

const COMPLETIONS: CommandText = {
  brief: "Print the completion script of a shell",
  usage: ["bash|zsh|fish"],
  description:
    "Prints a script that makes the shell complete commands, options, and the names of\n" +
    "datapaths and ports of the running switch.",
  examples: [
    "completions bash > /etc/bash_completion.d/denovs",
    "completions zsh > /usr/local/share/zsh/site-functions/_denovs",
    "completions fish > ~/.config/fish/completions/denovs.fish",
  ],
};

export const completions: Command<CliContext> = buildCommand<
  Record<never, never>,
  [Shell],
  CliContext
>({
  parameters: {
    positional: {
      kind: "tuple",
      parameters: [{
        brief: "Shell",
        parse: parseShell,
        placeholder: "SHELL",
        proposeCompletions: () => SHELLS,
      }],
    },
  },
  docs: documentation(COMPLETIONS),
  func(_flags, shell): void {
    this.session.live();
    this.session.output.print(SCRIPTS[shell]);
  },
});

/** What `__complete` prints for the words `typed`, the last of them unfinished. */
export async function renderProposals(
  app: Application<CliContext>,
  typed: readonly string[],
  context: StricliDynamicCommandContext<CliContext>,
): Promise<string> {
  const proposals = narrow(await proposeCompletions(app, typed, context), typed.at(-1) ?? "");
  const lines = new Map(proposals.map(({ completion, brief }) => [completion, brief]));
  return [...lines].map(([completion, brief]) => `${completion}\t${brief}\n`).join("");
}

/** What the hidden command is documented as; cli/main.ts answers it before the tree is asked. */
export const complete: Command<CliContext> = buildCommand<
  Record<never, never>,
  string[],
  CliContext
>({
  parameters: {
    positional: {
      kind: "array",
      parameter: { brief: "Words typed so far", parse: asText, placeholder: "WORD" },
    },
  },
  docs: { brief: "Propose completions (used by the completion scripts)" },
  func(): void {},
});

/**
 * Leaves out what is there only for those who ask: the spellings of ovs-dpctl unless nothing else
 * fits, and options where names fit, unless a dash is typed.
 */
function narrow<T extends { completion: string }>(
  proposals: readonly T[],
  partial: string,
): readonly T[] {
  const ours = proposals.filter(({ completion }) => !Object.hasOwn(DPCTL_ALIASES, completion));
  const fitting = ours.length > 0 ? ours : proposals;
  const names = fitting.filter(({ completion }) => !completion.startsWith("-"));
  return partial === "" && names.length > 0
    ? names
    : fitting.filter((one) => one.completion !== "--");
}

function parseShell(text: string): Shell {
  const shell = SHELLS.find((name) => name === text);
  if (shell === undefined) throw new UsageError(`no completion for "${text}" (bash, zsh, fish)`);
  return shell;
}

// `\${` would end the template: the scripts write $name where they can.
const SCRIPTS: Readonly<Record<Shell, string>> = {
  bash: `# bash completion for denovs
_denovs() {
  local cur=$2 line IFS=$'\\n'
  COMPREPLY=()
  local words=("\${COMP_WORDS[@]:1:COMP_CWORD-1}")
  while IFS= read -r line; do
    COMPREPLY+=("\${line%%$'\\t'*}")
  done < <("$1" __complete -- "\${words[@]}" "$cur" 2>/dev/null)
  if [ "\${#COMPREPLY[@]}" -eq 0 ]; then
    COMPREPLY=($(compgen -f -- "$cur"))
  fi
}
complete -F _denovs denovs
`,
  zsh: `#compdef denovs
_denovs() {
  local -a proposals
  local line
  while IFS= read -r line; do
    proposals+=("\${\${line%%$'\\t'*}//:/\\\\:}:\${line#*$'\\t'}")
  done < <("\${words[1]}" __complete -- "\${(@)words[2,CURRENT]}" 2>/dev/null)
  if (( \${#proposals} )); then
    _describe 'denovs' proposals
  else
    _files
  fi
}
if [ "$funcstack[1]" = "_denovs" ]; then _denovs "$@"; else compdef _denovs denovs; fi
`,
  fish: `# fish completion for denovs
function __denovs_complete
    set -l words (commandline -opc)
    set -l current (commandline -ct)
    set -l program $words[1]
    set -e words[1]
    $program __complete -- $words "$current" 2>/dev/null
end
complete -c denovs -a '(__denovs_complete)'
`,
};
