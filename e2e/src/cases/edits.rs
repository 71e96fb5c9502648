//! Edits by people and other controllers: additions are removed, and what they need stays.

use anyhow::{Context as _, ensure};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::core::v1::{ConfigMap, Event, Pod, ResourceQuota, Secret, Service};
use k8s_openapi::api::networking::v1::NetworkPolicy;
use k8s_openapi::api::policy::v1::PodDisruptionBudget;
use kube::api::{DeleteParams, ListParams, Patch, PatchParams, PostParams};
use lograft_crds::LogCluster;
use lograft_crds::names::LABEL_CLUSTER;
use serde_json::{Value, json};

use super::life::{quiet, whole};
use crate::operator::Operator;
use crate::sandbox::{Sandbox, await_condition};

/// The specs and data of the edited objects.
async fn contents(sandbox: &Sandbox) -> anyhow::Result<Vec<Value>> {
    let service = sandbox.api::<Service>().get("events-client").await?;
    let set = sandbox.api::<StatefulSet>().get("events").await?;
    let config = sandbox.api::<ConfigMap>().get("events-peers").await?;
    let budget = sandbox.api::<PodDisruptionBudget>();
    let budget = budget.get("events-nodes").await?;
    let policy = sandbox.api::<NetworkPolicy>().get("events-nodes").await?;
    Ok(vec![
        json!(service.spec),
        json!(set.spec),
        json!(config.data),
        json!(budget.spec),
        json!(policy.spec),
    ])
}

/// What `kubectl edit`, `kubectl set env` and `kubectl patch` can add.
async fn add_fields(sandbox: &Sandbox) -> anyhow::Result<()> {
    let person = PatchParams {
        field_manager: Some("a-person".to_owned()),
        ..PatchParams::default()
    };
    let selector = json!({"spec": {"selector": {"team": "a"}, "sessionAffinity": "ClientIP"}});
    sandbox
        .api::<Service>()
        .patch("events-client", &person, &Patch::Merge(selector))
        .await?;
    let env = json!([{"name": "X", "value": "1"}]);
    let template = json!({"spec": {"template": {"spec": {
        "containers": [{"name": "node", "env": env}], "nodeSelector": {"disk": "none"},
    }}}});
    sandbox
        .api::<StatefulSet>()
        .patch("events", &person, &Patch::Strategic(template))
        .await?;
    let data = json!({"data": {"extra": "x"}});
    sandbox.edit::<ConfigMap>("events-peers", data).await?;
    let least = json!({"spec": {"minAvailable": 3, "maxUnavailable": null}});
    sandbox
        .edit::<PodDisruptionBudget>("events-nodes", least)
        .await?;
    let policies = sandbox.api::<NetworkPolicy>();
    let mut policy = policies.get("events-nodes").await?;
    let rules = policy
        .spec
        .get_or_insert_default()
        .ingress
        .get_or_insert_default();
    rules.push(serde_json::from_value(
        json!({"from": [{"podSelector": {}}]}),
    )?);
    policies
        .replace("events-nodes", &PostParams::default(), &policy)
        .await?;
    Ok(())
}

pub(super) async fn additions_to_objects_are_removed(
    sandbox: &Sandbox,
    _: &mut Operator,
) -> anyhow::Result<()> {
    whole(sandbox).await?;
    let before = contents(sandbox).await?;
    add_fields(sandbox).await?;
    ensure!(
        contents(sandbox).await? != before,
        "the edits had no effect"
    );
    await_condition("additions to be removed", || async {
        Ok((contents(sandbox).await? == before).then_some(()))
    })
    .await?;
    quiet(sandbox).await?;
    let events = sandbox.api::<Event>().list(&ListParams::default()).await?;
    let notes = events.items.into_iter().filter_map(|event| event.message);
    let notes: Vec<String> = notes.filter(|note| note.contains("reverting")).collect();
    for (what, path) in [
        ("Service events-client by a-person", "spec.selector.team"),
        ("StatefulSet events by a-person", "spec.nodeSelector"),
        ("ConfigMap events-peers", "data.extra"),
    ] {
        let is_it = |note: &String| note.contains(what) && note.contains(path);
        ensure!(notes.iter().any(is_it), "{what}: {notes:#?}");
    }
    Ok(())
}

