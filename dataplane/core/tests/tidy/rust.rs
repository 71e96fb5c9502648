//! Rules on single Rust files.

use crate::source::{Source, lines, words};
use crate::tree::Finding;

const FILE_MAX_LINES: usize = 800;
const LINE_MAX_COLUMNS: usize = 100;
const GENERICS_MAX: usize = 3;

/// No file is longer than 800 lines, tests, generated code and the tables of limits aside: those
/// stay in one file each.
pub(crate) fn size(file: &Source) -> Vec<Finding> {
    let count = file.text.lines().count();
    let is_table = crate::limits::FILES.contains(&file.path.as_str());
    if file.is_test() || is_table || count <= FILE_MAX_LINES {
        return Vec::new();
    }
    let what = format!("{count} lines, at most {FILE_MAX_LINES}");
    vec![file.finding(
        0,
        what,
        "Split it by what its parts do: foo.rs and foo/part.rs",
    )]
}

/// No line is wider than 100 columns, where it could be broken: addresses, literals and attributes
/// are left alone, and so are tests.
pub(crate) fn width(file: &Source) -> Vec<Finding> {
    let wide = |line: &str| line.chars().count() > LINE_MAX_COLUMNS;
    let can_break = |line: &str| !line.contains("://") && !line.contains(['"', '#']);
    let in_literal = |at: usize, line: &str| {
        let code = file.code.lines().nth(at - 1).unwrap_or_default();
        code.trim().is_empty() && !line.trim_start().starts_with("//")
    };
    let hits = lines(&file.text).filter(|(at, line)| {
        !file.is_test() && wide(line) && can_break(line) && !in_literal(*at, line)
    });
    let what = |line: &str| format!("{} columns", line.chars().count());
    hits.map(|(at, line)| file.finding(at, what(line), "Break the line before column 100"))
        .collect()
}

/// A signature has at most three type parameters.
pub(crate) fn generics(file: &Source) -> Vec<Finding> {
    let mut found = Vec::new();
    for (at, line) in lines(&file.code) {
        let Some(list) = definition_generics(line) else {
            continue;
        };
        let count = list
            .split(',')
            .filter(|p| !p.trim().starts_with('\''))
            .count();
        if count > GENERICS_MAX {
            let what = format!("{count} type parameters, at most {GENERICS_MAX}");
            found.push(file.finding(
                at,
                what,
                "Use a trait object, or one parameter that has them",
            ));
        }
    }
    found
}

/// The text between the angle brackets of a definition on this line.
fn definition_generics(line: &str) -> Option<&str> {
    let word = ["fn ", "struct ", "enum ", "trait ", "impl<"]
        .iter()
        .find(|w| line.contains(**w))?;
    let rest = &line[line.find(word)? + word.trim_end_matches('<').len()..];
    let open = rest.find('<')?;
    if rest.find('(').is_some_and(|paren| paren < open) {
        return None;
    }
    let mut depth = 0;
    for (at, c) in rest[open..].char_indices() {
        match c {
            '<' => depth += 1,
            '>' => depth -= 1,
            _ => {}
        }
        if depth == 0 {
            return Some(&rest[open + 1..open + at]);
        }
    }
    None
}

/// Modules are `foo.rs` and `foo/`, never `foo/mod.rs`.
pub(crate) fn no_mod_rs(file: &Source) -> Vec<Finding> {
    if !file.path.ends_with("/mod.rs") {
        return Vec::new();
    }
    vec![file.finding(
        0,
        "a mod.rs".to_owned(),
        "Name it after its module: foo.rs beside foo/",
    )]
}

/// `lib.rs` holds docs, modules and re-exports.
pub(crate) fn lib_only_lists(file: &Source) -> Vec<Finding> {
    if !file.path.ends_with("/lib.rs") {
        return Vec::new();
    }
    let defines = |line: &str| {
        words(line)
            .take(3)
            .any(|w| ["fn", "struct", "enum", "trait", "impl"].contains(&w))
    };
    let hits = lines(&file.product).filter(|(_, line)| defines(line));
    let what = "lib.rs defines something".to_owned();
    hits.map(|(at, _)| file.finding(at, what.clone(), "Move it into a module"))
        .collect()
}

