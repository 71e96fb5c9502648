//! Imports inside each crate form no circle: not between files, not between top-level folders.
//!
//! Read from `use` declarations and from paths that start with `crate` or `super`. A parent module
//! that lists its children with `mod` does not import them; a child that names its parent's types
//! does, and closes a circle when the parent uses the child by path.

use std::collections::{BTreeMap, BTreeSet};

use crate::source::Source;
use crate::tree::Finding;

/// Modules that may import each other, and why.
const EXCEPTIONS: &[Exception] = &[];

/// A circle that is accepted.
struct Exception {
    /// The source folder of the crate.
    root: &'static str,
    /// The modules of the circle, sorted.
    modules: &'static [&'static str],
    /// Why it is better than any way around it.
    reason: &'static str,
}

/// First names of paths that are read outside of `use` declarations too.
const NAMED_IN_CODE: [&str; 6] = [
    "crate::",
    "super::",
    "tonic::",
    "axum::",
    "prost::",
    "lograft_proto::",
];

/// A path of an import, one element per name.
type ImportPath = Vec<String>;
/// Which module imports which.
type Graph = BTreeMap<String, BTreeSet<String>>;

/// A circle for each group of modules that reach each other, over all crates.
pub(crate) fn circles(files: &[Source]) -> Vec<Finding> {
    let mut found = Vec::new();
    for (root, members) in crates(files) {
        let graph = file_graph(&root, &members);
        let by_folder = folder_graph(&graph);
        for (level, graph) in [("files", &graph), ("top-level folders", &by_folder)] {
            for circle in strongly_connected(graph) {
                if !is_excepted(&root, &circle) {
                    let what = format!("{level} that import each other: {}", circle.join(", "));
                    found.push(Finding {
                        path: root.clone(),
                        line: 0,
                        what,
                        advice: "Move what both need into a module below both",
                    });
                }
            }
        }
    }
    found
}

fn is_excepted(root: &str, circle: &[String]) -> bool {
    EXCEPTIONS
        .iter()
        .any(|e| e.root == root && e.modules == circle && !e.reason.is_empty())
}

/// The product files of each crate, by its source folder.
fn crates(files: &[Source]) -> BTreeMap<String, Vec<&Source>> {
    let mut crates: BTreeMap<String, Vec<&Source>> = BTreeMap::new();
    for file in files.iter().filter(|file| is_product(file)) {
        if let Some(at) = file.path.find("/src/") {
            let root = file.path[..at + "/src".len()].to_owned();
            crates.entry(root).or_default().push(file);
        }
    }
    crates
}

fn is_product(file: &Source) -> bool {
    let name = file.path.rsplit('/').next().unwrap_or_default();
    !file.is_test() && !name.starts_with("test_") && name != "fixture.rs"
}

/// The module of a file, `a/b`; the crate's root is empty.
fn module_of(root: &str, path: &str) -> String {
    let inside = path[root.len() + 1..].trim_end_matches(".rs");
    if inside == "lib" || inside == "main" {
        return String::new();
    }
    inside.to_owned()
}

fn file_graph(root: &str, files: &[&Source]) -> Graph {
    let modules: BTreeSet<String> = files.iter().map(|f| module_of(root, &f.path)).collect();
    let mut graph = Graph::new();
    for file in files {
        let module = module_of(root, &file.path);
        let targets = paths(file)
            .into_iter()
            .filter_map(|path| inside_crate(&module, path))
            .filter_map(|path| known_module(&modules, &path))
            .filter(|target| !target.is_empty() && *target != module);
        let targets: BTreeSet<String> = targets.collect();
        graph.entry(module).or_default().extend(targets);
    }
    graph
}

