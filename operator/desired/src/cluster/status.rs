//! What the operator says: from the world and the plan, and only after the plan was carried out.

use k8s_openapi::apimachinery::pkg::apis::meta::v1::{Condition, Time};
use k8s_openapi::jiff::Timestamp;
use lograft_crds::conditions::{ConditionType, Reason};
use lograft_crds::limits::{BLOCKED_ON_MAX_BYTES, FREE_BYTES_STEPS_COUNT, LAG_MIN_COUNT};
use lograft_crds::log_cluster::{CaStatus, Endpoints, MemberStatus};
use lograft_crds::names::{ClusterNames, PORT_CLIENT};
use lograft_crds::{LogCluster, LogClusterStatus};

use crate::cluster::lanes::certificates;
use crate::{Answer, NodeState, Note, Observed, Plan, Refused, ValidCluster, View};

/// What came of a plan.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    /// The id that the cluster was given.
    pub cluster_id: Option<String>,
    /// Whether the first node made the cluster.
    pub bootstrapped: bool,
    /// What failed, the first first.
    pub failures: Vec<String>,
    /// How many of them were the API server's.
    pub api_failures_count: usize,
    /// What a node said that its stop has to wait for.
    pub wait: Option<String>,
    /// Why a disk may not grow, if the API server said so.
    pub growth_refused: Option<String>,
}

/// The status of a cluster whose spec was refused.
pub fn refused(raw: &LogCluster, why: &Refused, now_unix_seconds: i64) -> LogClusterStatus {
    let mut status = raw.status.clone().unwrap_or_default();
    let mut text = why.to_string();
    if let Some(cause) = std::error::Error::source(why) {
        text = format!("{text}: {cause}");
    }
    let note = Note {
        reason: Reason::InvalidSpec,
        text,
        blocks: true,
    };
    status.observed_generation = raw.metadata.generation;
    status.blocked_on = blocked_on(status.blocked_on.as_deref(), &[&note], now_unix_seconds);
    let generation = raw.metadata.generation;
    let old = std::mem::take(&mut status.conditions);
    status.conditions = old.iter().filter(|c| c.type_ != "Ready").cloned().collect();
    let ready = condition(&old, &note, generation, now_unix_seconds);
    status.conditions.extend(ready);
    sort(&mut status.conditions);
    status
}

/// The status after a plan.
pub fn next(
    raw: &LogCluster,
    cluster: &ValidCluster,
    observed: &Observed,
    (plan, outcome): (&Plan, &Outcome),
) -> LogClusterStatus {
    let old = raw.status.clone().unwrap_or_default();
    let names = ClusterNames(&cluster.name);
    let now = observed.now_unix_seconds;
    let ready = observed
        .pods
        .values()
        .filter(|pod| pod.ready && !pod.terminating)
        .count();
    let ready = i32::try_from(ready).unwrap_or(i32::MAX);
    let bootstrapped = old.bootstrapped || plan.was_made || outcome.bootstrapped;
    let mut notes = failures(outcome);
    notes.extend(outcome.wait.iter().map(|text| Note {
        reason: Reason::RollingOut,
        text: text.clone(),
        blocks: true,
    }));
    notes.extend(outcome.growth_refused.iter().map(|text| Note {
        reason: Reason::GrowthRefused,
        text: text.clone(),
        blocks: true,
    }));
    notes.extend(plan.notes.iter().cloned());
    notes.extend(health(cluster, observed, plan, ready, bootstrapped));
    let waits: Vec<&Note> = notes.iter().filter(|note| note.blocks).collect();
    let conditions = ConditionType::ALL.iter().filter_map(|kind| {
        let is_own = |note: &&Note| note.reason.row().is_some_and(|row| row.condition == *kind);
        let note = notes.iter().find(is_own)?;
        condition(&old.conditions, note, raw.metadata.generation, now)
    });
    let ca = observed
        .secrets
        .get(&names.ca())
        .and_then(|s| s.certificates.get("ca.crt"));
    let ca = ca.and_then(|ca| {
        Some(CaStatus {
            fingerprint: ca.fingerprint.clone(),
            not_after: time(ca.not_after)?,
        })
    });
    LogClusterStatus {
        observed_generation: raw.metadata.generation,
        cluster_id: outcome
            .cluster_id
            .clone()
            .or_else(|| old.cluster_id.clone()),
        bootstrapped,
        conditions: conditions.collect(),
        members: members(cluster, observed, plan.pods),
        endpoints: Some(Endpoints {
            internal: format!(
                "{}.{}.svc:{PORT_CLIENT}",
                names.client_service(),
                cluster.namespace
            ),
        }),
        ca,
        blocked_on: blocked_on(old.blocked_on.as_deref(), &waits, now),
        version: version(observed),
        replicas: i32::try_from(observed.pods.len()).unwrap_or(i32::MAX),
        ready_replicas: ready,
        ready_text: Some(format!("{ready}/{}", cluster.spec.replicas)),
        selector: Some(names.selector_text()),
    }
}

