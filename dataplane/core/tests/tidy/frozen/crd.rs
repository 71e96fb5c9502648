//! Fields, their types and values of a generated CRD.

use super::Names;

/// The names of one YAML file.
pub(crate) fn names(yaml: &str) -> Names {
    let kind = yaml
        .lines()
        .filter_map(|line| line.trim().strip_prefix("kind: "))
        .rfind(|kind| *kind != "CustomResourceDefinition")
        .unwrap_or_default();
    let mut names = Names::new();
    // Keys from the root to the current line, with their indentation.
    let mut keys: Vec<(usize, &str)> = Vec::new();
    let mut block_indent = None;
    for line in yaml.lines().filter(|line| !line.trim().is_empty()) {
        let text = line.trim_start();
        let indent = line.len() - text.len();
        if block_indent.is_some_and(|block| indent > block) {
            continue;
        }
        block_indent = None;
        if let Some(value) = text.strip_prefix("- ") {
            // Values of an enum are indented like their key.
            keys.retain(|(at, _)| *at <= indent);
            if keys.last().is_some_and(|(_, key)| *key == "enum") {
                names.extend(field(&keys).map(|path| format!("crd {kind} {path} = {value}")));
            }
            continue;
        }
        let Some((key, value)) = text.split_once(':') else {
            continue;
        };
        keys.retain(|(at, _)| *at < indent);
        keys.push((indent, key));
        if value.trim().starts_with(['|', '>']) {
            block_indent = Some(indent);
        }
        if key == "type" && !value.trim().is_empty() {
            names.extend(field(&keys).map(|path| format!("crd {kind} {path}:{value}")));
        }
    }
    names
}

/// The path of the field that a key of its schema belongs to.
fn field(keys: &[(usize, &str)]) -> Option<String> {
    let mut parts: Vec<String> = Vec::new();
    let mut schema = keys.iter().map(|(_, key)| *key);
    while let Some(key) = schema.next() {
        match key {
            "properties" => parts.push(schema.next()?.to_owned()),
            "items" => parts.last_mut()?.push_str("[]"),
            "additionalProperties" => parts.last_mut()?.push_str("{}"),
            _ => {}
        }
    }
    (!parts.is_empty()).then(|| parts.join("."))
}

#[test]
fn nested_fields_and_values_are_named() {
    let yaml = "\
kind: CustomResourceDefinition
spec:
  names:
    kind: K
  schema:
    properties:
      spec:
        description: |-
          Text with a colon:
            type: no
        properties:
          type:
            enum:
            - a
            - b
            type: string
          list:
            items:
              type: integer
            type: array
        type: object
";
    let found: Vec<String> = names(yaml).into_iter().collect();
    let expected = [
        "crd K spec.list: array",
        "crd K spec.list[]: integer",
        "crd K spec.type = a",
        "crd K spec.type = b",
        "crd K spec.type: string",
        "crd K spec: object",
    ];
    assert_eq!(found, expected);
}
