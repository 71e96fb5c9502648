//! Who leads what on other nodes: each node tells each other, by a stream that stays open. The
//! same streams tell which nodes are there at all. Soft state: wrong hints cost a detour.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use futures_util::StreamExt;
use lograft_core::limits::HINTS_RETRY_INTERVAL;
use lograft_core::{GroupId, NodeId, Term};
use lograft_proto::raft::v1::{LeaderHint, WatchLeadersRequest};
use tokio::task::AbortHandle;
use tokio::time::Instant;
use tracing::{debug, info};

use super::Control;

/// What was heard.
#[derive(Debug, Default)]
pub struct Hints {
    heard: Mutex<BTreeMap<GroupId, (NodeId, Term)>>,
    /// Since when each node's stream has been open.
    reachable: Mutex<BTreeMap<NodeId, Instant>>,
}

impl Hints {
    /// Who leads a group, by the last that was heard.
    pub fn get(&self, group: GroupId) -> Option<(NodeId, Term)> {
        lock(&self.heard).get(&group).copied()
    }

    /// Since when a node has been reachable without a break.
    pub fn reachable_since(&self, node: NodeId) -> Option<Instant> {
        lock(&self.reachable).get(&node).copied()
    }

    fn take(&self, from: NodeId, hints: &[LeaderHint]) {
        let mut heard = lock(&self.heard);
        for LeaderHint {
            group_id,
            term,
            leads,
        } in hints
        {
            let (group, term) = (GroupId(*group_id), Term(*term));
            let known = heard.get(&group).copied();
            if *leads && known.is_none_or(|(_, of)| of <= term) {
                heard.insert(group, (from, term));
            } else if !*leads && known.is_some_and(|(node, _)| node == from) {
                heard.remove(&group);
            }
        }
    }

    /// A node's stream begins with all that it leads: what it led before is over.
    fn opened(&self, node: NodeId) {
        lock(&self.heard).retain(|_, (from, _)| *from != node);
        lock(&self.reachable).insert(node, Instant::now());
    }

    fn closed(&self, node: NodeId) {
        lock(&self.reachable).remove(&node);
    }

    fn forget(&self, node: NodeId) {
        lock(&self.heard).retain(|_, (from, _)| *from != node);
        self.closed(node);
    }
}

fn lock<T>(mutex: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Ends the tasks that follow nodes when it is dropped.
#[derive(Default)]
struct Followed(BTreeMap<NodeId, AbortHandle>);

impl Drop for Followed {
    fn drop(&mut self) {
        self.0.values().for_each(AbortHandle::abort);
    }
}

impl Control {
    /// Follows every other member, and stops following those that are none any more.
    pub(super) async fn run_hints(self: Arc<Self>) {
        let mut version = self.view().watch();
        let mut followed = Followed::default();
        loop {
            let metadata = self.view().load();
            let me = self.member().map(|member| member.node);
            let others: Vec<NodeId> = metadata
                .members()
                .map(|node| node.id)
                .filter(|id| Some(*id) != me)
                .collect();
            followed.0.retain(|node, task| {
                let stays = others.contains(node);
                if !stays {
                    task.abort();
                    self.hints().forget(*node);
                }
                stays
            });
            for node in others {
                followed
                    .0
                    .entry(node)
                    .or_insert_with(|| tokio::spawn(Arc::clone(&self).follow(node)).abort_handle());
            }
            if version.changed().await.is_err() {
                return;
            }
        }
    }

    async fn follow(self: Arc<Self>, node: NodeId) {
        loop {
            if let Some(route) = self.route(node, GroupId::META) {
                let request = WatchLeadersRequest {
                    route: Some(route.to_proto()),
                };
                match self.parts().peers.watch_leaders(node, request).await {
                    Err(status) => debug!(%node, "no leader hints: {}", status.message()),
                    Ok(mut hints) => {
                        self.hints().opened(node);
                        while let Some(Ok(batch)) = hints.next().await {
                            self.hints().take(node, &batch.hints);
                        }
                        self.hints().closed(node);
                        info!(%node, "the node is out of reach");
                    }
                }
            }
            tokio::time::sleep(HINTS_RETRY_INTERVAL).await;
        }
    }
}

/// What changed between two looks at the groups led; `before` is empty at the first.
pub(crate) fn changes(
    before: &BTreeMap<GroupId, Term>,
    now: &BTreeMap<GroupId, Term>,
) -> Vec<LeaderHint> {
    let hint = |group: &GroupId, term: &Term, leads| LeaderHint {
        group_id: group.get(),
        term: term.get(),
        leads,
    };
    let lost = before
        .iter()
        .filter(|(g, _)| !now.contains_key(g))
        .map(|(g, t)| hint(g, t, false));
    let won = now
        .iter()
        .filter(|(g, t)| before.get(g) != Some(t))
        .map(|(g, t)| hint(g, t, true));
    lost.chain(won).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn led(groups: &[(u64, u64)]) -> BTreeMap<GroupId, Term> {
        groups
            .iter()
            .map(|(g, t)| (GroupId(*g), Term(*t)))
            .collect()
    }

    #[test]
    fn only_changes_are_told() {
        let before = led(&[(1, 1), (2, 1), (3, 1)]);
        let now = led(&[(1, 1), (2, 4), (5, 1)]);
        let told: Vec<(u64, u64, bool)> = changes(&before, &now)
            .iter()
            .map(|h| (h.group_id, h.term, h.leads))
            .collect();
        assert_eq!(told, [(3, 1, false), (2, 4, true), (5, 1, true)]);
        assert!(changes(&now, &now).is_empty());
    }

    #[tokio::test]
    async fn the_newest_term_wins_and_a_loss_counts_only_from_the_leader() {
        let hints = Hints::default();
        let hint = |term, leads| {
            [LeaderHint {
                group_id: 7,
                term,
                leads,
            }]
        };
        hints.take(NodeId(1), &hint(5, true));
        hints.take(NodeId(2), &hint(4, true));
        assert_eq!(hints.get(GroupId(7)), Some((NodeId(1), Term(5))));
        hints.take(NodeId(2), &hint(6, true));
        hints.take(NodeId(1), &hint(5, false));
        assert_eq!(hints.get(GroupId(7)), Some((NodeId(2), Term(6))));
        hints.opened(NodeId(2));
        assert_eq!(hints.get(GroupId(7)), None, "it tells anew");
        assert!(hints.reachable_since(NodeId(2)).is_some());
        hints.closed(NodeId(2));
        assert!(hints.reachable_since(NodeId(2)).is_none());
    }
}
