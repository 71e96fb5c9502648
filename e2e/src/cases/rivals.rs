//! Other operators of the same namespace, and controllers that rewrite objects of the operator.

use std::time::Duration;

use anyhow::{Context as _, ensure};
use k8s_openapi::api::apps::v1::StatefulSet;
use k8s_openapi::api::coordination::v1::Lease;
use k8s_openapi::api::core::v1::{Event, Service};
use kube::Api;
use kube::api::{ListParams, Patch, PatchParams};
use lograft_crds::names::SCOPE_LEASE;
use serde_json::json;

use super::life::{quiet, whole};
use crate::operator::Operator;
use crate::sandbox::{Sandbox, await_condition};

/// Two looks at the Lease, one to see it and one to see that it has not changed.
const TAKEOVER_MAX: Duration = Duration::from_secs(90);

async fn image(sandbox: &Sandbox) -> anyhow::Result<String> {
    let set = sandbox.api::<StatefulSet>().get("events").await?;
    let spec = set.spec.and_then(|spec| spec.template.spec);
    let container = spec.and_then(|spec| spec.containers.into_iter().next());
    container.and_then(|c| c.image).context("no image")
}

async fn notes(sandbox: &Sandbox, reason: &str) -> anyhow::Result<Vec<String>> {
    let events = sandbox.api::<Event>().list(&ListParams::default()).await?;
    let events = events.items.into_iter();
    let events = events.filter(|event| event.reason.as_deref() == Some(reason));
    Ok(events.filter_map(|event| event.message).collect())
}

/// Two releases that watch one namespace, with different versions of the nodes: the first manages
/// it, also across its restart; the second says so, and takes over once the first has gone.
pub(super) async fn two_operators_of_one_namespace_do_not_fight(
    sandbox: &Sandbox,
    operator: &mut Operator,
) -> anyhow::Result<()> {
    whole(sandbox).await?;
    let first = format!("{}/lograft-operator", operator.home());
    let owner = |name: String| {
        let what = format!("{name} to be the owner");
        async move {
            let is_it =
                |status: &lograft_crds::LogClusterStatus| status.operator.as_ref() == Some(&name);
            sandbox
                .status_for(TAKEOVER_MAX, &what, is_it)
                .await
                .map(drop)
        }
    };
    owner(first.clone()).await?;
    let before = image(sandbox).await?;
    let home = Sandbox::without_pods(sandbox.client.clone(), "rival").await?;
    let mut rival = operator.rival(&sandbox.namespace, &home.namespace, "9.9.9")?;
    rival.start()?;
    let second = format!("{}/lograft-operator", home.namespace);
    let notes_of_rival = await_condition("the second operator to stand aside", || async {
        let notes = notes(sandbox, "ManagedByAnother").await?;
        Ok((!notes.is_empty()).then_some(notes))
    })
    .await?;
    let note = &notes_of_rival[0];
    ensure!(note.contains(&first) && note.contains(&second), "{note}");
    let versions = sandbox.objects("resourceVersion").await?;
    tokio::time::sleep(Duration::from_secs(15)).await;
    ensure!(
        sandbox.objects("resourceVersion").await? == versions,
        "objects are written"
    );
    let metrics = rival.metrics().await?;
    ensure!(
        metrics.contains("lograft_operator_conceded_clusters 1"),
        "{metrics}"
    );
    operator.stop().await?;
    operator.start()?;
    tokio::time::sleep(Duration::from_secs(10)).await;
    ensure!(
        image(sandbox).await? == before,
        "a restart moved the cluster"
    );
    owner(first).await?;
    // The first one has gone, and its Lease ends; three minutes are too long for a test.
    operator.stop().await?;
    let leases: Api<Lease> = sandbox.api();
    let short = json!({"spec": {"leaseDurationSeconds": 2}});
    leases
        .patch(SCOPE_LEASE, &PatchParams::default(), &Patch::Merge(short))
        .await?;
    owner(second).await?;
    quiet(sandbox).await?;
    ensure!(
        image(sandbox).await? == before,
        "the default of another release moved the cluster"
    );
    rival.stop().await?;
    operator.start()?;
    home.remove().await
}

/// A controller that rewrites a field each time it is restored.
pub(super) async fn a_field_that_a_controller_rewrites_is_named_and_then_mended(
    sandbox: &Sandbox,
    _: &mut Operator,
) -> anyhow::Result<()> {
    whole(sandbox).await?;
    let services = sandbox.api::<Service>();
    let params = PatchParams::apply("traffic-policy").force();
    let theirs = json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": "events-client"},
        "spec": {"sessionAffinity": "ClientIP"},
    });
    let rewrite = || async {
        let affinity = services.get("events-client").await?.spec;
        let affinity = affinity.and_then(|spec| spec.session_affinity);
        let is_ours = affinity.as_deref() != Some("ClientIP");
        if is_ours {
            let patch = Patch::Apply(&theirs);
            services.patch("events-client", &params, &patch).await?;
        }
        anyhow::Ok(u32::from(is_ours))
    };
    let subject = Some("Service events-client");
    let is_named = |status: &lograft_crds::LogClusterStatus| {
        let mut blocked = status.blocked.iter();
        blocked
            .find(|b| b.reason == "Contested" && b.subject.as_deref() == subject)
            .map(|b| b.message.clone())
    };
    let message = await_condition("the controller to be named", || async {
        rewrite().await?;
        let status = sandbox.status("status", |_| true).await?;
        Ok(is_named(&status))
    })
    .await?;
    let is_whole = message.contains("traffic-policy") && message.contains("spec.sessionAffinity");
    ensure!(is_whole, "{message}");
    // It is written seldom now.
    let mut rewrites = 0;
    for _ in 0..100 {
        rewrites += rewrite().await?;
        tokio::time::sleep(Duration::from_millis(200)).await;
    }
    ensure!(rewrites <= 1, "restored {rewrites} times in 20 s");
    // It stops, so the field is mended and nothing is said any more.
    let timeout = Duration::from_mins(4);
    sandbox
        .status_for(timeout, "the end", |status| is_named(status).is_none())
        .await?;
    let spec = services.get("events-client").await?.spec;
    let affinity = spec.and_then(|spec| spec.session_affinity);
    ensure!(affinity.as_deref() == Some("None"), "{affinity:?}");
    quiet(sandbox).await
}
