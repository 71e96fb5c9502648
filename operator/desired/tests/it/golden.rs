//! A sample in, YAML out, read as a diff. `LOGRAFT_GOLDEN=write cargo test -p
//! lograft-operator-desired` writes the files anew; the diff is the review.

use lograft_operator_desired::Observed;

use crate::{SAMPLES, build, sample, text};

#[test]
#[expect(
    clippy::disallowed_methods,
    reason = "whether to write the files is asked of who runs the tests"
)]
fn samples_give_what_stands_in_the_golden_files() {
    for name in SAMPLES {
        let path = format!("{}/tests/golden/{name}.yaml", env!("CARGO_MANIFEST_DIR"));
        let made = text(&build(&sample(name), &Observed::default()));
        if std::env::var("LOGRAFT_GOLDEN").as_deref() == Ok("write") {
            std::fs::write(&path, &made).unwrap();
        }
        let stands = std::fs::read_to_string(&path).unwrap_or_default();
        let mut pairs = stands.lines().zip(made.lines()).enumerate();
        let first = pairs.find(|(_, (old, new))| old != new);
        assert!(
            stands == made,
            "{name}: {} lines, now {}; first difference {first:?}",
            stands.lines().count(),
            made.lines().count(),
        );
    }
}

#[test]
fn samples_differ() {
    let texts = SAMPLES.map(|name| text(&build(&sample(name), &Observed::default())));
    assert!(texts[0] != texts[1] && texts[1] != texts[2] && texts[0] != texts[2]);
}
