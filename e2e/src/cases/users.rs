//! LogUsers with a stand-in for the nodes: certificates, rules and revocations.

use anyhow::{Context as _, ensure};
use k8s_openapi::api::core::v1::Secret;
use kube::api::{DeleteParams, Patch, PatchParams};
use lograft_crds::{LogUser, LogUserStatus};
use serde_json::{Value, json};

use super::topics::{NOTICED, cluster, event, nudge, spec};
use crate::operator::Operator;
use crate::sandbox::{Sandbox, await_condition, await_for};

pub(super) async fn create(sandbox: &Sandbox, name: &str, more: Value) -> anyhow::Result<()> {
    let created = sandbox.create_of::<LogUser>(name, spec(more)).await;
    created.with_context(|| format!("cannot create LogUser {name}"))
}

pub(super) async fn edit(sandbox: &Sandbox, name: &str, change: Value) -> anyhow::Result<()> {
    let patch = Patch::Merge(json!({"spec": change}));
    let api = sandbox.api::<LogUser>();
    api.patch(name, &PatchParams::default(), &patch).await?;
    Ok(())
}

/// Waits until the condition `Ready` has this reason.
pub(super) async fn reason(
    sandbox: &Sandbox,
    name: &str,
    wanted: &str,
) -> anyhow::Result<LogUserStatus> {
    let api = sandbox.api::<LogUser>();
    await_for(NOTICED, &format!("{name} to be {wanted}"), || async {
        let user = api.get(name).await?;
        let generation = user.metadata.generation;
        let status = user.status.unwrap_or_default();
        let mut conditions = status.conditions.iter();
        let is_so = conditions.any(|it| it.type_ == "Ready" && it.reason == wanted);
        Ok((is_so && status.observed_generation == generation).then_some(status))
    })
    .await
}

/// The text of the first entry in `status.blocked`, which must have this reason.
pub(super) async fn blocked(sandbox: &Sandbox, name: &str, wanted: &str) -> anyhow::Result<String> {
    let status = reason(sandbox, name, wanted).await?;
    let first = status.blocked.first().context("nothing blocks")?;
    ensure!(first.reason == wanted, "{status:#?}");
    Ok(first.message.clone())
}

pub(super) async fn delete(sandbox: &Sandbox, name: &str) -> anyhow::Result<()> {
    let api = sandbox.api::<LogUser>();
    api.delete(name, &DeleteParams::default()).await?;
    await_for(NOTICED, &format!("LogUser {name} to be gone"), || async {
        Ok(api.get_opt(name).await?.is_none().then_some(()))
    })
    .await
}

/// The certificate in the Secret, if it is another one than `former`.
async fn certificate(
    sandbox: &Sandbox,
    name: &str,
    former: Option<&[u8]>,
) -> anyhow::Result<Vec<u8>> {
    let secrets = sandbox.api::<Secret>();
    await_condition("another certificate", || async {
        let Some(secret) = secrets.get_opt(name).await? else {
            return Ok(None);
        };
        ensure!(secret.type_.as_deref() == Some("kubernetes.io/tls"), "type");
        let mut data = secret.data.unwrap_or_default();
        let is_whole = ["tls.key", "ca.crt"]
            .iter()
            .all(|it| data.contains_key(*it));
        let found = data.remove("tls.crt").map(|it| it.0);
        Ok(found.filter(|found| is_whole && Some(found.as_slice()) != former))
    })
    .await
}

