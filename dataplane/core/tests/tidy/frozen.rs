//! Public names are frozen: what users and peers of an earlier version build on keeps its name.
//!
//! `frozen.txt` lists every public name. A name that is gone from the sources fails the test, and
//! so does a new name that is not listed. `LOGRAFT_BLESS=1` adds new names to the list; it never
//! removes one: that takes an edit by hand, a feature level and a line in the changelog.

mod cli;
mod config;
mod crd;
mod metrics;
mod proto;

use std::collections::BTreeSet;

use lograft_core::Reason;

use crate::source::{Source, lines};
use crate::tree::{Finding, Tree};

/// The list, from the repository's root.
pub(crate) const LIST: &str = "dataplane/core/tests/tidy/frozen.txt";

/// Public names, each as one line: its kind, its path, its type.
pub(crate) type Names = BTreeSet<String>;

/// Every public name of the tree.
pub(crate) fn public_names(tree: &Tree) -> Names {
    let mut names = Names::new();
    for (_, text) in tree.with_suffix(".proto") {
        names.extend(proto::names(&text));
    }
    for (path, text) in tree.with_suffix(".yaml") {
        if path.starts_with("crds/generated/") {
            names.extend(crd::names(&text));
        }
    }
    let rust = tree.rust();
    names.extend(config::names(&rust, "NodeConfig"));
    for file in &rust {
        names.extend(metrics::names(file));
        names.extend(variables(file));
        names.extend(event_reasons(file));
    }
    names.extend(condition_reasons(&tree.read("crds/src/conditions.rs")));
    names.extend(blocked_reasons(
        &tree.read("crds/src/log_cluster/status.rs"),
    ));
    names.extend(labels(&tree.read("crds/src/names.rs")));
    names.extend(cli::names(
        &tree.read("dataplane/cli/tests/it/golden/help.txt"),
    ));
    let reasons = Reason::ALL.iter();
    names.extend(reasons.map(|r| format!("reason {} {}", r.as_str(), r.status() as i32)));
    names
}

/// Names of the list that are gone, and names that the list lacks.
pub(crate) fn differences(names: &Names, list: &str) -> Vec<Finding> {
    let listed: Names = list.lines().map(str::to_owned).collect();
    let finding = |what: String, advice| Finding {
        path: LIST.to_owned(),
        line: 0,
        what,
        advice,
    };
    let gone = listed.difference(names).map(|name| {
        let advice = "Give it its name back: clients and peers of an earlier version use it";
        finding(format!("the public name {name:?} is gone"), advice)
    });
    let new = names.difference(&listed).map(|name| {
        let advice = "LOGRAFT_BLESS=1 adds it to the list; from then on it keeps its name";
        finding(format!("the public name {name:?} is not listed"), advice)
    });
    gone.chain(new).collect()
}

/// The list with the new names added.
pub(crate) fn blessed(names: &Names, list: &str) -> String {
    let mut all: Names = list.lines().map(str::to_owned).collect();
    all.extend(names.iter().cloned());
    all.into_iter().map(|name| name + "\n").collect()
}

/// Environment variables that the programs read.
fn variables(file: &Source) -> Names {
    if file.is_test() || file.path.starts_with("e2e/") {
        return Names::new();
    }
    literals(file)
        .filter(|literal| {
            literal.strip_prefix("LOGRAFT_").is_some_and(|rest| {
                !rest.is_empty() && rest.chars().all(|c| c.is_ascii_uppercase() || c == '_')
            })
        })
        .map(|name| format!("env {name}"))
        .collect()
}

/// Reasons of the Kubernetes events that the operator emits.
fn event_reasons(file: &Source) -> Names {
    if file.is_test() || !file.is_in("operator/") {
        return Names::new();
    }
    let is_reason = |literal: &&str| {
        literal.starts_with(|c: char| c.is_ascii_uppercase())
            && literal.chars().all(|c| c.is_ascii_alphanumeric())
    };
    product_lines(file)
        .filter(|(_, line)| line.contains("emit_event") || line.contains(" reason: \""))
        .filter_map(|(_, line)| line.split('"').skip(1).step_by(2).find(is_reason))
        .map(|reason| format!("event {reason}"))
        .collect()
}

/// Values of `status.blocked[].reason`, from the macro that defines them.
fn blocked_reasons(text: &str) -> Names {
    let table = text
        .split("\nblocked_reasons! {")
        .nth(1)
        .unwrap_or_default();
    let lines = table.lines().take_while(|line| *line != "}");
    lines
        .filter_map(|line| line.trim().strip_suffix(','))
        .filter(|name| name.chars().all(|c| c.is_ascii_alphanumeric()))
        .map(|name| format!("blocked {name}"))
        .collect()
}

