//! Names that say nothing, and names that the vocabulary has another word for.

use crate::source::{Source, lines, words};
use crate::tree::Finding;

/// Parts of names that are not used, whatever they are part of.
const AVOIDED: &[&str] = &[
    "manager", "helper", "helpers", "util", "utils", "common", "broker", "misc", "stuff",
];

/// No type, function or module is named with an avoided word.
pub(crate) fn check(file: &Source) -> Vec<Finding> {
    let mut found = Vec::new();
    let mut say = |line, name: &str| {
        let advice = "Name it after what it does or holds (see the words in style.md)";
        found.push(file.finding(line, format!("the name {name}"), advice));
    };
    if file
        .path
        .split('/')
        .any(|part| is_avoided(part.trim_end_matches(".rs")))
    {
        say(0, &file.path);
    }
    for (at, line) in lines(&file.code) {
        if let Some(name) = defined(line).filter(|name| is_avoided(name)) {
            say(at, name);
        }
    }
    found
}

/// The name that a line defines.
fn defined(line: &str) -> Option<&str> {
    const KEYWORDS: &[&str] = &[
        "struct",
        "enum",
        "trait",
        "type",
        "fn",
        "mod",
        "macro_rules",
    ];
    let mut rest = words(line);
    rest.find(|w| KEYWORDS.contains(w))?;
    rest.next()
}

fn is_avoided(name: &str) -> bool {
    parts(name)
        .iter()
        .any(|part| AVOIDED.contains(&part.as_str()))
}

/// `LogStoreUtil` and `log_store_util` as their lower-case words.
fn parts(name: &str) -> Vec<String> {
    let mut parts = vec![String::new()];
    for c in name.chars() {
        if c == '_' || c == '-' || c.is_uppercase() {
            parts.push(String::new());
        }
        if c != '_' && c != '-' {
            parts.last_mut().unwrap().extend(c.to_lowercase());
        }
    }
    parts
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn empty_names_are_found() {
        let found = |path, text| check(&Source::new(path, text)).len();
        assert_eq!(found("x/src/a.rs", "pub struct LogManager;"), 1);
        assert_eq!(found("x/src/a.rs", "fn write_helper() {}\nmod utils;"), 2);
        assert_eq!(found("x/src/common.rs", ""), 1);
        assert_eq!(
            found(
                "x/src/a.rs",
                "struct Utility; fn commonly() {} let manager = 1;"
            ),
            0
        );
    }
}
