//! What keeps pods from running is named in status and warned of. There are no controllers here:
//! the cases write what those of Kubernetes would.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{Event, PersistentVolumeClaim, Pod};
use k8s_openapi::jiff::Timestamp;
use kube::api::{Patch, PatchParams, PostParams};
use lograft_crds::LogClusterStatus;
use serde_json::{Value, json};

use super::said::{await_warning, blocked_for, condition, one_warning};
use crate::operator::Operator;
use crate::sandbox::{Sandbox, await_condition};

/// Writes a warning about an object, as a controller does.
async fn warn(sandbox: &Sandbox, about: Value, reason: &str, text: &str) -> anyhow::Result<()> {
    let now = Timestamp::now().to_string();
    let event = json!({
        "metadata": {"generateName": "warning-", "namespace": about["namespace"]},
        "involvedObject": about, "type": "Warning", "reason": reason, "message": text,
        "firstTimestamp": now, "lastTimestamp": now, "count": 1,
    });
    let event: Event = serde_json::from_value(event)?;
    let api = sandbox.api::<Event>();
    api.create(&PostParams::default(), &event).await?;
    Ok(())
}

/// Waits for the StatefulSet.
async fn stateful_set(sandbox: &Sandbox) -> anyhow::Result<StatefulSet> {
    await_condition("the StatefulSet", || async {
        Ok(sandbox.api::<StatefulSet>().get_opt("events").await?)
    })
    .await
}

/// Creates the first pod of the StatefulSet.
async fn create_pod(sandbox: &Sandbox) -> anyhow::Result<Pod> {
    let set = sandbox.api::<StatefulSet>().get("events").await?;
    let template = set.spec.context("no spec")?.template;
    let mut pod = serde_json::to_value(template)?;
    pod["metadata"]["name"] = json!("events-0");
    pod["metadata"]["ownerReferences"] = json!([{
        "apiVersion": "apps/v1", "kind": "StatefulSet", "name": "events", "controller": true,
        "uid": set.metadata.uid,
    }]);
    let disk = json!({"name": "data", "persistentVolumeClaim": {"claimName": "data-events-0"}});
    let volumes = pod["spec"]["volumes"].as_array_mut();
    volumes.context("no volumes")?.push(disk);
    let pod: Pod = serde_json::from_value(pod)?;
    let api = sandbox.api::<Pod>();
    Ok(api.create(&PostParams::default(), &pod).await?)
}

async fn create_claim(sandbox: &Sandbox) -> anyhow::Result<PersistentVolumeClaim> {
    let claim = json!({
        "metadata": {"name": "data-events-0", "labels": {"lograft.io/cluster": "events"}},
        "spec": {
            "accessModes": ["ReadWriteOnce"], "storageClassName": "fast",
            "resources": {"requests": {"storage": "1Gi"}},
        },
    });
    let mut claim: PersistentVolumeClaim = serde_json::from_value(claim)?;
    let set = sandbox.api::<StatefulSet>().get("events").await?;
    let template = set.spec.context("no spec")?.template;
    claim.metadata.labels = template.metadata.context("no metadata")?.labels;
    let api = sandbox.api::<PersistentVolumeClaim>();
    Ok(api.create(&PostParams::default(), &claim).await?)
}

async fn set_pod_status(sandbox: &Sandbox, status: Value) -> anyhow::Result<()> {
    let patch = Patch::Merge(json!({"status": status}));
    let api = sandbox.api::<Pod>();
    api.patch_status("events-0", &PatchParams::default(), &patch)
        .await?;
    Ok(())
}

/// A quota refuses the first pod.
async fn refuse_pod(sandbox: &Sandbox) -> anyhow::Result<()> {
    let set = stateful_set(sandbox).await?;
    let namespace = set.metadata.namespace.clone();
    let set = json!({
        "kind": "StatefulSet", "name": "events", "namespace": namespace, "uid": set.metadata.uid,
    });
    let quota = "pods \"events-0\" is forbidden: exceeded quota: small";
    let refused = format!("create Pod events-0 in StatefulSet events failed error: {quota}");
    warn(sandbox, set, "FailedCreate", &refused).await?;
    let status = sandbox
        .status("the quota", |status| {
            blocked_for(status, "PodNotCreated").is_some()
        })
        .await?;
    let found = blocked_for(&status, "PodNotCreated").context("no entry")?;
    let sentence = format!("pod events-0 cannot be created: {quota}");
    ensure!(found.message == sentence, "{found:?}");
    ensure!(
        found.subject.as_deref() == Some("Pod events-0"),
        "{found:?}"
    );
    let blocked_on = status.blocked_on.clone().unwrap_or_default();
    ensure!(blocked_on.starts_with(&sentence), "{blocked_on}");
    let ready = condition(&status, "Ready")?;
    ensure!(ready.message == sentence, "{ready:?}");
    await_warning(sandbox, "PodNotCreated").await?;
    Ok(())
}

