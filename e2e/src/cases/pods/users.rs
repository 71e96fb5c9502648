//! LogUsers on real nodes: rights, suspension, deletion, and users of other namespaces.

use std::time::{Duration, Instant};

use anyhow::{Context as _, ensure};
use k8s_openapi::api::core::v1::Secret;
use kube::api::DeleteParams;
use lograft_client::{Client, Reason};
use lograft_crds::{LogCluster, LogUser};
use serde_json::{Value, json};

use super::ready;
use crate::cases::{topics, users};
use crate::chart::Chart;
use crate::pod_client::{Credentials, ensure_refused, secret_of};
use crate::sandbox::{Sandbox, await_for};
use crate::user_load::{Acked, Reader, Writer, read_all, write_one};

/// Time after a revocation within which the nodes refuse the user.
pub(super) const REFUSED_MAX: Duration = Duration::from_secs(2);
/// Timeout for a revocation by the operator.
const REVOKED_MAX: Duration = Duration::from_secs(30);
/// Interval at which revocations are listed.
const REVOKED_INTERVAL: Duration = Duration::from_millis(20);

/// A rule that allows operations on a resource.
pub(super) fn allow(operations: &[&str], resource: &str) -> Value {
    json!({"operations": operations, "resource": resource})
}

/// Creates topics of one partition and waits until they have leaders.
pub(super) async fn create_topics(sandbox: &Sandbox, names: &[&str]) -> anyhow::Result<()> {
    for name in names {
        topics::create(sandbox, name, json!({"partitions": 1})).await?;
    }
    for name in names {
        topics::reason(sandbox, name, "Serving").await?;
    }
    Ok(())
}

/// Creates a user with these rules, waits until they are applied, and returns its certificate.
pub(super) async fn create_user(
    sandbox: &Sandbox,
    name: &str,
    rules: Value,
) -> anyhow::Result<Credentials> {
    users::create(sandbox, name, json!({"rules": rules})).await?;
    users::reason(sandbox, name, "Applied").await?;
    Credentials::of(sandbox, name).await
}

/// Waits until the metadata have a revocation of a principal, and returns when that was seen.
pub(super) async fn await_revoked(admin: &Client, principal: &str) -> anyhow::Result<Instant> {
    let listed = async {
        loop {
            let found = admin.access().list_revocations().await?;
            if found.principals.iter().any(|it| it.principal == principal) {
                return anyhow::Ok(Instant::now());
            }
            tokio::time::sleep(REVOKED_INTERVAL).await;
        }
    };
    let listed = tokio::time::timeout(REVOKED_MAX, listed).await;
    listed.with_context(|| format!("{principal} is not revoked"))?
}

/// Fails if a record was acknowledged too long after a revocation. Returns the time from the
/// revocation to the last acknowledgement, zero if that was before.
pub(super) fn check_last(acked: Acked, revoked: Instant) -> anyhow::Result<Duration> {
    let last = acked.last.context("nothing was acknowledged")?;
    let after = last.saturating_duration_since(revoked);
    ensure!(after <= REFUSED_MAX, "acknowledged {after:?} later");
    Ok(after)
}

const TOPICS: [&str; 4] = ["orders", "shop.clicks", "shop.audit", "other"];

/// A user and its rules, and the topics that it may therefore read and write.
struct Grant {
    user: &'static str,
    rules: Value,
    reads: &'static [&'static str],
    writes: &'static [&'static str],
}

fn grants() -> [Grant; 4] {
    let denied = json!({"effect": "deny", "operations": ["write"], "resource": "topic:shop.audit"});
    [
        Grant {
            user: "reader",
            rules: json!([allow(&["read"], "topic:orders")]),
            reads: &["orders"],
            writes: &[],
        },
        Grant {
            user: "writer",
            rules: json!([allow(&["write"], "topic:orders")]),
            reads: &[],
            writes: &["orders"],
        },
        Grant {
            user: "shop",
            rules: json!([allow(&["read", "write"], "topic:shop.*"), denied]),
            reads: &["shop.clicks", "shop.audit"],
            writes: &["shop.clicks"],
        },
        Grant {
            user: "nobody",
            rules: json!([]),
            reads: &[],
            writes: &[],
        },
    ]
}

