//! How many pods should stand.

use std::collections::BTreeSet;

/// The number of pods, when `wanted` are asked for and `standing` are there.
///
/// Growing is immediate. Shrinking takes the highest ordinals, and only those whose node holds
/// nothing any more: a pod goes after its decommission, never before.
///
/// ```text
/// wanted 3, standing 5, emptied {4}      -> 4
/// wanted 3, standing 5, emptied {3, 4}   -> 3
/// wanted 3, standing 5, emptied {3}      -> 5     (4 still holds something)
/// ```
pub fn pods(wanted: i32, standing: i32, emptied: &BTreeSet<i32>) -> i32 {
    let leavers = (wanted..standing).rev();
    let gone = leavers.take_while(|ordinal| emptied.contains(ordinal));
    gone.last().unwrap_or(standing).max(wanted)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn after(wanted: i32, standing: i32, emptied: &[i32]) -> i32 {
        pods(wanted, standing, &emptied.iter().copied().collect())
    }

    #[test]
    fn growing_is_immediate() {
        assert_eq!(after(3, 0, &[]), 3);
        assert_eq!(after(5, 3, &[]), 5);
    }

    #[test]
    fn shrinking_waits_for_each_pod_from_above() {
        assert_eq!(after(3, 5, &[]), 5);
        assert_eq!(after(3, 5, &[4]), 4);
        assert_eq!(after(3, 5, &[3]), 5);
        assert_eq!(after(3, 5, &[3, 4]), 3);
        assert_eq!(after(3, 4, &[3, 4]), 3);
    }

    #[test]
    fn nobody_below_what_is_wanted_goes() {
        assert_eq!(after(3, 3, &[0, 1, 2]), 3);
        assert_eq!(after(3, 5, &[0, 1, 2, 3, 4]), 3);
    }
}
