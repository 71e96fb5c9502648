//! The lines for `curl` that the README and `lograft dev` print.

use std::io::{BufRead as _, BufReader};
use std::process::{Command, Stdio};
use std::sync::mpsc::{self, Receiver, RecvTimeoutError};
use std::time::Duration;

use crate::support::{DevProcess, TestHome};

const README: &str = include_str!("../../../../README.md");
const HTTP: &str = include_str!("../../../docs/http.md");

/// The commands of the README that use HTTP.
fn block() -> &'static str {
    let mut blocks = README.split("```");
    blocks
        .find(|block| block.contains("alias lcurl"))
        .unwrap()
        .trim_start_matches("sh\n")
}

/// The loop of polls in http.md.
fn poll_loop() -> &'static str {
    let mut blocks = HTTP.split("```");
    blocks
        .find(|block| block.starts_with("sh\n") && block.contains("/poll"))
        .unwrap()
        .trim_start_matches("sh\n")
}

fn has(program: &str) -> bool {
    let version = Command::new(program).arg("--version").output();
    version.is_ok_and(|output| output.status.success())
}

#[test]
fn the_printed_requests_work_as_they_are() {
    if !has("curl") {
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

/// The lines of a script, as they are printed.
fn lines_of(mut script: Command) -> Receiver<String> {
    let mut running = script.stdout(Stdio::piped()).spawn().unwrap();
    let output = BufReader::new(running.stdout.take().unwrap());
    let (to, lines) = mpsc::channel();
    std::thread::spawn(move || {
        for line in output.lines().map_while(Result::ok) {
            to.send(line).ok();
        }
        running.wait().ok();
    });
    lines
}

#[test]
fn the_documented_loop_is_a_member_of_a_group() {
    if !has("curl") || !has("jq") {
        return;
    }
    let home = TestHome::new();
    let mut dev = DevProcess::spawn_as(&home, &["--base-port", "0", "--nodes", "1"]);
    dev.wait_for("Ctrl-C stops all nodes");
    let printed = dev.output.iter().find(|line| line.contains("curl "));
    let (_, url) = printed.unwrap().split_once("https://127.0.0.1:").unwrap();
    let port = url.split('/').next().unwrap();
    home.run(&["topic", "create", "clicks", "-p", "3"]).ok();
    let all: Vec<String> = (1..10).map(|n| format!("r{n}")).collect();
    let input: Vec<String> = (1..10).map(|n| format!("{n}:r{n}")).collect();
    let produce = ["produce", "clicks", "--key-separator", ":"];
    home.feed(&produce, input.join("\n").as_bytes()).ok();

    let pki = "cd \"$HOME/.local/share/lograft/dev/pki\"\n\
               TLS='--cacert ca.crt --cert admin.crt --key admin.key'\n";
    let script = format!("{pki}{}", poll_loop()).replace("9402", port);
    let lines = lines_of(home.shell_command(&script));
    let limit = Duration::from_mins(1);
    let mut values: Vec<String> = Vec::new();
    while values.len() < all.len() {
        let line = lines.recv_timeout(limit).unwrap();
        let record: serde_json::Value = serde_json::from_str(&line).unwrap();
        values.push(record["value"]["text"].as_str().unwrap().to_owned());
    }
    values.sort();
    assert_eq!(values, all);
    // The loop ends when its member is gone, without a record that came twice.
    let leave = format!(
        "{pki}group=https://localhost:{port}/v1/groups/billing\n\
         member=$(curl -sS $TLS $group | jq -r '.members[0].member_id')\n\
         curl -sS --fail-with-body $TLS -X DELETE $group/members/$member"
    );
    let left = home.shell(&leave);
    assert!(left.status.success(), "{left:?}");
    let end = lines.recv_timeout(limit);
    assert_eq!(end, Err(RecvTimeoutError::Disconnected));
    dev.stop();
}
