//! The exit codes of a node.

/// Exit code for a failure at the start.
pub const EXIT_FAILED: u8 = 1;
/// Exit code for a configuration or usage that cannot work.
pub const EXIT_CONFIG: u8 = 2;
/// Exit code for a fault while running, after which only a restart helps: a disk that fails, say.
pub const EXIT_FATAL: u8 = 3;
