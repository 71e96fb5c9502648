//! What is refused, by the API server or by the operator, and what the refusal says.

use anyhow::ensure;
use kube::api::{Patch, PatchParams};
use lograft_crds::LogCluster;
use serde_json::{Value, json};

use crate::operator::Operator;
use crate::world::World;

/// Whether this was refused with these words.
fn refused(result: Result<(), kube::Error>, words: &str) -> anyhow::Result<()> {
    match result {
        Err(kube::Error::Api(status)) if status.message.contains(words) => Ok(()),
        Err(error) => anyhow::bail!("refused, but without {words:?}: {error}"),
        Ok(()) => anyhow::bail!("taken, though it should say {words:?}"),
    }
}

pub(super) async fn bad_clusters_are_refused_with_advice(
    world: &World,
    _: &mut Operator,
) -> anyhow::Result<()> {
    let cases: [(Value, &str); 8] = [
        (json!({"replicas": 0}), "spec.replicas"),
        (json!({"replicas": 100}), "spec.replicas"),
        (json!({"storage": {"size": "1Mi"}}), "ask for 1Gi or more"),
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
        (json!({"log": {"segmentSize": "65Mi"}}), "1Mi to 64Mi"),
    ];
    for (spec, words) in cases {
        refused(world.create(spec).await, words)?;
    }
    let long = "n".repeat(41);
    refused(
        world.create_as(&long, json!({})).await,
        "choose a shorter name",
    )?;
    world.create(json!({"paused": true})).await?;
    let class = json!({"storage": {"storageClassName": "other"}});
    refused(world.change(class).await, "make a new LogCluster")?;
    refused(
        world.change(json!({"storage": {"size": "5Gi"}})).await,
        "cannot shrink",
    )
}

pub(super) async fn what_a_status_says_once_stays(
    world: &World,
    _: &mut Operator,
) -> anyhow::Result<()> {
    world.create(json!({})).await?;
    world
        .status("an id", |status| status.cluster_id.is_some())
        .await?;
    let api = world.api::<LogCluster>();
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
    refused(put(json!({"clusterId": other})).await, "write it back")?;
    refused(put(json!({"clusterId": null})).await, "write it back")?;
    put(json!({"bootstrapped": true})).await?;
    refused(put(json!({"bootstrapped": false})).await, "made once")
}

pub(super) async fn what_the_data_plane_lacks_is_told(
    world: &World,
    _: &mut Operator,
) -> anyhow::Result<()> {
    world
        .create(json!({"authorization": {"enabled": true}}))
        .await?;
    let status = world
        .status("a refusal", |status| !status.conditions.is_empty())
        .await?;
    let ready = status.conditions.iter().find(|c| c.type_ == "Ready");
    ensure!(
        ready.is_some_and(|c| c.status == "False" && c.reason == "InvalidSpec"),
        "{ready:?}"
    );
    let text = status.blocked_on.unwrap_or_default();
    ensure!(text.contains("spec.authorization.enabled"), "{text}");
    ensure!(
        world.objects("uid").await?.len() == 1,
        "objects were made all the same"
    );
    // Taken back, it goes on.
    world
        .change(json!({"authorization": {"enabled": false}}))
        .await?;
    world
        .status("an id", |status| status.cluster_id.is_some())
        .await?;
    Ok(())
}
