//! Consumer groups with failures: every record is processed, and what was committed never goes
//! back.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use lograft_client::{
    Client, ClientError, GroupConfig, GroupConsumer, GroupEvent, GroupRecord, GroupStart, Offset,
    PartitionId, PartitionStatus, Reason, StartAt,
};
use tokio::time::{Instant, sleep, timeout};

use crate::consume::fill;
use crate::fake::groups::{AskedCommit, FakeGroup};
use crate::fake::{Cluster, ReadFault, TOPIC};

const GROUP: &str = "billing";
const PATIENCE: Duration = Duration::from_secs(20);

fn config(member: &str) -> GroupConfig {
    GroupConfig {
        member_id: Some(member.to_owned()),
        auto_commit: Some(Duration::from_millis(20)),
        session_timeout: Duration::from_secs(3),
        reply_max_bytes: 4096,
        ..GroupConfig::new(GROUP, [TOPIC])
    }
}

fn manual(member: &str) -> GroupConfig {
    GroupConfig {
        auto_commit: None,
        ..config(member)
    }
}

async fn join(client: &Client, config: GroupConfig) -> GroupConsumer {
    client.group_consumer(config).await.unwrap()
}

/// Reads the state of the group.
fn group<T>(cluster: &Cluster, read: impl FnOnce(&mut FakeGroup) -> T) -> T {
    read(cluster.state().groups.get_mut(GROUP).unwrap())
}

fn committed(cluster: &Cluster) -> BTreeMap<u32, u64> {
    group(cluster, |group| group.committed.clone())
}

async fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !is_so() {
        assert!(Instant::now() < deadline, "waited in vain: {what}");
        sleep(Duration::from_millis(5)).await;
    }
}

/// The next record; fails the test if there is none.
async fn next(consumer: &mut GroupConsumer) -> GroupRecord {
    let next = timeout(PATIENCE, consumer.next()).await;
    next.unwrap().unwrap()
}

async fn event(consumer: &mut GroupConsumer) -> GroupEvent {
    let event = timeout(PATIENCE, consumer.next_event()).await;
    event.unwrap().unwrap()
}

fn position(record: &GroupRecord) -> (u32, u64) {
    (
        record.consumed.partition.get(),
        record.consumed.offset.get(),
    )
}

/// Polls for a while, and makes sure that nothing arrives.
async fn expect_nothing(consumer: &mut GroupConsumer) {
    let next = timeout(Duration::from_millis(200), consumer.next()).await;
    assert!(next.is_err(), "{next:?}");
}

/// Asserts that the accepted commits of a partition never go back.
fn assert_commits_grow(commits: &[AskedCommit]) {
    let mut last: BTreeMap<u32, u64> = BTreeMap::new();
    for commit in commits.iter().filter(|commit| commit.is_accepted) {
        let last = last.entry(commit.partition).or_default();
        assert!(commit.offset >= *last, "{commit:?} after {last}");
        *last = commit.offset;
    }
}

/// The records that all members together have processed.
#[derive(Clone, Default)]
struct Ledger(Arc<Mutex<BTreeMap<(u32, u64), usize>>>);

impl Ledger {
    fn add(&self, record: &GroupRecord) {
        let mut counts = self.0.lock().unwrap();
        *counts.entry(position(record)).or_default() += 1;
    }

