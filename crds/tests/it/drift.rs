//! The checked-in YAML matches the types.

use lograft_crds::generate::log_cluster_yaml;

#[test]
fn the_generated_file_is_current() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/generated/logclusters.yaml");
    let stands = std::fs::read_to_string(path).unwrap_or_default();
    let wanted = log_cluster_yaml().unwrap();
    let differs = stands.lines().zip(wanted.lines()).find(|(a, b)| a != b);
    assert!(
        stands == wanted,
        "{path} is stale, first at {differs:?}; run `cargo run -q -p lograft-crds --bin crdgen > \
         crds/generated/logclusters.yaml`"
    );
}

#[test]
fn generating_twice_gives_the_same_bytes() {
    assert_eq!(log_cluster_yaml().unwrap(), log_cluster_yaml().unwrap());
}
