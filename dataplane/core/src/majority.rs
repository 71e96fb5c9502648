//! Majorities. Any two of the same members share a member, which is what an election and a commit
//! rely on.

/// The least number of members that is more than half of `members_count`.
pub const fn majority_of(members_count: usize) -> usize {
    members_count / 2 + 1
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_more_than_half_and_one_less_is_not() {
        for members in 0..10 {
            assert!(majority_of(members) * 2 > members);
            assert!((majority_of(members) - 1) * 2 <= members);
        }
    }
}
