//! The keys of gossip: created once, and replaced from time to time without a gap.
//!
//! Safety: the order of the steps. A node drops a datagram whose key it does not know. So the new
//! key is first added, and accepted by all, before any node sends with it; and the former one goes
//! only when no node sends with it. Between the steps every reachable node has to report the keys
//! of the last step, and a settle time passes in which kubelet brings them to nodes that do not
//! answer: such a node reads them when it starts. No pod is restarted.

use lograft_crds::limits::GOSSIP_KEY_SETTLE_SECONDS;
use lograft_crds::names::ClusterNames;

use crate::ObjectKey;
use crate::cluster::action::Action;
use crate::cluster::build::owned_secret;
use crate::cluster::gossip_keys::{
    GossipKeyPlan, GossipKeySource, GossipKeyState, ObservedGossipKeys,
};
use crate::cluster::lane::{Lane, TimedLane};
use crate::cluster::observed::Observed;
use crate::cluster::validate::ValidCluster;
use crate::cluster::wait::Wait;

/// Plans the Secret of the keys.
pub(crate) fn plan(cluster: &ValidCluster, observed: &Observed) -> TimedLane {
    if !cluster.spec.discovery.gossip.enabled {
        return TimedLane::default();
    }
    let secret = ClusterNames(&cluster.name).gossip_keys();
    if let Some(foreign) = observed.foreign_secret(&secret) {
        return Lane::waiting(foreign).into();
    }
    match next(cluster, observed) {
        Next::Nothing { check } => TimedLane {
            lane: Lane::default(),
            next_check: Some(check),
        },
        Next::Loading => Lane::waiting(Wait::GossipKeysLoaded).into(),
        Next::Write(step) => write(cluster, observed, &secret, &step).into(),
    }
}

enum Next {
    /// Not before this time, seconds since 1970.
    Nothing {
        check: i64,
    },
    /// Nodes load the last step.
    Loading,
    Write(Step),
}

struct Step {
    keys: Vec<GossipKeySource>,
    is_promoted: bool,
    /// Request that the keys answer to.
    request: String,
    event: StepEvent,
}

/// The event of a step. Each step has a reason of its own: Kubernetes merges events with the same
/// one, and only the last text would be left.
struct StepEvent {
    reason: &'static str,
    text: &'static str,
}

fn next(cluster: &ValidCluster, observed: &Observed) -> Next {
    use GossipKeySource::{Kept, New};
    let now = observed.now_unix_seconds;
    let wanted = cluster.gossip_key_request.clone().unwrap_or_default();
    let Some(keys) = &observed.gossip_keys else {
        return Next::Write(Step {
            keys: vec![New],
            is_promoted: false,
            request: wanted,
            event: StepEvent {
                reason: "CreatingGossipKey",
                text: "creating the gossip key",
            },
        });
    };
    let ObservedGossipKeys { ids, state } = keys;
    if ids.len() == 1 {
        let due = state.changed.saturating_add(cluster.gossip_key_seconds);
        // No node could say that it has loaded another one.
        let is_described = observed.view.is_some();
        if (due > now && state.request == wanted) || !is_described {
            return Next::Nothing {
                check: due.max(now + GOSSIP_KEY_SETTLE_SECONDS),
            };
        }
        return Next::Write(Step {
            keys: vec![Kept(0), New],
            is_promoted: false,
            request: wanted,
            event: StepEvent {
                reason: "AddingGossipKey",
                text: "adding a new gossip key",
            },
        });
    }
    let settled = state.changed.saturating_add(GOSSIP_KEY_SETTLE_SECONDS);
    if settled > now {
        return Next::Nothing { check: settled };
    }
    if !is_loaded(observed, ids) {
        return Next::Loading;
    }
    // Keys that somebody else wrote are sent with as they stand: the first one is meant.
    let is_last = state.is_promoted || state.changed == 0;
    let (keys, event) = if is_last {
        let event = StepEvent {
            reason: "RemovingGossipKey",
            text: "removing the former gossip key",
        };
        (vec![Kept(0)], event)
    } else {
        let event = StepEvent {
            reason: "UsingGossipKey",
            text: "sending with the new gossip key",
        };
        (vec![Kept(1), Kept(0)], event)
    };
    Next::Write(Step {
        keys,
        is_promoted: !is_last,
        request: state.request.clone(),
        event,
    })
}

/// Whether every reachable node has loaded these keys. One that reports none does not gossip.
fn is_loaded(observed: &Observed, ids: &[String]) -> bool {
    let has_loaded = |loaded: &[String]| loaded.is_empty() || loaded == ids;
    observed.view.as_ref().is_some_and(|view| {
        let mut nodes = view.members();
        nodes.all(|node| !node.reachable || has_loaded(&node.gossip_key_ids))
    })
}

fn write(cluster: &ValidCluster, observed: &Observed, secret: &str, step: &Step) -> Lane {
    let mut lane = Lane::default();
    let StepEvent { reason, text } = step.event;
    let about = ObjectKey::new("Secret", secret);
    lane.emit_event_about(about, reason, format!("{text} in Secret {secret}"));
    lane.actions.push(Action::WriteGossipKeys(GossipKeyPlan {
        object: owned_secret(cluster, secret),
        keys: step.keys.clone(),
        state: GossipKeyState {
            is_promoted: step.is_promoted,
            changed: observed.now_unix_seconds,
            request: step.request.clone(),
        },
    }));
    lane
}

#[cfg(test)]
mod tests;
