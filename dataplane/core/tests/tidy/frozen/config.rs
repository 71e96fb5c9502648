//! Keys of the node's configuration: the fields of the structs that are read from it.

use std::collections::BTreeMap;

use super::Names;
use crate::source::Source;

/// A field's key and type.
type Field = (String, String);

/// The keys below the struct named `root`, with dots for nesting.
pub(crate) fn names(files: &[Source], root: &str) -> Names {
    let in_config = |file: &&Source| file.is_in("dataplane/src/config") && !file.is_test();
    let mut structs = BTreeMap::new();
    for file in files.iter().filter(in_config) {
        structs.extend(read_structs(file));
    }
    let mut names = Names::new();
    walk(&structs, root, "", &mut names);
    names
}

fn walk(structs: &BTreeMap<String, Vec<Field>>, name: &str, prefix: &str, names: &mut Names) {
    for (key, kind) in structs.get(name).into_iter().flatten() {
        if structs.contains_key(kind) {
            walk(structs, kind, &format!("{prefix}{key}."), names);
        } else {
            names.insert(format!("config {prefix}{key}: {kind}"));
        }
    }
}

/// Structs that derive `Deserialize`, with their fields that are not skipped.
fn read_structs(file: &Source) -> BTreeMap<String, Vec<Field>> {
    let mut structs = BTreeMap::new();
    let mut is_read = false;
    let mut is_skipped = false;
    let mut current: Option<(String, Vec<Field>)> = None;
    for line in file.product.lines().map(str::trim) {
        if let Some((_, fields)) = &mut current {
            if line == "}" {
                structs.extend(current.take());
            } else if line.starts_with("#[serde(skip)]") {
                is_skipped = true;
            } else if let Some(field) = field(line)
                && !std::mem::take(&mut is_skipped)
            {
                fields.push(field);
            }
        } else if line.starts_with("#[derive(") {
            is_read = line.contains("Deserialize");
        } else if let Some((_, name)) = line.split_once("struct ") {
            let name = name.trim_end_matches(['{', ' ']).to_owned();
            current = (is_read && line.ends_with('{')).then(|| (name, Vec::new()));
        }
    }
    structs
}

fn field(line: &str) -> Option<Field> {
    let line = line.strip_suffix(',')?;
    let (key, kind) = line.split_once(": ")?;
    let key = key.rsplit(' ').next()?;
    Some((key.to_owned(), kind.to_owned()))
}

#[test]
fn nested_keys_are_named() {
    let text = "
#[derive(Clone, Deserialize)]
pub struct C {
    /// Not a key: at all,
    pub tls: T,
    #[serde(skip)]
    pub file: PathBuf,
}
#[derive(Deserialize)]
struct T {
    #[serde(skip_serializing_if = \"Option::is_none\")]
    pub(crate) ca: PathBuf,
}
#[derive(Clone)]
struct Other {
    x: u8,
}
";
    let found: Vec<String> = names(&[Source::new("dataplane/src/config.rs", text)], "C")
        .into_iter()
        .collect();
    assert_eq!(found, ["config tls.ca: PathBuf"]);
}