/// A failure goes before what is waited for, in `blockedOn` and in Progressing.
fn failures(outcome: &Outcome) -> Vec<Note> {
    let note = |text: &String| Note {
        reason: Reason::CreatingObjects,
        text: text.clone(),
        blocks: true,
    };
    outcome.failures.first().map(note).into_iter().collect()
}

/// What each condition says when no lane had anything to say: in order, the worst first.
fn health(
    cluster: &ValidCluster,
    observed: &Observed,
    plan: &Plan,
    ready: i32,
    bootstrapped: bool,
) -> Vec<Note> {
    let mut notes = Vec::new();
    let leaderless = observed.view.as_ref().and_then(leaderless);
    if bootstrapped {
        notes.extend(losses(observed, leaderless.as_deref()));
    }
    let mut say = |reason, text: String, blocks| {
        notes.push(Note {
            reason,
            text,
            blocks,
        });
    };
    let wanted = cluster.spec.replicas;
    let serves = bootstrapped && observed.view.is_some() && leaderless.is_none();
    if !bootstrapped {
        let text = "the cluster has not served yet".to_owned();
        say(Reason::Starting, text, false);
    } else if ready < wanted {
        let text = format!("{} of {wanted} nodes to be ready", wanted - ready);
        say(Reason::NodesNotReady, text, true);
    } else if !serves {
        let text = "not every partition takes writes, as far as can be seen".to_owned();
        say(Reason::NodesNotReady, text, false);
    }
    if bootstrapped && ready < plan.pods {
        let text = format!("{ready} of {} nodes are up", plan.pods);
        say(Reason::ScalingUp, text, false);
    }
    for reason in [
        Reason::Serving,
        Reason::Settled,
        Reason::Whole,
        Reason::Issued,
        Reason::Bound,
        Reason::Running,
    ] {
        let meaning = reason.row().map_or("", |row| row.meaning);
        say(reason, meaning.to_owned(), false);
    }
    notes
}

/// A partition, or the meta group, that nobody leads.
fn leaderless(view: &View) -> Option<String> {
    let partition = view.partitions.iter().find(|p| p.leader.is_none());
    let partition = partition.map(|p| format!("partition {} of {}", p.number, p.topic));
    partition.or_else(|| {
        view.meta_leader
            .is_none()
            .then(|| "the meta group".to_owned())
    })
}

/// What is lost or at risk.
fn losses(observed: &Observed, leaderless: Option<&str>) -> Vec<Note> {
    let mut notes = Vec::new();
    let mut say = |reason, text, blocks| {
        notes.push(Note {
            reason,
            text,
            blocks,
        });
    };
    if let Some(what) = leaderless {
        say(Reason::QuorumLost, format!("{what} to have a leader"), true);
    }
    let known = observed.view.iter().flat_map(|view| &view.nodes);
    let mut lost = known.filter(|node| node.state != NodeState::Removed && !node.reachable);
    if let Some(node) = lost.next() {
        let text = format!("node {} ({}) does not answer", node.id, node.name);
        say(Reason::NodeLost, text, false);
    }
    if observed.view.is_none() && observed.pods.values().any(|pod| pod.running) {
        let why = observed.answers.values().find_map(|answer| match answer {
            Answer::Silent(why) => Some(why.as_str()),
            Answer::Empty | Answer::Member { .. } => None,
        });
        let text = format!("a node to answer: {}", why.unwrap_or("none was asked"));
        say(Reason::DataPlaneUnreachable, text, true);
    }
    notes
}

