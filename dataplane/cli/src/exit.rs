//! Exit codes.

use std::process::ExitCode;

/// Exit code of the process; `--help` lists them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Exit {
    Ok = 0,
    Failure = 1,
    // 2 is the argument parser's code for an invalid command line.
    /// The cluster is not healthy, or a requested object does not exist.
    NotFound = 3,
    /// No node was reachable, or none answered in time. A retry may succeed.
    Unavailable = 4,
    /// Records are missing from an export.
    Incomplete = 5,
    /// Ended by Ctrl-C.
    Interrupted = 130,
}

/// The table for `--help`.
pub(crate) const EXIT_CODES_HELP: &str = "\
Exit codes:
  0    success
  1    failure; standard error has one line with the cause and what to do about it
  2    invalid usage
  3    cluster not healthy, or requested object not found
  4    no node reachable, or no answer in time; retry later
  5    exported what can be read, and records are missing; standard error names them
  130  interrupted";

impl From<Exit> for ExitCode {
    fn from(exit: Exit) -> Self {
        Self::from(exit as u8)
    }
}
