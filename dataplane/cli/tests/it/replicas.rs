//! Reads from the nearest replica with the command line.

use serde_json::Value;

use crate::support::{DevProcess, TestHome};

#[test]
fn consume_and_soak_read_from_the_nearest_replica() {
    let home = TestHome::new();
    let dev = DevProcess::start(&home, &["--base-port", "0"]);
    home.run(&["topic", "create", "clicks", "--partitions", "3"])
        .ok();
    home.feed(&["produce", "clicks"], b"a\nb\nc\nd\n").ok();
    let read = |more: &[&str]| {
        let args = [&["consume", "clicks", "--quiet"], more].concat();
        let mut lines: Vec<String> = home.run(&args).ok().lines().map(str::to_owned).collect();
        lines.sort();
        lines
    };
    assert_eq!(read(&[]), ["a", "b", "c", "d"]);
    let nearest = ["--replica", "nearest", "--zone", "z"];
    assert_eq!(read(&nearest), ["a", "b", "c", "d"]);
    let unknown = home.run(&["consume", "clicks", "--replica", "any"]);
    assert_eq!(unknown.code, Some(2), "{}", unknown.stderr);

    let soak = [
        "bench",
        "soak",
        "--duration",
        "2s",
        "--partitions",
        "3",
        "--json",
        "--follow",
        "--members",
        "2",
    ];
    let report = home.run(&[&soak[..], &nearest].concat()).ok();
    let report: Value = serde_json::from_str(&report).unwrap();
    let followed = &report["followed"];
    let partitions = report["partitions"].as_array().unwrap();
    let stored: u64 = partitions.iter().map(|p| p["read"].as_u64().unwrap()).sum();
    assert!(stored > 0);
    assert_eq!(followed["read"], stored);
    assert_eq!(
        (&followed["doubled"], &followed["missing"]),
        (&0.into(), &0.into())
    );
    let group = &report["group"];
    assert_eq!(group["members"], 2);
    assert_eq!(group["processed"], stored);
    for error in ["missing", "disordered", "uncommitted", "lost_partitions"] {
        assert_eq!(group[error], 0, "{error}: {group}");
    }
    let groups = home.run(&["group", "list", "--json"]).ok();
    assert!(!groups.contains("soak-"), "it is deleted: {groups}");
    dev.stop();
}
