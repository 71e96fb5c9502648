//! A sample in, YAML out, read as a diff. `LOGRAFT_GOLDEN=write cargo test -p
//! lograft-operator-desired` rewrites the files; review the diff.

use lograft_operator_desired::cluster::Observed;

use crate::{SAMPLES, build, sample, text};

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

#[test]
fn samples_differ() {
    let texts = SAMPLES.map(|name| text(&build(&sample(name), &Observed::default())));
    assert!(texts[0] != texts[1] && texts[1] != texts[2] && texts[0] != texts[2]);
}
