//! The commands that manage contexts.

use crate::support::TestHome;

fn set(home: &TestHome, name: &str, endpoint: &str) -> String {
    let args = [
        "context",
        "set",
        name,
        "--endpoint",
        endpoint,
        "--ca",
        "ca",
        "--cert",
        "c",
        "--key",
        "k",
    ];
    home.run(&args).ok()
}

#[test]
fn the_first_context_is_the_current_one_until_another_is_selected() {
    let home = TestHome::new();
    assert_eq!(
        set(&home, "prod", "a:9400"),
        "context prod set as the current context\n"
    );
    assert_eq!(set(&home, "test", "b:9400"), "context test set\n");
    let list = home.run(&["context", "list"]).ok();
    assert_eq!(
        list,
        "   NAME  ENDPOINTS\n*  prod  a:9400\n   test  b:9400\n"
    );
    home.run(&["context", "use", "test"]).ok();
    let shown = home.run(&["context", "show"]).ok();
    assert!(
        shown.starts_with("name: test\nendpoints:\n- b:9400\n"),
        "{shown}"
    );
}

#[test]
fn paths_are_stored_as_absolute() {
    let home = TestHome::new();
    set(&home, "prod", "a:9400");
    let shown = home.run(&["context", "show", "prod"]).ok();
    let ca = home
        .path("ca")
        .canonicalize()
        .unwrap_or_else(|_| home.path("ca"));
    assert!(shown.contains(&format!("ca: {}", ca.display())), "{shown}");
}

#[test]
fn a_missing_context_is_reported_with_the_existing_ones() {
    let home = TestHome::new();
    set(&home, "prod", "a:9400");
    let line = home.run(&["context", "use", "nope"]).failed(3);
    assert!(
        line.contains("context nope not found") && line.contains("(it has: prod)"),
        "{line}"
    );
    let line = home.run(&["--context", "nope", "topic", "list"]).failed(3);
    assert!(line.contains("context nope not found"), "{line}");
}

#[test]
fn a_deleted_context_is_no_longer_the_current_one() {
    let home = TestHome::new();
    set(&home, "prod", "a:9400");
    home.run(&["context", "delete", "prod"]).ok();
    let line = home.run(&["topic", "list"]).failed(3);
    assert!(
        line.contains("no current context") && line.contains("`lograft dev`"),
        "{line}"
    );
}
