//! The cluster is made once: its id first, then the first node, then a mark that it was.

use crate::{Answer, Observed, PodSeen, ValidCluster};

/// What to do about the cluster's identity.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Identity {
    /// Nothing: it has one, or has to wait for one.
    #[default]
    Keep,
    /// Give it a new id.
    Mint,
    /// Its disks belong to this cluster: a LogCluster that was deleted and is back.
    Adopt(String),
}

/// What the lane came to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Bootstrap {
    pub(crate) identity: Identity,
    /// Whether the first node is to make the cluster now.
    pub(crate) ask: bool,
    /// Whether the nodes tell that it was made.
    pub(crate) was_made: bool,
    /// What it waits for, or what is wrong.
    pub(crate) wait: Option<String>,
}

/// `pods` are to stand.
pub(crate) fn plan(cluster: &ValidCluster, observed: &Observed, pods: i32) -> Bootstrap {
    let mut found = Bootstrap {
        identity: Identity::Keep,
        ask: false,
        was_made: false,
        wait: None,
    };
    let mut ids: Vec<&String> = (observed.answers.values())
        .filter_map(|answer| match answer {
            Answer::Member { cluster_id, .. } => Some(cluster_id),
            Answer::Empty | Answer::Silent(_) => None,
        })
        .collect();
    ids.sort_unstable();
    ids.dedup();
    match &cluster.cluster_id {
        None => match former(cluster, observed) {
            Some(wait) => found.wait = Some(wait),
            None => find_identity(&mut found, observed, &ids, pods),
        },
        Some(own) => {
            if let Some(other) = ids.iter().find(|id| **id != own) {
                found.wait = Some(format!(
                    "a disk belongs to cluster {other}, not to {own}: remove its claim, or the \
                     LogCluster"
                ));
            } else if cluster.bootstrapped {
                return found;
            } else if ids.is_empty() {
                found.wait = waiting(observed, pods);
                found.ask = found.wait.is_none();
            } else {
                found.was_made = true;
            }
        }
    }
    found
}

/// What is left of a LogCluster of this name that was deleted, and is about to go: it tells nothing
/// of what stays.
fn former(cluster: &ValidCluster, observed: &Observed) -> Option<String> {
    let set = observed.stateful_set.as_ref().map(|set| &set.metadata);
    let owners = set.and_then(|set| set.owner_references.as_ref());
    let mut owners = owners.into_iter().flatten();
    if owners.any(|owner| owner.controller == Some(true) && owner.uid != cluster.uid) {
        return Some("the StatefulSet of a former LogCluster to be gone".to_owned());
    }
    let uid = set.and_then(|set| set.uid.as_ref());
    let is_former = |pod: &&PodSeen| {
        pod.terminating || (pod.owner_uid.is_some() && pod.owner_uid.as_ref() != uid)
    };
    let pods = observed.pods.values().filter(is_former).count();
    let disks = observed
        .disks
        .values()
        .filter(|disk| disk.terminating)
        .count();
    (pods + disks > 0)
        .then(|| format!("{pods} pod(s) and {disks} disk(s) of a former LogCluster to be gone"))
}

/// Disks that stand before there is an id may hold a cluster: they are asked first.
fn find_identity(found: &mut Bootstrap, observed: &Observed, ids: &[&String], pods: i32) {
    match ids {
        [] if observed.disks.is_empty() => found.identity = Identity::Mint,
        [] => {
            found.wait = waiting(observed, pods);
            if found.wait.is_none() {
                found.identity = Identity::Mint;
            }
        }
        [one] => found.identity = Identity::Adopt((*one).clone()),
        [one, other, ..] => {
            found.wait = Some(format!(
                "its disks belong to different clusters, {one} and {other}: remove the claims of \
                 one"
            ));
        }
    }
}

/// Why it cannot be known yet that every disk is empty.
fn waiting(observed: &Observed, pods: i32) -> Option<String> {
    // A disk without a pod may hold what nobody has read.
    let with_disk = observed.disks.keys().filter(|at| **at < pods);
    let ordinals = (0..1)
        .chain(with_disk.copied())
        .chain(observed.pods.keys().copied());
    let mut silent: Vec<i32> = ordinals
        .filter(|at| !matches!(observed.answers.get(at), Some(Answer::Empty)))
        .collect();
    silent.sort_unstable();
    silent.dedup();
    let first = silent.first()?;
    let pod = observed.pods.get(first);
    let why = match (
        observed.answers.get(first),
        pod.and_then(|p| p.trouble.clone()),
    ) {
        (Some(Answer::Silent(why)), _) => format!(": {why}"),
        (_, Some(trouble)) => format!(": {trouble}"),
        _ => String::new(),
    };
    let count = silent.len();
    Some(format!(
        "{count} node(s) to start and answer, the first is {first}{why}"
    ))
}
