//! Which of several LogTopics that name one topic owns it.

use lograft_crds::log_cluster::AllowedNamespaces;

use crate::consent::{Applicant, ClusterKey, consent};
use crate::topic::observed::Claimant;

/// The rival that owns the topic instead of `own`. One whose status has the ID of the existing
/// topic precedes the others: it has created or adopted the topic. Otherwise the oldest owns it,
/// then the first by namespace and name. Rivals to which the LogCluster does not consent do not
/// count: else anybody could take a topic by its name.
pub(super) fn preceding<'a>(
    own: &Claimant,
    rivals: &'a [Claimant],
    listed_id: Option<u64>,
    cluster: (&ClusterKey, Option<&AllowedNamespaces>),
) -> Option<&'a Claimant> {
    let (key, allowed) = cluster;
    let is_allowed = |rival: &&Claimant| {
        let applicant = Applicant {
            namespace: &rival.namespace,
            labels: rival.namespace_labels.as_ref(),
        };
        consent(applicant, key, allowed).is_ok()
    };
    let first = rivals.iter().filter(is_allowed);
    let first = first.min_by_key(|rival| rank(rival, listed_id))?;
    (rank(first, listed_id) < rank(own, listed_id)).then_some(first)
}

fn rank(claimant: &Claimant, listed_id: Option<u64>) -> (bool, i64, &str, &str) {
    let is_proven = listed_id.is_some() && claimant.topic_id == listed_id;
    (
        !is_proven,
        claimant.created_unix_seconds,
        &claimant.namespace,
        &claimant.name,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    fn claimant(namespace: &str, name: &str, created: i64, id: Option<u64>) -> Claimant {
        Claimant {
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            created_unix_seconds: created,
            topic_id: id,
            namespace_labels: None,
        }
    }

    /// The owner of topic 7 among the first, whose view it is, and the others.
    fn owner(listed: Option<u64>, all: &[Claimant]) -> String {
        let key = ClusterKey {
            namespace: "logs".to_owned(),
            name: "events".to_owned(),
        };
        let allowed = AllowedNamespaces {
            names: vec!["shop".to_owned()],
            selector: None,
        };
        let (own, rivals) = all.split_first().unwrap();
        let found = preceding(own, rivals, listed, (&key, Some(&allowed))).unwrap_or(own);
        format!("{}/{}", found.namespace, found.name)
    }

    #[test]
    fn the_proof_decides_then_the_age_then_the_name() {
        let old = claimant("shop", "old", 1, None);
        let new = claimant("logs", "new", 2, None);
        let twin = claimant("logs", "a", 1, None);
        let proven = claimant("logs", "proven", 3, Some(7));
        let closed = claimant("closed", "oldest", 0, None);
        let cases = [
            (None, vec![&old, &new], "shop/old"),
            (None, vec![&new, &old], "shop/old"),
            (None, vec![&old, &twin, &closed], "logs/a"),
            (Some(7), vec![&old, &new, &proven], "logs/proven"),
            (Some(7), vec![&proven, &old, &new], "logs/proven"),
            // The topic that it had is gone.
            (Some(8), vec![&proven, &old], "shop/old"),
            (None, vec![&new, &closed], "logs/new"),
        ];
        for (listed, all, wanted) in cases {
            let all: Vec<Claimant> = all.into_iter().cloned().collect();
            assert_eq!(owner(listed, &all), wanted, "{all:?}");
        }
    }
}
