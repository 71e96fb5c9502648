//! The checked-in YAML matches the types.

use lograft_crds::generate::Definition;

#[test]
fn the_generated_files_are_current() {
    for definition in Definition::ALL {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/generated");
        let path = format!("{folder}/{}.yaml", definition.plural());
        let stands = std::fs::read_to_string(&path).unwrap_or_default();
        let wanted = definition.yaml().unwrap();
        let differs = stands.lines().zip(wanted.lines()).find(|(a, b)| a != b);
        assert!(
            stands == wanted,
            "{path} is stale, first at {differs:?}; run `cargo run -q -p lograft-crds --bin crdgen \
             crds/generated`"
        );
    }
}

#[test]
fn generating_twice_gives_the_same_bytes() {
    for definition in Definition::ALL {
        assert_eq!(definition.yaml().unwrap(), definition.yaml().unwrap());
    }
}
