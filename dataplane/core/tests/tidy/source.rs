//! A Rust file as the rules see it: comments and literals blanked, test modules known.

use crate::tree::Finding;

/// A Rust file.
pub(crate) struct Source {
    /// Path from the repository's root.
    pub(crate) path: String,
    /// The file content.
    pub(crate) text: String,
    /// The text with comments, strings and characters blanked; lines and columns are kept.
    pub(crate) code: String,
    /// `code` with `#[cfg(test)]` modules blanked too.
    pub(crate) product: String,
}

impl Source {
    /// Reads `text` as the file at `path`.
    pub(crate) fn new(path: &str, text: &str) -> Self {
        let code = mask(text);
        let product = without_tests(&code);
        Self {
            path: path.to_owned(),
            text: text.to_owned(),
            code,
            product,
        }
    }

    /// Whether the file is test code, an example or a benchmark as a whole.
    pub(crate) fn is_test(&self) -> bool {
        let part = |name| self.path.contains(name);
        part("/tests/")
            || part("/examples/")
            || part("/bench/")
            || part("/benches/")
            || self.path.ends_with("/tests.rs")
            || self.path.ends_with("_tests.rs")
    }

    /// Whether the file belongs to this folder.
    pub(crate) fn is_in(&self, folder: &str) -> bool {
        self.path.starts_with(folder)
    }

    /// A finding of this file.
    pub(crate) fn finding(&self, line: usize, what: String, advice: &'static str) -> Finding {
        Finding {
            path: self.path.clone(),
            line,
            what,
            advice,
        }
    }
}

/// Line number, from 1, and text of each line.
pub(crate) fn lines(text: &str) -> impl Iterator<Item = (usize, &str)> {
    text.lines().enumerate().map(|(at, line)| (at + 1, line))
}

/// The words of code that are identifiers.
pub(crate) fn words(line: &str) -> impl Iterator<Item = &str> {
    line.split(|c: char| !c.is_alphanumeric() && c != '_')
        .filter(|w| !w.is_empty())
}

/// Blanks comments and literals; newlines stay.
fn mask(text: &str) -> String {
    let chars: Vec<char> = text.chars().collect();
    let mut out: Vec<char> = Vec::with_capacity(chars.len());
    let mut at = 0;
    while at < chars.len() {
        let end = blank_end(&chars, at);
        if end > at {
            out.extend(
                chars[at..end]
                    .iter()
                    .map(|&c| if c == '\n' { c } else { ' ' }),
            );
            at = end;
        } else {
            out.push(chars[at]);
            at += 1;
        }
    }
    out.into_iter().collect()
}

/// End of the comment or literal that starts at `at`; `at` itself if none starts there.
fn blank_end(chars: &[char], at: usize) -> usize {
    let next = |n: usize| chars.get(at + n).copied().unwrap_or('\0');
    let in_word = at > 0 && (chars[at - 1].is_alphanumeric() || chars[at - 1] == '_');
    match chars[at] {
        '/' if next(1) == '/' => find(chars, at, |c| c == '\n'),
        '/' if next(1) == '*' => block_comment_end(chars, at),
        '"' => string_end(chars, at + 1),
        'b' | 'c' if !in_word && next(1) == '"' => string_end(chars, at + 2),
        'r' if !in_word => raw_end(chars, at + 1).unwrap_or(at),
        'b' | 'c' if !in_word && next(1) == 'r' => raw_end(chars, at + 2).unwrap_or(at),
        '\'' => char_end(chars, at),
        _ => at,
    }
}

fn find(chars: &[char], from: usize, hit: impl Fn(char) -> bool) -> usize {
    (from..chars.len())
        .find(|&i| hit(chars[i]))
        .unwrap_or(chars.len())
}

fn block_comment_end(chars: &[char], at: usize) -> usize {
    let mut depth = 0;
    let mut i = at;
    while i + 1 < chars.len() {
        match (chars[i], chars[i + 1]) {
            ('/', '*') => depth += 1,
            ('*', '/') => depth -= 1,
            _ => {
                i += 1;
                continue;
            }
        }
        i += 2;
        if depth == 0 {
            return i;
        }
    }
    chars.len()
}

fn string_end(chars: &[char], mut i: usize) -> usize {
    while i < chars.len() && chars[i] != '"' {
        i += if chars[i] == '\\' { 2 } else { 1 };
    }
    (i + 1).min(chars.len())
}

/// The end of a raw string whose `#`s or quote start at `i`.
fn raw_end(chars: &[char], i: usize) -> Option<usize> {
    let quote = find(chars, i, |c| c != '#');
    if chars.get(quote) != Some(&'"') {
        return None;
    }
    let hashes = quote - i;
    let closes = |at: usize| {
        chars[at] == '"'
            && chars
                .get(at + 1..at + 1 + hashes)
                .is_some_and(|s| s.iter().all(|&c| c == '#'))
    };
    let close = (quote + 1..chars.len()).find(|&at| closes(at))?;
    Some(close + 1 + hashes)
}

/// The end of a character literal, or `at` if it is a lifetime.
fn char_end(chars: &[char], at: usize) -> usize {
    match (chars.get(at + 1), chars.get(at + 2)) {
        (Some('\\'), Some(_)) => (find(chars, at + 3, |c| c == '\'') + 1).min(chars.len()),
        (Some(_), Some('\'')) => at + 3,
        _ => at,
    }
}

/// Blanks each inline module that follows `#[cfg(test)]`.
fn without_tests(code: &str) -> String {
    let mut out = code.to_owned();
    while let Some(start) = out.find("#[cfg(test)]") {
        let end = item_end(&out, start);
        let blank: String = out[start..end]
            .chars()
            .map(|c| if c == '\n' { c } else { ' ' })
            .collect();
        out.replace_range(start..end, &blank);
    }
    out
}

/// The end of the item at `start`: its closing brace, or the semicolon before any brace.
fn item_end(code: &str, start: usize) -> usize {
    let mut depth = 0;
    for (at, c) in code[start..].char_indices() {
        match c {
            '{' => depth += 1,
            '}' => {
                depth -= 1;
                if depth == 0 {
                    return start + at + 1;
                }
            }
            ';' if depth == 0 => return start + at + 1,
            _ => {}
        }
    }
    code.len()
}

#[test]
fn comments_and_literals_are_blanked() {
    let text =
        "let a = \"x // y\"; // z\nlet b = 'q'; let c: &'a str = r#\"\"w\"#; /* v /* u */ t */ s";
    let code = mask(text);
    assert_eq!(code.chars().count(), text.chars().count());
    let left: Vec<&str> = words(&code).collect();
    assert_eq!(left, ["let", "a", "let", "b", "let", "c", "a", "str", "s"]);
}

#[test]
fn escaped_quotes_do_not_end_a_string() {
    assert_eq!(
        words(&mask(r#"f("a\"b", '\'', b'"', g)"#)).collect::<Vec<_>>(),
        ["f", "b", "g"]
    );
}

#[test]
fn test_modules_are_not_product() {
    let source = Source::new(
        "a.rs",
        "fn a() {}\n#[cfg(test)]\nmod tests { fn b() { {} } }\nfn c() {}",
    );
    let left: Vec<&str> = words(&source.product).collect();
    assert_eq!(left, ["fn", "a", "fn", "c"]);
    assert!(source.code.contains("fn b"));
}
