//! All limits of the data plane are in one file, those of the operator in another; names end in the
//! unit.

use crate::source::{Source, lines, words};
use crate::tree::Finding;

/// Endings that name the unit of a number.
const UNITS: &[&str] = &[
    "BYTES", "COUNT", "MS", "SECONDS", "PERCENT", "LEVEL", "BITS", "RATIO",
];

/// The files: the data plane's and the operator's.
pub(crate) const FILES: [&str; 2] = ["dataplane/core/src/limits.rs", "crds/src/limits.rs"];

/// No product code outside [`FILES`] defines a limit.
pub(crate) fn only_in_limits(file: &Source) -> Vec<Finding> {
    let is_home = FILES.contains(&file.path.as_str());
    if is_home || file.is_test() || file.is_in("dataplane/cli/") {
        return Vec::new();
    }
    let limit = |line: &str| {
        constant(line)
            .filter(|name| name.contains("_MAX_") || name.contains("_MIN_"))
            .map(str::to_owned)
    };
    let hits = lines(&file.product).filter_map(|(at, line)| limit(line).map(|name| (at, name)));
    let advice = "Move it to dataplane/core/src/limits.rs, or the operator's to crds/src/limits.rs";
    hits.map(|(at, name)| file.finding(at, format!("the limit {name}"), advice))
        .collect()
}

/// A limit that is a number ends in its unit; a `Duration` has its unit in its type.
pub(crate) fn units_last(file: &Source) -> Vec<Finding> {
    let mut found = Vec::new();
    for (at, line) in lines(&file.product) {
        let Some(name) = constant(line) else { continue };
        let has_unit = UNITS.iter().any(|unit| name.ends_with(&format!("_{unit}")));
        if !has_unit && !line.contains(": Duration") {
            let advice = "End the name in its unit (_BYTES, _COUNT, _MS, ...)";
            found.push(file.finding(at, format!("{name} has no unit"), advice));
        }
    }
    found
}

/// The constant that a line defines.
fn constant(line: &str) -> Option<&str> {
    let mut rest = words(line).skip_while(|w| *w != "const");
    rest.next()?;
    rest.next().filter(|name| {
        name.chars()
            .all(|c| c.is_uppercase() || c == '_' || c.is_numeric())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn limits_elsewhere_are_found() {
        let found = |path, text| only_in_limits(&Source::new(path, text)).len();
        assert_eq!(
            found("dataplane/src/a.rs", "const FRAME_MAX_BYTES: usize = 1;"),
            1
        );
        assert_eq!(
            found(
                "dataplane/core/src/limits.rs",
                "pub const A_MAX_BYTES: usize = 1;"
            ),
            0
        );
        let operators = "pub const A_MAX_BYTES: usize = 1;";
        assert_eq!(found("crds/src/limits.rs", operators), 0);
        assert_eq!(found("operator/desired/src/limits.rs", operators), 1);
        assert_eq!(
            found(
                "dataplane/src/a.rs",
                "let x = FRAME_MAX_BYTES; const fn max() {}"
            ),
            0
        );
    }

    #[test]
    fn limits_without_unit_are_found() {
        let found = |text| units_last(&Source::new("limits.rs", text)).len();
        assert_eq!(found("pub const SEGMENT_MAX: u64 = 1;"), 1);
        assert_eq!(found("pub const SEGMENT_MAX_BYTES: u64 = 1;"), 0);
        assert_eq!(
            found("pub const IDLE_MAX: Duration = Duration::from_secs(1);"),
            0
        );
    }
}