fn condition(
    old: &[Condition],
    note: &Note,
    generation: Option<i64>,
    now_unix_seconds: i64,
) -> Option<Condition> {
    let row = note.reason.row()?;
    let status = if row.status { "True" } else { "False" };
    let former = old.iter().find(|c| c.type_ == row.condition.name());
    let since = former.filter(|c| c.status == status);
    let since = since.map(|c| c.last_transition_time.clone());
    Some(Condition {
        type_: row.condition.name().to_owned(),
        status: status.to_owned(),
        reason: row.name.to_owned(),
        message: note.text.clone(),
        observed_generation: generation,
        last_transition_time: since.or_else(|| time(now_unix_seconds))?,
    })
}

fn sort(conditions: &mut [Condition]) {
    conditions.sort_by_key(|c| {
        ConditionType::ALL
            .iter()
            .position(|kind| kind.name() == c.type_)
    });
}

fn time(unix_seconds: i64) -> Option<Time> {
    Timestamp::from_second(unix_seconds).ok().map(Time)
}

/// The first thing waited for, and since when: the time stays while the sentence does.
fn blocked_on(old: Option<&str>, waits: &[&Note], now_unix_seconds: i64) -> Option<String> {
    const SINCE: &str = ", since ";
    let text = format!("waits for {}", waits.first()?.text);
    let room = BLOCKED_ON_MAX_BYTES - 64;
    let end = (0..=room.min(text.len()))
        .rev()
        .find(|at| text.is_char_boundary(*at))?;
    let text = text.get(..end)?;
    let is_same = |old: &&str| {
        old.rsplit_once(SINCE)
            .is_some_and(|(before, _)| before == text)
    };
    if let Some(old) = old.filter(is_same) {
        return Some(old.to_owned());
    }
    let since = Timestamp::from_second(now_unix_seconds).ok()?;
    Some(format!("{text}{SINCE}{since}"))
}

fn members(cluster: &ValidCluster, observed: &Observed, pods: i32) -> Vec<MemberStatus> {
    let names = ClusterNames(&cluster.name);
    let ends = certificates::ends(observed, &names.node_tls());
    let member = |ordinal: i32| {
        let name = names.pod(ordinal);
        let pod = observed.pods.get(&ordinal);
        let node = observed.view.as_ref().and_then(|view| view.node_of(&name));
        let known = node.filter(|node| node.reachable);
        let end = ends.get(&format!("{name}.crt"));
        MemberStatus {
            node_id: node.and_then(|node| i64::try_from(node.id).ok()),
            zone: observed.zones.get(&ordinal).cloned(),
            ready: pod.is_some_and(|pod| pod.ready && !pod.terminating),
            version: known.map(|node| node.version.clone()),
            role: node.and_then(|node| node.meta),
            leaders: known.and_then(|node| i32::try_from(node.leaders).ok()),
            lag: known.map(|node| coarse_lag(node.lag_entries)),
            cert_not_after: known
                .and_then(|node| node.certificate_not_after)
                .or(end.copied())
                .and_then(time),
            disk_free_bytes: known.and_then(|n| coarse(n.disk_free_bytes, n.disk_total_bytes)),
            name,
        }
    };
    (0..pods).map(member).collect()
}

/// Free bytes in steps of the disk's size.
fn coarse(free: u64, total: u64) -> Option<i64> {
    let step = (total / FREE_BYTES_STEPS_COUNT).max(1);
    i64::try_from(free / step * step).ok()
}

/// Entries that a node lacks, rounded down to a power of two; 0 for what any node lacks under load.
fn coarse_lag(entries: u64) -> i64 {
    if entries < LAG_MIN_COUNT {
        return 0;
    }
    i64::try_from(1_u64 << entries.ilog2()).unwrap_or(i64::MAX)
}

/// The version that all answering nodes run; `from > to` while there are two.
fn version(observed: &Observed) -> Option<String> {
    let view = observed.view.as_ref()?;
    let known = view
        .nodes
        .iter()
        .filter(|node| node.reachable && !node.version.is_empty());
    let mut versions: Vec<&str> = known.map(|node| node.version.as_str()).collect();
    versions.sort_unstable();
    versions.dedup();
    (!versions.is_empty()).then(|| versions.join(" > "))
}
