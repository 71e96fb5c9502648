//! `lograft dev` and the commands against its cluster.

use std::fs;
use std::path::Path;
use std::time::{Duration, Instant};

use crate::support::{DevProcess, TestHome, is_alive, send_signal, wait_until};

/// Lines that must not be changed: empty, not UTF-8, and long ones.
fn sample(count: u32) -> Vec<u8> {
    let mut out = Vec::new();
    for number in 0..count {
        match number % 5 {
            0 => {}
            1 => out.extend_from_slice(b"\xff\0\xfe\r"),
            2 => out.resize(out.len() + 2000, b'x'),
            _ => out.extend_from_slice(format!("line {number}").as_bytes()),
        }
        out.push(b'\n');
    }
    out
}

#[test]
fn records_survive_a_node_crash_and_a_restart() {
    let home = TestHome::new();
    let started = Instant::now();
    let mut dev = DevProcess::start(&home, &["--base-port", "0"]);
    let ready_after = started.elapsed();
    assert!(ready_after < Duration::from_secs(20), "{ready_after:?}");
    home.run(&["cluster", "status"]).ok();

    let created = home
        .run(&["topic", "create", "lines", "--replication-factor", "3"])
        .ok();
    assert!(
        created.contains("1 partition, 3 replicas each"),
        "{created}"
    );
    let file = home.path("lines.txt");
    let lines = sample(50_000);
    fs::write(&file, &lines).unwrap();
    let produced = home.run(&["produce", "lines", "--file", file.to_str().unwrap()]);
    assert!(
        produced.stderr.contains("50,000 records"),
        "{}",
        produced.stderr
    );
    assert!(
        produced.stderr.contains("offsets 0 to 49999"),
        "{}",
        produced.stderr
    );
    let consume = ["consume", "lines", "--quiet"];
    assert!(home.run(&consume).ok_bytes() == lines, "byte for byte");

    let (name, pid) = dev.nodes().remove(0);
    send_signal(pid, "KILL");
    let line = dev.wait_for("restarting in");
    assert!(
        line.contains(&name) && line.contains(&pid.to_string()),
        "{line}"
    );
    assert!(
        home.feed(&["produce", "lines"], b"one more\n").code == Some(0),
        "two nodes accept writes"
    );
    let line = dev.wait_for("is ready again");
    assert!(line.contains(&name), "{line}");
    home.run(&["cluster", "status", "--wait", "30s"]).ok();

    let pids: Vec<u32> = dev.nodes().into_iter().map(|(_, pid)| pid).collect();
    let output = dev.stop();
    assert_eq!(output.last().map(String::as_str), Some("all nodes stopped"));
    assert!(
        !pids.iter().any(|pid| is_alive(*pid)),
        "no node outlives `lograft dev`"
    );

    let dev = DevProcess::start(&home, &[]);
    let mut expected = lines;
    expected.extend_from_slice(b"one more\n");
    assert!(
        home.run(&consume).ok_bytes() == expected,
        "all records are still there"
    );
    dev.stop();
}

#[test]
fn the_printed_commands_work_as_they_are() {
    let home = TestHome::new();
    let dev = DevProcess::start(&home, &["--base-port", "0", "--nodes", "1"]);
    let is_command = |line: &&String| line.contains("/lograft ");
    let commands: Vec<String> = dev.output.iter().filter(is_command).cloned().collect();
    assert!(commands.len() >= 5, "{:#?}", dev.output);
    for command in commands {
        let command = command.replace("--duration 5s", "--duration 1s");
        let output = home.shell(command.trim());
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{command}: {stderr}");
        if command.contains(" consume ") {
            assert_eq!(
                String::from_utf8_lossy(&output.stdout).lines().count(),
                5,
                "{command}"
            );
        }
    }
    dev.stop();
}

#[test]
fn keys_headers_and_partitions_are_preserved() {
    let home = TestHome::new();
    let dev = DevProcess::start(&home, &["--base-port", "0", "--nodes", "1"]);
    home.run(&["topic", "create", "keyed", "-p", "4"]).ok();
    let lines: Vec<String> = (0..1000).map(|n| format!("k{}\tv{n}\n", n % 10)).collect();
    let input = lines.concat();
    let produce = [
        "produce",
        "keyed",
        "-k",
        "\t",
        "-H",
        "from=test",
        "-c",
        "lz4",
        "-q",
    ];
    let produced = home.feed(&produce, input.as_bytes());
    assert_eq!((produced.code, produced.stderr.as_str()), (Some(0), ""));

    let out = home.run(&["consume", "keyed", "-k", "\t", "-q"]).ok();
    let sorted = |text: &str| {
        let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
        lines.sort_by_key(|line| line.split('\t').next().unwrap_or_default().to_owned());
        lines
    };
    // The sort is stable, so it keeps the order of the records of each key.
    assert_eq!(sorted(&out), sorted(&input));

    let line = home
        .run(&["consume", "keyed", "-o", "json", "-n", "1", "-q"])
        .ok();
    let record: serde_json::Value = serde_json::from_str(&line).unwrap();
    assert_eq!(record["topic"], "keyed");
    assert_eq!(record["headers"][0]["name"], "from");
    assert!(record["key"].as_str().unwrap().starts_with('k'), "{line}");

    let line = home
        .feed(&["produce", "keyed", "-k", "\t"], b"a\tb\nnothing\n")
        .failed(1);
    assert!(
        line.contains("line 2 must contain the key separator \"\\t\""),
        "{line}"
    );
    let line = home.run(&["consume", "nowhere"]).failed(3);
    assert!(
        line.contains("UNKNOWN_TOPIC") && line.contains("topic list"),
        "{line}"
    );
    let line = home
        .run(&["consume", "keyed", "--partition", "4"])
        .failed(3);
    assert!(
        line.contains("partition keyed/4 not found: partitions are numbered 0 to 3"),
        "{line}"
    );
    let line = home
        .run(&["consume", "keyed", "--partition", "0", "--from", "99999"])
        .failed(1);
    assert!(
        line.contains("OFFSET_OUT_OF_RANGE") && line.contains("valid offsets are"),
        "{line}"
    );
    dev.stop();
}

