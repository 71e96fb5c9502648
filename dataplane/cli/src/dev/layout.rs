//! Where a dev cluster keeps what, what it remembers of itself, and who may use it.

use std::fs::{self, File, OpenOptions};
use std::io::{self, Read, Seek, Write};
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

/// What can go wrong with the data directory.
#[derive(Debug, thiserror::Error)]
pub(crate) enum LayoutError {
    #[error("no place for the data: neither --data-dir, $XDG_DATA_HOME nor $HOME is set")]
    NoHome,
    #[error("making the data directory {}", path.display())]
    Make { path: PathBuf, source: io::Error },
    #[error("the data directory {} is in use by another `lograft dev` (pid {pid})", path.display())]
    InUse { path: PathBuf, pid: String },
    #[error("locking {}", path.display())]
    Lock { path: PathBuf, source: io::Error },
    #[error("reading {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("{} is not valid", path.display())]
    Parse {
        path: PathBuf,
        source: serde_yaml::Error,
    },
    #[error("{} was written by another version: its format is {found}, this one reads 1", path.display())]
    Version { path: PathBuf, found: u32 },
    #[error("writing {}", path.display())]
    Write { path: PathBuf, source: io::Error },
}

/// What a dev cluster remembers between two starts.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct DevState {
    /// Of this file; 1.
    pub(crate) format: u32,
    /// The cluster's UUID, made at the first start.
    pub(crate) cluster_id: String,
    /// Node 1's client port; the others follow.
    pub(crate) base_port: u16,
    /// The highest number of a node.
    pub(crate) nodes: u32,
    /// Numbers of nodes that have been decommissioned: never used again.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub(crate) removed: Vec<u32>,
    /// Whether node 1 has been bootstrapped: that is done once in a cluster's life.
    pub(crate) bootstrapped: bool,
}

impl DevState {
    /// The numbers of the nodes at work.
    pub(crate) fn numbers(&self) -> Vec<u32> {
        (1..=self.nodes)
            .filter(|number| !self.removed.contains(number))
            .collect()
    }
}

/// The processes at work, for other commands to find.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RunFile {
    /// The process id of `lograft dev`.
    pub(crate) pid: u32,
    /// Its nodes.
    pub(crate) nodes: Vec<RunningNode>,
}

/// One node's process.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct RunningNode {
    pub(crate) name: String,
    pub(crate) pid: u32,
    pub(crate) client: String,
}

/// The data directory, held by this process until dropped.
#[derive(Debug)]
pub(crate) struct Layout {
    root: PathBuf,
    _lock: File,
}

/// `$XDG_DATA_HOME/lograft/dev`, else the same in `~/.local/share`.
pub(crate) fn default_dir() -> Result<PathBuf, LayoutError> {
    let non_empty = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty());
    let base = match non_empty("XDG_DATA_HOME") {
        Some(dir) => PathBuf::from(dir),
        None => PathBuf::from(non_empty("HOME").ok_or(LayoutError::NoHome)?).join(".local/share"),
    };
    Ok(base.join("lograft/dev"))
}

impl Layout {
    /// Makes the directory if it is not there, and takes it for this process alone.
    pub(crate) fn take(root: &Path) -> Result<Self, LayoutError> {
        let make = |source| LayoutError::Make {
            path: root.into(),
            source,
        };
        fs::create_dir_all(root).map_err(make)?;
        let root = root.canonicalize().map_err(make)?;
        let path = root.join("lock");
        let failed = |source| LayoutError::Lock {
            path: path.clone(),
            source,
        };
        let mut options = OpenOptions::new();
        let mut lock = options
            .read(true)
            .write(true)
            .create(true)
            .truncate(false)
            .open(&path)
            .map_err(failed)?;
        if let Err(errno) = flock(&lock, FlockOperation::NonBlockingLockExclusive) {
            if errno != rustix::io::Errno::WOULDBLOCK {
                return Err(failed(errno.into()));
            }
            let mut pid = String::new();
            lock.read_to_string(&mut pid).map_err(failed)?;
            return Err(LayoutError::InUse {
                path: root,
                pid: pid.trim().into(),
            });
        }
        let sign = |lock: &mut File| -> io::Result<()> {
            lock.set_len(0)?;
            lock.rewind()?;
            writeln!(lock, "{}", std::process::id())
        };
        sign(&mut lock).map_err(failed)?;
        Ok(Self { root, _lock: lock })
    }

    /// The directory, absolute.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Certificates and keys.
    pub(crate) fn pki(&self) -> PathBuf {
        self.root.join("pki")
    }

