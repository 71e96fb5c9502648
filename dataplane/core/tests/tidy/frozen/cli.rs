//! Commands, flags and arguments of the CLI, from its golden help.

use super::Names;

/// The names in the help of all commands.
pub(crate) fn names(help: &str) -> Names {
    let mut names = Names::new();
    let mut command = "";
    for line in help.lines() {
        if let Some(title) = line.strip_prefix("$ ") {
            command = title.trim_end_matches("-h").trim_end();
            names.insert(format!("cli {command}"));
            continue;
        }
        // Descriptions that are wrapped are indented further.
        let text = line.trim_start();
        if line.len() - text.len() > 6 {
            continue;
        }
        let head = text.split("  ").next().unwrap_or_default();
        if head.starts_with(['-', '<']) || head.starts_with("[<") {
            names.insert(format!("cli {command} {head}"));
        }
    }
    names
}

#[test]
fn commands_flags_and_arguments_are_named() {
    let help = "\
$ lograft topic create -h
Create a topic

Arguments:
  <NAME>  The topic

Options:
  -p, --partitions <N>  How many, or
                        --more of it
      --wait            Wait
";
    let found: Vec<String> = names(help).into_iter().collect();
    let expected = [
        "cli lograft topic create",
        "cli lograft topic create --wait",
        "cli lograft topic create -p, --partitions <N>",
        "cli lograft topic create <NAME>",
    ];
    assert_eq!(found, expected);
}