/// Each user may do on each topic exactly what its rules say.
pub(in crate::cases) async fn rules_of_users_allow_exactly_what_they_say(
    sandbox: &Sandbox,
    _: &Chart,
) -> anyhow::Result<()> {
    ready(sandbox, json!({})).await?;
    create_topics(sandbox, &TOPICS).await?;
    let root = Credentials::of_admin(sandbox).await?;
    let admin = root.connect().await?;
    for topic in TOPICS {
        // Nothing is asked of a node to read a topic without records.
        write_one(&admin, topic, 0, "first").await?;
    }
    let (mut allowed, mut refused) = (0, 0);
    for grant in grants() {
        let user = grant.user;
        let credentials = create_user(sandbox, user, grant.rules).await?;
        let client = credentials.connect().await?;
        for topic in TOPICS {
            let read = read_all(&client, topic).await.map(drop);
            let written = write_one(&client, topic, 0, user).await;
            let both = [
                ("read", read, grant.reads.contains(&topic)),
                ("write", written, grant.writes.contains(&topic)),
            ];
            for (operation, result, is_allowed) in both {
                let tried = format!("user/{user}: {operation} topic:{topic}");
                if is_allowed {
                    allowed += 1;
                    result.context(tried)?;
                } else {
                    refused += 1;
                    // It may be refused earlier: to describe the topic, or to write at all.
                    let words = format!("user/{user} is not allowed to ");
                    ensure_refused(result, Reason::PermissionDenied, &words).context(tried)?;
                }
            }
        }
    }
    sandbox.report_figure(format!("{allowed} allowed, {refused} refused"));
    Ok(())
}

/// A suspended user is refused and its streams end; it works again once it is not suspended, and is
/// revoked when it is deleted.
pub(in crate::cases) async fn a_suspended_user_works_again_and_a_deleted_one_is_revoked(
    sandbox: &Sandbox,
    _: &Chart,
) -> anyhow::Result<()> {
    ready(sandbox, json!({})).await?;
    create_topics(sandbox, &["orders"]).await?;
    let rules = json!([allow(&["read", "write"], "topic:orders")]);
    let user = create_user(sandbox, "orders", rules).await?;
    let root = Credentials::of_admin(sandbox).await?;
    let admin = root.connect().await?;
    let client = user.connect().await?;
    let writer = Writer::start(&client, "orders", "first").await?;
    let reader = Reader::start(&client, "orders", "first").await?;
    writer.await_acked(20).await?;
    users::edit(sandbox, "orders", json!({"suspended": true})).await?;
    let revoked = await_revoked(&admin, "user/orders").await?;
    tokio::time::sleep_until((revoked + REFUSED_MAX).into()).await;
    // The reader would fail by this record if its stream had not ended.
    write_one(&admin, "orders", 0, "late").await?;
    let error = reader.await_refusal().await?.to_string();
    ensure!(error.contains("cannot consume"), "{error}");
    let (acked, error) = writer.await_refusal().await?;
    let after = check_last(acked, revoked)?;
    sandbox.report_figure(format!(
        "suspended: last acknowledgement {} ms after the revocation, then: {error}",
        after.as_millis()
    ));
    users::reason(sandbox, "orders", "Suspended").await?;
    ensure_refused_at_the_door(sandbox, &user).await?;
    users::edit(sandbox, "orders", json!({"suspended": false})).await?;
    users::reason(sandbox, "orders", "Applied").await?;
    let client = user.connect().await.context("still refused")?;
    let writer = Writer::start(&client, "orders", "second").await?;
    writer.await_acked(20).await?;
    let api = sandbox.api::<LogUser>();
    api.delete("orders", &DeleteParams::default()).await?;
    let revoked = await_revoked(&admin, "user/orders").await?;
    let (acked, error) = writer.await_refusal().await?;
    let after = check_last(acked, revoked)?;
    sandbox.report_figure(format!(
        "deleted: last acknowledgement {} ms after the revocation, then: {error}",
        after.as_millis()
    ));
    ensure_refused_at_the_door(sandbox, &user).await?;
    let what = "the Secret to be gone with its LogUser";
    await_for(topics::NOTICED, what, || async {
        let secrets = sandbox.api::<Secret>();
        let secret = secrets.get_opt(&secret_of("orders")).await?;
        Ok(secret.is_none().then_some(()))
    })
    .await
}

