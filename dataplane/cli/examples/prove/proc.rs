//! CPU time, memory and IO of processes, from /proc.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use anyhow::{Context, Result};
use rustix::process::{Pid, Resource, Signal, getrlimit, kill_process, setrlimit};

use crate::measure::to_f64;

/// Total usage of some processes since their start.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Usage {
    /// User and system time in seconds.
    pub(crate) cpu_seconds: f64,
    /// Bytes sent to block devices.
    pub(crate) written_bytes: u64,
}

impl Usage {
    /// Usage of these processes.
    pub(crate) fn of(pids: &[u32]) -> Result<Self> {
        let mut sum = Self::default();
        for pid in pids {
            let stat = read(*pid, "stat")?;
            let (_, rest) = stat
                .rsplit_once(')')
                .context("/proc stat has no program name")?;
            let times = rest.split_ascii_whitespace().skip(11).take(2);
            let ticks: u64 = times.map(|t| t.parse().unwrap_or(0)).sum::<u64>();
            sum.cpu_seconds += to_f64(ticks) / to_f64(rustix::param::clock_ticks_per_second());
            sum.written_bytes += field(&read(*pid, "io")?, "write_bytes:");
        }
        Ok(sum)
    }

    /// Usage since `earlier`.
    pub(crate) fn since(self, earlier: Self) -> Self {
        Self {
            cpu_seconds: self.cpu_seconds - earlier.cpu_seconds,
            written_bytes: self.written_bytes.saturating_sub(earlier.written_bytes),
        }
    }
}

/// Memory of a process.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Memory {
    /// Resident bytes.
    pub(crate) resident_bytes: u64,
    /// Peak resident bytes.
    pub(crate) peak_bytes: u64,
}

impl Memory {
    /// Memory of this process.
    pub(crate) fn of(pid: u32) -> Result<Self> {
        let status = read(pid, "status")?;
        let kib = |name| field(&status, name) * 1024;
        Ok(Self {
            resident_bytes: kib("VmRSS:"),
            peak_bytes: kib("VmHWM:"),
        })
    }
}

fn read(pid: u32, file: &str) -> Result<String> {
    let path = Path::new("/proc").join(pid.to_string()).join(file);
    fs::read_to_string(&path).with_context(|| format!("cannot read {}", path.display()))
}

/// The TCP ports on which a process listens, ascending.
pub(crate) fn listening_ports(pid: u32) -> Result<Vec<u16>> {
    const LISTEN: &str = "0A";
    let mut sockets = BTreeSet::new();
    let folder = Path::new("/proc").join(pid.to_string()).join("fd");
    for descriptor in fs::read_dir(&folder)?.flatten() {
        let target = fs::read_link(descriptor.path()).unwrap_or_default();
        let inode = target.to_str().and_then(|text| {
            let text = text.strip_prefix("socket:[")?;
            text.strip_suffix(']')?.parse::<u64>().ok()
        });
        sockets.extend(inode);
    }
    let table = read(pid, "net/tcp")? + &read(pid, "net/tcp6")?;
    let port = |line: &str| {
        let columns: Vec<&str> = line.split_ascii_whitespace().collect();
        let (local, state, inode) = (columns.get(1)?, columns.get(3)?, columns.get(9)?);
        let is_own = *state == LISTEN && sockets.contains(&inode.parse().ok()?);
        let (_, port) = local.rsplit_once(':').filter(|_| is_own)?;
        u16::from_str_radix(port, 16).ok()
    };
    let ports: BTreeSet<u16> = table.lines().filter_map(port).collect();
    Ok(ports.into_iter().collect())
}

/// Raises this process's soft limit of open files to the hard one.
pub(crate) fn raise_open_files() -> Result<()> {
    let mut limit = getrlimit(Resource::Nofile);
    limit.current = limit.maximum;
    setrlimit(Resource::Nofile, limit).context("cannot raise the limit of open files")
}

/// The first number in the line that starts with `name`, or 0 if there is none.
fn field(text: &str, name: &str) -> u64 {
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|l| l.split_ascii_whitespace().next()?.parse().ok())
        .unwrap_or(0)
}

/// Sends a signal.
pub(crate) fn signal(pid: u32, signal: Signal) -> Result<()> {
    let id = Pid::from_raw(i32::try_from(pid)?).context("invalid process id")?;
    kill_process(id, signal).with_context(|| format!("cannot signal process {pid}"))
}

/// Disk usage of a folder in bytes.
pub(crate) fn bytes_on_disk(folder: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt;
    let Ok(listing) = fs::read_dir(folder) else {
        return 0;
    };
    let size = |path: &Path| match fs::symlink_metadata(path) {
        Ok(meta) if meta.is_dir() => bytes_on_disk(path),
        Ok(meta) => meta.blocks() * 512,
        Err(_) => 0,
    };
    listing.flatten().map(|item| size(&item.path())).sum()
}
