//! The limits of the host: cores and open files.

use std::num::NonZero;

use lograft_core::capacity::HostLimits;
use lograft_core::limits::{OPEN_FILES_MAX_COUNT, OPEN_FILES_MIN_COUNT};
use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};

/// The limit of open files is too low for a node.
#[derive(Debug, thiserror::Error)]
#[error(
    "limit of open files must be at least {OPEN_FILES_MIN_COUNT}, got {found}; raise it with `ulimit -Hn`"
)]
pub struct TooFewFiles {
    /// The limit found.
    pub found: u64,
}

/// The limits of this process. Raises the soft limit of open files to the hard one first: many
/// container runtimes start a process with a soft limit of 1024, for programs that use `select`.
pub fn limits() -> HostLimits {
    HostLimits {
        cores: std::thread::available_parallelism().map_or(1, NonZero::get),
        open_files: raise_open_files(),
    }
}

/// Refuses a host with too few files.
pub(crate) fn check(host: HostLimits) -> Result<(), TooFewFiles> {
    let found = host.open_files;
    if found < OPEN_FILES_MIN_COUNT {
        return Err(TooFewFiles { found });
    }
    Ok(())
}

fn raise_open_files() -> u64 {
    let Rlimit { current, maximum } = getrlimit(Resource::Nofile);
    // Without a number there is no limit.
    let (soft, hard) = (current.unwrap_or(u64::MAX), maximum.unwrap_or(u64::MAX));
    let wanted = hard.min(OPEN_FILES_MAX_COUNT);
    if soft >= wanted {
        return soft;
    }
    let raised = Rlimit {
        current: Some(wanted),
        maximum,
    };
    match setrlimit(Resource::Nofile, raised) {
        Ok(()) => wanted,
        Err(_) => soft,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_soft_limit_of_open_files_is_raised_to_the_hard_one() {
        let Rlimit { maximum, .. } = getrlimit(Resource::Nofile);
        let low = Rlimit {
            current: Some(700),
            maximum,
        };
        setrlimit(Resource::Nofile, low).unwrap();
        let expected = maximum.unwrap_or(u64::MAX).min(OPEN_FILES_MAX_COUNT);
        assert_eq!(limits().open_files, expected);
        assert_eq!(getrlimit(Resource::Nofile).current, Some(expected));
    }

    #[test]
    fn a_host_with_too_few_files_is_refused() {
        let host = |open_files| HostLimits {
            cores: 1,
            open_files,
        };
        assert!(check(host(512)).is_ok());
        let refused = check(host(511)).unwrap_err().to_string();
        assert!(
            refused.contains("must be at least 512, got 511"),
            "{refused}"
        );
    }
}