/// Fails unless the nodes close connections with the certificate of a user, and serve others.
async fn ensure_refused_at_the_door(sandbox: &Sandbox, user: &Credentials) -> anyhow::Result<()> {
    let admin = Credentials::of_admin(sandbox).await?;
    let (client, other) = (user.connect().await, admin.connect().await);
    ensure!(client.is_err(), "the certificate is accepted");
    other.context("the nodes serve nobody")?;
    Ok(())
}

/// A user of another namespace has a certificate and rights only while the LogCluster allows its
/// namespace.
pub(in crate::cases) async fn a_user_of_another_namespace_needs_consent(
    sandbox: &Sandbox,
    _: &Chart,
) -> anyhow::Result<()> {
    ready(sandbox, json!({})).await?;
    let other = Sandbox::new(sandbox.client.clone(), "consent").await?;
    let found = match consent(sandbox, &other).await {
        Ok(()) => Ok(()),
        Err(error) => Err(error.context(other.describe_failure().await)),
    };
    other.remove().await?;
    found
}

async fn consent(sandbox: &Sandbox, other: &Sandbox) -> anyhow::Result<()> {
    let namespace = &other.namespace;
    let topic = format!("{namespace}.clicks");
    let spec = json!({"partitions": 1, "topicName": topic});
    topics::create(sandbox, "clicks", spec).await?;
    topics::reason(sandbox, "clicks", "Serving").await?;
    let rules = json!([allow(&["read", "write"], &format!("topic:{namespace}.*"))]);
    let cluster = json!({"name": "events", "namespace": sandbox.namespace});
    let spec = json!({"clusterRef": cluster, "rules": rules});
    other.create_of::<LogUser>("orders", spec).await?;
    users::blocked(other, "orders", "NamespaceNotAllowed").await?;
    let secrets = other.api::<Secret>();
    ensure!(
        secrets.get_opt(&secret_of("orders")).await?.is_none(),
        "a certificate was issued without consent"
    );
    let allowed = |names: Value| json!({"spec": {"allowedNamespaces": names}});
    let consent = allowed(json!({"names": [namespace]}));
    sandbox.edit::<LogCluster>("events", consent).await?;
    users::reason(other, "orders", "Applied").await?;
    let user = Credentials::of_secret(sandbox, &secrets, &secret_of("orders")).await?;
    let client = user.connect().await?;
    let writer = Writer::start(&client, &topic, "orders").await?;
    writer.await_acked(20).await?;
    let root = Credentials::of_admin(sandbox).await?;
    let admin = root.connect().await?;
    sandbox
        .edit::<LogCluster>("events", allowed(Value::Null))
        .await?;
    let principal = format!("user/{namespace}/orders");
    let revoked = await_revoked(&admin, &principal).await?;
    let (acked, error) = writer.await_refusal().await?;
    let after = check_last(acked, revoked)?;
    sandbox.report_figure(format!(
        "consent withdrawn: last acknowledgement {} ms after the revocation, then: {error}",
        after.as_millis()
    ));
    users::blocked(other, "orders", "NamespaceNotAllowed").await?;
    ensure_refused_at_the_door(sandbox, &user).await?;
    let consent = allowed(json!({"names": [namespace]}));
    sandbox.edit::<LogCluster>("events", consent).await?;
    users::reason(other, "orders", "Applied").await?;
    let client = user.connect().await.context("still refused")?;
    write_one(&client, &topic, 0, "again").await?;
    users::delete(other, "orders").await
}
