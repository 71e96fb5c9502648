//! `lograft cluster dump`: what is in the archive, and what must not be.

use std::collections::BTreeMap;
use std::fs::{self, File};
use std::io::Read;
use std::path::Path;

use flate2::read::GzDecoder;

use crate::support::{DevProcess, TestHome};

/// Parts of records, which must not be in the archive.
const MARKERS: [&str; 3] = ["marker-in-a-key", "marker-in-a-value", "marker-in-a-header"];

fn unpack(path: &Path) -> BTreeMap<String, String> {
    let mut archive = tar::Archive::new(GzDecoder::new(File::open(path).unwrap()));
    let files = archive.entries().unwrap().map(|entry| {
        let mut entry = entry.unwrap();
        let path = entry.path().unwrap().into_owned();
        let (directory, name) = path.to_str().unwrap().split_once('/').unwrap();
        assert!(directory.starts_with("lograft-dump-"), "{directory}");
        let mut text = String::new();
        entry.read_to_string(&mut text).unwrap();
        (name.to_owned(), text)
    });
    files.collect()
}

/// The lines of each private key, and each gossip key.
fn secrets(pki: &Path) -> Vec<String> {
    let mut secrets = Vec::new();
    for file in fs::read_dir(pki).unwrap() {
        let path = file.unwrap().path();
        let text = fs::read_to_string(&path).unwrap();
        let is_key = path.extension().is_some_and(|e| e == "key" || e == "keys");
        if is_key {
            let lines = text.lines().filter(|line| !line.starts_with("-----"));
            secrets.extend(lines.filter(|line| line.len() > 16).map(str::to_owned));
        }
    }
    secrets
}

fn check_secrets(files: &BTreeMap<String, String>, pki: &Path) {
    let secrets = secrets(pki);
    // The CA, three nodes and the admin have keys of several lines, and there is a gossip key.
    assert!(secrets.len() > 10, "{}", secrets.len());
    for (name, text) in files {
        assert!(!text.contains("-----BEGIN"), "{name}");
        for secret in MARKERS
            .iter()
            .copied()
            .chain(secrets.iter().map(String::as_str))
        {
            assert!(!text.contains(secret), "{secret} in {name}");
        }
    }
}

#[test]
fn an_archive_has_the_state_of_the_cluster_and_no_secrets_or_records() {
    let home = TestHome::new();
    let dev = DevProcess::start(&home, &["--base-port", "0"]);
    home.run(&["topic", "create", "clicks", "-p", "2"]).ok();
    let header = format!("h={}", MARKERS[2]);
    let produce = [
        "produce", "clicks", "--key", MARKERS[0], "-H", &header, "-q",
    ];
    home.feed(&produce, MARKERS[1].as_bytes()).ok();
    let found = home.run(&["consume", "clicks", "-o", "json", "-q"]).ok();
    assert!(
        MARKERS.iter().all(|marker| found.contains(marker)),
        "{found}"
    );

    let printed = home.run(&["cluster", "dump", "-f", "dump.tar.gz"]).ok();
    assert_eq!(printed, "dump.tar.gz written: 16 files\n");
    let files = unpack(&home.path("dump.tar.gz"));
    let json = |name: &str| -> serde_json::Value { serde_json::from_str(&files[name]).unwrap() };
    assert_eq!(json("status.json")["healthy"], true);
    assert_eq!(
        json("status.json")["partitions"].as_array().unwrap().len(),
        2
    );
    assert_eq!(json("members.json")["members"].as_array().unwrap().len(), 2);
    assert_eq!(json("topics.json")[0]["name"], "clicks");
    let manifest = json("manifest.json");
    assert_eq!(manifest["version"], env!("CARGO_PKG_VERSION"));
    assert_eq!(manifest["files"].as_array().unwrap().len(), 15);
    assert_eq!(manifest["missing"].as_array().unwrap().len(), 0);
    for node in ["node-1", "node-2", "node-3"] {
        let file = |name: &str| files[&format!("nodes/{node}/{name}")].as_str();
        assert!(file("metrics.txt").contains("\nlograft_"), "{node}");
        assert!(file("readyz.txt").starts_with("ready"), "{node}");
        assert!(file("config.yaml").contains("election_min_ms: "), "{node}");
        assert!(
            file("config.yaml").contains("key_file: (removed)"),
            "{node}"
        );
        assert!(file("log.txt").lines().count() > 3, "{node}");
    }

    check_secrets(&files, &dev.data_dir.join("pki"));
    dev.stop();

    // Nothing answers: the archive says so, and has the rest.
    let printed = home.run(&["cluster", "dump", "-f", "down.tar.gz"]).ok();
    assert!(
        printed.contains("not included: cluster: cannot connect"),
        "{printed}"
    );
    assert!(
        printed.contains("not included: nodes/node-1/metrics.txt: cannot read"),
        "{printed}"
    );
    let files = unpack(&home.path("down.tar.gz"));
    assert!(files["nodes/node-1/log.txt"].lines().count() > 3);
    assert!(
        files["manifest.json"].contains("cannot connect"),
        "{}",
        files["manifest.json"]
    );

    let refused = home
        .run(&["cluster", "dump", "-f", "no/such/dir.tar.gz"])
        .failed(1);
    assert!(
        refused.contains("cannot write no/such/dir.tar.gz"),
        "{refused}"
    );
}
