//! Checked-in encodings: the bytes of every format, one directory for each feature level.
//!
//! `fixtures/level-<n>/<folder>/<name>` holds what a program of level n writes. A level's directory
//! has only what is new or changed at that level. The present code must decode the fixtures of all
//! levels, and must encode each sample as in the newest level that has it. `LOGRAFT_BLESS=1` adds
//! missing files to the directory of the present level; it never overwrites one.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::fs;
use std::path::{Path, PathBuf};

/// The feature level of this version; a test of the core compares it with the core's own.
pub(crate) const LEVEL: u32 = 2;

/// The fixtures of a crate in one folder of each level.
pub(crate) struct Fixtures {
    pub(crate) root: PathBuf,
    pub(crate) folder: &'static str,
    pub(crate) level: u32,
    /// Whether missing files are added.
    pub(crate) bless: bool,
}

/// A checked-in file.
pub(crate) struct Fixture {
    pub(crate) level: u32,
    pub(crate) name: String,
    pub(crate) bytes: Vec<u8>,
}

impl Fixtures {
    /// The fixtures of the crate with this manifest directory.
    pub(crate) fn new(manifest_dir: &str, folder: &'static str) -> Self {
        Self {
            root: Path::new(manifest_dir).join("fixtures"),
            folder,
            level: LEVEL,
            bless: std::env::var_os("LOGRAFT_BLESS").is_some(),
        }
    }

    /// The folder at a level.
    pub(crate) fn dir(&self, level: u32) -> PathBuf {
        self.root.join(format!("level-{level}")).join(self.folder)
    }

    /// The files of all levels, older levels first.
    pub(crate) fn all(&self) -> Vec<Fixture> {
        let mut found = Vec::new();
        for level in 0..=self.level {
            let Ok(entries) = fs::read_dir(self.dir(level)) else {
                continue;
            };
            let paths: BTreeSet<PathBuf> = entries.map(|entry| entry.unwrap().path()).collect();
            found.extend(paths.into_iter().map(|path| Fixture {
                level,
                name: path.file_name().unwrap().to_str().unwrap().to_owned(),
                bytes: fs::read(&path).unwrap(),
            }));
        }
        found
    }

    /// Checks every fixture against the samples, in both directions.
    pub(crate) fn check<T: PartialEq + Debug>(
        &self,
        samples: &[(String, T)],
        encode: impl Fn(&T) -> Vec<u8>,
        decode: impl Fn(&[u8]) -> T,
    ) {
        let encoded = samples.iter().map(|(name, value)| (&**name, encode(value)));
        let findings = self.differences(encoded);
        assert!(findings.is_empty(), "{}", findings.join("\n"));
        let samples: BTreeMap<&str, &T> = samples.iter().map(|(n, v)| (&**n, v)).collect();
        for Fixture { level, name, bytes } in self.all() {
            let folder = self.folder;
            assert_eq!(
                &decode(&bytes),
                samples[&*name],
                "this version must read {folder}/{name} of level {level}"
            );
        }
    }

    /// The samples whose encoding is not that of the newest fixture, and fixtures without a sample.
    /// With `bless`, adds the missing files of this level.
    pub(crate) fn differences<'a>(
        &self,
        encoded: impl IntoIterator<Item = (&'a str, Vec<u8>)>,
    ) -> Vec<String> {
        let Self {
            folder,
            level,
            bless,
            ..
        } = self;
        let next = level + 1;
        let all = self.all();
        let mut newest: BTreeMap<&str, &Fixture> = BTreeMap::new();
        for fixture in &all {
            newest.insert(&fixture.name, fixture);
        }
        let mut findings = Vec::new();
        for (name, bytes) in encoded {
            let finding = match newest.remove(name) {
                Some(found) if found.bytes == bytes => continue,
                Some(found) if found.level == *level => format!(
                    "the encoding of {folder}/{name} changed: raise FeatureLevel::CURRENT and \
                     LEVEL, and add fixtures/level-{next} with LOGRAFT_BLESS=1 (while level {level} is \
                     not released: remove its file, and add it anew)"
                ),
                _ if *bless => {
                    let dir = self.dir(*level);
                    fs::create_dir_all(&dir).unwrap();
                    fs::write(dir.join(name), bytes).unwrap();
                    continue;
                }
                Some(found) => format!(
                    "the encoding of {folder}/{name} is not that of level {}: if level {level} is \
                     not released yet, add it there with LOGRAFT_BLESS=1, else raise \
                     FeatureLevel::CURRENT and LEVEL first",
                    found.level
                ),
                None => format!("{folder}/{name} has no fixture: add it with LOGRAFT_BLESS=1"),
            };
            findings.push(finding);
        }
        findings.extend(newest.values().map(|fixture| {
            let Fixture { level, name, .. } = fixture;
            format!("{folder}/{name} of level {level} has no sample: an old format is still read")
        }));
        findings
    }
}