/// Every lint exception says why.
pub(crate) fn no_bare_allow(file: &Source) -> Vec<Finding> {
    let mut found = Vec::new();
    for (start, _) in file.code.match_indices("allow(") {
        let before = file.code[..start].trim_end();
        if !(before.ends_with("#[") || before.ends_with("#![")) {
            continue;
        }
        let end = file.code[start..]
            .find(']')
            .map_or(file.code.len(), |e| start + e);
        if !file.code[start..end].contains("reason") {
            let line = file.code[..start].lines().count();
            let advice = "Use #[expect(lint, reason = \"...\")]";
            found.push(file.finding(line, "a bare allow".to_owned(), advice));
        }
    }
    found
}

/// Standard output belongs to the CLI and to build scripts; the rest has tracing.
pub(crate) fn no_printing(file: &Source) -> Vec<Finding> {
    let may = file.is_test()
        || file.is_in("dataplane/cli/")
        || file.path.ends_with("build.rs")
        || file.path.ends_with("/main.rs");
    if may {
        return Vec::new();
    }
    let prints = |line: &str| {
        ["println!", "eprintln!", "print!", "eprint!"]
            .iter()
            .any(|m| {
                line.find(m)
                    .is_some_and(|at| !line[..at].ends_with(|c: char| c.is_alphanumeric()))
            })
    };
    let hits = lines(&file.product).filter(|(_, line)| prints(line));
    let what = "prints to the terminal".to_owned();
    hits.map(|(at, _)| file.finding(at, what.clone(), "Use tracing, or return it"))
        .collect()
}

/// Only dataplane/raft knows openraft: each of its alphas may break the API.
pub(crate) fn openraft_only_in_raft(file: &Source) -> Vec<Finding> {
    if file.is_in("dataplane/raft/") {
        return Vec::new();
    }
    let hits = lines(&file.code).filter(|(_, line)| words(line).any(|w| w == "openraft"));
    let what = "names openraft".to_owned();
    hits.map(|(at, _)| file.finding(at, what.clone(), "Go through lograft-raft"))
        .collect()
}

