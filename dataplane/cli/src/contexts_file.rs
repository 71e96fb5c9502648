//! Contexts: named clusters in one YAML file, with the addresses and certificates to reach each.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::{env, fs, io};

use serde::{Deserialize, Serialize};

/// How to reach one cluster.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Context {
    /// Client addresses `host:port` of some nodes; the others are learned from them.
    pub(crate) endpoints: Vec<String>,
    /// Whether only these are called, and never the addresses that nodes tell: for a port-forward.
    #[serde(default, skip_serializing_if = "is_false")]
    pub(crate) endpoints_only: bool,
    /// PEM file of the CA that issued the nodes' certificates.
    pub(crate) ca: PathBuf,
    /// PEM file of this user's certificate.
    pub(crate) cert: PathBuf,
    /// PEM file of this user's private key.
    pub(crate) key: PathBuf,
    /// Where `lograft dev` keeps this cluster, when it is one of its own.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) dev_data_dir: Option<PathBuf>,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the form that serde calls"
)]
fn is_false(value: &bool) -> bool {
    !value
}

/// The file's content.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Contexts {
    /// The one that commands use unless told otherwise.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub(crate) current: Option<String>,
    /// All, by name.
    #[serde(default)]
    pub(crate) contexts: BTreeMap<String, Context>,
}

/// What can go wrong with the contexts file.
#[derive(Debug, thiserror::Error)]
pub(crate) enum ContextError {
    #[error("no place for the contexts file: neither $LOGRAFT_CONFIG nor $HOME is set")]
    NoHome,
    #[error("reading the contexts file {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("the contexts file {} is not valid", path.display())]
    Parse {
        path: PathBuf,
        source: serde_yaml::Error,
    },
    #[error("writing the contexts file {}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("encoding the contexts file")]
    Encode { source: serde_yaml::Error },
    #[error("no context {name:?} in {}; known: {known}", path.display())]
    Unknown {
        name: String,
        path: PathBuf,
        known: String,
    },
    #[error("no context is chosen in {}", path.display())]
    NoCurrent { path: PathBuf },
}

/// Where the file stands: `--config`/`$LOGRAFT_CONFIG`, else the user's config directory.
pub(crate) fn default_path() -> Result<PathBuf, ContextError> {
    let non_empty = |name: &str| env::var_os(name).filter(|value| !value.is_empty());
    if let Some(path) = non_empty("LOGRAFT_CONFIG") {
        return Ok(path.into());
    }
    let base = match non_empty("XDG_CONFIG_HOME") {
        Some(dir) => PathBuf::from(dir),
        None => PathBuf::from(non_empty("HOME").ok_or(ContextError::NoHome)?).join(".config"),
    };
    Ok(base.join("lograft").join("config.yaml"))
}

impl Contexts {
    /// The file's content; nothing when there is no file.
    pub(crate) fn load(path: &Path) -> Result<Self, ContextError> {
        let text = match fs::read_to_string(path) {
            Ok(text) => text,
            Err(source) if source.kind() == io::ErrorKind::NotFound => return Ok(Self::default()),
            Err(source) => {
                return Err(ContextError::Read {
                    path: path.into(),
                    source,
                });
            }
        };
        if text.trim().is_empty() {
            return Ok(Self::default());
        }
        serde_yaml::from_str(&text).map_err(|source| ContextError::Parse {
            path: path.into(),
            source,
        })
    }

    /// Replaces the file in one step.
    pub(crate) fn save(&self, path: &Path) -> Result<(), ContextError> {
        let text = serde_yaml::to_string(self).map_err(|source| ContextError::Encode { source })?;
        let write = || -> io::Result<()> {
            let dir = path.parent().filter(|dir| !dir.as_os_str().is_empty());
            let dir = dir.unwrap_or(Path::new("."));
            fs::create_dir_all(dir)?;
            let mut file = tempfile::NamedTempFile::new_in(dir)?;
            file.write_all(text.as_bytes())?;
            file.persist(path)?;
            Ok(())
        };
        write().map_err(|source| ContextError::Write {
            path: path.into(),
            source,
        })
    }

    /// The context with this name, or the current one.
    pub(crate) fn pick(
        &self,
        name: Option<&str>,
        path: &Path,
    ) -> Result<(&str, &Context), ContextError> {
        let Some(name) = name.or(self.current.as_deref()) else {
            return Err(ContextError::NoCurrent { path: path.into() });
        };
        match self.contexts.get_key_value(name) {
            Some((name, context)) => Ok((name, context)),
            None => Err(ContextError::Unknown {
                name: name.into(),
                path: path.into(),
                known: self.known(),
            }),
        }
    }

    /// The names, for people.
    fn known(&self) -> String {
        if self.contexts.is_empty() {
            return "none".into();
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

    fn context(endpoint: &str) -> Context {
        Context {
            endpoints: vec![endpoint.into()],
            endpoints_only: false,
            ca: "/pki/ca.crt".into(),
            cert: "/pki/admin.crt".into(),
            key: "/pki/admin.key".into(),
            dev_data_dir: None,
        }
    }

    #[test]
    fn what_is_saved_is_loaded_again() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("deep/config.yaml");
        let mut contexts = Contexts::default();
        contexts
            .contexts
            .insert("dev".into(), context("127.0.0.1:9400"));
        contexts.current = Some("dev".into());
        contexts.save(&path).unwrap();
        assert_eq!(Contexts::load(&path).unwrap(), contexts);
    }

    #[test]
    fn no_file_and_an_empty_file_hold_no_context() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.yaml");
        assert_eq!(Contexts::load(&path).unwrap(), Contexts::default());
        fs::write(&path, "\n").unwrap();
        assert_eq!(Contexts::load(&path).unwrap(), Contexts::default());
    }

    #[test]
    fn a_damaged_file_is_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("config.yaml");
        fs::write(&path, "contexts: [").unwrap();
        let text = Contexts::load(&path).unwrap_err().to_string();
        assert!(text.contains("config.yaml"), "{text}");
    }

    #[test]
    fn the_named_one_goes_before_the_current_one() {
        let mut contexts = Contexts::default();
        let path = Path::new("/c.yaml");
        assert!(matches!(
            contexts.pick(None, path),
            Err(ContextError::NoCurrent { .. })
        ));
        contexts.contexts.insert("a".into(), context("a:1"));
        contexts.contexts.insert("b".into(), context("b:1"));
        contexts.current = Some("a".into());
        assert_eq!(contexts.pick(None, path).unwrap().0, "a");
        assert_eq!(contexts.pick(Some("b"), path).unwrap().0, "b");
        let error = contexts.pick(Some("c"), path).unwrap_err().to_string();
        assert!(error.contains("known: a, b"), "{error}");
    }
}
