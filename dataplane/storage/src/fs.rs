//! The seam to the disk: the file system traits, the kernel's implementation and a simulated one.

mod fault;
mod file_system;
mod real;

pub use fault::{Crash, DiskCall, FaultFs};
pub use file_system::{Fs, FsFile, FsSpace, OpenMode};
pub use real::RealFs;