/// The core and the operator's desired state take time, chance and the world as arguments.
pub(crate) fn core_is_pure(file: &Source) -> Vec<Finding> {
    const WORDS: &[&str] = &[
        "tokio",
        "HashMap",
        "HashSet",
        "SystemTime",
        "Instant",
        "thread_rng",
        "RandomState",
        "getrandom",
    ];
    const PATHS: &[&str] = &[
        "std::fs",
        "std::net",
        "std::thread",
        "std::process",
        "std::env",
    ];
    let pure = ["dataplane/core/src/", "operator/desired/src/"];
    if !pure.iter().any(|folder| file.is_in(folder)) || file.is_test() {
        return Vec::new();
    }
    let impure = |line: &str| {
        let word = WORDS.iter().find(|w| words(line).any(|found| found == **w));
        word.or(PATHS.iter().find(|p| line.contains(**p))).copied()
    };
    let hits = lines(&file.product).filter_map(|(at, line)| impure(line).map(|w| (at, w)));
    let advice = "Take it as an argument; maps are BTreeMap; IO belongs to node, storage, operator";
    hits.map(|(at, word)| file.finding(at, format!("{word} in a pure crate"), advice))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(rule: fn(&Source) -> Vec<Finding>, path: &str, text: &str) -> usize {
        rule(&Source::new(path, text)).len()
    }

    #[test]
    fn long_files_are_found() {
        assert_eq!(found(size, "x/src/a.rs", &"\n".repeat(801)), 1);
        assert_eq!(found(size, "x/src/a.rs", &"\n".repeat(800)), 0);
        assert_eq!(found(size, "x/src/a/tests.rs", &"\n".repeat(801)), 0);
    }

    #[test]
    fn wide_lines_are_found() {
        assert_eq!(
            found(width, "x/src/a.rs", &format!("// {}", "w".repeat(98))),
            1
        );
        assert_eq!(
            found(width, "x/src/a.rs", &format!("// {}", "w".repeat(97))),
            0
        );
        assert_eq!(
            found(
                width,
                "x/src/a.rs",
                &format!("// https://{}", "w".repeat(98))
            ),
            0
        );
    }

    #[test]
    fn towers_of_generics_are_found() {
        assert_eq!(found(generics, "a.rs", "fn f<A, B, C, D>(a: A) {}"), 1);
        assert_eq!(found(generics, "a.rs", "struct S<'a, A, B, C>(A);"), 0);
        assert_eq!(
            found(generics, "a.rs", "impl<A, B, C, D> T for S<A, B, C, D> {}"),
            1
        );
        assert_eq!(
            found(generics, "a.rs", "fn f(a: HashMap<A, B, C, D>) {}"),
            0
        );
    }

    #[test]
    fn mod_rs_is_found() {
        assert_eq!(found(no_mod_rs, "x/src/a/mod.rs", ""), 1);
        assert_eq!(found(no_mod_rs, "x/src/a.rs", ""), 0);
    }

    #[test]
    fn code_in_lib_rs_is_found() {
        assert_eq!(
            found(lib_only_lists, "x/src/lib.rs", "pub mod a;\npub fn f() {}"),
            1
        );
        assert_eq!(
            found(lib_only_lists, "x/src/lib.rs", "//! fn\npub use a::{B, C};"),
            0
        );
    }

    #[test]
    fn bare_allows_are_found() {
        assert_eq!(
            found(no_bare_allow, "a.rs", "#[allow(dead_code)]\nfn f() {}"),
            1
        );
        assert_eq!(found(no_bare_allow, "a.rs", "#![allow(dead_code)]"), 1);
        assert_eq!(
            found(no_bare_allow, "a.rs", "#[allow(x, reason = \"generated\")]"),
            0
        );
        assert_eq!(
            found(no_bare_allow, "a.rs", "// #[allow(x)]\nfn allow(x: u8) {}"),
            0
        );
    }

    #[test]
    fn printing_is_found() {
        assert_eq!(
            found(no_printing, "dataplane/src/a.rs", "println!(\"x\");"),
            1
        );
        assert_eq!(
            found(no_printing, "dataplane/cli/src/a.rs", "println!(\"x\");"),
            0
        );
        assert_eq!(
            found(no_printing, "dataplane/src/a.rs", "// println!(\"x\");"),
            0
        );
    }

    #[test]
    fn openraft_elsewhere_is_found() {
        assert_eq!(
            found(
                openraft_only_in_raft,
                "dataplane/src/a.rs",
                "use openraft::Raft;"
            ),
            1
        );
        assert_eq!(
            found(
                openraft_only_in_raft,
                "dataplane/raft/src/a.rs",
                "use openraft::R;"
            ),
            0
        );
        assert_eq!(
            found(
                openraft_only_in_raft,
                "dataplane/src/a.rs",
                "// as openraft does"
            ),
            0
        );
    }

    #[test]
    fn an_impure_core_is_found() {
        let path = "dataplane/core/src/a.rs";
        assert_eq!(found(core_is_pure, path, "let t = SystemTime::now();"), 1);
        assert_eq!(found(core_is_pure, path, "use std::fs;"), 1);
        assert_eq!(
            found(
                core_is_pure,
                path,
                "#[cfg(test)]\nmod tests { use std::fs; }"
            ),
            0
        );
        assert_eq!(found(core_is_pure, "dataplane/src/a.rs", "use std::fs;"), 0);
        let desired = "operator/desired/src/a.rs";
        assert_eq!(found(core_is_pure, desired, "use std::fs;"), 1);
    }
}
