//! Mutants still apply: each line that `just mutants` breaks exists exactly once. A line that has
//! moved or changed would otherwise leave the list without a word.

use crate::mutant_table::{Mutant, parse};
use crate::tree::Finding;

/// Where the table is.
pub(crate) const TABLE: &str = "dataplane/core/tests/mutants/table.txt";

/// Mutants that do not apply. `read` gives the text of a file, if it exists.
pub(crate) fn stale(table: &str, read: impl Fn(&str) -> Option<String>) -> Vec<Finding> {
    let finding = |line, what| Finding {
        path: TABLE.to_owned(),
        line,
        what,
        advice: "Change the entry to the line as it is now, or remove it with the safety line",
    };
    let mutants = match parse(table) {
        Ok(mutants) => mutants,
        Err(what) => return vec![finding(0, what)],
    };
    let fault = |mutant: &Mutant| match read(&mutant.file) {
        None => Some(format!("{} not found", mutant.file)),
        Some(_) if mutant.line == mutant.with => Some("the line is not changed".to_owned()),
        Some(text) => mutant.apply(&text).err(),
    };
    mutants
        .iter()
        .filter_map(|mutant| Some(finding(mutant.table_line, fault(mutant)?)))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(table: &str) -> Vec<String> {
        let read = |path: &str| (path == "a.rs").then(|| "x < y\nz\nz\n".to_owned());
        let found = stale(table, read);
        found.into_iter().map(|finding| finding.what).collect()
    }

    #[test]
    fn a_line_that_is_gone_or_ambiguous_is_found() {
        let mutant = |file: &str, line: &str| {
            format!("# why\nfile: {file}\nline: {line}\nwith: true\ntest: lograft-core a b\n")
        };
        assert_eq!(check(&mutant("a.rs", "x < y")), [""; 0]);
        assert_eq!(check(&mutant("a.rs", "x > y")).len(), 1);
        assert_eq!(
            check(&mutant("a.rs", "z")),
            ["2 places have \"z\", must be 1"]
        );
        assert_eq!(check(&mutant("b.rs", "x < y")), ["b.rs not found"]);
        assert_eq!(check(&mutant("a.rs", "true")).len(), 1);
        assert_eq!(check("file: a.rs\nwith: true\n").len(), 1);
        assert_eq!(check("file: a.rs\n\n").len(), 1);
    }
}
