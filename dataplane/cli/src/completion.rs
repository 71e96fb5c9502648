//! `lograft completion`: scripts for shell completion.

use clap::Args;
use clap_complete::Shell;

use crate::error::CliError;
use crate::output::print_bytes;

/// How to enable the completion, shown by `--help`.
pub(crate) const COMPLETION_HELP: &str = "\
Examples:
  bash        source <(lograft completion bash)
  zsh         lograft completion zsh > \"${fpath[1]}/_lograft\"
  fish        lograft completion fish > ~/.config/fish/completions/lograft.fish
  powershell  lograft completion powershell | Out-String | Invoke-Expression
  elvish      eval (lograft completion elvish | slurp)";

/// Options of `lograft completion`.
#[derive(Clone, Debug, Args)]
pub(crate) struct CompletionArgs {
    /// Shell to print the script for
    shell: Shell,
}

/// Prints the completion script of `command`, the whole command line.
pub(crate) fn run(args: &CompletionArgs, mut command: clap::Command) -> Result<(), CliError> {
    let name = command.get_name().to_owned();
    let mut script = Vec::new();
    clap_complete::generate(args.shell, &mut command, name, &mut script);
    print_bytes(&script)
}
