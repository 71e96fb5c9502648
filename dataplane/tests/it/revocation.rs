//! Revoked certificates: new connections are refused and open ones end, on every node.

use std::net::SocketAddr;
use std::time::Duration;

use lograft_core::Reason;
use lograft_proto::admin::v1 as admin;
use lograft_proto::admin::v1::access_service_client::AccessServiceClient;
use lograft_proto::log::v1 as log;
use lograft_proto::log::v1::log_service_client::LogServiceClient;
use rcgen::SerialNumber;
use tokio::time::{Instant, sleep};
use tonic::Code;

use crate::cluster::{Cluster, eventually};
use crate::control::reason;
use crate::pki::{Leaf, uri};
use crate::user_channel::{self, client_tls};

/// A revocation reaches every node within this time. The nodes share two cores with all the other
/// tests of this program, so the test of the bound itself is looser.
const REVOKED_WITHIN: Duration = Duration::from_secs(2);

fn leaf_of(cluster: &Cluster, user: &str, serial: u8, from_year: i32) -> Leaf {
    cluster.ca.issue_with(&[uri(user)], |params| {
        params.serial_number = Some(SerialNumber::from_slice(&[serial]));
        params.not_before = rcgen::date_time_ymd(from_year, 1, 1);
    })
}

/// Whether a call with the certificate is answered; a refusal must say why.
async fn may_connect(cluster: &Cluster, leaf: &Leaf, to: SocketAddr) -> bool {
    let channel = user_channel::channel(client_tls(&cluster.ca, Some(leaf)), to);
    let request = log::GetMetadataRequest::default();
    let called = LogServiceClient::new(channel).get_metadata(request).await;
    let Err(refused) = called else { return true };
    assert_eq!(refused.code(), Code::Unauthenticated, "{refused:?}");
    assert_eq!(reason(&refused), Some(Reason::CertificateRevoked));
    let text = refused.message();
    assert!(
        text.contains("revoked") || text.contains("suspended"),
        "{text}"
    );
    false
}

async fn change(cluster: &Cluster, request: admin::ChangeRevocationsRequest) {
    let channel = cluster.channel_of("user/admin", cluster.addresses(0).client);
    AccessServiceClient::new(channel)
        .change_revocations(request)
        .await
        .unwrap();
}

fn principal(not_before_s: i64, suspended: bool) -> admin::ChangeRevocationsRequest {
    admin::ChangeRevocationsRequest {
        revoke_principals: vec![admin::RevokedPrincipal {
            principal: "user/a".to_owned(),
            not_before_s,
            suspended,
            not_after_s: None,
        }],
        ..admin::ChangeRevocationsRequest::default()
    }
}

/// Suspends the user `a`.
pub(crate) async fn suspend(cluster: &Cluster) {
    change(cluster, principal(0, true)).await;
}

/// Waits until a node lets the certificate in, or does not.
async fn until(cluster: &Cluster, leaf: &Leaf, at: usize, is_allowed: bool) {
    let to = cluster.addresses(at).client;
    eventually("a revocation to be heard of", async || {
        (may_connect(cluster, leaf, to).await == is_allowed).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_revoked_certificate_connects_to_no_node_and_others_do() {
    let cluster = Cluster::of(2).await;
    let old = leaf_of(&cluster, "user/a", 7, 2020);
    let new = leaf_of(&cluster, "user/a", 8, 2024);
    let other = leaf_of(&cluster, "user/b", 9, 2020);
    let in_2022 = 1_640_995_200;
    change(&cluster, principal(in_2022, false)).await;
    for at in [0, 1] {
        until(&cluster, &old, at, false).await;
        for allowed in [&new, &other] {
            assert!(may_connect(&cluster, allowed, cluster.addresses(at).client).await);
        }
    }
    change(&cluster, principal(0, true)).await;
    for at in [0, 1] {
        until(&cluster, &new, at, false).await;
    }
    let restore = admin::ChangeRevocationsRequest {
        allow_principals: vec!["user/a".to_owned()],
        revoke_serials: vec![admin::RevokedSerial {
            serial: "09".to_owned(),
            not_after_s: 4_000_000_000,
        }],
        ..admin::ChangeRevocationsRequest::default()
    };
    change(&cluster, restore).await;
    for at in [0, 1] {
        until(&cluster, &other, at, false).await;
        for allowed in [&old, &new] {
            assert!(may_connect(&cluster, allowed, cluster.addresses(at).client).await);
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn open_streams_of_a_suspended_user_end_on_every_node() {
    let cluster = Cluster::of(2).await;
    cluster.create_topic(0, "t", 1, 1).await;
    cluster.produce(0, 0, "x").await;
    let mut streams = Vec::new();
    for at in [0, 1] {
        let channel = cluster.channel_of("user/a", cluster.addresses(at).client);
        streams.push(cluster.follow_with(channel).await);
    }
    let other = cluster.channel_of("user/b", cluster.addresses(1).client);
    let mut kept = cluster.follow_with(other).await;
    for stream in streams.iter_mut().chain([&mut kept]) {
        assert!(stream.message().await.unwrap().is_some());
    }
    change(&cluster, principal(0, true)).await;
    let revoked = Instant::now();
    for mut stream in streams {
        let ended = loop {
            match stream.message().await {
                Ok(Some(_)) => {}
                ended => break ended,
            }
        };
        assert!(ended.is_err(), "nothing is produced, and the stream ends");
    }
    assert!(
        revoked.elapsed() < 5 * REVOKED_WITHIN,
        "{:?}",
        revoked.elapsed()
    );
    sleep(Duration::from_millis(100)).await;
    cluster.produce(0, 0, "y").await;
    assert!(
        kept.message().await.unwrap().is_some(),
        "that of another user"
    );
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nodes_and_the_operator_cannot_be_revoked_by_name() {
    let cluster = Cluster::of(1).await;
    let channel = cluster.channel_of("user/admin", cluster.addresses(0).client);
    let mut access = AccessServiceClient::new(channel);
    for principal in ["operator", "node/n0", "user/*", ""] {
        let request = admin::ChangeRevocationsRequest {
            revoke_principals: vec![admin::RevokedPrincipal {
                principal: principal.to_owned(),
                not_before_s: 0,
                suspended: true,
                not_after_s: None,
            }],
            ..admin::ChangeRevocationsRequest::default()
        };
        let status = access.change_revocations(request).await.unwrap_err();
        assert_eq!(
            status.code(),
            Code::InvalidArgument,
            "{principal}: {status:?}"
        );
    }
    let listed = access.list_revocations(admin::ListRevocationsRequest {});
    assert!(listed.await.unwrap().into_inner().principals.is_empty());
}