/// A path as it reads from the crate's root; none if it leads out of the crate.
fn inside_crate(module: &str, path: ImportPath) -> Option<Vec<String>> {
    let mut base: Vec<String> = module
        .split('/')
        .filter(|part| !part.is_empty())
        .map(str::to_owned)
        .collect();
    let mut rest = path.into_iter().peekable();
    match rest.peek().map(String::as_str)? {
        "crate" => {
            base.clear();
            rest.next();
        }
        "self" => {
            rest.next();
        }
        "super" => {
            while rest.next_if(|part| part == "super").is_some() {
                base.pop();
            }
        }
        _ => return None,
    }
    base.extend(rest);
    Some(base)
}

/// The module that a path names or goes through last.
fn known_module(modules: &BTreeSet<String>, path: &[String]) -> Option<String> {
    (0..=path.len())
        .rev()
        .map(|length| path[..length].join("/"))
        .find(|module| modules.contains(module))
}

/// The same arrows between top-level modules.
fn folder_graph(files: &Graph) -> Graph {
    let top = |module: &str| module.split('/').next().unwrap_or_default().to_owned();
    let mut graph = Graph::new();
    for (module, targets) in files.iter().filter(|(module, _)| !module.is_empty()) {
        let from = top(module);
        let targets = targets.iter().map(|t| top(t)).filter(|to| *to != from);
        let targets: BTreeSet<String> = targets.collect();
        graph.entry(from).or_default().extend(targets);
    }
    graph
}

/// Every path that a file's product code imports or names from `crate` or `super` on.
pub(crate) fn paths(file: &Source) -> Vec<ImportPath> {
    let mut found = Vec::new();
    let mut rest = String::new();
    for statement in file.product.split(';') {
        let Some(start) = use_tree(statement) else {
            rest.push_str(statement);
            rest.push(';');
            continue;
        };
        rest.push_str(&statement[..start]);
        expand(&[], statement[start..].trim(), &mut found);
    }
    for word in NAMED_IN_CODE {
        found.extend(inline_paths(&rest, word));
    }
    found
}

/// Where the tree of a `use` declaration starts, if the statement ends in one.
fn use_tree(statement: &str) -> Option<usize> {
    let start = statement.rfind("use ")?;
    let before = statement[..start].chars().next_back();
    let is_word = before.is_none_or(|c| c.is_whitespace() || c == ')' || c == '{' || c == '}');
    let tree = &statement[start + "use ".len()..];
    let is_tree = tree
        .chars()
        .all(|c| c.is_alphanumeric() || "_:{}, \n*".contains(c));
    (is_word && is_tree).then_some(start + "use ".len())
}

/// `a::{b, c::d}` as its paths.
fn expand(prefix: &[String], tree: &str, found: &mut Vec<ImportPath>) {
    for part in split_top_level(tree) {
        let part = part.trim();
        if part.is_empty() {
            continue;
        }
        let names = |text: &str| -> Vec<String> {
            text.split("::")
                .map(|name| name.split_whitespace().next().unwrap_or_default())
                .filter(|name| !name.is_empty())
                .map(str::to_owned)
                .collect()
        };
        if let Some((head, inner)) = part.split_once('{') {
            let prefix = [prefix, &names(head)].concat();
            let inner = inner.strip_suffix('}').unwrap_or(inner);
            expand(&prefix, inner, found);
        } else {
            found.push([prefix, &names(part)].concat());
        }
    }
}

fn split_top_level(tree: &str) -> Vec<&str> {
    let (mut depth, mut from, mut parts) = (0, 0, Vec::new());
    for (at, c) in tree.char_indices() {
        match c {
            '{' => depth += 1,
            '}' => depth -= 1,
            ',' if depth == 0 => {
                parts.push(&tree[from..at]);
                from = at + 1;
            }
            _ => {}
        }
    }
    parts.push(&tree[from..]);
    parts
}

