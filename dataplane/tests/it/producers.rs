//! Ids of producers: nobody can use one that was not issued to it.

use lograft_core::{FeatureLevel, Reason};
use lograft_proto::admin::v1 as admin;
use lograft_proto::log::v1 as log;
use tonic::Status;

use crate::cluster::{Cluster, eventually, record_for};
use crate::control::{bound, reason};

const OLD: FeatureLevel = FeatureLevel(FeatureLevel::CURRENT.get() - 1);
/// The lower part of an id is a number that was allocated.
const NUMBER_MASK: u64 = (1 << 36) - 1;

async fn init(cluster: &Cluster, at: usize) -> u64 {
    let request = log::InitProducerRequest {};
    let reply = cluster.log(at).init_producer(request).await.unwrap();
    reply.into_inner().producer_id
}

/// Sends a batch of one record as this producer.
async fn send(
    cluster: &Cluster,
    at: usize,
    (producer_id, producer_epoch, base_sequence): (u64, u32, u64),
    value: &str,
) -> Result<log::ProduceReply, Status> {
    let request = log::ProduceRequest {
        producer: Some(log::ProducerStamp {
            producer_id,
            producer_epoch,
            base_sequence,
        }),
        ..record_for("t", value)
    };
    Ok(cluster.log(at).produce(request).await?.into_inner())
}

async fn refused(cluster: &Cluster, at: usize, producer_id: u64) {
    let refusal = send(cluster, at, (producer_id, 0, 0), "forged").await;
    let refusal = refusal.unwrap_err();
    assert_eq!(
        reason(&refusal),
        Some(Reason::InvalidArgument),
        "{refusal:?}"
    );
    assert!(bound(&refusal).contains("InitProducer"), "{refusal:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_id_that_was_not_issued_is_refused_by_every_node() {
    let cluster = Cluster::of(3).await;
    cluster.create_topic(0, "t", 1, 3).await;
    let (attacker, victim) = (init(&cluster, 1).await, init(&cluster, 1).await);
    assert_eq!(victim & NUMBER_MASK, (attacker & NUMBER_MASK) + 1);
    assert_ne!(victim, attacker + 1);
    let stored = send(&cluster, 0, (victim, 0, 0), "a").await.unwrap();
    assert!(!stored.duplicate);
    // Whichever node forwards it, the leader checks it.
    for at in 0..3 {
        for id in [attacker + 1, u64::MAX, NUMBER_MASK, 0] {
            refused(&cluster, at, id).await;
        }
    }
    // The victim was neither fenced nor answered for.
    let stored = send(&cluster, 2, (victim, 0, 1), "b").await.unwrap();
    assert!(!stored.duplicate);
    let again = send(&cluster, 1, (victim, 0, 1), "b").await.unwrap();
    assert!(again.duplicate);
    assert_eq!(cluster.read_all(0, 0).await, ["a", "b"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn ids_from_before_the_level_stay_valid_and_others_do_not() {
    let mut cluster = Cluster::new();
    cluster.level = OLD;
    cluster.add().await;
    cluster.bootstrap(0).await.unwrap();
    cluster.ready(0).await;
    cluster.create_topic(0, "t", 1, 1).await;
    let sealed = init(&cluster, 0).await;
    // As a node of the former version has issued it: the number alone.
    let plain = sealed & NUMBER_MASK;
    let unknown = plain + 1_000_000;
    for (id, value) in [(plain, "a"), (sealed, "b"), (unknown, "c")] {
        send(&cluster, 0, (id, 0, 0), value).await.unwrap();
    }

    cluster.level = FeatureLevel::CURRENT;
    cluster.stop(0).await;
    cluster.restart(0).await;
    cluster.ready(0).await;
    eventually("the level to be finalized", async || {
        let request = admin::FinalizeLevelRequest { level: None };
        let reply = cluster.admin(0).finalize_level(request).await.ok()?;
        let level = reply.into_inner().finalized_level;
        (level == FeatureLevel::CURRENT.get()).then_some(())
    })
    .await;
    for (id, value) in [(plain, "d"), (sealed, "e")] {
        let stored = send(&cluster, 0, (id, 0, 1), value).await.unwrap();
        assert!(!stored.duplicate);
    }
    refused(&cluster, 0, unknown).await;
    assert_eq!(cluster.read_all(0, 0).await, ["a", "b", "c", "d", "e"]);
}
