//! What `--help` says is what people and scripts build on: a change shows in review.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use crate::support::World;

const COMMANDS: &[&str] = &[
    "",
    "dev",
    "topic",
    "topic create",
    "topic list",
    "topic describe",
    "topic alter",
    "topic delete",
    "produce",
    "consume",
    "cluster",
    "cluster status",
    "cluster transfer",
    "cluster decommission",
    "cluster recommission",
    "context",
    "context list",
    "context use",
    "context show",
    "context set",
    "context delete",
    "bench",
    "bench produce",
    "bench consume",
    "bench latency",
    "bench soak",
];

/// `LOGRAFT_BLESS=1 cargo test` writes the file anew.
#[test]
fn help_is_as_it_was() {
    let world = World::new();
    let mut found = String::new();
    for command in COMMANDS {
        let mut args: Vec<&str> = command.split_whitespace().collect();
        args.push("-h");
        let title = format!("$ lograft {}", args.join(" "));
        writeln!(found, "{title}\n{}", world.run(&args).ok()).unwrap();
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/golden/help.txt");
    if std::env::var_os("LOGRAFT_BLESS").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, &found).unwrap();
    }
    let expected = fs::read_to_string(&path).unwrap();
    for (found, expected) in found.lines().zip(expected.lines()) {
        assert_eq!(found, expected, "LOGRAFT_BLESS=1 takes the new help over");
    }
    assert_eq!(found.len(), expected.len());
}

#[test]
fn the_exit_codes_stand_in_the_help() {
    let help = World::new().run(&["--help"]).ok();
    for line in ["0    done", "2    wrong usage", "3    not healthy"] {
        assert!(help.contains(line), "{help}");
    }
}
