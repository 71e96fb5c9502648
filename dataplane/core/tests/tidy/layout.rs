//! Layout of the repository.

use crate::tree::Finding;

/// Allowed entries of the root folder.
const ROOT: &[&str] = &[
    ".ci",
    ".dockerignore",
    ".git",
    ".gitignore",
    "CHANGELOG.md",
    "Cargo.lock",
    "Cargo.toml",
    "Dockerfile",
    "LICENSE",
    "README.md",
    "charts",
    "clippy.toml",
    "crds",
    "dataplane",
    "deny.toml",
    "e2e",
    "justfile",
    "kind",
    "operator",
    "proto",
    "rustfmt.toml",
    "target",
];
const FILE_MAX_BYTES: u64 = 1024 * 1024;
const BINARY: &[&str] = &[
    ".so", ".a", ".o", ".exe", ".bin", ".tar", ".gz", ".zip", ".rlib",
];

fn finding(path: &str, what: String, advice: &'static str) -> Finding {
    Finding {
        path: path.to_owned(),
        line: 0,
        what,
        advice,
    }
}

/// The root holds nothing unnamed.
pub(crate) fn root(names: &[String]) -> Vec<Finding> {
    let strange = names.iter().filter(|name| !ROOT.contains(&name.as_str()));
    let advice = "Move it into the component it belongs to, or name it in tidy/layout.rs";
    strange
        .map(|name| finding(name, "a stranger in the root".to_owned(), advice))
        .collect()
}

/// No file is large, none is a build product.
pub(crate) fn sizes(files: &[(String, u64)]) -> Vec<Finding> {
    let mut found = Vec::new();
    for (path, bytes) in files {
        if *bytes > FILE_MAX_BYTES {
            let what = format!("{bytes} bytes, at most {FILE_MAX_BYTES}");
            found.push(finding(path, what, "Generate it in the test that needs it"));
        }
        if BINARY.iter().any(|ending| path.ends_with(ending)) {
            found.push(finding(path, "a build product".to_owned(), "Remove it"));
        }
    }
    found
}

/// Decisions are `docs/adr/YYYY-MM-DD-slug.md`.
pub(crate) fn decisions(paths: &[&str]) -> Vec<Finding> {
    let dated = |name: &str| {
        let shape = "dddd-dd-dd-";
        name.len() > shape.len() + 3
            && name.strip_suffix(".md").is_some()
            && shape
                .chars()
                .zip(name.chars())
                .all(|(s, c)| if s == 'd' { c.is_ascii_digit() } else { s == c })
    };
    let hits = paths
        .iter()
        .filter_map(|p| p.split_once("docs/adr/").map(|(_, name)| (*p, name)));
    let bad = hits.filter(|(_, name)| !dated(name));
    let advice = "Name it YYYY-MM-DD-slug.md";
    bad.map(|(path, _)| finding(path, "an undated decision".to_owned(), advice))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn strangers_in_the_root_are_found() {
        assert_eq!(root(&["notes.txt".to_owned(), "proto".to_owned()]).len(), 1);
    }

    #[test]
    fn large_and_binary_files_are_found() {
        let found = |path: &str, bytes| sizes(&[(path.to_owned(), bytes)]).len();
        assert_eq!(found("a.rs", FILE_MAX_BYTES + 1), 1);
        assert_eq!(found("a.rs", FILE_MAX_BYTES), 0);
        assert_eq!(found("a.tar.gz", 1), 1);
    }

    #[test]
    fn undated_decisions_are_found() {
        let found = |path| decisions(&[path]).len();
        assert_eq!(found("dataplane/docs/adr/some-choice.md"), 1);
        assert_eq!(found("dataplane/docs/adr/2026-11-23-some-choice.md"), 0);
        assert_eq!(found("dataplane/docs/format.md"), 0);
    }
}