pub(super) async fn a_user_gets_a_certificate_and_rules_and_is_revoked_when_deleted(
    sandbox: &Sandbox,
    operator: &mut Operator,
) -> anyhow::Result<()> {
    let nodes = cluster(sandbox, operator).await?;
    let rules = json!({"rules": [
        {"operations": ["read", "write"], "resource": "topic:shop.*"},
        {"effect": "deny", "operations": ["write"], "resource": "topic:shop.audit"},
    ]});
    create(sandbox, "orders", rules).await?;
    let status = reason(sandbox, "orders", "Applied").await?;
    let principal = "user/orders";
    ensure!(status.principal.as_deref() == Some(principal), "{status:?}");
    let wanted = [
        "allow read,write topic:shop.*",
        "deny write topic:shop.audit",
    ];
    ensure!(nodes.rules_of(principal) == wanted, "{status:?}");
    ensure!(status.rules_applied == Some(2), "{status:?}");
    let first = certificate(sandbox, "orders-lograft-user", None).await?;
    // Changes by others are reverted; rules of patterns are none of them.
    nodes.allow(principal, "topic:secret");
    nodes.allow("user/*", "topic:public");
    nudge(sandbox).await?;
    await_for(NOTICED, "the rule to be removed", || async {
        Ok((nodes.rules_of(principal) == wanted).then_some(()))
    })
    .await?;
    event(sandbox, "RevertedEdit").await?;
    ensure!(nodes.rules_of("user/*").len() == 1, "a pattern was changed");
    let secrets = sandbox.api::<Secret>();
    let name = "orders-lograft-user";
    secrets.delete(name, &DeleteParams::default()).await?;
    let second = certificate(sandbox, name, Some(&first)).await?;
    let tampered = json!({"data": {"tls.key": "eA=="}});
    sandbox.edit::<Secret>(name, tampered).await?;
    certificate(sandbox, name, Some(&second)).await?;
    let fewer = json!({"rules": [{"operations": ["read"], "resource": "topic:shop.*"}]});
    edit(sandbox, "orders", fewer).await?;
    reason(sandbox, "orders", "Applied").await?;
    ensure!(
        nodes.rules_of(principal) == ["allow read topic:shop.*"],
        "{wanted:?}"
    );
    let status = reason(sandbox, "orders", "Applied").await?;
    let last = status.certificate.context("no certificate")?;
    delete(sandbox, "orders").await?;
    ensure!(nodes.rules_of(principal).is_empty(), "rules are left");
    let (before, suspended) = nodes.revocation(principal).context("not revoked")?;
    ensure!(
        !suspended && before > last.not_before.0.as_second(),
        "{before}"
    );
    // Rotated certificates end before the last one here.
    let end = nodes.revocation_end(principal);
    ensure!(
        end == Some(last.not_after.0.as_second()),
        "{end:?} {last:?}"
    );
    // One that is created again gets a certificate that counts. Nothing collects the Secret here.
    let _ = secrets.delete(name, &DeleteParams::default()).await;
    create(sandbox, "orders", json!({})).await?;
    let status = reason(sandbox, "orders", "Applied").await?;
    let again = status.certificate.context("no certificate")?;
    ensure!(
        again.not_before.0.as_second() >= before,
        "{again:?} {before}"
    );
    ensure!(again.serial != last.serial, "the same certificate");
    Ok(())
}

pub(super) async fn a_suspended_user_has_a_way_back(
    sandbox: &Sandbox,
    operator: &mut Operator,
) -> anyhow::Result<()> {
    let nodes = cluster(sandbox, operator).await?;
    create(sandbox, "orders", json!({})).await?;
    reason(sandbox, "orders", "Applied").await?;
    edit(sandbox, "orders", json!({"suspended": true})).await?;
    let status = reason(sandbox, "orders", "Suspended").await?;
    ensure!(status.suspended, "{status:?}");
    ensure!(
        nodes.revocation("user/orders") == Some((0, true)),
        "not suspended"
    );
    edit(sandbox, "orders", json!({"suspended": false})).await?;
    let status = reason(sandbox, "orders", "Applied").await?;
    ensure!(!status.suspended, "{status:?}");
    ensure!(nodes.revocation("user/orders").is_none(), "still revoked");
    // Somebody else has a reason for it.
    nodes.set_suspended("user/orders", true);
    nudge(sandbox).await?;
    let text = blocked(sandbox, "orders", "SuspendedByAnother").await?;
    ensure!(text.contains("lograft acl restore user/orders"), "{text}");
    ensure!(
        nodes.revocation("user/orders") == Some((0, true)),
        "taken back"
    );
    nodes.set_suspended("user/orders", false);
    nudge(sandbox).await?;
    reason(sandbox, "orders", "Applied").await?;
    Ok(())
}

