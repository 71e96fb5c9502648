//! The table of mutants: safety lines, each with a change that breaks it.

/// A change of one line, and the tests that must notice it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Mutant {
    /// Line of the table, from 1.
    pub(crate) table_line: usize,
    /// Path from the repository's root.
    pub(crate) file: String,
    /// A part of exactly one line of the file.
    pub(crate) line: String,
    /// Its replacement.
    pub(crate) with: String,
    /// The package of the tests.
    pub(crate) package: String,
    /// Filters of the tests; all tests of the package if there are none.
    pub(crate) filters: Vec<String>,
}

/// Reads the table. Fails with a sentence that names the line.
pub(crate) fn parse(table: &str) -> Result<Vec<Mutant>, String> {
    let mut mutants = Vec::new();
    let mut fields: Vec<&str> = Vec::new();
    for (number, text) in (1..).zip(table.lines()) {
        if text.is_empty() || text.starts_with('#') {
            if !fields.is_empty() {
                return Err(format!("line {number}: the mutant above it has no test"));
            }
            continue;
        }
        let expected = ["file", "line", "with", "test"][fields.len()];
        let value = text
            .strip_prefix(expected)
            .and_then(|rest| rest.strip_prefix(": "))
            .ok_or_else(|| {
                format!("line {number}: must start with `{expected}: `, got {text:?}")
            })?;
        fields.push(value);
        if let [file, line, with, test] = *fields {
            let mut words = test.split_whitespace().map(str::to_owned);
            let package = words.next().unwrap_or_default();
            mutants.push(Mutant {
                table_line: number - 3,
                file: file.to_owned(),
                line: line.to_owned(),
                with: with.to_owned(),
                package,
                filters: words.collect(),
            });
            fields.clear();
        }
    }
    Ok(mutants)
}

impl Mutant {
    /// The file's text with the change. Fails unless exactly one place of the text has the line.
    pub(crate) fn apply(&self, text: &str) -> Result<String, String> {
        match text.matches(&self.line).count() {
            1 => Ok(text.replacen(&self.line, &self.with, 1)),
            count => Err(format!("{count} places have {:?}, must be 1", self.line)),
        }
    }
}
