//! Versions of Lograft, to tell an upgrade from a downgrade.

use std::cmp::Ordering;
use std::fmt;

/// A version in the form of semantic versioning; build metadata is ignored.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Version {
    /// Major, minor and patch.
    numbers: [u64; 3],
    /// Identifiers of the pre-release; empty for a release.
    pre: Vec<String>,
}

impl Version {
    /// The version in a text such as `0.3.0`, `v0.3` or `0.3.0-rc.1+build`; none for other texts,
    /// such as names of branches.
    pub(crate) fn parse(text: &str) -> Option<Self> {
        let text = text.strip_prefix('v').unwrap_or(text);
        let text = text.split_once('+').map_or(text, |(version, _)| version);
        let (core, pre) = text.split_once('-').unwrap_or((text, ""));
        let mut numbers = [0; 3];
        let parts: Vec<&str> = core.split('.').collect();
        if !(2..=3).contains(&parts.len()) {
            return None;
        }
        for (number, part) in numbers.iter_mut().zip(parts) {
            let is_number = !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
            *number = part.parse().ok().filter(|_| is_number)?;
        }
        let pre = pre.split('.').filter(|part| !part.is_empty());
        Some(Self {
            numbers,
            pre: pre.map(str::to_owned).collect(),
        })
    }

    /// Major and minor: patches of one minor version have the same features.
    pub(crate) fn minor(&self) -> (u64, u64) {
        let [major, minor, _] = self.numbers;
        (major, minor)
    }
}

impl Ord for Version {
    fn cmp(&self, other: &Self) -> Ordering {
        let releases = || self.pre.is_empty().cmp(&other.pre.is_empty());
        self.numbers
            .cmp(&other.numbers)
            .then_with(releases)
            .then_with(|| {
                let pairs = self.pre.iter().zip(&other.pre);
                let mut orders = pairs.map(|(one, two)| compare_identifiers(one, two));
                let first = orders.find(|order| *order != Ordering::Equal);
                first.unwrap_or_else(|| self.pre.len().cmp(&other.pre.len()))
            })
    }
}

impl PartialOrd for Version {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl fmt::Display for Version {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [major, minor, patch] = self.numbers;
        write!(f, "{major}.{minor}.{patch}")?;
        if self.pre.is_empty() {
            return Ok(());
        }
        write!(f, "-{}", self.pre.join("."))
    }
}

/// Numbers are compared as numbers and come before texts.
fn compare_identifiers(one: &str, two: &str) -> Ordering {
    match (one.parse::<u64>(), two.parse::<u64>()) {
        (Ok(one), Ok(two)) => one.cmp(&two),
        (Ok(_), Err(_)) => Ordering::Less,
        (Err(_), Ok(_)) => Ordering::Greater,
        (Err(_), Err(_)) => one.cmp(two),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_ordered() {
        let texts = [
            "0.1.0",
            "0.2.0-alpha",
            "0.2.0-alpha.1",
            "0.2.0-alpha.beta",
            "0.2.0-rc.2",
            "0.2.0-rc.10",
            "0.2.0",
            "0.2.1",
            "0.10.0",
            "1.0.0",
        ];
        let versions: Vec<_> = texts.iter().map(|t| Version::parse(t).unwrap()).collect();
        assert!(versions.is_sorted_by(|one, two| one < two), "{versions:?}");
        assert_eq!(Version::parse("v0.2"), Version::parse("0.2.0+abc"));
    }

    #[test]
    fn other_texts_are_no_versions() {
        for text in [
            "", "1", "main", "0.x", "1.2.3.4", "sha-0.1", "0.+1", "0..1", "-1.0",
        ] {
            assert_eq!(Version::parse(text), None, "{text}");
        }
    }
}