    /// A node's records and raft state.
    pub(crate) fn node_data(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// A node's configuration.
    pub(crate) fn node_config(&self, name: &str) -> PathBuf {
        self.root.join(format!("{name}.yaml"))
    }

    /// What a node has to say.
    pub(crate) fn node_log(&self, name: &str) -> PathBuf {
        self.root.join("logs").join(format!("{name}.log"))
    }

    /// What the last start remembered.
    pub(crate) fn load_state(&self) -> Result<Option<DevState>, LayoutError> {
        let path = self.root.join("dev.yaml");
        let text = match fs::read_to_string(&path) {
            Ok(text) => text,
            Err(source) if source.kind() == io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(LayoutError::Read { path, source }),
        };
        let state: DevState = serde_yaml::from_str(&text).map_err(|source| LayoutError::Parse {
            path: path.clone(),
            source,
        })?;
        if state.format != 1 {
            return Err(LayoutError::Version {
                path,
                found: state.format,
            });
        }
        Ok(Some(state))
    }

    /// Remembers for the next start; on disk when this returns.
    pub(crate) fn save_state(&self, state: &DevState) -> Result<(), LayoutError> {
        let path = self.root.join("dev.yaml");
        let text = serde_yaml::to_string(state).map_err(|source| LayoutError::Parse {
            path: path.clone(),
            source,
        })?;
        self.replace(&path, &text)
    }

    /// Writes a node's configuration.
    pub(crate) fn write_config(&self, name: &str, text: &str) -> Result<PathBuf, LayoutError> {
        let path = self.node_config(name);
        self.replace(&path, text)?;
        Ok(path)
    }

    /// Tells other commands which processes are at work.
    pub(crate) fn write_run_file(&self, run: &RunFile) -> Result<(), LayoutError> {
        let path = self.root.join("run.yaml");
        let text = serde_yaml::to_string(run).map_err(|source| LayoutError::Parse {
            path: path.clone(),
            source,
        })?;
        self.replace(&path, &text)
    }

    /// Nothing is at work any more.
    pub(crate) fn remove_run_file(&self) {
        // Left behind it only names processes that are gone, which readers check anyway.
        drop(fs::remove_file(self.root.join("run.yaml")));
    }

    fn replace(&self, path: &Path, text: &str) -> Result<(), LayoutError> {
        let write = || -> io::Result<()> {
            let mut file = tempfile::NamedTempFile::new_in(&self.root)?;
            file.write_all(text.as_bytes())?;
            file.as_file().sync_all()?;
            file.persist(path)?;
            File::open(&self.root)?.sync_all()
        };
        write().map_err(|source| LayoutError::Write {
            path: path.into(),
            source,
        })
    }
}

/// The processes of the dev cluster in `root`, if one is at work there.
pub(crate) fn running_nodes(root: &Path) -> Vec<RunningNode> {
    let text = fs::read_to_string(root.join("run.yaml")).unwrap_or_default();
    let run: RunFile = serde_yaml::from_str(&text).unwrap_or_default();
    let alive = |pid: u32| Path::new(&format!("/proc/{pid}")).exists();
    if !alive(run.pid) {
        return Vec::new();
    }
    run.nodes
        .into_iter()
        .filter(|node| alive(node.pid))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn state() -> DevState {
        DevState {
            format: 1,
            cluster_id: "c".into(),
            base_port: 9400,
            nodes: 3,
            removed: vec![2],
            bootstrapped: false,
        }
    }

    #[test]
    fn a_directory_is_held_by_one_at_a_time() {
        let dir = tempfile::tempdir().unwrap();
        let first = Layout::take(dir.path()).unwrap();
        let error = Layout::take(dir.path()).unwrap_err();
        let LayoutError::InUse { pid, .. } = &error else {
            panic!("{error}")
        };
        assert_eq!(*pid, std::process::id().to_string());
        drop(first);
        Layout::take(dir.path()).unwrap();
    }

    #[test]
    fn the_state_is_found_again() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::take(dir.path()).unwrap();
        assert_eq!(layout.load_state().unwrap(), None);
        layout.save_state(&state()).unwrap();
        assert_eq!(layout.load_state().unwrap(), Some(state()));
        assert_eq!(state().numbers(), [1, 3]);
    }

    #[test]
    fn a_state_of_another_format_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::take(dir.path()).unwrap();
        layout
            .save_state(&DevState {
                format: 2,
                ..state()
            })
            .unwrap();
        assert!(matches!(
            layout.load_state(),
            Err(LayoutError::Version { found: 2, .. })
        ));
    }

    #[test]
    fn only_living_processes_are_found() {
        let dir = tempfile::tempdir().unwrap();
        let layout = Layout::take(dir.path()).unwrap();
        let node = |name: &str, pid| RunningNode {
            name: name.into(),
            pid,
            client: String::new(),
        };
        let me = std::process::id();
        let nodes = vec![node("node-1", me), node("node-2", u32::MAX)];
        layout.write_run_file(&RunFile { pid: me, nodes }).unwrap();
        assert_eq!(running_nodes(dir.path()), [node("node-1", me)]);
        layout.remove_run_file();
        assert_eq!(running_nodes(dir.path()), []);
    }
}
