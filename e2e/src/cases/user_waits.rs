//! Conditions of LogUsers: what each of them waits for.

use anyhow::{Context as _, ensure};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{DeleteParams, PostParams};
use lograft_crds::{LogCluster, LogUser, LogUserStatus};
use serde_json::{Value, json};

use super::topic_waits::hold_cluster;
use super::topics::{NOTICED, cluster, nudge};
use super::users::{blocked, create, delete, edit, reason};
use crate::nodes::Mood;
use crate::operator::Operator;
use crate::sandbox::{Sandbox, await_for};

async fn change_cluster(sandbox: &Sandbox, spec: Value) -> anyhow::Result<()> {
    sandbox
        .edit::<LogCluster>("events", json!({"spec": spec}))
        .await
}

fn reads(resource: &str) -> Value {
    json!({"rules": [{"operations": ["read"], "resource": resource}]})
}

/// The reason of the condition `CertificateReady`.
fn certificate_ready(status: &LogUserStatus) -> &str {
    let mut conditions = status.conditions.iter();
    let found = conditions.find(|it| it.type_ == "CertificateReady");
    found.map_or("", |it| &it.reason)
}

/// Somebody has put another Secret in the place of the CA, which the operator leaves alone.
pub(super) async fn a_user_waits_for_the_ca_of_its_cluster(
    sandbox: &Sandbox,
    operator: &mut Operator,
) -> anyhow::Result<()> {
    let _nodes = cluster(sandbox, operator).await?;
    operator.stop().await?;
    let secrets = sandbox.api::<Secret>();
    secrets
        .delete("events-ca", &DeleteParams::default())
        .await?;
    let theirs = json!({"metadata": {"name": "events-ca", "ownerReferences": [{
        "apiVersion": "v1", "kind": "ConfigMap", "name": "theirs", "uid": "1", "controller": true,
    }]}});
    let theirs = serde_json::from_value(theirs)?;
    secrets.create(&PostParams::default(), &theirs).await?;
    operator.start()?;
    create(sandbox, "orders", json!({})).await?;
    let status = reason(sandbox, "orders", "AuthorityMissing").await?;
    ensure!(certificate_ready(&status) == "NotIssued", "{status:?}");
    secrets
        .delete("events-ca", &DeleteParams::default())
        .await?;
    reason(sandbox, "orders", "Applied").await?;
    Ok(())
}

pub(super) async fn users_name_the_state_of_their_cluster(
    sandbox: &Sandbox,
    operator: &mut Operator,
) -> anyhow::Result<()> {
    create(sandbox, "orders", reads("topic:a")).await?;
    blocked(sandbox, "orders", "ClusterNotFound").await?;
    sandbox.create(json!({})).await?;
    blocked(sandbox, "orders", "ClusterNotBootstrapped").await?;
    change_cluster(sandbox, json!({"paused": true})).await?;
    blocked(sandbox, "orders", "ClusterPaused").await?;
    change_cluster(sandbox, json!({"paused": false})).await?;
    let nodes = operator.nodes().run(sandbox, "events").await?;
    reason(sandbox, "orders", "Applied").await?;
    nodes.set_mood(Mood::Silent);
    nudge(sandbox).await?;
    blocked(sandbox, "orders", "ClusterUnreachable").await?;
    nodes.set_mood(Mood::Normal);
    reason(sandbox, "orders", "Applied").await?;
    // Before the level there are no rules, and a certificate all the same.
    nodes.set_level(1);
    create(sandbox, "early", reads("topic:a")).await?;
    nudge(sandbox).await?;
    let text = blocked(sandbox, "early", "LevelNotFinalized").await?;
    ensure!(text.contains("feature level 2"), "{text}");
    let status = reason(sandbox, "early", "LevelNotFinalized").await?;
    ensure!(status.certificate.is_some(), "{status:?}");
    nodes.set_level(2);
    nudge(sandbox).await?;
    let status = reason(sandbox, "early", "Applied").await?;
    ensure!(certificate_ready(&status) == "Issued", "{status:?}");
    nodes.set_mood(Mood::Refusing);
    create(sandbox, "refused", reads("topic:a")).await?;
    let text = blocked(sandbox, "refused", "Refused").await?;
    ensure!(text.contains("at most 10000"), "{text}");
    nodes.set_mood(Mood::Normal);
    reason(sandbox, "refused", "Applied").await?;
    // A LogUser does not wait for a cluster that is gone.
    let api = sandbox.api::<LogCluster>();
    hold_cluster(sandbox, true).await?;
    api.delete("events", &DeleteParams::default()).await?;
    blocked(sandbox, "orders", "ClusterDeleting").await?;
    hold_cluster(sandbox, false).await?;
    blocked(sandbox, "orders", "ClusterNotFound").await?;
    delete(sandbox, "orders").await
}

