//! Crashes under load: what was acknowledged is there afterwards, exactly once.

mod kill;
mod retention;

pub(crate) use kill::{Crashes, Victims};
pub(crate) use retention::Retention;

/// The middle of some numbers; 0 of none.
pub(crate) fn median(numbers: &[f64]) -> f64 {
    let mut sorted = numbers.to_vec();
    sorted.sort_by(f64::total_cmp);
    sorted.get(sorted.len() / 2).copied().unwrap_or(0.0)
}