pub(super) async fn what_keeps_a_pod_from_running_is_named(
    sandbox: &Sandbox,
    _: &mut Operator,
) -> anyhow::Result<()> {
    sandbox.create(json!({})).await?;
    refuse_pod(sandbox).await?;
    create_pod(sandbox).await?;
    let words = "0/3 nodes are available: 3 Insufficient cpu. preemption: 0/3 nodes are available.";
    let unscheduled = json!({
        "type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": words,
    });
    set_pod_status(sandbox, json!({"conditions": [unscheduled]})).await?;
    let status = sandbox
        .status("the scheduler", |status| {
            blocked_for(status, "PodNotScheduled").is_some()
        })
        .await?;
    let found = blocked_for(&status, "PodNotScheduled").context("no entry")?;
    ensure!(found.message.ends_with(words), "{found:?}");
    ensure!(
        blocked_for(&status, "PodNotCreated").is_none(),
        "{:?}",
        status.blocked
    );
    await_warning(sandbox, "PodNotScheduled").await?;

    let claim = create_claim(sandbox).await?;
    let claim = json!({
        "kind": "PersistentVolumeClaim", "name": "data-events-0",
        "namespace": claim.metadata.namespace, "uid": claim.metadata.uid,
    });
    let unknown = "storageclass.storage.k8s.io \"fast\" not found";
    warn(sandbox, claim, "ProvisioningFailed", unknown).await?;
    let names_class = |status: &LogClusterStatus| {
        blocked_for(status, "ClaimNotProvisioned")
            .is_some_and(|entry| entry.message.ends_with(unknown))
    };
    let status = sandbox.status("the storage class", names_class).await?;
    let storage = condition(&status, "StorageReady")?;
    ensure!(storage.message.ends_with(unknown), "{storage:?}");
    let event = await_warning(sandbox, "ClaimNotProvisioned").await?;
    let note = event.message.clone().unwrap_or_default();
    ensure!(note.ends_with(unknown), "{event:#?}");
    Ok(())
}

pub(super) async fn a_crash_loop_is_one_state_and_one_event(
    sandbox: &Sandbox,
    _: &mut Operator,
) -> anyhow::Result<()> {
    sandbox.create(json!({})).await?;
    stateful_set(sandbox).await?;
    create_pod(sandbox).await?;
    let exit = json!({"terminated": {"exitCode": 3, "reason": "Error", "message": "bad port"}});
    let running = json!({"running": {"startedAt": "2026-01-01T00:00:00Z"}});
    let back_off = json!({"waiting": {"reason": "CrashLoopBackOff", "message": "back-off 5m0s"}});
    let mut since = None;
    for round in 0..6 {
        for state in [&running, &exit, &back_off] {
            let mut state = (*state).clone();
            if state == running {
                state["running"]["startedAt"] = json!(Timestamp::now().to_string());
            }
            let container = json!({
                "name": "node", "image": "i", "imageID": "i", "ready": false,
                "restartCount": 2 + round, "state": state, "lastState": exit,
            });
            set_pod_status(sandbox, json!({"containerStatuses": [container]})).await?;
            tokio::time::sleep(Duration::from_secs(2)).await;
            let status = sandbox
                .status("the crash loop", |status| {
                    blocked_for(status, "RolloutStuck").is_some()
                })
                .await?;
            let found = blocked_for(&status, "RolloutStuck").context("no entry")?;
            ensure!(
                found.message.contains("exit code 3 (Error): bad port"),
                "{found:?}"
            );
            let first = since.get_or_insert_with(|| found.since.clone());
            ensure!(*first == found.since, "{first:?}, then {found:?}");
        }
    }
    let event = one_warning(sandbox, "RolloutStuck").await?;
    ensure!(event.count == Some(1), "{event:#?}");
    ensure!(
        event.involved_object.kind.as_deref() == Some("LogCluster"),
        "{event:#?}"
    );
    Ok(())
}
