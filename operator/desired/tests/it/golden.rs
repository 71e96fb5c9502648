//! A sample in, YAML out, read as a diff. `LOGRAFT_GOLDEN=write cargo test -p
//! lograft-operator-desired` rewrites the files; review the diff.

use lograft_crds::log_cluster::FeatureLevelStatus;
use lograft_operator_desired::cluster::Observed;

use crate::{SAMPLES, build, object, sample, text};

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "the person who runs the tests decides whether to write the files"
)]
fn samples_give_the_golden_files() {
    for name in SAMPLES {
        let path = format!("{}/tests/golden/{name}.yaml", env!("CARGO_MANIFEST_DIR"));
        let made = text(&build(&sample(name), &Observed::default()));
        if std::env::var("LOGRAFT_GOLDEN").as_deref() == Ok("write") {
            std::fs::write(&path, &made).unwrap();
        }
        let stored = std::fs::read_to_string(&path).unwrap_or_default();
        let mut pairs = stored.lines().zip(made.lines()).enumerate();
        let first = pairs.find(|(_, (old, new))| old != new);
        assert!(
            stored == made,
            "{name}: {} lines, now {}; first difference {first:?}",
            stored.lines().count(),
            made.lines().count(),
        );
    }
}

/// A pod of 0.1.0 may restart at any time until level 1 is finalized, with the file that this
/// operator has written. `tests/level0` is the file of the operator 0.1.0 and never changes.
#[test]
fn until_level_1_is_finalized_the_configuration_is_that_of_level_0() {
    let level0 = include_str!("../level0/events-1.yaml");
    let mut cluster = sample("production");
    for finalized in [None, Some(0)] {
        cluster.status.as_mut().unwrap().feature_level =
            finalized.map(|finalized| FeatureLevelStatus {
                finalized,
                available: Some(1),
                ..FeatureLevelStatus::default()
            });
        let config = object(
            &build(&cluster, &Observed::default()),
            "ConfigMap",
            "-config",
        );
        assert_eq!(config["data"]["events-1.yaml"], level0, "{finalized:?}");
    }
}

#[test]
fn samples_differ() {
    let texts = SAMPLES.map(|name| text(&build(&sample(name), &Observed::default())));
    for (at, text) in texts.iter().enumerate() {
        assert!(!texts[..at].contains(text), "{}", SAMPLES[at]);
    }
}
