//! The repository's files, read once per rule.

use std::fmt;
use std::fs;
use std::path::{Path, PathBuf};

use crate::source::Source;

/// Folders that are not checked.
const SKIPPED: &[&str] = &[".git", "target", "node_modules"];

/// One breach of a rule.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Finding {
    /// Path from the repository's root.
    pub(crate) path: String,
    /// Line from 1; 0 where the whole file is meant.
    pub(crate) line: usize,
    /// The violation.
    pub(crate) what: String,
    /// The remedy.
    pub(crate) advice: &'static str,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            path,
            line,
            what,
            advice,
        } = self;
        write!(f, "{path}:{line}: {what}. {advice}")
    }
}

/// The repository.
pub(crate) struct Tree {
    root: PathBuf,
    paths: Vec<String>,
}

impl Tree {
    /// The repository of this crate.
    pub(crate) fn of_repository() -> Self {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"))
            .join("../..")
            .canonicalize()
            .unwrap();
        assert!(
            root.join("Cargo.lock").exists(),
            "not a workspace root: {}",
            root.display()
        );
        let mut paths = Vec::new();
        walk(&root, &root, &mut paths);
        paths.sort();
        Self { root, paths }
    }

    /// The root folder.
    pub(crate) fn root(&self) -> &Path {
        &self.root
    }

    /// Every file's path from the root.
    pub(crate) fn paths(&self) -> Vec<&str> {
        self.paths.iter().map(String::as_str).collect()
    }

    /// A file's text.
    pub(crate) fn read(&self, path: &str) -> String {
        fs::read_to_string(self.root.join(path)).unwrap_or_else(|e| panic!("read {path}: {e}"))
    }

    /// Every Rust file.
    pub(crate) fn rust(&self) -> Vec<Source> {
        self.with_suffix(".rs")
            .iter()
            .map(|(path, text)| Source::new(path, text))
            .collect()
    }

    /// Path and text of the files whose path ends so.
    pub(crate) fn with_suffix(&self, suffix: &str) -> Vec<(String, String)> {
        let hits = self.paths.iter().filter(|p| p.ends_with(suffix));
        hits.map(|p| (p.clone(), self.read(p))).collect()
    }

    /// Path and size in bytes of every file.
    pub(crate) fn sizes(&self) -> Vec<(String, u64)> {
        let size = |p: &String| fs::metadata(self.root.join(p)).map_or(0, |m| m.len());
        self.paths.iter().map(|p| (p.clone(), size(p))).collect()
    }

    /// The names in the root folder.
    pub(crate) fn root_names(&self) -> Vec<String> {
        let entries = fs::read_dir(&self.root).unwrap();
        entries
            .map(|e| e.unwrap().file_name().to_string_lossy().into_owned())
            .collect()
    }
}

fn walk(root: &Path, folder: &Path, paths: &mut Vec<String>) {
    for entry in fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if SKIPPED.contains(&name.as_str()) {
            continue;
        }
        if path.is_dir() {
            walk(root, &path, paths);
        } else {
            paths.push(
                path.strip_prefix(root)
                    .unwrap()
                    .to_string_lossy()
                    .into_owned(),
            );
        }
    }
}
