//! What a script learns from the end of the process.

use std::process::ExitCode;

/// The process's exit codes; `--help` lists them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    /// Done.
    Ok = 0,
    /// Something failed.
    Failure = 1,
    // 2 is the argument parser's own: the command line is wrong.
    /// The cluster is not healthy, or what was asked for is not there.
    NotThere = 3,
    /// No node could be reached, or none answered in time: the same call may succeed later.
    Unreachable = 4,
    /// Ended by Ctrl-C.
    Interrupted = 130,
}

/// The table for `--help`.
pub(crate) const EXIT_CODES_HELP: &str = "\
Exit codes:
  0    done
  1    failed; one line on standard error says what, and what to do next
  2    wrong usage
  3    not healthy, or what was asked for is not there
  4    no node could be reached or answered in time: try again
  130  interrupted";

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