    fn len(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    fn repeated(&self) -> usize {
        let counts = self.0.lock().unwrap();
        counts.values().filter(|count| **count > 1).count()
    }
}

/// Processes records for a while, slowly, then closes the consumer.
async fn work(mut consumer: GroupConsumer, ledger: Ledger, until: Instant) {
    let mut last: BTreeMap<(u32, u64), u64> = BTreeMap::new();
    while let Ok(record) = tokio::time::timeout_at(until, consumer.next()).await {
        let record = record.unwrap();
        let (partition, offset) = position(&record);
        let since = record.since_generation();
        let last = last.entry((partition, since)).or_insert(offset);
        assert!(
            offset <= *last + 1,
            "a gap in {partition}: {last}, {offset}"
        );
        *last = offset;
        ledger.add(&record);
        sleep(Duration::from_micros(200)).await;
    }
    consumer.close().await.unwrap();
}

async fn fill_all(client: &Client, partitions: u32, records: u32) {
    for partition in 0..partitions {
        fill(client, partition, 0..records).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_that_join_and_leave_lose_and_repeat_nothing() {
    let cluster = Cluster::start(3, 6);
    let client = cluster.client().await;
    fill_all(&client, 6, 400).await;
    let ledger = Ledger::default();
    let start = Instant::now();
    let mut workers = Vec::new();
    for (at, millis) in [(0_u64, 1500), (1, 900), (2, 1200)] {
        let consumer = join(&client, config(&format!("m{at}"))).await;
        let until = start + Duration::from_millis(millis);
        workers.push(tokio::spawn(work(consumer, ledger.clone(), until)));
        sleep(Duration::from_millis(150)).await;
    }
    for worker in workers {
        worker.await.unwrap();
    }
    let rest = join(&client, config("rest")).await;
    let until = Instant::now() + Duration::from_secs(3);
    work(rest, ledger.clone(), until).await;
    assert_eq!(ledger.len(), 6 * 400);
    // All hand-overs were graceful.
    assert_eq!(ledger.repeated(), 0);
    let commits = group(&cluster, |group| group.commits.clone());
    assert_commits_grow(&commits);
    assert!(commits.iter().all(|commit| commit.is_accepted));
    let members: BTreeSet<&str> = commits
        .iter()
        .map(|commit| commit.member.as_str())
        .collect();
    assert!(members.len() >= 3, "{members:?}");
    assert!(committed(&cluster).values().all(|offset| *offset == 400));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_dies_repeats_at_most_what_was_not_committed() {
    let cluster = Cluster::start(2, 4);
    let client = cluster.client().await;
    fill_all(&client, 4, 300).await;
    let ledger = Ledger::default();
    let survivor = join(&client, config("survivor")).await;
    let until = Instant::now() + Duration::from_secs(5);
    let survivor = tokio::spawn(work(survivor, ledger.clone(), until));
    // The runtime of a process of its own.
    let (own, victim_ledger) = (cluster.config(), ledger.clone());
    let victim = std::thread::spawn(move || {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        runtime.spawn(async move {
            let client = Client::connect(own).await.unwrap();
            let victim = join(&client, config("victim")).await;
            work(victim, victim_ledger, until + PATIENCE).await;
        });
        std::thread::sleep(Duration::from_millis(400));
        runtime.shutdown_timeout(Duration::ZERO);
    });
    victim.join().unwrap();
    survivor.await.unwrap();
    assert_eq!(ledger.len(), 4 * 300);
    let commits = group(&cluster, |group| group.commits.clone());
    assert!(
        commits.iter().any(|commit| commit.member == "victim"),
        "the victim did nothing"
    );
    assert_commits_grow(&commits);
}

#[tokio::test]
async fn partitions_that_stay_are_not_revoked_when_others_move() {
    let cluster = Cluster::start(1, 4);
    let client = cluster.client().await;
    let mut first = join(&client, config("first")).await;
    let GroupEvent::Assigned(all) = event(&mut first).await else {
        panic!()
    };
    assert_eq!(all.len(), 4);
    let second = join(&client, config("second")).await;
    let GroupEvent::Revoked(revoked) = event(&mut first).await else {
        panic!()
    };
    assert_eq!(revoked.len(), 2);
    // The application is not back: the other member waits.
    sleep(Duration::from_millis(200)).await;
    assert!(second.status().partitions.is_empty());
    fill_all(&client, 4, 10).await;
    let GroupEvent::Batch(batch) = event(&mut first).await else {
        panic!()
    };
    assert!(!revoked.contains(&batch.partition));
    let mut second = second;
    let GroupEvent::Assigned(got) = event(&mut second).await else {
        panic!()
    };
    assert_eq!(got, revoked);
    assert_eq!(first.status().partitions.len(), 2);
}

#[tokio::test]
async fn the_application_may_commit_while_it_gives_up_partitions() {
    let cluster = Cluster::start(1, 2);
    let client = cluster.client().await;
    fill_all(&client, 2, 10).await;
    let mut first = join(&client, manual("first")).await;
    let mut last = BTreeMap::new();
    while last.len() < 2 {
        if let GroupEvent::Batch(batch) = event(&mut first).await {
            last.insert(batch.partition.partition.get(), batch);
        }
    }
    assert!(committed(&cluster).is_empty());
    let _second = join(&client, manual("second")).await;
    let revoked = loop {
        if let GroupEvent::Revoked(revoked) = event(&mut first).await {
            break revoked;
        }
    };
    first.commit().await.unwrap();
    let revoked = revoked[0].partition.get();
    assert_eq!(
        committed(&cluster)[&revoked],
        last[&revoked].batch.next_offset().get()
    );
}

#[tokio::test]
async fn automatic_commits_take_only_what_the_application_has_finished() {
    let cluster = Cluster::start(1, 1);
    let client = cluster.client().await;
    fill(&client, 0, 0..30).await;
    let mut consumer = join(&client, config("m")).await;
    for n in 0..5_u64 {
        assert_eq!(position(&next(&mut consumer).await), (0, n));
        eventually("what was finished is committed", || {
            committed(&cluster).get(&0).copied().unwrap_or(0) == n
        })
        .await;
        sleep(Duration::from_millis(60)).await;
        assert_eq!(committed(&cluster).get(&0).copied().unwrap_or(0), n);
    }
    // Dropped within the processing of a record, the consumer does not commit it.
    drop(consumer);
    eventually("it leaves", || {
        group(&cluster, |group| group.members.is_empty())
    })
    .await;
    assert_eq!(committed(&cluster)[&0], 4);
    let mut consumer = join(&client, config("next")).await;
    assert_eq!(position(&next(&mut consumer).await), (0, 4));
    consumer.close().await.unwrap();
    assert_eq!(committed(&cluster)[&0], 5);
    assert!(group(&cluster, |group| group.members.is_empty()));
}

#[tokio::test]
async fn manual_commits_are_the_applications() {
    let cluster = Cluster::start(1, 1);
    let client = cluster.client().await;
    fill(&client, 0, 0..30).await;
    let mut consumer = join(&client, manual("m")).await;
    let first = next(&mut consumer).await;
    let second = next(&mut consumer).await;
    assert!(committed(&cluster).is_empty());
    consumer.commit_record(&first).await.unwrap();
    assert_eq!(committed(&cluster)[&0], 1);
    consumer.handle().commit_record(&second).await.unwrap();
    assert_eq!(committed(&cluster)[&0], 2);
    next(&mut consumer).await;
    consumer.commit().await.unwrap();
    assert_eq!(committed(&cluster)[&0], 3);
    next(&mut consumer).await;
    consumer.close().await.unwrap();
    assert_eq!(committed(&cluster)[&0], 3);
}

#[tokio::test]
async fn a_cancelled_call_loses_no_record() {
    let cluster = Cluster::start(1, 2);
    let client = cluster.client().await;
    fill_all(&client, 2, 200).await;
    let mut consumer = join(&client, config("m")).await;
    let mut next_offsets = BTreeMap::from([(0, 0), (1, 0)]);
    let (mut found, mut cancelled) = (0, 0);
    while found < 400 {
        let Ok(record) = timeout(Duration::from_micros(50), consumer.next()).await else {
            cancelled += 1;
            continue;
        };
        let (partition, offset) = position(&record.unwrap());
        let next = next_offsets.get_mut(&partition).unwrap();
        assert_eq!(offset, *next);
        *next += 1;
        found += 1;
    }
    assert!(cancelled > 0);
}

#[tokio::test]
async fn a_member_that_was_removed_commits_nothing_and_joins_again() {
    let cluster = Cluster::start(1, 1);
    let client = cluster.client().await;
    fill(&client, 0, 0..30).await;
    let mut zombie = join(&client, manual("zombie")).await;
    let record = next(&mut zombie).await;
    let second = next(&mut zombie).await;
    zombie.commit_record(&record).await.unwrap();
    group(&cluster, |group| group.remove("zombie", 1));
    // Whether it knows already or not.
    let error = zombie.commit_record(&second).await.unwrap_err();
    let reasons = [Some(Reason::UnknownMember), Some(Reason::NotAssigned)];
    assert!(reasons.contains(&error.reason()), "{error}");
    assert_eq!(committed(&cluster)[&0], 1);
    // The record is processed again, under a new assignment, and nothing else before it.
    let again = next(&mut zombie).await;
    assert_eq!(position(&again), (0, 1));
    // A commit of the former assignment is still refused.
    let error = zombie.commit_record(&second).await.unwrap_err();
    assert_eq!(error.reason(), Some(Reason::NotAssigned));
    assert_eq!(committed(&cluster)[&0], 1);
    zombie.commit_record(&again).await.unwrap();
    assert_eq!(committed(&cluster)[&0], 2);
}

#[tokio::test]
async fn a_member_that_was_removed_hands_out_nothing_until_it_has_joined_again() {
    let cluster = Cluster::start(1, 1);
    let client = cluster.client().await;
    fill(&client, 0, 0..30).await;
    let mut consumer = join(&client, manual("m")).await;
    next(&mut consumer).await;
    group(&cluster, |group| {
        group.refuses_joins = true;
        group.remove("m", 1);
    });
    eventually("it knows", || consumer.status().partitions.is_empty()).await;
    expect_nothing(&mut consumer).await;
    group(&cluster, |group| group.refuses_joins = false);
    assert_eq!(position(&next(&mut consumer).await), (0, 0));
}

#[tokio::test]
async fn a_commit_says_that_partitions_were_lost() {
    let cluster = Cluster::start(1, 1);
    let client = cluster.client().await;
    fill(&client, 0, 0..30).await;
    let mut zombie = join(&client, manual("zombie")).await;
    next(&mut zombie).await;
    group(&cluster, |group| group.remove("zombie", 1));
    eventually("it joins again", || {
        group(&cluster, |group| group.members.contains_key("zombie"))
    })
    .await;
    let error = zombie.commit().await.unwrap_err();
    assert_eq!(error.reason(), Some(Reason::NotAssigned));
    assert!(committed(&cluster).is_empty());
    let GroupEvent::Lost(lost) = event(&mut zombie).await else {
        panic!()
    };
    assert_eq!(lost.len(), 1);
    assert_eq!(position(&next(&mut zombie).await), (0, 0));
    zombie.commit().await.unwrap();
    assert_eq!(committed(&cluster)[&0], 1);
}

#[tokio::test]
async fn a_static_member_restarts_without_a_move() {
    let cluster = Cluster::start(1, 4);
    let client = cluster.client().await;
    fill_all(&client, 4, 20).await;
    let fixed = |member: &str| GroupConfig {
        instance_id: Some("pod-0".to_owned()),
        ..config(member)
    };
    let mut other = join(&client, config("other")).await;
    let mut one = join(&client, fixed("one")).await;
    let settled = async {
        loop {
            tokio::select! {
                _ = other.next() => {}
                _ = one.next() => {}
            }
            if other.status().partitions.len() == 2 && one.status().partitions.len() == 2 {
                return;
            }
        }
    };
    timeout(PATIENCE, settled).await.unwrap();
    let generation = other.status().generation;
    let held = |consumer: &GroupConsumer| {
        let partitions = consumer.status().partitions.into_iter();
        partitions
            .map(|status| status.partition)
            .collect::<Vec<_>>()
    };
    let (mine, others) = (held(&one), held(&other));
    one.close().await.unwrap();
    sleep(Duration::from_millis(300)).await;
    let mut two = join(&client, fixed("two")).await;
    let GroupEvent::Assigned(got) = event(&mut two).await else {
        panic!()
    };
    assert_eq!(got, mine);
    assert_eq!(held(&other), others);
    assert_eq!(
        other.status().generation,
        generation,
        "the other member was disturbed"
    );

    // A second process with the same instance id ends the first one for good.
    let mut three = join(&client, fixed("three")).await;
    let failing = async {
        loop {
            if let Err(error) = two.next().await {
                return error;
            }
        }
    };
    let error = timeout(PATIENCE, failing).await.unwrap();
    assert_eq!(error.reason(), Some(Reason::MemberReplaced));
    assert_eq!(
        two.next().await.unwrap_err().reason(),
        Some(Reason::MemberReplaced)
    );
    assert_eq!(
        two.commit().await.unwrap_err().reason(),
        Some(Reason::MemberReplaced)
    );
    let GroupEvent::Assigned(got) = event(&mut three).await else {
        panic!()
    };
    assert_eq!(got, mine);
    // It does not take its successor with it.
    drop(two.close().await);
    assert!(group(&cluster, |group| group.members.contains_key("three")));
    three.leave().await.unwrap();
    assert!(!group(&cluster, |group| group
        .members
        .contains_key("three")));
}

#[tokio::test]
async fn paused_partitions_wait_and_a_seek_moves_the_position() {
    let cluster = Cluster::start(1, 2);
    let client = cluster.client().await;
    fill_all(&client, 2, 50).await;
    let mut consumer = join(&client, manual("m")).await;
    let first = next(&mut consumer).await;
    let paused = first.partition.partition;
    assert!(consumer.pause(TOPIC, paused));
    assert!(!consumer.pause(TOPIC, PartitionId(9)));
    let other = loop {
        let record = next(&mut consumer).await;
        assert_ne!(record.partition.partition, paused);
        if record.consumed.offset == Offset(49) {
            break record.partition.partition;
        }
    };
    expect_nothing(&mut consumer).await;
    assert!(consumer.resume(TOPIC, paused));
    let record = next(&mut consumer).await;
    assert_eq!(
        position(&record),
        (paused.get(), 1),
        "it continues after the last record"
    );
    assert!(consumer.pause(TOPIC, paused));
    assert!(consumer.seek(TOPIC, other, StartAt::Offset(Offset(40))));
    assert_eq!(position(&next(&mut consumer).await), (other.get(), 40));
    assert!(consumer.seek(TOPIC, other, StartAt::Latest));
    expect_nothing(&mut consumer).await;
    consumer.commit().await.unwrap();
    assert_eq!(committed(&cluster)[&other.get()], 50);
    // A seek of a paused partition holds when it is resumed.
    assert!(consumer.seek(TOPIC, paused, StartAt::Latest));
    assert!(consumer.resume(TOPIC, paused));
    expect_nothing(&mut consumer).await;
    fill(&client, paused.get(), 50..51).await;
    assert_eq!(position(&next(&mut consumer).await), (paused.get(), 50));
    let lags: Vec<_> = consumer
        .status()
        .partitions
        .iter()
        .map(PartitionStatus::lag)
        .collect();
    assert_eq!(lags, [Some(0), Some(0)]);
}

#[tokio::test]
async fn an_application_that_asks_for_nothing_loses_its_partitions_and_learns_it() {
    let cluster = Cluster::start(1, 2);
    let client = cluster.client().await;
    fill_all(&client, 2, 20).await;
    let mut slow = join(
        &client,
        GroupConfig {
            poll_interval: Duration::from_millis(300),
            ..config("slow")
        },
    )
    .await;
    next(&mut slow).await;
    next(&mut slow).await;
    eventually("it leaves", || {
        group(&cluster, |group| group.members.is_empty())
    })
    .await;
    let error = slow.next().await.unwrap_err();
    assert!(
        matches!(error, ClientError::PollIntervalExceeded { .. }),
        "{error}"
    );
    assert!(group(&cluster, |group| group.members.is_empty()));
    // Only what was finished is committed: one record at most is processed again.
    let sum: u64 = committed(&cluster).values().sum();
    assert!(sum <= 1, "{sum}");
    next(&mut slow).await;
    assert!(group(&cluster, |group| group.members.contains_key("slow")));
    // Waiting for records is not the same as not asking for them.
    let waiting = async { while slow.next().await.is_ok() {} };
    assert!(timeout(Duration::from_millis(800), waiting).await.is_err());
    assert!(group(&cluster, |group| group.members.contains_key("slow")));
}

#[tokio::test]
async fn members_start_where_they_shall_without_a_committed_offset() {
    let cluster = Cluster::start(1, 1);
    let client = cluster.client().await;
    fill(&client, 0, 0..30).await;
    let latest = |member: &str| GroupConfig {
        start: GroupStart::Latest,
        ..config(member)
    };
    let mut consumer = join(&client, latest("a")).await;
    let waiting = timeout(Duration::from_millis(100), consumer.next()).await;
    assert!(waiting.is_err());
    // The end is committed, so that another member does not look for a later one.
    eventually("the start is committed", || {
        committed(&cluster).get(&0) == Some(&30)
    })
    .await;
    consumer.close().await.unwrap();
    fill(&client, 0, 30..40).await;
    let mut consumer = join(&client, latest("b")).await;
    assert_eq!(position(&next(&mut consumer).await), (0, 30));
    consumer.close().await.unwrap();

    // The committed offset is gone.
    {
        let mut state = cluster.state();
        let partition = state.partition(TOPIC, 0).unwrap();
        partition.start = 38;
        partition.log.retain(|batch| batch.base_offset >= 38);
        group_of(&mut state).committed.insert(0, 5);
    }
    let failing = GroupConfig {
        start: GroupStart::Error,
        ..config("c")
    };
    let mut consumer = join(&client, failing.clone()).await;
    let error = timeout(PATIENCE, consumer.next())
        .await
        .unwrap()
        .unwrap_err();
    assert_eq!(error.reason(), Some(Reason::OffsetOutOfRange));
    drop(consumer.close().await);
    let mut consumer = join(&client, config("d")).await;
    fill(&client, 0, 40..50).await;
    let (_, offset) = position(&next(&mut consumer).await);
    assert!(offset >= 38, "{offset}");
    consumer.close().await.unwrap();

    group_of(&mut cluster.state()).committed.clear();
    let mut consumer = join(&client, failing).await;
    let error = timeout(PATIENCE, consumer.next())
        .await
        .unwrap()
        .unwrap_err();
    assert!(
        matches!(error, ClientError::NoCommittedOffset { .. }),
        "{error}"
    );
    assert!(consumer.seek(TOPIC, PartitionId(0), StartAt::Offset(Offset(offset))));
    assert_eq!(position(&next(&mut consumer).await), (0, offset));
}

fn group_of(state: &mut crate::fake::State) -> &mut FakeGroup {
    state.groups.get_mut(GROUP).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_dies_disturbs_nothing() {
    let mut cluster = Cluster::start(3, 3);
    let client = cluster.client().await;
    fill_all(&client, 3, 50).await;
    let mut consumer = join(&client, config("m")).await;
    let ledger = Ledger::default();
    for _ in 0..20 {
        ledger.add(&next(&mut consumer).await);
    }
    let generation = consumer.status().generation;
    for node in 0..3 {
        cluster.kill(node);
        {
            let mut state = cluster.state();
            for partition in 0..3 {
                while state.partition(TOPIC, partition).unwrap().leader == Some(node) {
                    state.move_leader(TOPIC, partition);
                }
            }
        }
        for _ in 0..30 {
            ledger.add(&next(&mut consumer).await);
        }
        sleep(Duration::from_millis(1700)).await;
        cluster.restart(node);
    }
    while ledger.len() < 150 {
        ledger.add(&next(&mut consumer).await);
    }
    assert_eq!(ledger.repeated(), 0);
    assert_eq!(
        consumer.status().generation,
        generation,
        "the member was away"
    );
    consumer.close().await.unwrap();
    assert!(committed(&cluster).values().all(|offset| *offset == 50));
}

/// The futures of a consumer may run in a task of their own.
#[tokio::test]
async fn a_consumer_runs_in_a_task() {
    let cluster = Cluster::start(1, 1);
    let client = cluster.client().await;
    fill(&client, 0, 0..3).await;
    let mut consumer = join(&client, manual("m")).await;
    let task = tokio::spawn(async move {
        let record = next(&mut consumer).await;
        consumer.commit_record(&record).await.unwrap();
        let GroupEvent::Batch(batch) = event(&mut consumer).await else {
            panic!()
        };
        consumer.commit_batch(&batch).await.unwrap();
        consumer.close().await.unwrap();
    });
    task.await.unwrap();
    assert_eq!(committed(&cluster)[&0], 3);
}

#[tokio::test]
async fn a_quiet_member_sends_few_heartbeats() {
    let cluster = Cluster::start(1, 2);
    let client = cluster.client().await;
    let mut consumer = join(&client, config("m")).await;
    assert!(
        timeout(Duration::from_secs(2), consumer.next())
            .await
            .is_err()
    );
    let heartbeats = group(&cluster, |group| group.heartbeats);
    // One per second, a third of the session.
    assert!((1..=4).contains(&heartbeats), "{heartbeats}");
}

#[tokio::test]
async fn a_partition_is_read_on_after_a_failure_that_was_reported() {
    let cluster = Cluster::start(1, 1);
    let client = cluster.client().await;
    fill(&client, 0, 0..30).await;
    let mut consumer = join(
        &client,
        GroupConfig {
            retry_timeout: Duration::from_millis(200),
            ..config("m")
        },
    )
    .await;
    for n in 0..30 {
        assert_eq!(position(&next(&mut consumer).await), (0, n));
    }
    let lead = |leader| cluster.state().partition(TOPIC, 0).unwrap().leader = leader;
    lead(None);
    cluster.notify();
    let failed = timeout(PATIENCE, consumer.next()).await.unwrap();
    let error = failed.unwrap_err();
    assert!(error.is_retryable(), "{error}");
    lead(Some(0));
    fill(&client, 0, 30..40).await;
    for n in 30..40 {
        assert_eq!(position(&next_retried(&mut consumer).await), (0, n));
    }
}

/// The next record. Failures that may pass are no end.
async fn next_retried(consumer: &mut GroupConsumer) -> GroupRecord {
    let found = async {
        loop {
            match consumer.next().await {
                Err(error) if error.is_retryable() => {}
                found => return found.unwrap(),
            }
        }
    };
    timeout(PATIENCE, found).await.unwrap()
}

#[tokio::test]
async fn another_topic_of_the_same_name_is_not_read_under_the_assignment_of_the_former_one() {
    let cluster = Cluster::start(1, 1);
    let client = cluster.client().await;
    fill(&client, 0, 0..30).await;
    let mut consumer = join(&client, config("m")).await;
    for n in 0..30 {
        assert_eq!(position(&next(&mut consumer).await), (0, n));
    }
    let recreated = ReadFault::Reject(Reason::TopicRecreated);
    cluster.state().read_faults.push_back(recreated);
    fill(&client, 0, 30..40).await;
    // A reader that started again would return the first record of the log.
    assert_eq!(position(&next(&mut consumer).await), (0, 30));
}

#[tokio::test]
async fn a_partition_that_was_read_since_is_not_missing_for_long() {
    let cluster = Cluster::start(1, 1);
    let client = cluster.client().await;
    fill(&client, 0, 0..10).await;
    let retry_timeout = Duration::from_secs(1);
    let mut consumer = join(
        &client,
        GroupConfig {
            retry_timeout,
            ..config("m")
        },
    )
    .await;
    assert_eq!(position(&next(&mut consumer).await), (0, 0));
    for round in 1..=3_u32 {
        let recreated = ReadFault::Reject(Reason::TopicRecreated);
        cluster.state().read_faults.push_back(recreated);
        fill(&client, 0, round * 10..(round + 1) * 10).await;
        for n in 1..=10 {
            let offset = u64::from((round - 1) * 10 + n);
            assert_eq!(position(&next(&mut consumer).await), (0, offset));
        }
        sleep(retry_timeout).await;
    }
}

#[tokio::test]
async fn the_session_goes_on_until_the_last_commit_is_stored() {
    let cluster = Cluster::start(1, 1);
    let client = cluster.client().await;
    fill(&client, 0, 0..10).await;
    let auto_commit = Some(Duration::from_secs(20));
    let mut consumer = join(
        &client,
        GroupConfig {
            auto_commit,
            ..config("m")
        },
    )
    .await;
    next(&mut consumer).await;
    // Longer than a member whose heartbeat was cut stays in its group.
    let commit_delay = Duration::from_millis(2200);
    group(&cluster, |group| group.commit_delay = commit_delay);
    consumer.close().await.unwrap();
    assert_eq!(committed(&cluster)[&0], 1);
    assert!(group(&cluster, |group| group.members.is_empty()));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn commits_of_other_tasks_do_not_hold_up_a_close() {
    let cluster = Cluster::start(1, 1);
    let client = cluster.client().await;
    fill(&client, 0, 0..10).await;
    let mut consumer = join(&client, manual("m")).await;
    let record = next(&mut consumer).await;
    let mut tasks = Vec::new();
    for _ in 0..4 {
        let (handle, record) = (consumer.handle(), record.clone());
        tasks.push(tokio::spawn(async move {
            while handle.commit_record(&record).await.is_ok() {}
        }));
    }
    eventually("the tasks commit", || committed(&cluster).contains_key(&0)).await;
    consumer.close().await.unwrap();
    for task in tasks {
        timeout(PATIENCE, task).await.unwrap().unwrap();
    }
    assert!(group(&cluster, |group| group.members.is_empty()));
}

#[tokio::test]
async fn partitions_that_stay_are_read_while_the_commit_of_others_has_no_answer() {
    let cluster = Cluster::start(1, 2);
    let client = cluster.client().await;
    fill_all(&client, 2, 10).await;
    let auto_commit = Some(Duration::from_secs(20));
    let auto = |member| GroupConfig {
        auto_commit,
        ..config(member)
    };
    let mut first = join(&client, auto("first")).await;
    for _ in 0..20 {
        next(&mut first).await;
    }
    group(&cluster, |group| {
        group.commit_delay = Duration::from_secs(2);
    });
    let mut second = join(&client, auto("second")).await;
    let GroupEvent::Revoked(revoked) = event(&mut first).await else {
        panic!()
    };
    let stays = 1 - revoked[0].partition.get();
    fill(&client, stays, 10..20).await;
    assert_eq!(position(&next(&mut first).await), (stays, 10));
    let commits = group(&cluster, |group| group.commits.clone());
    assert_eq!(commits, [], "the commit was awaited");
    // Calls that are cut do not repeat it.
    for _ in 0..100 {
        drop(timeout(Duration::from_millis(1), first.next_event()).await);
    }
    let GroupEvent::Assigned(got) = event(&mut second).await else {
        panic!()
    };
    assert_eq!(got, revoked);
    let of_revoked = |commit: &AskedCommit| commit.partition != stays;
    let commits = group(&cluster, |group| group.commits.clone());
    assert_eq!(commits.into_iter().filter(of_revoked).count(), 1);
    assert_eq!(committed(&cluster)[&revoked[0].partition.get()], 10);
}

#[tokio::test]
async fn a_commit_is_numbered_above_those_of_a_former_process_with_a_clock_ahead() {
    let cluster = Cluster::start(1, 1);
    let client = cluster.client().await;
    fill(&client, 0, 0..10).await;
    let mut consumer = join(&client, manual("m")).await;
    // Centuries ahead.
    let ahead = 1 << 60;
    group(&cluster, |group| group.sequences.insert(0, ahead));
    for offset in 1..=2 {
        next(&mut consumer).await;
        consumer.commit().await.unwrap();
        assert_eq!(committed(&cluster)[&0], offset);
    }
    assert_eq!(group(&cluster, |group| group.sequences[&0]), ahead + 2);
    let commits = group(&cluster, |group| group.commits.len());
    assert_eq!(commits, 2, "only the first one was refused, once");
}

#[tokio::test]
async fn the_end_of_a_partition_without_a_leader_is_found_before_it_is_read() {
    let cluster = Cluster::start(1, 1);
    let client = cluster.client().await;
    fill(&client, 0, 0..30).await;
    cluster.state().offsets_without_leader = 2;
    let config = GroupConfig {
        start: GroupStart::Latest,
        ..config("m")
    };
    let mut consumer = join(&client, config).await;
    // Without the offset, a stream that fails before its first batch would look for it again.
    let start = timeout(PATIENCE, async {
        loop {
            drop(timeout(Duration::from_millis(50), consumer.next()).await);
            if let Some(start) = committed(&cluster).get(&0) {
                return *start;
            }
        }
    });
    assert_eq!(start.await.unwrap(), 30);
    assert_eq!(cluster.state().offsets_without_leader, 0);
    fill(&client, 0, 30..31).await;
    assert_eq!(position(&next(&mut consumer).await), (0, 30));
}
