//! Words of a dialect: rare in the comments of comparable projects, so rare in ours.

use crate::source::{Source, lines, words};
use crate::tree::Finding;

/// A word family and how often comments may use it.
struct Family {
    name: &'static str,
    /// Its forms in lower case.
    forms: &'static [&'static str],
    /// Uses per 10,000 words of comments, at most.
    per_10_000: usize,
}

const FAMILIES: &[Family] = &[
    Family {
        name: "stand",
        forms: &["stand", "stands", "stood", "standing"],
        per_10_000: 5,
    },
    Family {
        name: "tell",
        forms: &["tell", "tells", "told", "telling"],
        per_10_000: 4,
    },
    Family {
        name: "begin",
        forms: &["begin", "begins", "begun", "began", "beginning"],
        per_10_000: 6,
    },
    Family {
        name: "come",
        forms: &["come", "comes", "came"],
        per_10_000: 6,
    },
    Family {
        name: "anew",
        forms: &["anew"],
        per_10_000: 0,
    },
];

/// Sentences that open with "What ..." instead of a noun, per 10,000 words, at most.
const WHAT_OPENINGS_PER_10_000: usize = 5;
const ADVICE: &str = "Write the usual technical word, or a noun that names the subject";

/// Every use of each family that the files' comments use too often.
pub(crate) fn dialect(files: &[Source]) -> Vec<Finding> {
    let comments: Vec<Comment<'_>> = files.iter().flat_map(comments).collect();
    let count = comments.iter().map(|c| c.text.split_whitespace().count());
    let word_count: usize = count.sum();
    let mut found = Vec::new();
    for family in FAMILIES {
        let is_use = |word: &str| family.forms.contains(&word.to_lowercase().as_str());
        let uses = |text: &str| words(text).filter(|word| is_use(word)).count();
        found.extend(above(
            family.name,
            family.per_10_000,
            word_count,
            &comments,
            uses,
        ));
    }
    let bound = WHAT_OPENINGS_PER_10_000;
    found.extend(above(
        "What ...",
        bound,
        word_count,
        &comments,
        what_openings,
    ));
    found
}

/// A comment line.
struct Comment<'a> {
    file: &'a Source,
    line: usize,
    text: &'a str,
}

fn comments(file: &Source) -> Vec<Comment<'_>> {
    let commented = lines(&file.text).filter_map(|(line, text)| {
        let text = text.trim_start().strip_prefix("//")?;
        let text = text.trim_start_matches(['/', '!']).trim_start();
        Some(Comment { file, line, text })
    });
    commented.collect()
}

fn what_openings(text: &str) -> usize {
    usize::from(text.starts_with("What ")) + text.matches(". What ").count()
}

fn above(
    name: &str,
    per_10_000: usize,
    word_count: usize,
    comments: &[Comment<'_>],
    uses: impl Fn(&str) -> usize,
) -> Vec<Finding> {
    let total: usize = comments.iter().map(|c| uses(c.text)).sum();
    if total * 10_000 <= per_10_000 * word_count {
        return Vec::new();
    }
    let what = format!("{name:?} {total} times in {word_count} words, {per_10_000} per 10,000");
    comments
        .iter()
        .filter(|c| uses(c.text) > 0)
        .map(|c| c.file.finding(c.line, what.clone(), ADVICE))
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The findings in a comment of 10,000 words and these.
    fn found(comment: &str) -> usize {
        let filler = format!("// {}\n", "word ".repeat(100)).repeat(100);
        let text = format!("{filler}{comment}\nfn stand() {{ let told = \"What stands\"; }}");
        dialect(&[Source::new("x/src/a.rs", &text)]).len()
    }

    #[test]
    fn each_family_is_found_above_its_bound() {
        for family in FAMILIES {
            let line = format!("/// {}\n", family.forms[0]);
            assert_eq!(found(&line.repeat(family.per_10_000)), 0, "{}", family.name);
            let count = family.per_10_000 + 1;
            assert_eq!(found(&line.repeat(count)), count, "{}", family.name);
        }
    }

    #[test]
    fn what_openings_are_found() {
        assert_eq!(found(&"// What it holds.\n".repeat(5)), 0);
        assert_eq!(found(&"// It is. What it holds.\n".repeat(6)), 6);
        assert_eq!(found(&"// It is what it holds.\n".repeat(6)), 0);
    }
}