/// Labels and annotations of the operator's objects.
fn labels(text: &str) -> Names {
    let is_label = |literal: &&str| {
        let (domain, name) = literal.split_once('/').unwrap_or_default();
        (domain == "lograft.io" || domain == "app.kubernetes.io") && !name.is_empty()
    };
    let constants = text.lines().filter(|line| line.contains("const "));
    constants
        .flat_map(|line| line.split('"').skip(1).step_by(2))
        .filter(is_label)
        .map(|label| format!("label {label}"))
        .collect()
}

/// Condition types, their statuses and reasons, from the rows of the table.
fn condition_reasons(text: &str) -> Names {
    let row = |line: &str| {
        let mut words = line.split_whitespace();
        let (condition, status) = (words.next()?, words.next()?);
        let (lasting, reason) = (words.next()?, words.next()?);
        let is_row = (status == "true" || status == "false")
            && (lasting == "Transient" || lasting == "Terminal");
        is_row.then(|| format!("condition {condition}={status} {reason}"))
    };
    text.lines().filter_map(row).collect()
}

/// The lines of a file with product code on them, literals included: those of comments and of
/// test modules are blank in `product`.
pub(crate) fn product_lines(file: &Source) -> impl Iterator<Item = (usize, &str)> {
    let product: Vec<&str> = file.product.lines().collect();
    lines(&file.text).filter(move |(at, _)| {
        let code = product.get(at - 1);
        code.is_some_and(|code| !code.trim().is_empty())
    })
}

/// The string literals of a file's product code, without escapes.
fn literals(file: &Source) -> impl Iterator<Item = &str> {
    product_lines(file).flat_map(|(_, line)| line.split('"').skip(1).step_by(2))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(names: &[&str]) -> Names {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn a_renamed_public_field_is_found_in_each_kind() {
        let differ = |before: Names, after: Names| {
            assert!(!before.is_empty() && before != after, "{before:?}");
            differences(&after, &blessed(&before, "")).len()
        };
        let message = |field| {
            proto::names(&format!(
                "package p;\nmessage M {{\n  uint64 {field} = 1;\n}}\n"
            ))
        };
        assert_eq!(differ(message("size"), message("length")), 2);
        let settings = |field| {
            let text =
                format!("#[derive(Deserialize)]\npub struct C {{\n    pub {field}: u8,\n}}\n");
            config::names(&[Source::new("dataplane/src/config.rs", &text)], "C")
        };
        assert_eq!(differ(settings("zone"), settings("area")), 2);
        let field = |name| {
            let yaml = "spec:\n  properties:\n    NAME:\n      type: string\n";
            crd::names(&format!("kind: K\n{}", yaml.replace("NAME", name)))
        };
        assert_eq!(differ(field("zone"), field("area")), 2);
        let metric = |label| {
            let text =
                format!("fn f() {{ gauges(r, \"lograft_x\", \"Help.\", &[\"{label}\"])?; }}");
            metrics::names(&Source::new("dataplane/src/metrics.rs", &text))
        };
        assert_eq!(differ(metric("port"), metric("door")), 2);
        let flag = |name| {
            cli::names(&format!(
                "$ lograft dev -h\n\nOptions:\n  -n, --{name} <N>  How many\n"
            ))
        };
        assert_eq!(differ(flag("nodes"), flag("count")), 2);
        let row =
            |reason| condition_reasons(&format!("    Ready true Transient {reason} \"...\";\n"));
        assert_eq!(differ(row("Serving"), row("Up")), 2);
        let event = |reason| {
            let text = format!("fn f() {{ lane.emit_event(\"{reason}\", text); }}");
            event_reasons(&Source::new("operator/desired/src/a.rs", &text))
        };
        assert_eq!(differ(event("Bootstrapping"), event("Starting")), 2);
        let blocked = |name| {
            blocked_reasons(&format!(
                "\nblocked_reasons! {{\n    /// Text.\n    {name},\n}}\n"
            ))
        };
        assert_eq!(differ(blocked("StepFailed"), blocked("StepLost")), 2);
        let variable = |name| {
            variables(&Source::new(
                "a/src/b.rs",
                &format!("f(\"LOGRAFT_{name}\");"),
            ))
        };
        assert_eq!(differ(variable("ZONE"), variable("AREA")), 2);
    }

    #[test]
    fn a_new_name_is_listed_and_a_lost_one_stays() {
        let list = "a\nb\n";
        assert_eq!(differences(&set(&["a", "b"]), list), []);
        assert_eq!(differences(&set(&["a", "c"]), list).len(), 2);
        assert_eq!(blessed(&set(&["a", "c"]), list), "a\nb\nc\n");
    }
}
