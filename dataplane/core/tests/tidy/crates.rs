//! Who depends on whom, and on what of others.

use std::process::Command;

use serde_json::Value;

use crate::source::lines;
use crate::tree::{Finding, Tree};

/// Each crate of ours and those of ours that it may use.
const MAY_USE: &[(&str, &[&str])] = &[
    ("lograft-core", &[]),
    ("lograft-proto", &[]),
    ("base2histogram", &[]),
    ("lograft-crds", &[]),
    ("lograft-operator-desired", &["lograft-crds"]),
    (
        "lograft-operator",
        &["lograft-operator-desired", "lograft-crds", "lograft-proto"],
    ),
    ("lograft-e2e", &["lograft-crds", "lograft-client"]),
    ("lograft-storage", &["lograft-core"]),
    ("lograft-discovery", &["lograft-core"]),
    ("lograft-raft", &["lograft-storage", "lograft-core"]),
    (
        "lograft-node",
        &[
            "lograft-raft",
            "lograft-discovery",
            "lograft-storage",
            "lograft-core",
            "lograft-proto",
        ],
    ),
    ("lograft-client", &["lograft-core", "lograft-proto"]),
    (
        "lograft",
        &[
            "lograft-node",
            "lograft-client",
            "lograft-core",
            "lograft-proto",
        ],
    ),
];

/// Those of ours that the tests of a crate may use too.
const TESTS_MAY_USE: &[(&str, &str)] = &[
    ("lograft-node", "lograft-client"),
    ("lograft", "lograft-storage"),
];

/// The pure crates: time, randomness and the environment are arguments.
const PURE: &[&str] = &["lograft-core", "lograft-operator-desired"];

/// Crates that bring in a runtime, IO, a clock or chance: never below a pure crate.
const IMPURE: &[&str] = &[
    "async-std",
    "chrono",
    "fastrand",
    "futures",
    "futures-util",
    "getrandom",
    "hyper",
    "kube",
    "kube-client",
    "kube-runtime",
    "memmap2",
    "mio",
    "rand",
    "rustix",
    "rustls",
    "smol",
    "time",
    "tokio",
    "tokio-stream",
    "tonic",
    "tower",
    "tracing",
];

/// Crates that are not built into anything of ours, and why. deny.toml has the same list.
const BANNED: &[(&str, &str)] = &[
    ("openssl", "TLS is rustls"),
    ("openssl-sys", "TLS is rustls"),
    ("native-tls", "TLS is rustls"),
    ("ring", "beside aws-lc-rs rustls panics at first use"),
    ("protobuf-src", "protox compiles the protos"),
];

const LOCK: &str = "Cargo.lock";

fn finding(path: &str, line: usize, what: String, advice: &'static str) -> Finding {
    Finding {
        path: path.to_owned(),
        line,
        what,
        advice,
    }
}

fn cargo(tree: &Tree, args: &[&str]) -> String {
    let cargo = option_env!("CARGO").unwrap_or("cargo");
    let output = Command::new(cargo)
        .args(args)
        .current_dir(tree.root())
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "cargo {args:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    String::from_utf8(output.stdout).unwrap()
}

/// `cargo metadata` of our own crates.
pub(crate) fn metadata(tree: &Tree) -> Value {
    let text = cargo(
        tree,
        &[
            "metadata",
            "--no-deps",
            "--offline",
            "--format-version",
            "1",
        ],
    );
    serde_json::from_str(&text).unwrap()
}

/// The names of all packages that building or testing the workspace here compiles.
pub(crate) fn built_packages(tree: &Tree) -> String {
    let all = [
        "tree",
        "--workspace",
        "--locked",
        "--edges",
        "normal,build,dev",
    ];
    cargo(
        tree,
        &[&all[..], &["--prefix", "none", "--format", "{p}"]].concat(),
    )
}

/// Our crates use each other only as [`MAY_USE`] says; the pure ones use nothing impure.
pub(crate) fn directions(metadata: &Value) -> Vec<Finding> {
    let mut found = Vec::new();
    let packages = metadata["packages"].as_array().unwrap();
    for package in packages {
        let name = package["name"].as_str().unwrap();
        let Some((_, may_use)) = MAY_USE.iter().find(|(crate_name, _)| *crate_name == name) else {
            let advice = "Say in tidy/crates.rs whom it may use";
            found.push(finding(
                "Cargo.toml",
                0,
                format!("{name} is not in the table"),
                advice,
            ));
            continue;
        };
        for used in package["dependencies"].as_array().unwrap() {
            let kind = used["kind"].as_str();
            let used = used["name"].as_str().unwrap();
            let ours = MAY_USE.iter().any(|(crate_name, _)| *crate_name == used);
            let is_for_tests = kind == Some("dev") && TESTS_MAY_USE.contains(&(name, used));
            if ours && !may_use.contains(&used) && used != name && !is_for_tests {
                let advice = "Turn it round: move what both need downwards";
                found.push(finding(
                    "Cargo.toml",
                    0,
                    format!("{name} uses {used}"),
                    advice,
                ));
            }
            if PURE.contains(&name) && IMPURE.contains(&used) {
                let advice = "Take it as an argument; IO belongs to node, storage or operator";
                found.push(finding(
                    "Cargo.toml",
                    0,
                    format!("the pure {name} uses {used}"),
                    advice,
                ));
            }
            if used == "openraft" && name != "lograft-raft" {
                let advice = "Go through lograft-raft";
                found.push(finding(
                    "Cargo.toml",
                    0,
                    format!("{name} uses openraft"),
                    advice,
                ));
            }
        }
    }
    found
}