/// The paths in code that start with `word`.
fn inline_paths(code: &str, word: &str) -> Vec<ImportPath> {
    let is_name = |c: char| c.is_alphanumeric() || c == '_';
    let mut found = Vec::new();
    for (at, _) in code.match_indices(word) {
        if code[..at].ends_with(|c: char| is_name(c) || c == ':') {
            continue;
        }
        let path = code[at..].split(|c: char| !is_name(c) && c != ':').next();
        let names = path.unwrap_or_default().split("::");
        found.push(names.filter(|n| !n.is_empty()).map(str::to_owned).collect());
    }
    found
}

/// Groups of two and more modules of which each reaches each other.
fn strongly_connected(graph: &Graph) -> Vec<Vec<String>> {
    let reach: BTreeMap<&String, BTreeSet<&String>> = graph
        .keys()
        .map(|from| (from, reached(graph, from)))
        .collect();
    let mut seen = BTreeSet::new();
    let mut circles = Vec::new();
    for (from, targets) in &reach {
        let circle: BTreeSet<&String> = targets
            .iter()
            .copied()
            .filter(|to| reach.get(to).is_some_and(|back| back.contains(from)))
            .collect();
        if circle.len() > 1 && seen.insert(circle.clone()) {
            circles.push(circle.into_iter().cloned().collect());
        }
    }
    circles
}

fn reached<'a>(graph: &'a Graph, from: &'a String) -> BTreeSet<&'a String> {
    let mut open = vec![from];
    let mut seen = BTreeSet::new();
    while let Some(module) = open.pop() {
        for next in graph.get(module).into_iter().flatten() {
            if seen.insert(next) {
                open.push(next);
            }
        }
    }
    seen
}

#[cfg(test)]
mod tests {
    use super::*;

    fn found(files: &[(&str, &str)]) -> Vec<String> {
        let files: Vec<Source> = files.iter().map(|(p, t)| Source::new(p, t)).collect();
        circles(&files).into_iter().map(|f| f.what).collect()
    }

    #[test]
    fn a_circle_of_folders_is_found() {
        let down = ("x/src/api/grpc.rs", "use crate::serving::locate;");
        let serving = ("x/src/serving/locate.rs", "use std::sync::Arc;");
        assert!(found(&[down, serving]).is_empty());
        let up = (
            "x/src/serving/fetch.rs",
            "use crate::{a, api::grpc::Status};",
        );
        let circle = found(&[down, serving, up]);
        assert_eq!(
            circle,
            ["top-level folders that import each other: api, serving"]
        );
    }

    #[test]
    fn a_circle_of_files_is_found() {
        let door = ("x/src/a/door.rs", "use super::packing::Packing;");
        let packing = ("x/src/a/packing.rs", "fn f(d: &super::door::Door) {}");
        let circle = found(&[door, packing]);
        assert_eq!(circle, ["files that import each other: a/door, a/packing"]);
        let in_test = (
            "x/src/a/packing.rs",
            "#[cfg(test)]\nmod t { use crate::a::door::D; }",
        );
        assert!(
            found(&[door, in_test]).is_empty(),
            "tests may look anywhere"
        );
        let in_comment = (
            "x/src/a/packing.rs",
            "// crate::a::door\nconst A: &str = \"super::door\";",
        );
        assert!(found(&[door, in_comment]).is_empty());
    }

    #[test]
    fn circles_do_not_cross_crates() {
        let one = ("x/src/a.rs", "use crate::b::B;");
        let other = ("y/src/b.rs", "use crate::a::A;");
        assert!(found(&[one, other]).is_empty());
    }

    #[test]
    fn use_trees_are_read_whole() {
        let text = "pub(crate) use crate::a::{self as z, b::{C, D}, e};\nfn f() { super::g::h(); }";
        let mut paths = paths(&Source::new("x/src/m.rs", text));
        paths.sort();
        let joined: Vec<String> = paths.iter().map(|p| p.join("::")).collect();
        let expected = [
            "crate::a::b::C",
            "crate::a::b::D",
            "crate::a::e",
            "crate::a::self",
        ];
        assert_eq!(joined[..4], expected);
        assert_eq!(joined[4..], ["super::g::h"]);
    }
}
