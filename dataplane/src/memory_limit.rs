//! The memory limit of the cgroup that this process runs in.

use std::fs;
use std::path::{Path, PathBuf};

/// The files of the process's cgroup.
const MEMBERSHIP: &str = "/proc/self/cgroup";
/// The mount point of the cgroup file systems.
const CGROUPS: &str = "/sys/fs/cgroup";
/// From here on a number is no limit: version 1 shows one near 2^63 where there is none.
const UNLIMITED: u64 = 1 << 60;

/// The smallest memory limit of the process's cgroup and of those above it, bytes; `None` if there
/// is none, or if it cannot be read.
pub(crate) fn read() -> Option<u64> {
    let membership = fs::read_to_string(MEMBERSHIP).ok()?;
    smallest(Path::new(CGROUPS), &membership)
}

fn smallest(root: &Path, membership: &str) -> Option<u64> {
    let files = membership.lines().flat_map(|line| limit_files(root, line));
    files
        .filter_map(|file| limit_of(&fs::read_to_string(file).ok()?))
        .min()
}

/// The files with the limits of one line of the membership, from the cgroup up to the root.
// A line is `<hierarchy>:<controllers>:<path>`; version 2 has one hierarchy, 0, without
// controllers. In a container the path may be that of the host, which the container does not see:
// then only the root is found, and it is the container's own cgroup.
fn limit_files(root: &Path, line: &str) -> Vec<PathBuf> {
    let mut parts = line.splitn(3, ':');
    let (Some(_), Some(controllers), Some(path)) = (parts.next(), parts.next(), parts.next())
    else {
        return Vec::new();
    };
    let (root, name) = if controllers.is_empty() {
        (root.to_owned(), "memory.max")
    } else if controllers.split(',').any(|name| name == "memory") {
        (root.join("memory"), "memory.limit_in_bytes")
    } else {
        return Vec::new();
    };
    Path::new(path.trim_start_matches('/'))
        .ancestors()
        .map(|path| root.join(path).join(name))
        .collect()
}

/// The limit in a file; `None` for `max`.
fn limit_of(text: &str) -> Option<u64> {
    let bytes = text.trim().parse().ok();
    bytes.filter(|bytes| *bytes < UNLIMITED)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_files(files: &[(&str, &str)], membership: &str) -> Option<u64> {
        let root = tempfile::tempdir().unwrap();
        for (path, text) in files {
            let path = root.path().join(path);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, text).unwrap();
        }
        smallest(root.path(), membership)
    }

    #[test]
    fn the_smallest_limit_of_version_2_counts() {
        let files = [
            ("memory.max", "max\n"),
            ("kubepods/memory.max", "1073741824\n"),
            ("kubepods/pod1/memory.max", "max\n"),
        ];
        assert_eq!(with_files(&files, "0::/kubepods/pod1\n"), Some(1 << 30));
        assert_eq!(with_files(&files, "0::/other\n"), None);
        let own = [("memory.max", "536870912\n")];
        assert_eq!(with_files(&own, "0::/\n"), Some(1 << 29));
        assert_eq!(with_files(&own, "0::/not/visible/here\n"), Some(1 << 29));
    }

    #[test]
    fn the_memory_controller_of_version_1_counts() {
        let membership = "12:cpu,cpuacct:/a\n9:memory:/a/b\n0::/\n";
        let files = [
            ("memory/memory.limit_in_bytes", "9223372036854771712\n"),
            ("memory/a/b/memory.limit_in_bytes", "268435456\n"),
            ("cpu/a/memory.limit_in_bytes", "1\n"),
        ];
        assert_eq!(with_files(&files, membership), Some(1 << 28));
        assert_eq!(with_files(&files[..1], membership), None);
    }

    #[test]
    fn text_that_is_no_membership_is_no_limit() {
        assert_eq!(with_files(&[], ""), None);
        assert_eq!(with_files(&[("memory.max", "x")], "0::/\nnonsense\n"), None);
    }
}