/// A member takes lints, licence and every dependency's version from the workspace.
pub(crate) fn manifest(path: &str, text: &str) -> Vec<Finding> {
    if path == "Cargo.toml" {
        return Vec::new();
    }
    let mut found = Vec::new();
    for wanted in [
        "[lints",
        "license.workspace = true",
        "rust-version.workspace = true",
    ] {
        if !text.contains(wanted) {
            let advice = "Take it from the workspace";
            found.push(finding(path, 0, format!("no `{wanted}`"), advice));
        }
    }
    if text.contains("description = \"\"") || !text.contains("description = ") {
        found.push(finding(
            path,
            0,
            "no description".to_owned(),
            "Say in a line what it is",
        ));
    }
    let mut in_dependencies = false;
    for (at, line) in lines(text) {
        if line.starts_with('[') {
            in_dependencies = line.contains("dependencies");
        } else if in_dependencies && line.contains('=') && !line.contains("workspace = true") {
            let is_start = line.starts_with(|c: char| c.is_alphabetic());
            if is_start && !line.trim_end().ends_with(['{', '[']) {
                let what = format!("`{line}` has a version of its own");
                let advice = "Put the version into the root's [workspace.dependencies]";
                found.push(finding(path, at, what, advice));
            }
        }
    }
    found
}

/// None of the packages in a listing, one `name version` a line, is banned.
pub(crate) fn banned(listing: &str) -> Vec<Finding> {
    let mut found = Vec::new();
    for (name, reason) in BANNED {
        if listing
            .lines()
            .any(|line| line.split(' ').next() == Some(name))
        {
            let advice = "Find who brings it with `cargo tree -i NAME`; turn that feature off";
            found.push(finding(
                LOCK,
                0,
                format!("{name} is built: {reason}"),
                advice,
            ));
        }
    }
    found
}

/// The source of every locked package outside the workspace is crates.io.
pub(crate) fn sources(lock: &str) -> Vec<Finding> {
    const CRATES_IO: &str = "source = \"registry+https://github.com/rust-lang/crates.io-index\"";
    let foreign = lines(lock).filter(|(_, l)| l.starts_with("source = ") && *l != CRATES_IO);
    let advice = "Use a release from crates.io";
    foreign
        .map(|(at, line)| finding(LOCK, at, format!("`{line}`"), advice))
        .collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn uses(name: &str, used: &str) -> usize {
        let package = json!({ "name": name, "dependencies": [{ "name": used }] });
        directions(&json!({ "packages": [package] })).len()
    }

    #[test]
    fn wrong_directions_are_found() {
        assert_eq!(uses("lograft-core", "lograft-storage"), 1);
        assert_eq!(uses("lograft-client", "lograft-node"), 1);
        assert_eq!(uses("lograft-node", "lograft-raft"), 0);
        assert_eq!(uses("lograft-core", "tokio"), 1);
        assert_eq!(uses("lograft-operator-desired", "lograft-crds"), 0);
        assert_eq!(uses("lograft-operator-desired", "lograft-proto"), 1);
        assert_eq!(uses("lograft-operator-desired", "kube"), 1);
        assert_eq!(uses("lograft-crds", "lograft-core"), 1);
        assert_eq!(uses("lograft-node", "openraft"), 1);
        assert_eq!(uses("lograft-unknown", "bytes"), 1);
    }

    #[test]
    fn manifests_with_own_versions_are_found() {
        let head = "description = \"x\"\nlicense.workspace = true\nrust-version.workspace = true\n\
                    [lints]\nworkspace = true\n";
        let found = |tail: &str| manifest("x/Cargo.toml", &format!("{head}{tail}")).len();
        assert_eq!(found("[dependencies]\nbytes.workspace = true\n"), 0);
        assert_eq!(found("[dependencies]\nbytes = { workspace = true }\n"), 0);
        assert_eq!(found("[dependencies]\nbytes = \"1\"\n"), 1);
        assert_eq!(manifest("x/Cargo.toml", "").len(), 4);
    }

    #[test]
    fn banned_crates_are_found() {
        assert_eq!(banned("bytes v1.0.0\nring v0.17.14\n").len(), 1);
        assert_eq!(banned("string v1.0.0\n").len(), 0);
    }

    #[test]
    fn foreign_sources_are_found() {
        assert_eq!(sources("source = \"git+https://example.org/x\"\n").len(), 1);
        assert_eq!(
            sources("source = \"registry+https://github.com/rust-lang/crates.io-index\"").len(),
            0
        );
    }
}
