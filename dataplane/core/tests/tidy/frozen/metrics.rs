//! Metric names and their labels, from the calls that register them.

use super::{Names, product_lines};
use crate::source::Source;

/// The metrics that a file of the node or the operator registers.
pub(crate) fn names(file: &Source) -> Names {
    let registers = file.path.ends_with("/metrics.rs") || file.path.contains("/metrics/");
    if file.is_test() || !registers {
        return Names::new();
    }
    let text: Vec<&str> = product_lines(file).map(|(_, line)| line).collect();
    let text = text.join("\n");
    let mut names = Names::new();
    for (at, _) in text.match_indices("\"lograft_") {
        let call = text[at..].split("?;").next().unwrap_or_default();
        let call = call.split(")?").next().unwrap_or_default();
        let literals: Vec<&str> = call.split('"').skip(1).step_by(2).collect();
        let Some((name, rest)) = literals.split_first() else {
            continue;
        };
        let mut labels: Vec<&str> = rest.iter().copied().filter(|l| is_label(l)).collect();
        // `at` is the pair of labels that names a partition.
        if call.trim_end().trim_end_matches(',').ends_with(" at") {
            labels.extend(["topic", "partition"]);
        }
        names.insert(format!("metric {name}{{{}}}", labels.join(",")));
    }
    names
}

fn is_label(literal: &str) -> bool {
    !literal.is_empty() && literal.chars().all(|c| c.is_ascii_lowercase() || c == '_')
}

#[test]
fn names_and_labels_are_read() {
    let text = r#"
a: gauges(r, "lograft_a", "Open ones.", &["port"])?,
b: counters(
    r,
    "lograft_b_total",
    "Some.",
    "result",
)?,
c: gauges(r, "lograft_c", "A term.", at)?,
d: gauge(r, "lograft_d", "Free.")?,
"#;
    let found: Vec<String> = names(&Source::new("x/src/metrics.rs", text))
        .into_iter()
        .collect();
    let expected = [
        "metric lograft_a{port}",
        "metric lograft_b_total{result}",
        "metric lograft_c{topic,partition}",
        "metric lograft_d{}",
    ];
    assert_eq!(found, expected);
}
