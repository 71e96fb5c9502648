//! The contexts file: named clusters with their addresses and certificates, in YAML.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

use serde::{Deserialize, Serialize};

use crate::error::CommandError;
use crate::exit::Exit;

/// Addresses and certificates to connect to one cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ClusterContext {
    /// Client addresses `host:port` of some nodes. The client discovers the other nodes from them.
    pub(crate) endpoints: Vec<String>,
    /// Connect only to these endpoints, never to discovered addresses: for a port-forward.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) endpoints_only: bool,
    /// PEM file of the CA that issued the nodes' certificates.
    pub(crate) ca: PathBuf,
    /// PEM file of this user's certificate.
    pub(crate) cert: PathBuf,
    /// PEM file of this user's private key.
    pub(crate) key: PathBuf,
    /// Data directory of the cluster, if `lograft dev` runs it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) dev_data_dir: Option<PathBuf>,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "signature required by serde"
)]
fn is_false(value: &bool) -> bool {
    !value
}

/// Content of the contexts file.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct ContextsFile {
    /// Name of the context that commands use by default.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) current: Option<String>,
    /// All contexts by name.
    #[serde(default)]
    pub(crate) contexts: BTreeMap<String, ClusterContext>,
}

/// The contexts file cannot be used, or lacks a context.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ContextsError {
    #[error("cannot locate the contexts file: neither $LOGRAFT_CONFIG nor $HOME is set")]
    NoHome,
    #[error("cannot read contexts file {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("cannot parse contexts file {}", path.display())]
    Parse {
        path: PathBuf,
        source: serde_yaml::Error,
    },
    #[error("cannot write contexts file {}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("cannot encode the context as YAML")]
    Encode { source: serde_yaml::Error },
    #[error("context {name} not found in {} (it has: {known})", path.display())]
    NotFound {
        name: String,
        path: PathBuf,
        known: String,
    },
    #[error("no current context in {}", path.display())]
    NoCurrent { path: PathBuf },
}

impl CommandError for ContextsError {
    fn exit(&self) -> Exit {
        match self {
            Self::NotFound { .. } | Self::NoCurrent { .. } => Exit::NotFound,
            _ => Exit::Failure,
        }
    }

    fn hint(&self) -> Option<String> {
        let text = match self {
            Self::NotFound { .. } => "run `lograft context list` to list contexts",
            Self::NoCurrent { .. } => {
                "run `lograft dev` to start a local cluster, or `lograft context set` to add a \
                 running one"
            }
            _ => return None,
        };
        Some(text.into())
    }
}

/// Default path of the file: `$LOGRAFT_CONFIG`, else in the user's configuration directory.
pub(crate) fn default_path() -> Result<PathBuf, ContextsError> {
    let non_empty = |name: &str| env::var_os(name).filter(|value| !value.is_empty());
    if let Some(path) = non_empty("LOGRAFT_CONFIG") {
        return Ok(path.into());
    }
    let base = match non_empty("XDG_CONFIG_HOME") {
        Some(dir) => PathBuf::from(dir),
        None => PathBuf::from(non_empty("HOME").ok_or(ContextsError::NoHome)?).join(".config"),
    };
    Ok(base.join("lograft").join("config.yaml"))
}

impl ContextsFile {
    /// Loads the file. A missing or empty file has no contexts.
    pub(crate) fn load(path: &Path) -> Result<Self, ContextsError> {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(source) if source.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(source) => {
                return Err(ContextsError::Read {
                    path: path.into(),
                    source,
                });
            }
        };
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        serde_yaml::from_str(&text).map_err(|source| ContextsError::Parse {
            path: path.into(),
            source,
        })
    }

    /// Replaces the file atomically.
    pub(crate) fn save(&self, path: &Path) -> Result<(), ContextsError> {
        let text =
            serde_yaml::to_string(self).map_err(|source| ContextsError::Encode { source })?;
        let write = || -> io::Result<()> {
            let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty());
            let dir = dir.unwrap_or(Path::new("."));
            fs::create_dir_all(dir)?;
            let mut file = tempfile::NamedTempFile::new_in(dir)?;
            file.write_all(text.as_bytes())?;
            file.persist(path)?;
            Ok(())
        };
        write().map_err(|source| ContextsError::Write {
            path: path.into(),
            source,
        })
    }

    /// The context with this name, by default the current one.
    pub(crate) fn get(
        &self,
        name: Option<&str>,
        path: &Path,
    ) -> Result<(&str, &ClusterContext), ContextsError> {
        let Some(name) = name.or(self.current.as_deref()) else {
            return Err(ContextsError::NoCurrent { path: path.into() });
        };
        match self.contexts.get_key_value(name) {
            Some((name, context)) => Ok((name, context)),
            None => Err(ContextsError::NotFound {
                name: name.into(),
                path: path.into(),
                known: self.names(),
            }),
        }
    }

    /// The names of all contexts as a list for a message.
    fn names(&self) -> String {
        if self.contexts.is_empty() {
            return "no contexts".into();
        }
        self.contexts
            .keys()
            .map(String::as_str)
            .collect::<Vec<_>>()
            .join(", ")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn context(endpoint: &str) -> ClusterContext {
        ClusterContext {
            endpoints: vec![endpoint.into()],
            endpoints_only: false,
            ca: "/pki/ca.crt".into(),
            cert: "/pki/admin.crt".into(),
            key: "/pki/admin.key".into(),
            dev_data_dir: None,
        }
    }

    #[test]
    fn a_saved_file_is_loaded_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/config.yaml");
        let mut contexts = ContextsFile::default();
        contexts
            .contexts
            .insert("dev".into(), context("127.0.0.1:9400"));
        contexts.current = Some("dev".into());
        contexts.save(&path).unwrap();
        assert_eq!(ContextsFile::load(&path).unwrap(), contexts);
    }

    #[test]
    fn missing_and_empty_files_have_no_contexts() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.yaml");
        assert_eq!(ContextsFile::load(&path).unwrap(), ContextsFile::default());
        fs::write(&path, "\n").unwrap();
        assert_eq!(ContextsFile::load(&path).unwrap(), ContextsFile::default());
    }

    #[test]
    fn a_parse_error_names_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.yaml");
        fs::write(&path, "contexts: [").unwrap();
        let text = ContextsFile::load(&path).unwrap_err().to_string();
        assert!(text.contains("config.yaml"), "{text}");
    }

    #[test]
    fn a_named_context_has_precedence_over_the_current_one() {
        let mut contexts = ContextsFile::default();
        let path = Path::new("/c.yaml");
        assert!(matches!(
            contexts.get(None, path),
            Err(ContextsError::NoCurrent { .. })
        ));
        contexts.contexts.insert("a".into(), context("a:1"));
        contexts.contexts.insert("b".into(), context("b:1"));
        contexts.current = Some("a".into());
        assert_eq!(contexts.get(None, path).unwrap().0, "a");
        assert_eq!(contexts.get(Some("b"), path).unwrap().0, "b");
        let error = contexts.get(Some("c"), path).unwrap_err().to_string();
        assert!(error.contains("(it has: a, b)"), "{error}");
    }
}