pub(super) async fn certificates_follow_the_ca_and_the_key_algorithm(
    sandbox: &Sandbox,
    operator: &mut Operator,
) -> anyhow::Result<()> {
    let _nodes = cluster(sandbox, operator).await?;
    create(sandbox, "orders", json!({"secretName": "own"})).await?;
    reason(sandbox, "orders", "Applied").await?;
    let first = certificate(sandbox, "own", None).await?;
    edit(sandbox, "orders", json!({"keyAlgorithm": "ed25519"})).await?;
    let second = certificate(sandbox, "own", Some(&first)).await?;
    reason(sandbox, "orders", "Applied").await?;
    // The CA is lost: the bundle has both roots, and the certificate stays until all trust the new
    // one.
    let secrets = sandbox.api::<Secret>();
    secrets
        .delete("events-ca", &DeleteParams::default())
        .await?;
    await_for(NOTICED, "a bundle with two roots", || async {
        let data = secrets.get("own").await?.data.unwrap_or_default();
        let bundle = data.get("ca.crt").context("no bundle")?;
        let text = String::from_utf8_lossy(&bundle.0);
        let is_same = data.get("tls.crt").is_some_and(|it| it.0 == second);
        ensure!(is_same, "the certificate was replaced too early");
        Ok((text.matches("BEGIN CERTIFICATE").count() == 2).then_some(()))
    })
    .await
}

/// Waits until these nodes apply the rules and revocations of `orders`.
async fn applied_by(sandbox: &Sandbox, wanted: &[&str]) -> anyhow::Result<LogUserStatus> {
    let api = sandbox.api::<LogUser>();
    await_for(NOTICED, &format!("{wanted:?} to apply it"), || async {
        let status = api.get("orders").await?.status.unwrap_or_default();
        let is_so = status.applied_version.is_some() && status.applied_by == wanted;
        Ok(is_so.then_some(status))
    })
    .await
}

pub(super) async fn nodes_that_apply_the_rules_are_listed(
    sandbox: &Sandbox,
    operator: &mut Operator,
) -> anyhow::Result<()> {
    let nodes = cluster(sandbox, operator).await?;
    create(sandbox, "orders", json!({})).await?;
    let all = ["events-0", "events-1", "events-2"];
    let first = applied_by(sandbox, &all).await?;
    nodes.hold_last(true);
    let rules = json!({"rules": [{"operations": ["read"], "resource": "topic:a"}]});
    edit(sandbox, "orders", rules).await?;
    let two = applied_by(sandbox, &all[..2]).await?;
    ensure!(two.applied_version > first.applied_version, "{two:?}");
    nodes.hold_last(false);
    let whole = applied_by(sandbox, &all).await?;
    ensure!(whole.applied_version == two.applied_version, "{whole:?}");
    Ok(())
}

/// The number of roots in a Secret; none if there is no such Secret.
async fn roots_in(sandbox: &Sandbox, name: &str) -> anyhow::Result<Option<usize>> {
    let secret = sandbox.api::<Secret>().get_opt(name).await?;
    let data = secret.and_then(|it| it.data).unwrap_or_default();
    let bundle = data.get("ca.crt");
    let count = |text: &str| text.matches("BEGIN CERTIFICATE").count();
    Ok(bundle.map(|bundle| count(&String::from_utf8_lossy(&bundle.0))))
}

/// The CA is lost, and then a Secret with a bundle that has both roots: the certificates of the
/// others are of the former CA and must be trusted.
pub(super) async fn the_bundle_of_a_lost_secret_has_the_roots_of_the_others(
    sandbox: &Sandbox,
    operator: &mut Operator,
) -> anyhow::Result<()> {
    let _nodes = cluster(sandbox, operator).await?;
    let secrets = sandbox.api::<Secret>();
    let all = ["events-node-tls", "events-operator-tls", "events-admin-tls"];
    let params = DeleteParams::default();
    secrets.delete("events-ca", &params).await?;
    for lost in [None, Some("events-node-tls"), Some("events-admin-tls")] {
        if let Some(lost) = lost {
            secrets.delete(lost, &params).await?;
        }
        await_for(NOTICED, "bundles with both roots", || async {
            for name in all {
                let roots = roots_in(sandbox, name).await?;
                ensure!(roots != Some(1) || lost.is_none(), "{name} has one root");
                if roots != Some(2) {
                    return Ok(None);
                }
            }
            Ok(Some(()))
        })
        .await?;
    }
    Ok(())
}
