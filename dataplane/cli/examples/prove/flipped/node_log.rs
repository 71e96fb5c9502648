//! What a node says in its log about damage.

use std::fs::{self, File};
use std::io::{Read as _, Seek as _, SeekFrom};
use std::path::{Path, PathBuf};

use anyhow::Result;

/// Words of the lines about damage.
const WORDS: [&str; 7] = [
    "corrupt",
    "damage",
    "torn",
    "restored",
    "set aside",
    "rebuilt",
    "checksum",
];
const LINES_MAX: usize = 4;

/// A position in a node's log.
pub(super) struct LogMark {
    path: PathBuf,
    position: u64,
}

impl LogMark {
    /// The present end of a log.
    pub(super) fn end_of(path: &Path) -> Result<Self> {
        Ok(Self {
            path: path.to_owned(),
            position: fs::metadata(path)?.len(),
        })
    }

    fn text(&self) -> Result<String> {
        let mut file = File::open(&self.path)?;
        file.seek(SeekFrom::Start(self.position))?;
        let mut bytes = Vec::new();
        file.read_to_end(&mut bytes)?;
        Ok(String::from_utf8_lossy(&bytes).into_owned())
    }

    /// The messages about damage since then, each once.
    pub(super) fn noticed(&self) -> Result<String> {
        let text = self.text()?;
        let mut found: Vec<&str> = Vec::new();
        for line in text.lines().filter(|line| is_about_damage(line)) {
            let message = message(line);
            if !found.contains(&message) && found.len() < LINES_MAX {
                found.push(message);
            }
        }
        Ok(found.join("; "))
    }

    /// The last error since then.
    pub(super) fn last_error(&self) -> Result<String> {
        let text = self.text()?;
        let mut lines = text.lines().rev();
        let last = lines.find(|line| line.contains("ERROR") || line.contains("error"));
        Ok(last.unwrap_or_default().trim().to_owned())
    }
}

fn is_about_damage(line: &str) -> bool {
    let is_loud = line.contains(" WARN ") || line.contains(" ERROR ") || line.contains(" INFO ");
    is_loud && WORDS.iter().any(|word| message(line).contains(word))
}

/// The message of a line, without its time, target and fields.
fn message(line: &str) -> &str {
    let rest = line.split_once(": ").map_or(line, |(_, rest)| rest);
    // Fields follow as `name=value`.
    let first_field = rest.find('=').and_then(|at| rest[..at].rfind(' '));
    first_field.map_or(rest, |at| &rest[..at])
}
