//! Specs that the API server or the operator refuses, and the messages.

use anyhow::ensure;
use kube::api::{Patch, PatchParams};
use lograft_crds::LogCluster;
use serde_json::{Value, json};

use crate::operator::Operator;
use crate::sandbox::Sandbox;

/// Checks that the request was refused with a message that contains `words`.
pub(super) fn refused(result: Result<(), kube::Error>, words: &str) -> anyhow::Result<()> {
    match result {
        Err(kube::Error::Api(status)) if status.message.contains(words) => Ok(()),
        Err(error) => anyhow::bail!("refused, but the message lacks {words:?}: {error}"),
        Ok(()) => anyhow::bail!("accepted, but should be refused with {words:?}"),
    }
}

pub(super) async fn bad_clusters_are_refused_with_advice(
    sandbox: &Sandbox,
    _: &mut Operator,
) -> anyhow::Result<()> {
    let cases: [(Value, &str); 10] = [
        (json!({"replicas": 0}), "spec.replicas"),
        (json!({"replicas": 100}), "spec.replicas"),
        (json!({"storage": {"size": "1Mi"}}), "must be at least 1Gi"),
        (json!({"storage": {"size": "lots"}}), "spec.storage.size"),
        (
            json!({"replicas": 1, "log": {"replicationFactor": 3}}),
            "raise spec.replicas",
        ),
        (
            json!({"tls": {"leafValidity": "1h", "caValidity": "1h"}}),
            "raise caValidity",
        ),
        (
            json!({"podTemplate": {"labels": {"lograft.io/cluster": "x"}}}),
            "use another prefix",
        ),
        (
            json!({"log": {"segmentSize": "65Mi"}}),
            "between 1Mi and 64Mi",
        ),
        (
            json!({"update": {"finalizeAfterSeconds": 604_801}}),
            "spec.update.finalizeAfterSeconds",
        ),
        (
            json!({"update": {"finalize": "Never"}}),
            "spec.update.finalize",
        ),
    ];
    for (spec, words) in cases {
        refused(sandbox.create(spec).await, words)?;
    }
    let long = "n".repeat(41);
    refused(
        sandbox.create_as(&long, json!({})).await,
        "choose a shorter name",
    )?;
    sandbox.create(json!({"paused": true})).await?;
    let class = json!({"storage": {"storageClassName": "other"}});
    refused(sandbox.change(class).await, "create a new LogCluster")?;
    refused(
        sandbox.change(json!({"storage": {"size": "5Gi"}})).await,
        "cannot shrink",
    )
}

pub(super) async fn identity_in_status_is_immutable(
    sandbox: &Sandbox,
    _: &mut Operator,
) -> anyhow::Result<()> {
    sandbox.create(json!({})).await?;
    sandbox
        .status("an id", |status| status.cluster_id.is_some())
        .await?;
    let api = sandbox.api::<LogCluster>();
    let put = |status: Value| {
        let patch = Patch::Merge(json!({"status": status}));
        let api = api.clone();
        async move {
            let written = api
                .patch_status("events", &PatchParams::default(), &patch)
                .await;
            written.map(drop)
        }
    };
    let other = "11111111-2222-4333-8444-555555555555";
    refused(put(json!({"clusterId": other})).await, "restore it")?;
    refused(put(json!({"clusterId": null})).await, "restore it")?;
    // Of two operators that both believe to be the leader, one chooses the node that is asked.
    put(json!({"bootstrapOrdinal": 1})).await?;
    let second = "a second node would be asked";
    refused(put(json!({"bootstrapOrdinal": 0})).await, second)?;
    refused(put(json!({"bootstrapOrdinal": null})).await, second)?;
    put(json!({"bootstrapped": true})).await?;
    refused(
        put(json!({"bootstrapped": false})).await,
        "bootstrapped once",
    )
}

pub(super) async fn unsupported_fields_are_reported(
    sandbox: &Sandbox,
    _: &mut Operator,
) -> anyhow::Result<()> {
    sandbox
        .create(json!({"observability": {"serviceMonitor": true}}))
        .await?;
    let status = sandbox
        .status("a refusal", |status| !status.conditions.is_empty())
        .await?;
    let ready = status.conditions.iter().find(|c| c.type_ == "Ready");
    ensure!(
        ready.is_some_and(|c| c.status == "False" && c.reason == "InvalidSpec"),
        "{ready:?}"
    );
    let text = status.blocked_on.unwrap_or_default();
    ensure!(text.contains("spec.observability.serviceMonitor"), "{text}");
    ensure!(
        sandbox.objects("uid").await?.len() == 1,
        "objects were created despite the refusal"
    );
    // After a correction the operator continues.
    sandbox
        .change(json!({"observability": {"serviceMonitor": false}}))
        .await?;
    sandbox
        .status("an id", |status| status.cluster_id.is_some())
        .await?;
    Ok(())
}
