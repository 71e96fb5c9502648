//! The lines for `curl` that the README and `lograft dev` print.

use std::process::Command;

use crate::support::{DevProcess, TestHome};

const README: &str = include_str!("../../../../README.md");

/// The commands of the README that use HTTP.
fn block() -> &'static str {
    let mut blocks = README.split("```");
    blocks
        .find(|block| block.contains("alias lcurl"))
        .unwrap()
        .trim_start_matches("sh\n")
}

fn has_curl() -> bool {
    let version = Command::new("curl").arg("--version").output();
    version.is_ok_and(|output| output.status.success())
}

#[test]
fn the_printed_requests_work_as_they_are() {
    if !has_curl() {
        return;
    }
    let home = TestHome::new();
    let mut dev = DevProcess::spawn_as(&home, &["--base-port", "0", "--nodes", "1"]);
    dev.wait_for("Ctrl-C stops all nodes");
    let printed = dev.output.iter().find(|line| line.contains("curl "));
    let printed = printed.unwrap().trim().to_owned();
    let (_, url) = printed.split_once("https://127.0.0.1:").unwrap();
    let port = url.split('/').next().unwrap();
    for topic in ["demo", "clicks"] {
        home.run(&["topic", "create", topic, "-p", "3"]).ok();
    }
    let output = home.shell(&printed);
    assert!(output.status.success(), "{printed}: {output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    assert!(text.starts_with("{\"records\":[]"), "{text}");

    let script = format!("set -e\n{}", block().replace("9402", port));
    let output = home.shell(&script);
    assert!(output.status.success(), "{script}: {output:?}");
    let text = String::from_utf8(output.stdout).unwrap();
    for part in [
        "\"durability\":\"MAJORITY_FSYNC\"",
        "event: open",
        r#"{"text":"{\"n\": 1}"}"#,
    ] {
        assert!(text.contains(part), "{part} is not in {text}");
    }
    dev.stop();
}
