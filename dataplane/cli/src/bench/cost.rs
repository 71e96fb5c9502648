//! Cost of a run: CPU time and bytes written, as counted by the kernel.

use std::fs;
use std::path::Path;

use serde::Serialize;

use crate::contexts_file::ClusterContext;
use crate::dev::running_nodes;
use crate::units::float;

/// Resources that a process has used since its start.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
struct Usage {
    cpu_seconds: f64,
    written_bytes: u64,
}

/// Measures this process and the nodes of a dev cluster.
#[derive(Debug)]
pub(crate) struct Meter {
    own: Usage,
    nodes: Vec<(String, u32, Usage)>,
}

/// Cost of a run.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct Cost {
    /// CPU seconds of this process.
    pub(crate) client_cpu_seconds: f64,
    /// Cost of each node, if `lograft dev` runs them on this machine.
    pub(crate) nodes: Vec<NodeCost>,
}

/// Cost of a run on one node.
#[derive(Clone, Debug, Serialize)]
pub(crate) struct NodeCost {
    pub(crate) name: String,
    pub(crate) cpu_seconds: f64,
    /// Bytes sent to block devices.
    pub(crate) written_bytes: u64,
}

impl Meter {
    /// Starts the measurement.
    pub(crate) fn start(context: &ClusterContext) -> Self {
        let running = context
            .dev_data_dir
            .as_deref()
            .map(running_nodes)
            .unwrap_or_default();
        let nodes = running.into_iter().filter_map(|node| {
            let usage = usage(&node.pid.to_string())?;
            Some((node.name, node.pid, usage))
        });
        Self {
            own: usage("self").unwrap_or_default(),
            nodes: nodes.collect(),
        }
    }

    /// Ends the measurement. Leaves out nodes that have ended since the start.
    pub(crate) fn stop(&self) -> Cost {
        let own = usage("self").unwrap_or_default();
        let nodes = self.nodes.iter().filter_map(|(name, pid, before)| {
            let after = usage(&pid.to_string())?;
            Some(NodeCost {
                name: name.clone(),
                cpu_seconds: after.cpu_seconds - before.cpu_seconds,
                written_bytes: after.written_bytes.saturating_sub(before.written_bytes),
            })
        });
        Cost {
            client_cpu_seconds: own.cpu_seconds - self.own.cpu_seconds,
            nodes: nodes.collect(),
        }
    }
}

impl Cost {
    /// CPU seconds of all nodes, if they are known.
    pub(crate) fn nodes_cpu_seconds(&self) -> Option<f64> {
        let known = !self.nodes.is_empty();
        known.then(|| self.nodes.iter().map(|node| node.cpu_seconds).sum())
    }
}

fn usage(pid: &str) -> Option<Usage> {
    let dir = Path::new("/proc").join(pid);
    let ticks = cpu_ticks(&fs::read_to_string(dir.join("stat")).ok()?)?;
    // Only the owner of the process can read this file.
    let io = fs::read_to_string(dir.join("io")).unwrap_or_default();
    Some(Usage {
        cpu_seconds: float(ticks) / float(rustix::param::clock_ticks_per_second()),
        written_bytes: written_bytes(&io).unwrap_or(0),
    })
}

/// User and system time in `/proc/PID/stat`. The program name there can contain any character, so
/// the fields are counted from its closing bracket.
fn cpu_ticks(stat: &str) -> Option<u64> {
    let (_, rest) = stat.rsplit_once(')')?;
    let mut fields = rest.split_ascii_whitespace().skip(11);
    let user: u64 = fields.next()?.parse().ok()?;
    let system: u64 = fields.next()?.parse().ok()?;
    Some(user + system)
}

fn written_bytes(io: &str) -> Option<u64> {
    let line = io
        .lines()
        .find_map(|line| line.strip_prefix("write_bytes:"))?;
    line.trim().parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn proc_files_are_parsed() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 100 0 0 0 250 50 0 0 20 0 4 0 1 2 3";
        assert_eq!(cpu_ticks(stat), Some(300));
        assert_eq!(cpu_ticks("7 (a"), None);
        let io = "rchar: 1\nwchar: 2\nwrite_bytes: 4096\ncancelled_write_bytes: 7\n";
        assert_eq!(written_bytes(io), Some(4096));
    }

    #[test]
    fn the_usage_of_this_process_is_known() {
        assert!(usage("self").is_some());
        assert_eq!(usage("no-such-process"), None);
    }
}
