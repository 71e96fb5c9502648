//! `lograft topic delete-records` on a real cluster.

use crate::support::{DevProcess, TestHome};

const DELETE: [&str; 4] = ["topic", "delete-records", "clicks", "--before"];

fn delete(home: &TestHome, before: &str, more: &[&str]) -> crate::support::Finished {
    home.run(&[&DELETE[..], &[before], more].concat())
}

fn consumed(home: &TestHome) -> String {
    home.run(&["consume", "clicks", "--quiet"]).ok()
}

#[test]
fn records_are_deleted_only_with_yes() {
    let home = TestHome::new();
    let dev = DevProcess::start(&home, &["--base-port", "0"]);
    home.run(&["topic", "create", "clicks", "--partitions", "1"])
        .ok();
    home.run(&["topic", "create", "two", "--partitions", "2"])
        .ok();
    home.feed(&["produce", "clicks"], b"a\nb\nc\nd\n").ok();

    let shown = delete(&home, "3", &[]);
    assert_eq!(shown.code, Some(1), "{}", shown.stderr);
    assert_eq!(
        String::from_utf8(shown.stdout).unwrap(),
        "clicks/0: would delete 3 records, the first one left at offset 3\n"
    );
    assert!(shown.stderr.contains("--yes"), "{}", shown.stderr);
    assert_eq!(consumed(&home), "a\nb\nc\nd\n");

    let done = delete(&home, "3", &["--yes"]).ok();
    assert_eq!(done, "clicks/0: deleted 3 records, log start offset 3\n");
    assert_eq!(consumed(&home), "d\n");
    // All records are younger than a day.
    let done = delete(&home, "1d", &["--partition", "0", "--yes"]).ok();
    assert_eq!(done, "clicks/0: deleted 0 records, log start offset 3\n");
    let done = delete(&home, "now", &["--yes"]).ok();
    assert_eq!(done, "clicks/0: deleted 1 record, log start offset 4\n");
    assert_eq!(consumed(&home), "");

    let refused = delete(&home, "5", &["--yes"]).failed(1);
    assert!(
        refused.contains("--before must be at most 4, the end of clicks/0, got 5"),
        "{refused}"
    );
    let missing = delete(&home, "now", &["--partition", "1", "--yes"]);
    missing.failed(3);
    let several = ["topic", "delete-records", "two", "--before", "0", "--yes"];
    let refused = home.run(&several).failed(1);
    assert!(refused.contains("add --partition"), "{refused}");
    dev.stop();
}