pub(super) async fn names_and_grants_that_are_not_allowed_are_refused(
    sandbox: &Sandbox,
    operator: &mut Operator,
) -> anyhow::Result<()> {
    let nodes = cluster(sandbox, operator).await?;
    create(sandbox, "admin", json!({})).await?;
    let text = blocked(sandbox, "admin", "NameReserved").await?;
    ensure!(text.contains("super user"), "{text}");
    let secrets = sandbox.api::<Secret>();
    ensure!(
        secrets.get_opt("admin-lograft-user").await?.is_none(),
        "a certificate was issued"
    );
    delete(sandbox, "admin").await?;
    ensure!(nodes.revocation("user/admin").is_none(), "admin is revoked");
    let theirs = serde_json::from_value(json!({"metadata": {"name": "theirs"}}))?;
    secrets.create(&PostParams::default(), &theirs).await?;
    create(sandbox, "orders", json!({"secretName": "theirs"})).await?;
    let text = blocked(sandbox, "orders", "SecretNotOwned").await?;
    ensure!(text.contains("Secret theirs"), "{text}");
    let data = secrets.get("theirs").await?.data;
    ensure!(data.is_none(), "the Secret was changed");
    an_invalid_rule_changes_none(sandbox, &nodes).await?;
    // All rules or none.
    create(sandbox, "some", reads("topic:a.x")).await?;
    reason(sandbox, "some", "Applied").await?;
    let own = json!({"userGrants": [{"namespace": sandbox.namespace, "prefixes": ["a."]}]});
    change_cluster(sandbox, own).await?;
    let both = json!({"rules": [
        {"operations": ["read"], "resource": "topic:a.*"},
        {"operations": ["read"], "resource": "topic:b"},
    ]});
    edit(sandbox, "some", both).await?;
    let text = blocked(sandbox, "some", "GrantNotAllowed").await?;
    ensure!(text.contains("topic:b") && text.contains("a."), "{text}");
    ensure!(
        nodes.rules_of("user/some") == ["allow read topic:a.x"],
        "rules were changed"
    );
    Ok(())
}

/// A rule with an operation that its resource does not have: the certificate is issued again, and
/// the former rules stay.
async fn an_invalid_rule_changes_none(
    sandbox: &Sandbox,
    nodes: &crate::nodes::FakeCluster,
) -> anyhow::Result<()> {
    create(sandbox, "wrong", reads("topic:a")).await?;
    let before = reason(sandbox, "wrong", "Applied").await?.certificate;
    let rule = json!({"operations": ["write"], "resource": "group:a"});
    edit(sandbox, "wrong", json!({"rules": [rule]})).await?;
    let text = blocked(sandbox, "wrong", "InvalidSpec").await?;
    ensure!(
        text.contains("spec.rules[].operations must be of"),
        "{text}"
    );
    let secrets = sandbox.api::<Secret>();
    let params = DeleteParams::default();
    secrets.delete("wrong-lograft-user", &params).await?;
    await_for(NOTICED, "another certificate", || async {
        let status = reason(sandbox, "wrong", "InvalidSpec").await?;
        let is_new = status.certificate.is_some() && status.certificate != before;
        Ok(is_new.then_some(()))
    })
    .await?;
    secrets.get("wrong-lograft-user").await?;
    let rules = nodes.rules_of("user/wrong");
    ensure!(rules == ["allow read topic:a"], "{rules:?}");
    Ok(())
}

pub(super) async fn users_of_another_namespace_need_consent(
    sandbox: &Sandbox,
    operator: &mut Operator,
) -> anyhow::Result<()> {
    let nodes = cluster(sandbox, operator).await?;
    let other = Sandbox::new(sandbox.client.clone(), "users").await?;
    let unwatched = Sandbox::new(sandbox.client.clone(), "unwatched").await?;
    operator.stop().await?;
    operator.watch(&other.namespace);
    operator.start()?;
    let mut far = reads("topic:a");
    far["clusterRef"] = json!({"name": "events", "namespace": unwatched.namespace});
    other.create_of::<LogUser>("far", far).await?;
    blocked(&other, "far", "NamespaceNotWatched").await?;
    let found = consent(sandbox, &other, &nodes).await;
    other.remove().await?;
    unwatched.remove().await?;
    found
}

async fn consent(
    sandbox: &Sandbox,
    other: &Sandbox,
    nodes: &crate::nodes::FakeCluster,
) -> anyhow::Result<()> {
    let namespace = &other.namespace;
    let spec = |resource: &str| {
        let mut spec = reads(resource);
        spec["clusterRef"] = json!({"name": "events", "namespace": sandbox.namespace});
        spec
    };
    let own = format!("topic:{namespace}.*");
    other.create_of::<LogUser>("orders", spec(&own)).await?;
    blocked(other, "orders", "NamespaceNotAllowed").await?;
    let allowed = json!({"allowedNamespaces": {"names": [namespace]}});
    change_cluster(sandbox, allowed).await?;
    let status = reason(other, "orders", "Applied").await?;
    let principal = format!("user/{namespace}/orders");
    ensure!(status.principal.as_ref() == Some(&principal), "{status:?}");
    ensure!(nodes.rules_of(&principal).len() == 1, "no rule");
    for resource in ["topic:*", "cluster"] {
        let rule = json!({"operations": ["describe"], "resource": resource});
        edit(other, "orders", json!({"rules": [rule]})).await?;
        blocked(other, "orders", "GrantNotAllowed").await?;
    }
    edit(other, "orders", reads(&own)).await?;
    reason(other, "orders", "Applied").await?;
    // Without consent the certificate is refused, and the rules are gone.
    change_cluster(sandbox, json!({"allowedNamespaces": null})).await?;
    blocked(other, "orders", "NamespaceNotAllowed").await?;
    await_for(NOTICED, "the suspension", || async {
        let is_suspended = nodes.revocation(&principal) == Some((0, true));
        Ok((is_suspended && nodes.rules_of(&principal).is_empty()).then_some(()))
    })
    .await?;
    let allowed = json!({"allowedNamespaces": {"names": [namespace]}});
    change_cluster(sandbox, allowed).await?;
    reason(other, "orders", "Applied").await?;
    ensure!(nodes.revocation(&principal).is_none(), "still suspended");
    change_cluster(sandbox, json!({"allowedNamespaces": null})).await?;
    blocked(other, "orders", "NamespaceNotAllowed").await?;
    delete(other, "orders").await?;
    let (_, suspended) = nodes.revocation(&principal).context("not revoked")?;
    ensure!(!suspended, "a deleted user is suspended, not revoked");
    Ok(())
}
