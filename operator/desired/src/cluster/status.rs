//! The status of a LogCluster: from the observation, the plan and its outcome, after the plan was
//! carried out.

mod blocked;
mod conditions;
mod feature_level;
mod health;
mod members;
mod notes;
mod obstacles;
mod unready;
mod warnings;

use lograft_crds::log_cluster::{AuthorizationStatus, CaStatus};
use lograft_crds::names::ClusterNames;
use lograft_crds::{LogCluster, LogClusterStatus};

use crate::cluster::observed::Observed;
use crate::cluster::outcome::Outcome;
use crate::cluster::plan::Plan;
use crate::cluster::secret_plan::ROOTS_FIELD;
use crate::cluster::validate::ValidCluster;
use crate::cluster::wait::{Intervention, Wait};
use crate::time::time;
use crate::validation::ValidationError;

pub use warnings::{Warning, next_warning_seconds, warnings};

/// The status of a new cluster whose spec is invalid. Everything but the readiness stays as it was.
pub fn invalid(
    raw: &LogCluster,
    error: &ValidationError,
    now_unix_seconds: i64,
) -> LogClusterStatus {
    let old = raw.status.clone().unwrap_or_default();
    let why = error.sentence();
    let waits = [Intervention::InvalidSpec { why }.into()];
    let generation = raw.metadata.generation;
    let (blocked, recently_blocked) = blocked::next(&old, &waits, now_unix_seconds);
    LogClusterStatus {
        observed_generation: generation,
        recently_blocked,
        conditions: conditions::not_ready(&old.conditions, &waits, generation, now_unix_seconds),
        blocked_on: blocked::sentence(&blocked),
        blocked,
        ..old
    }
}

/// The status after a plan was carried out.
pub fn next(
    raw: &LogCluster,
    cluster: &ValidCluster,
    observed: &Observed,
    plan: &Plan,
    outcome: &Outcome,
) -> LogClusterStatus {
    let old = raw.status.clone().unwrap_or_default();
    let names = ClusterNames(&cluster.name);
    let now = observed.now_unix_seconds;
    let ready = ready_pods(observed);
    let bootstrapped = old.bootstrapped || plan.mark_bootstrapped || outcome.bootstrapped;
    let obstacles = obstacles::find(names, observed, &plan.waits);
    let mut waits = outcome_waits(outcome);
    // What a person or Kubernetes must change explains the waits behind it.
    let is_for_people = |wait: &&Wait| matches!(wait, Wait::Intervention(_));
    let (for_people, others): (Vec<&Wait>, Vec<&Wait>) = plan.waits.iter().partition(is_for_people);
    waits.extend(for_people.into_iter().cloned());
    let growths = obstacles::growths(names, observed);
    let is_unexplained = |wait: &&Wait| {
        ![&obstacles, &growths]
            .iter()
            .any(|found| obstacles::explain(found, wait))
    };
    waits.extend(
        obstacles
            .iter()
            .chain(&growths)
            .cloned()
            .map(Wait::Obstacle),
    );
    waits.extend(others.into_iter().filter(is_unexplained).cloned());
    waits.extend(health::waits(&health::Input {
        names,
        old: &old,
        observed,
        obstacles: &obstacles,
        bootstrapped,
        ready,
        wanted: cluster.spec.replicas,
        pods: plan.pods,
    }));
    let generation = raw.metadata.generation;
    let conditions = conditions::next(&old.conditions, &waits, generation, now);
    let (blocked, recently_blocked) = blocked::next(&old, &waits, now);
    LogClusterStatus {
        observed_generation: generation,
        operator: old.operator,
        cluster_id: outcome.cluster_id.clone().or(old.cluster_id),
        bootstrap_ordinal: outcome.bootstrap_ordinal.or(old.bootstrap_ordinal),
        bootstrapped,
        conditions,
        members: members::members(cluster, observed, plan.pods, &old.members),
        endpoints: plan.endpoints.clone().or(old.endpoints),
        ca: ca(names, observed),
        blocked_on: blocked::sentence(&blocked),
        blocked,
        recently_blocked,
        notes: notes::next(&old.notes, observed),
        image: Some(plan.image.clone())
            .filter(|image| !image.is_empty())
            .or(old.image),
        default_version: Some(plan.default_version.clone())
            .filter(|version| !version.is_empty())
            .or(old.default_version),
        // Without an answer the last one counts: a downgrade is refused also then.
        version: members::version(observed).or(old.version),
        rollout: plan.rollout.clone().or(old.rollout),
        feature_level: feature_level::next(old.feature_level.as_ref(), observed, plan),
        authorization: Some(authorization(cluster, observed, plan, outcome)),
        replicas: i32::try_from(observed.pods.len()).unwrap_or(i32::MAX),
        ready_replicas: ready,
        ready_text: Some(format!("{ready}/{}", cluster.spec.replicas)),
        selector: Some(names.selector_text()),
    }
}

/// With the default mode that was stored in this step, if one was.
fn authorization(
    cluster: &ValidCluster,
    observed: &Observed,
    plan: &Plan,
    outcome: &Outcome,
) -> AuthorizationStatus {
    let finalized = observed.finalized_level(cluster);
    let mut status = cluster.authorization.status(finalized);
    if outcome.cluster_id.is_some() {
        status.default_mode = plan.default_authorization;
    }
    status
}

/// Waits that only the outcome shows. They precede those of the plan: a failed step is the reason
/// why a lane makes no progress.
fn outcome_waits(outcome: &Outcome) -> Vec<Wait> {
    let failure = outcome.failures.first().cloned().map(Wait::Retry);
    let stop = outcome.unprepared_stop.clone().map(Wait::StopPrepared);
    let growth = outcome.refused_growth.clone();
    let growth = growth.map(|refused| Intervention::GrowthRefused(refused).into());
    failure.into_iter().chain(stop).chain(growth).collect()
}

fn ready_pods(observed: &Observed) -> i32 {
    let pods = observed.pods.values();
    let ready = pods.filter(|pod| pod.ready && !pod.terminating).count();
    i32::try_from(ready).unwrap_or(i32::MAX)
}

fn ca(names: ClusterNames<'_>, observed: &Observed) -> Option<CaStatus> {
    let secret = observed.secrets.get(&names.ca())?;
    let ca = secret.certificates.get(ROOTS_FIELD)?;
    Some(CaStatus {
        fingerprint: ca.fingerprint.clone(),
        not_after: time(ca.not_after)?,
    })
}

#[cfg(test)]
mod tests;
