//! Samples of what the nodes say during a fault: who votes, which terms, whom gossip sees.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, Result, ensure};
use lograft_client::admin_wire::{DescribeClusterReply, MetaRole};
use tokio::sync::watch;
use tokio::time::{Duration, MissedTickBehavior, interval};

use super::nodes::{NodeView, Nodes};

const INTERVAL: Duration = Duration::from_secs(1);
const TERM: &str = "lograft_raft_term{";

/// Voters of each group: of the metadata, and of each topic's partition.
type Voters = BTreeMap<String, BTreeSet<u64>>;
/// The highest term that any node has of each partition.
type Terms = BTreeMap<String, u64>;

/// The samples.
#[derive(Debug, Default)]
pub(super) struct Samples {
    /// Answers of nodes.
    pub(super) answers: u64,
    /// How a group's voters differed from those at the start.
    changed_voters: BTreeSet<String>,
    /// Nodes that a node did not see alive by gossip: sentences, with the number of answers.
    pub(super) unseen: BTreeMap<String, u64>,
}

/// The task that samples.
pub(super) struct Watch {
    views: Vec<NodeView>,
    voters: Voters,
    terms: Terms,
    stop: watch::Sender<bool>,
    task: tokio::task::JoinHandle<Samples>,
}

/// Outcome of a watch.
#[derive(Debug)]
pub(super) struct Watched {
    pub(super) samples: Samples,
    /// Terms that passed, of all partitions together.
    pub(super) new_terms: u64,
}

impl Watch {
    /// Starts to sample. The topics must exist.
    pub(super) async fn start(nodes: &Nodes) -> Result<Self> {
        let views = nodes.views.clone();
        let described = nodes.client.admin().describe_cluster(false).await?;
        let voters = voters(&described);
        let full = described.partitions.len() + 1;
        ensure!(voters.len() == full, "not all groups have a leader");
        let terms = terms(&views).await?;
        let (stop, stopped) = watch::channel(false);
        let task = tokio::spawn(sample(views.clone(), voters.clone(), stopped));
        Ok(Self {
            views,
            voters,
            terms,
            stop,
            task,
        })
    }

    /// Ends it, with all nodes connected. Fails if the voters of a group have ever changed.
    pub(super) async fn finish(self, nodes: &Nodes) -> Result<Watched> {
        self.stop.send_replace(true);
        let samples = self.task.await?;
        ensure!(samples.answers > 0, "no node has answered");
        ensure!(
            samples.changed_voters.is_empty(),
            "voters have changed: {:?}",
            samples.changed_voters
        );
        let described = nodes.client.admin().describe_cluster(false).await?;
        let mut at_end = voters(&described);
        // A case may have created further topics.
        at_end.retain(|group, _| self.voters.contains_key(group));
        ensure!(
            at_end == self.voters,
            "voters {:?} have become {at_end:?}",
            self.voters
        );
        let after = terms(&self.views).await?;
        let passed = after.iter().map(|(group, term)| {
            let before = self.terms.get(group).copied().unwrap_or(*term);
            term.saturating_sub(before)
        });
        Ok(Watched {
            samples,
            new_terms: passed.sum(),
        })
    }
}

/// The voters of the groups whose leader the answering node has asked.
fn voters(reply: &DescribeClusterReply) -> Voters {
    let mut voters = Voters::new();
    let is_voter = |role: MetaRole| matches!(role, MetaRole::Leader | MetaRole::Voter);
    let meta = reply.nodes.iter().filter(|node| is_voter(node.meta_role()));
    voters.insert(
        "metadata".to_owned(),
        meta.map(|node| node.node_id).collect(),
    );
    for partition in &reply.partitions {
        let of_partition = partition.replicas.iter().filter(|replica| replica.voter);
        let name = format!("{}/{}", partition.topic, partition.partition);
        voters.insert(name, of_partition.map(|replica| replica.node_id).collect());
    }
    // A node that has not reached the leader does not know who votes.
    voters.retain(|_, voters| !voters.is_empty());
    voters
}

async fn terms(views: &[NodeView]) -> Result<Terms> {
    let mut terms = Terms::new();
    for view in views {
        let own = view.metrics(TERM).await;
        for (group, term) in own.with_context(|| format!("metrics of {}", view.name()))? {
            let highest = terms.entry(group).or_default();
            *highest = term.max(*highest);
        }
    }
    ensure!(!terms.is_empty(), "the nodes show no terms");
    Ok(terms)
}

async fn sample(views: Vec<NodeView>, first: Voters, stopped: watch::Receiver<bool>) -> Samples {
    let hosts: Vec<u8> = views.iter().map(|view| view.host).collect();
    let mut samples = Samples::default();
    let mut ticks = interval(INTERVAL);
    ticks.set_missed_tick_behavior(MissedTickBehavior::Delay);
    while !*stopped.borrow() {
        ticks.tick().await;
        let asked = views.iter().map(NodeView::describe);
        let replies = futures_util::future::join_all(asked).await;
        for (view, reply) in views.iter().zip(replies) {
            // It may be the one that is cut off.
            let Ok(reply) = reply else { continue };
            samples.answers += 1;
            for (group, now) in voters(&reply) {
                if first.get(&group).is_some_and(|first| *first != now) {
                    let text = format!("{group} by {}: {now:?}", view.name());
                    samples.changed_voters.insert(text);
                }
            }
            for host in view.unseen(&reply, &hosts) {
                let text = format!("{} does not see host {host}", view.name());
                *samples.unseen.entry(text).or_default() += 1;
            }
        }
    }
    samples
}
