//! Pages that do not drift: their links exist, the changelog is open.

use std::path::Path;

use crate::source::lines;
use crate::tree::{Finding, Tree};

/// Every relative link of a page leads to a file.
pub(crate) fn links(tree: &Tree, path: &str, text: &str) -> Vec<Finding> {
    let folder = Path::new(path).parent().unwrap_or(Path::new(""));
    let mut found = Vec::new();
    for (at, line) in lines(text) {
        for target in targets(line) {
            if !tree.root().join(folder).join(target).exists() {
                let what = format!("the link {target} leads nowhere");
                let advice = "Mend the path, counted from the page's folder";
                found.push(Finding {
                    path: path.to_owned(),
                    line: at,
                    what,
                    advice,
                });
            }
        }
    }
    found
}

/// The relative targets of the links on a line, without their anchors.
fn targets(line: &str) -> Vec<&str> {
    let mut targets = Vec::new();
    for (at, _) in line.match_indices("](") {
        let Some(target) = line[at + 2..].split(')').next() else {
            continue;
        };
        let target = target.split('#').next().unwrap_or(target);
        if !target.is_empty() && !target.contains("://") && !target.starts_with("mailto:") {
            targets.push(target);
        }
    }
    targets
}

/// The changelog's first section is the one that changes go into.
pub(crate) fn changelog(text: &str) -> Vec<Finding> {
    let head = lines(text).find(|(_, line)| line.starts_with("## "));
    if head.is_some_and(|(_, line)| line == "## Unreleased") {
        return Vec::new();
    }
    let line = head.map_or(0, |(at, _)| at);
    let what = "the first section is not \"## Unreleased\"".to_owned();
    let advice = "Begin the list with \"## Unreleased\"";
    vec![Finding {
        path: "CHANGELOG.md".to_owned(),
        line,
        what,
        advice,
    }]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dead_links_are_found() {
        let tree = Tree::of_repository();
        let page = "[a](nowhere.md) [b](Cargo.toml#x) [c](https://example.org/none) [d](#here)";
        let found = links(&tree, "README.md", page);
        assert_eq!(found.len(), 1);
        assert!(found[0].what.contains("nowhere.md"));
    }

    #[test]
    fn a_closed_changelog_is_found() {
        assert_eq!(
            changelog("# Changelog\n\n## 0.1.0\n\n## Unreleased\n").len(),
            1
        );
        assert_eq!(changelog("# Changelog\n").len(), 1);
        assert_eq!(changelog("# Changelog\n\n## Unreleased\n").len(), 0);
    }
}