#[test]
fn nodes_stop_when_dev_is_killed_and_a_second_dev_is_rejected() {
    let home = TestHome::new();
    let mut dev = DevProcess::start(&home, &["--base-port", "0", "--nodes", "1"]);
    let data_dir = dev.data_dir.clone();
    let line = home
        .run(&["dev", "--data-dir", data_dir.to_str().unwrap()])
        .failed(1);
    let expected = format!("is in use by another `lograft dev` (pid {})", dev.pid());
    assert!(line.contains(&expected), "{line}");

    let pids: Vec<u32> = dev.nodes().into_iter().map(|(_, pid)| pid).collect();
    assert!(pids.iter().all(|pid| is_alive(*pid)));
    send_signal(dev.pid(), "KILL");
    wait_until("the nodes stop with dev", || {
        !pids.iter().any(|pid| is_alive(*pid))
    });
    dev.output.clear();
}

#[test]
fn an_ephemeral_cluster_is_deleted_completely() {
    let home = TestHome::new();
    let args = [
        "context",
        "set",
        "dev",
        "--endpoint",
        "a:1",
        "--ca",
        "ca",
        "--cert",
        "c",
        "--key",
        "k",
    ];
    home.run(&args).ok();
    let before = fs::read_to_string(home.path("contexts.yaml")).unwrap();
    let mut dev = DevProcess::spawn_as(&home, &["--ephemeral", "--nodes", "1", "--base-port", "0"]);
    let line = dev.wait_for("starting 1 node in ");
    dev.wait_for("Ctrl-C stops all nodes and deletes their data");
    let (_, dir) = line.split_once(" in ").unwrap();
    assert!(Path::new(dir).join("dev.yaml").exists());
    assert_ne!(
        fs::read_to_string(home.path("contexts.yaml")).unwrap(),
        before
    );
    dev.stop();
    assert!(!Path::new(dir).exists(), "{dir}");
    assert_eq!(
        fs::read_to_string(home.path("contexts.yaml")).unwrap(),
        before
    );
}

#[test]
fn a_cluster_keeps_its_records_while_it_grows_and_a_node_is_decommissioned() {
    let home = TestHome::new();
    let dev = DevProcess::start(&home, &["--base-port", "0", "--nodes", "1"]);
    home.run(&["topic", "create", "t"]).ok();
    assert_eq!(home.feed(&["produce", "t"], b"a\nb\n").code, Some(0));
    dev.stop();
    let mut dev = DevProcess::start(&home, &["--base-port", "0", "--nodes", "2"]);
    let status = home.run(&["cluster", "status", "--wait", "30s"]).ok();
    assert!(status.contains("2 of 2 nodes reachable"), "{status}");
    assert_eq!(home.run(&["consume", "t", "-q"]).ok(), "a\nb\n");
    let dir = dev.data_dir.clone();

    // The topic has one replica. If it is on node-1, the decommission must move it.
    let decommissioned = home
        .run(&["cluster", "decommission", "node-1", "--timeout", "60s"])
        .ok();
    assert!(
        decommissioned.contains("node 1 decommissioned and removed"),
        "{decommissioned}"
    );
    dev.wait_for("node-1 has been decommissioned");
    dev.stop();
    let dev = DevProcess::start(&home, &["--nodes", "2"]);
    let status = home.run(&["cluster", "status", "--wait", "30s"]).ok();
    assert!(
        status.contains("node-3") && !status.contains("node-1"),
        "{status}"
    );
    assert_eq!(home.run(&["consume", "t", "-q"]).ok(), "a\nb\n");
    dev.stop();
    let line = home
        .run(&["dev", "--nodes", "1", "--data-dir", dir.to_str().unwrap()])
        .failed(1);
    assert!(line.contains("--nodes must be at least 2,"), "{line}");
}
