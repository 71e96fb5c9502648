//! The protos are the public documentation of the API.

use crate::source::lines;
use crate::tree::Finding;

/// Every type, field, enum value and call has a comment; in the protocol between nodes, every type
/// and call.
pub(crate) fn commented(path: &str, text: &str) -> Vec<Finding> {
    let mut found = Vec::new();
    let is_public = !path.contains("/raft/");
    let mut has_comment = false;
    for (at, line) in lines(text) {
        let line = line.trim();
        if line.starts_with("//") {
            has_comment = true;
            continue;
        }
        if let Some(name) = declared(line)
            && (is_public || !line.contains('='))
            && !has_comment
            && !line.contains("//")
        {
            let what = format!("{name} has no comment");
            let advice = "Say above it what it holds: unit, bounds, when it is absent";
            found.push(Finding {
                path: path.to_owned(),
                line: at,
                what,
                advice,
            });
        }
        has_comment = false;
    }
    found
}

/// The name that a line declares, if it declares one that needs words.
fn declared(line: &str) -> Option<&str> {
    let mut words = line.split_whitespace();
    let first = words.next()?;
    if [
        "syntax", "package", "import", "option", "reserved", "}", "oneof",
    ]
    .contains(&first)
    {
        return None;
    }
    if ["message", "enum", "service", "rpc"].contains(&first) {
        return words.next();
    }
    let (left, right) = line.split_once('=')?;
    let number = right.trim_start().chars().next()?;
    let name = left.split_whitespace().last().unwrap_or(left);
    (number.is_ascii_digit() && !name.ends_with("_UNSPECIFIED")).then_some(name)
}

#[test]
fn fields_without_comment_are_found() {
    let text = "\
syntax = \"proto3\";
// A thing.
message Thing {
  // Its size, bytes.
  uint64 size = 1;
  string name = 2;
  oneof of { }
}
enum Colour {
  COLOUR_RED = 0; // red
}
";
    let found = commented("a.proto", text);
    let names: Vec<&str> = found
        .iter()
        .map(|f| f.what.split(' ').next().unwrap())
        .collect();
    assert_eq!(names, ["name", "Colour"]);
    assert_eq!(commented("proto/lograft/raft/v1/raft.proto", text).len(), 1);
}
