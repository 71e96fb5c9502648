//! Golden test of `--help`, so that every change of it is reviewed.

use std::fmt::Write as _;
use std::fs;
use std::path::Path;

use crate::support::TestHome;

const COMMANDS: &[&str] = &[
    "",
    "dev",
    "topic",
    "topic create",
    "topic list",
    "topic describe",
    "topic alter",
    "topic delete-records",
    "topic delete",
    "produce",
    "consume",
    "group",
    "group list",
    "group describe",
    "group reset",
    "group delete",
    "cluster",
    "cluster status",
    "cluster dump",
    "cluster transfer",
    "cluster decommission",
    "cluster recommission",
    "replica",
    "replica export",
    "acl",
    "acl list",
    "acl add",
    "acl remove",
    "acl explain",
    "acl export",
    "acl import",
    "acl revoke",
    "acl restore",
    "acl revocations",
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
    "completion",
];

/// `LOGRAFT_BLESS=1 cargo test` updates the golden file.
#[test]
fn help_matches_the_golden_file() {
    let home = TestHome::new();
    let mut found = String::new();
    for command in COMMANDS {
        let mut args: Vec<&str> = command.split_whitespace().collect();
        args.push("-h");
        let title = format!("$ lograft {}", args.join(" "));
        writeln!(found, "{title}\n{}", home.run(&args).ok()).unwrap();
    }
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/it/golden/help.txt");
    if std::env::var_os("LOGRAFT_BLESS").is_some() {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, &found).unwrap();
    }
    let expected = fs::read_to_string(&path).unwrap();
    for (found, expected) in found.lines().zip(expected.lines()) {
        assert_eq!(found, expected, "LOGRAFT_BLESS=1 updates the golden file");
    }
    assert_eq!(found.len(), expected.len());
}

#[test]
fn help_lists_the_exit_codes() {
    let help = TestHome::new().run(&["--help"]).ok();
    for line in [
        "0    success",
        "2    invalid usage",
        "3    cluster not healthy",
    ] {
        assert!(help.contains(line), "{help}");
    }
}
