//! Packages, messages, fields with numbers and types, enum values and calls of a `.proto` file.

use super::Names;

/// The names of one file.
pub(crate) fn names(text: &str) -> Names {
    let mut names = Names::new();
    let mut package = String::new();
    let mut scopes: Vec<String> = Vec::new();
    for statement in statements(text) {
        let words: Vec<&str> = statement.split_whitespace().collect();
        let path = |name: &str| {
            let scopes = scopes.iter().filter(|scope| !scope.is_empty());
            let parts: Vec<&str> = scopes.map(String::as_str).chain([name]).collect();
            format!("proto {package}.{}", parts.join("."))
        };
        match words.as_slice() {
            ["syntax" | "option", ..] => {}
            ["package", name] => (*name).clone_into(&mut package),
            ["message" | "enum" | "service", name, "{"] => {
                names.insert(path(name));
                scopes.push((*name).to_owned());
            }
            // The fields of a oneof belong to its message; it has no name on the wire.
            ["oneof", _, "{"] => scopes.push(String::new()),
            ["rpc", call @ ..] => {
                names.insert(path(&call.join(" ").replace(" {", "")));
                if words.last() == Some(&"{") {
                    scopes.push(String::new());
                }
            }
            ["}"] => drop(scopes.pop()),
            [kind @ .., name, "=", number] => {
                let field = format!("{} = {number} {}", path(name), kind.join(" "));
                names.insert(field.trim_end().to_owned());
            }
            _ => {}
        }
    }
    names
}

/// Statements without comments and options, each opening and closing brace at the end of one.
fn statements(text: &str) -> Vec<String> {
    let without_comments = text
        .lines()
        .map(|line| line.split("//").next().unwrap_or(""));
    let mut found = Vec::new();
    let mut open = String::new();
    let mut in_options = false;
    for c in without_comments.collect::<Vec<_>>().join("\n").chars() {
        match c {
            '[' => in_options = true,
            ']' => in_options = false,
            _ if in_options => {}
            ';' => found.push(std::mem::take(&mut open)),
            '{' => found.push(std::mem::take(&mut open) + " {"),
            '}' => found.push("}".to_owned()),
            c => open.push(c),
        }
    }
    found
}

#[test]
fn fields_calls_and_values_are_named() {
    let text = "\
syntax = \"proto3\";
package p.v1;
// Not this = 9;
service S { rpc Call(stream In) returns (Out); }
message In { // x
  oneof at { uint64 offset = 1; bool latest = 2 [deprecated = true]; }
  repeated Out parts = 3;
  enum Kind { KIND_A = 0; }
}
";
    let found: Vec<String> = names(text).into_iter().collect();
    let expected = [
        "proto p.v1.In",
        "proto p.v1.In.Kind",
        "proto p.v1.In.Kind.KIND_A = 0",
        "proto p.v1.In.latest = 2 bool",
        "proto p.v1.In.offset = 1 uint64",
        "proto p.v1.In.parts = 3 repeated Out",
        "proto p.v1.S",
        "proto p.v1.S.Call(stream In) returns (Out)",
    ];
    assert_eq!(found, expected);
}