/// A variable that gets a value beside its source is invalid, so an apply alone would fail.
pub(super) async fn an_edit_that_blocks_an_apply_is_reverted(
    sandbox: &Sandbox,
    _: &mut Operator,
) -> anyhow::Result<()> {
    whole(sandbox).await?;
    let before = contents(sandbox).await?;
    let env = json!([{"name": "POD_NAME", "value": "x", "valueFrom": null}]);
    let template = json!({"spec": {"template": {"spec": {
        "containers": [{"name": "node", "env": env}],
    }}}});
    sandbox
        .api::<StatefulSet>()
        .patch(
            "events",
            &PatchParams::default(),
            &Patch::Strategic(template),
        )
        .await?;
    await_condition("the variable to be restored", || async {
        Ok((contents(sandbox).await? == before).then_some(()))
    })
    .await?;
    quiet(sandbox).await
}

pub(super) async fn an_immutable_config_map_is_made_again(
    sandbox: &Sandbox,
    _: &mut Operator,
) -> anyhow::Result<()> {
    whole(sandbox).await?;
    let immutable = json!({"immutable": true});
    sandbox
        .edit::<ConfigMap>("events-config", immutable)
        .await?;
    sandbox.change(json!({"replicas": 5})).await?;
    await_condition("five configurations", || async {
        let config = sandbox.api::<ConfigMap>().get_opt("events-config").await?;
        let config = config.unwrap_or_default();
        let count = config.data.unwrap_or_default().len();
        Ok((count == 5 && config.immutable != Some(true)).then_some(()))
    })
    .await
}

/// An orphaning delete leaves the Secrets without an owner; the next cluster takes them over.
pub(super) async fn secrets_are_owned_again_after_an_orphaning_delete(
    sandbox: &Sandbox,
    _: &mut Operator,
) -> anyhow::Result<()> {
    whole(sandbox).await?;
    let secrets = sandbox.api::<Secret>();
    let uids = |secrets: Vec<Secret>| {
        let mut uids: Vec<_> = secrets.into_iter().map(|s| s.metadata.uid).collect();
        uids.sort_unstable();
        uids
    };
    let before = uids(secrets.list(&ListParams::default()).await?.items);
    // The garbage collector, which does not run here, removes the owners.
    let nobody = json!({"metadata": {"ownerReferences": null}});
    for name in ["ca", "node-tls", "operator-tls", "admin-tls"] {
        let name = format!("events-{name}");
        sandbox.edit::<Secret>(&name, nobody.clone()).await?;
    }
    let cluster = sandbox.api::<LogCluster>().get("events").await?;
    let uid = cluster.metadata.uid.context("no UID")?;
    await_condition("owners", || async {
        let all = secrets.list(&ListParams::default()).await?.items;
        let is_owned = |secret: &Secret| {
            let mut owners = secret.metadata.owner_references.iter().flatten();
            owners.any(|owner| owner.uid == uid && owner.controller == Some(true))
        };
        Ok(all.iter().all(is_owned).then_some(()))
    })
    .await?;
    let after = uids(secrets.list(&ListParams::default()).await?.items);
    ensure!(before == after, "Secrets were made again");
    quiet(sandbox).await
}

/// Without the label of the cluster the StatefulSet loses its pod and cannot create another one.
pub(super) async fn a_pod_without_labels_gets_them_back(
    sandbox: &Sandbox,
    _: &mut Operator,
) -> anyhow::Result<()> {
    whole(sandbox).await?;
    sandbox
        .api::<ResourceQuota>()
        .delete("none", &DeleteParams::default())
        .await?;
    let set = sandbox.api::<StatefulSet>().get("events").await?;
    let mut template = json!(set.spec.context("no spec")?.template);
    let claim = json!({"name": "data", "persistentVolumeClaim": {"claimName": "data-events-0"}});
    let volumes = template["spec"]["volumes"].as_array_mut();
    volumes.context("no volumes")?.push(claim);
    template["metadata"]["name"] = json!("events-0");
    template["metadata"]["labels"]["team"] = json!("a");
    let pods = sandbox.api::<Pod>();
    let pod: Pod = serde_json::from_value(template)?;
    pods.create(&PostParams::default(), &pod).await?;
    let unlabelled = json!({"metadata": {"labels": {LABEL_CLUSTER: null}}});
    sandbox.edit::<Pod>("events-0", unlabelled).await?;
    await_condition("the labels of the pod", || async {
        let labels = pods.get("events-0").await?.metadata.labels;
        let labels = labels.unwrap_or_default();
        let is_back = labels.get(LABEL_CLUSTER).map(String::as_str) == Some("events");
        Ok((is_back && labels.contains_key("team")).then_some(()))
    })
    .await?;
    let params = DeleteParams::default().grace_period(0);
    pods.delete("events-0", &params).await?;
    Ok(())
}
