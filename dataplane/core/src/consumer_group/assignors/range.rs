//! Range: topic by topic, a range of partitions for each member.

use std::collections::BTreeSet;

use super::Division;
use crate::consumer_group::ids::TopicPartition;

impl Division<'_> {
    /// The members of each topic get ranges of its partitions in the order of their names; the
    /// first ones get one more if the number does not divide. So members with the same topics get
    /// the same partitions of topics with the same number of partitions, and a static member that
    /// restarts gets its former ones.
    pub(super) fn divide_by_range(&self) -> Vec<BTreeSet<TopicPartition>> {
        let mut targets = vec![BTreeSet::new(); self.candidates.len()];
        for (id, topic) in self.topics {
            let mut readers = self.readers.get(id).cloned().unwrap_or_default();
            readers.sort_by_key(|at| self.name(*at));
            let mut partitions = topic.partitions();
            let mut left = partitions.size_hint().0;
            for (position, reader) in readers.iter().enumerate() {
                let share = left.div_ceil(readers.len() - position);
                left -= share;
                if let Some(target) = targets.get_mut(*reader) {
                    target.extend(partitions.by_ref().take(share));
                }
            }
        }
        targets
    }

    fn name(&self, position: usize) -> Option<(&str, &str)> {
        let spec = &self.candidates.get(position)?.member.spec;
        Some((spec.lasting_name(), spec.id.as_str()))
    }
}
