//! Consumer groups on a cluster of real processes: the commands, and members of the client library
//! that are killed, stopped and replaced, judged by their history.

use std::collections::BTreeMap;
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use lograft_client::{
    Client, GroupConfig, GroupConsumer, GroupEvent, GroupRecord, NewTopic, PartitionId, Producer,
    ProducerConfig, Reason, RecordParts, TopicChange,
};
use serde_json::Value;
use tokio::runtime::Runtime;
use tokio::time::{sleep, timeout};

use crate::support::{DevProcess, TestHome, connect, send_signal, wait_until};

const TOPIC: &str = "orders";
const GROUP: &str = "billing";
const PATIENCE: Duration = Duration::from_secs(30);

fn lines(numbers: std::ops::Range<u32>) -> Vec<u8> {
    let lines = numbers.map(|n| format!("k{n}\tv{n}\n"));
    lines.collect::<String>().into_bytes()
}

fn describe(home: &TestHome) -> Value {
    let json = home.run(&["group", "describe", GROUP, "--json"]).ok();
    serde_json::from_str(&json).unwrap()
}

/// Starts a member that prints to a file.
fn member(home: &TestHome, output: &str) -> Child {
    let file = std::fs::File::create(home.path(output)).unwrap();
    let mut command = home.command(&["consume", TOPIC, "--group", GROUP, "-o", "json"]);
    let command = command.stdout(file).stderr(Stdio::null());
    command.spawn().unwrap()
}

fn printed(home: &TestHome, output: &str) -> Vec<String> {
    let text = std::fs::read_to_string(home.path(output)).unwrap();
    text.lines().map(str::to_owned).collect()
}

#[test]
fn the_commands_of_groups() {
    let home = TestHome::new();
    let dev = DevProcess::start(&home, &["--nodes", "1", "--base-port", "0"]);
    home.run(&["topic", "create", TOPIC, "-p", "4"]).ok();
    let produce = ["produce", TOPIC, "-k", "\\t", "-q"];
    home.feed(&produce, &lines(0..500)).ok_bytes();
    let two = [member(&home, "a"), member(&home, "b")];
    wait_until("both members have partitions", || {
        let found = home.run(&["group", "describe", GROUP, "--json"]);
        let found: Value = serde_json::from_slice(&found.stdout).unwrap_or_default();
        let has_two = |member: &Value| member["partition_count"] == 2;
        let members = found["members"].as_array();
        members.is_some_and(|members| members.len() == 2 && members.iter().all(has_two))
    });
    home.feed(&produce, &lines(500..1000)).ok_bytes();
    wait_until("all records are committed", || describe(&home)["lag"] == 0);
    let refused = home.run(&["group", "delete", GROUP]).failed(1);
    assert!(refused.contains("GROUP_NOT_EMPTY"), "{refused}");
    assert!(refused.contains("stop the consumers"), "{refused}");
    for (mut child, signal) in two.into_iter().zip(["INT", "TERM"]) {
        send_signal(child.id(), signal);
        assert!(child.wait().unwrap().success());
    }
    let mut all: Vec<String> = printed(&home, "a");
    all.extend(printed(&home, "b"));
    assert_eq!(all.len(), 1000);
    all.sort_unstable();
    all.dedup();
    assert_eq!(all.len(), 1000, "records were printed twice");

    // The members have left.
    let list = home.run(&["group", "list", "--json"]).ok();
    let list: Value = serde_json::from_str(&list).unwrap();
    assert_eq!(
        (&list[0]["name"], &list[0]["member_count"]),
        (&GROUP.into(), &0.into())
    );
    reset(&home);
    assert_eq!(
        home.run(&["group", "delete", GROUP, "--topic", TOPIC]).ok(),
        "group billing: deleted 4 committed offsets of topic orders\n"
    );
    assert_eq!(
        home.run(&["group", "delete", GROUP]).ok(),
        "group billing deleted\n"
    );
    home.run(&["group", "delete", GROUP]).failed(3);
    home.run(&["group", "delete", GROUP, "--if-exists"]).ok();
    home.run(&["group", "describe", GROUP]).failed(3);
    let refused = home
        .run(&["consume", TOPIC, "--group", GROUP, "--from", "7"])
        .failed(1);
    assert!(
        refused.contains("--from must be earliest or latest"),
        "{refused}"
    );
    dev.stop();
}

/// Records that are written while no member runs are read by the next one.
#[test]
fn a_member_that_starts_at_the_end_commits_where_that_was() {
    let home = TestHome::new();
    let dev = DevProcess::start(&home, &["--nodes", "1", "--base-port", "0"]);
    home.run(&["topic", "create", TOPIC, "-p", "1"]).ok();
    let produce = ["produce", TOPIC, "-k", "\\t", "-q"];
    home.feed(&produce, &lines(0..5)).ok_bytes();
    let consume = ["consume", TOPIC, "--group", GROUP, "--from", "latest"];
    let mut command = home.command(&consume);
    let command = command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut idle = command.spawn().unwrap();
    wait_until("the start is committed", || {
        let found = home.run(&["group", "describe", GROUP, "--json"]);
        let found: Value = serde_json::from_slice(&found.stdout).unwrap_or_default();
        found["partitions"][0]["committed_offset"] == 5
    });
    send_signal(idle.id(), "TERM");
    assert!(idle.wait().unwrap().success());
    home.feed(&produce, &lines(5..8)).ok_bytes();
    let three = home.run(&[&consume[..], &["-n", "3", "-q"]].concat()).ok();
    assert_eq!(three.lines().count(), 3);
    assert!(three.starts_with("v5\n"), "{three}");
    dev.stop();
}

/// Committed offsets by partition.
fn committed(home: &TestHome) -> Vec<u64> {
    let found = describe(home);
    let partitions = found["partitions"].as_array().unwrap().iter();
    partitions
        .map(|partition| partition["committed_offset"].as_u64().unwrap())
        .collect()
}

fn reset(home: &TestHome) {
    let ends = committed(home);
    let sum: u64 = ends.iter().sum();
    assert_eq!(sum, 1000);
    let reset = |args: &[&str]| home.run(&[&["group", "reset", GROUP], args].concat());
    // Nothing without --yes.
    let finished = reset(&["--to-earliest"]);
    assert_eq!(finished.code, Some(1));
    assert!(finished.stderr.contains("add --yes"), "{}", finished.stderr);
    reset(&["--to-earliest", "--dry-run"]).ok();
    assert_eq!(committed(home), ends);
    let saved = reset(&["--to-current", "--export", "csv"]).ok();
    std::fs::write(home.path("saved.csv"), &saved).unwrap();

    reset(&["--to-earliest", "--yes"]).ok();
    assert_eq!(committed(home), [0; 4]);
    reset(&["--to-offset", "3", "--topic", "orders:1,2", "--yes"]).ok();
    assert_eq!(committed(home), [0, 3, 3, 0]);
    let moved = reset(&["--shift-by", "-1", "--yes"]).ok();
    assert_eq!(committed(home), [0, 2, 2, 0]);
    assert_eq!(moved.matches("moved into the log").count(), 2, "{moved}");
    reset(&["--to-latest", "--yes"]).ok();
    assert_eq!(committed(home), ends);
    reset(&["--by-duration", "1h", "--yes"]).ok();
    assert_eq!(committed(home), [0; 4]);
    reset(&["--to-time", "2100-01-01T00:00:00Z", "--yes"]).ok();
    assert_eq!(committed(home), ends);
    reset(&["--to-offset", "0", "--yes"]).ok();
    reset(&["--from-file", "saved.csv", "--yes"]).ok();
    assert_eq!(committed(home), ends);
    let missing = reset(&["--to-earliest", "--topic", "orders:9"]).failed(3);
    assert!(missing.contains("orders/9"), "{missing}");

    // Printed records are committed, and no others.
    reset(&["--shift-by", "-5", "--topic", "orders:0", "--yes"]).ok();
    let consume = ["consume", TOPIC, "--group", GROUP, "-n", "3", "-q"];
    assert_eq!(home.run(&consume).ok().lines().count(), 3);
    assert_eq!(committed(home)[0], ends[0] - 2);
    reset(&["--to-latest", "--yes"]).ok();
}

/// The history of all members, and the rules that it must follow.
#[derive(Clone, Default)]
struct History(Arc<Mutex<Done>>);

#[derive(Default)]
struct Done {
    /// How often each record was processed.
    processed: BTreeMap<(u32, u64), u32>,
    /// The member that had a partition since a generation.
    owners: BTreeMap<(u32, u64), String>,
    /// The number of processed records of each partition without a gap.
    prefix: BTreeMap<u32, u64>,
}

impl History {
    fn add(&self, member: &str, record: &GroupRecord) {
        let mut done = self.0.lock().unwrap();
        let (partition, offset) = (
            record.consumed.partition.get(),
            record.consumed.offset.get(),
        );
        *done.processed.entry((partition, offset)).or_default() += 1;
        let since = record.since_generation();
        let owner = done.owners.entry((partition, since));
        let owner = owner.or_insert_with(|| member.to_owned());
        assert_eq!(
            owner, member,
            "two owners of {partition} since generation {since}"
        );
        let mut next = done.prefix.get(&partition).copied().unwrap_or(0);
        while done.processed.contains_key(&(partition, next)) {
            next += 1;
        }
        done.prefix.insert(partition, next);
    }

    fn count(&self) -> usize {
        self.0.lock().unwrap().processed.len()
    }

    fn owner_count(&self) -> usize {
        self.0.lock().unwrap().owners.len()
    }

    /// A committed offset: all records before it were processed.
    fn check_committed(&self, partition: u32, offset: u64) {
        let done = self.0.lock().unwrap();
        let prefix = done.prefix.get(&partition).copied().unwrap_or(0);
        assert!(
            offset <= prefix,
            "{offset} of {partition} is committed, {prefix} are processed"
        );
    }
}

fn config(member: &str) -> GroupConfig {
    GroupConfig {
        member_id: Some(member.to_owned()),
        auto_commit: Some(Duration::from_millis(50)),
        session_timeout: Duration::from_secs(5),
        ..GroupConfig::new(GROUP, [TOPIC])
    }
}

/// A member in a runtime of its own. Dropped, it is killed: its connections are cut.
struct Worker {
    runtime: Option<Runtime>,
    failed: Arc<Mutex<Option<String>>>,
}

impl Worker {
    fn start(home: &TestHome, member: String, history: &History) -> Self {
        let runtime = Runtime::new().unwrap();
        let failed = Arc::<Mutex<Option<String>>>::default();
        let client = runtime.block_on(connect(home));
        let (history, failure) = (history.clone(), Arc::clone(&failed));
        runtime.spawn(async move {
            let error = process(client, &member, history).await;
            *failure.lock().unwrap() = Some(format!("{member}: {error}"));
        });
        Self {
            runtime: Some(runtime),
            failed,
        }
    }

    fn check(&self) {
        assert_eq!(*self.failed.lock().unwrap(), None);
    }
}

impl Drop for Worker {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_background();
        }
    }
}

/// Processes records for ever. Returns the error that ended it.
async fn process(client: Client, member: &str, history: History) -> String {
    let mut consumer = match client.group_consumer(config(member)).await {
        Ok(consumer) => consumer,
        Err(error) => return error.to_string(),
    };
    loop {
        match consumer.next().await {
            Ok(record) => history.add(member, &record),
            Err(error) => return error.to_string(),
        }
    }
}

fn parts(value: &String) -> RecordParts<'_> {
    RecordParts {
        value: Some(value.as_bytes()),
        ..RecordParts::default()
    }
}

async fn produce(producer: &Producer, partition: u32, count: u32) {
    let topic = producer.topic(TOPIC).await.unwrap();
    let values: Vec<String> = (0..count).map(|n| format!("{n}")).collect();
    let records: Vec<_> = values.iter().map(parts).collect();
    let delivery = topic
        .send_many(records, Some(PartitionId(partition)))
        .await
        .unwrap();
    for delivery in delivery {
        delivery.await.unwrap();
    }
}

async fn create(client: &Client, partitions: u32) {
    let topic = NewTopic {
        name: TOPIC.to_owned(),
        partitions,
        replication_factor: 3,
        ..NewTopic::default()
    };
    client.admin().create_topic(topic).await.unwrap();
}

/// The committed offsets; none while the group does not exist.
async fn committed_by_partition(client: &Client) -> BTreeMap<u32, u64> {
    match client.groups().fetch_offsets(GROUP, &[]).await {
        Ok(found) => found.into_iter().map(|o| (o.partition, o.offset)).collect(),
        Err(error) if error.reason() == Some(Reason::UnknownGroup) => BTreeMap::new(),
        Err(error) => panic!("{error}"),
    }
}

/// Looks at the committed offsets until there are as many as records.
async fn watch_committed(client: Client, history: History, records: u64) {
    let mut last = BTreeMap::new();
    let deadline = Instant::now() + Duration::from_mins(2);
    while last.values().sum::<u64>() < records {
        assert!(
            Instant::now() < deadline,
            "{last:?} of {records} are committed"
        );
        let now = committed_by_partition(&client).await;
        for (partition, offset) in &now {
            let before = last.get(partition).copied().unwrap_or(0);
            assert!(*offset >= before, "{partition}: {offset} after {before}");
            history.check_committed(*partition, *offset);
        }
        last = now;
        sleep(Duration::from_millis(25)).await;
    }
}

const PARTITIONS: u32 = 6;
const ROUNDS: u32 = 24;
const RECORDS_PER_ROUND: u32 = 100;

#[test]
fn members_and_nodes_are_killed_and_every_record_is_processed() {
    let home = TestHome::new();
    let dev = DevProcess::start(&home, &["--base-port", "0"]);
    let runtime = Runtime::new().unwrap();
    let client = runtime.block_on(async {
        let client = connect(&home).await;
        create(&client, PARTITIONS).await;
        client
    });
    let history = History::default();
    let total = u64::from(PARTITIONS * ROUNDS * RECORDS_PER_ROUND);
    let watcher = runtime.spawn(watch_committed(client.clone(), history.clone(), total));
    let mut started = 0;
    let mut start = || {
        started += 1;
        Worker::start(&home, format!("m{started}"), &history)
    };
    let mut workers = vec![start(), start(), start()];
    let producer = runtime
        .block_on(client.producer(ProducerConfig::default()))
        .unwrap();
    for round in 0..ROUNDS {
        runtime.block_on(async {
            for partition in 0..PARTITIONS {
                produce(&producer, partition, RECORDS_PER_ROUND).await;
            }
            sleep(Duration::from_millis(300)).await;
        });
        workers.iter().for_each(Worker::check);
        if round % 4 == 3 {
            // The oldest one.
            drop(workers.remove(0));
            workers.push(start());
        }
        if round % 8 == 5 {
            kill_coordinator(&runtime, &client, &dev);
        }
    }
    let judged = runtime.block_on(async { timeout(Duration::from_mins(2), watcher).await });
    judged.unwrap().unwrap();
    assert_eq!(history.count() as u64, total);
    assert!(history.owner_count() > PARTITIONS as usize, "nothing moved");
    drop(workers);
    dev.stop();
}

/// Kills the node that coordinates the group; `lograft dev` starts it again.
fn kill_coordinator(runtime: &Runtime, client: &Client, dev: &DevProcess) {
    let group = runtime.block_on(client.groups().describe(GROUP)).unwrap();
    let metadata = runtime.block_on(client.metadata()).unwrap();
    let coordinator = metadata
        .nodes
        .iter()
        .find(|node| node.id.get() == group.coordinator_node);
    let name = &coordinator.unwrap().name;
    let nodes = dev.nodes();
    let (_, pid) = nodes.iter().find(|(found, _)| found == name).unwrap();
    send_signal(*pid, "KILL");
}

async fn next(consumer: &mut GroupConsumer) -> GroupRecord {
    timeout(PATIENCE, consumer.next()).await.unwrap().unwrap()
}

fn position(record: &GroupRecord) -> (u32, u64) {
    (
        record.consumed.partition.get(),
        record.consumed.offset.get(),
    )
}

fn with_cluster<F: Future<Output = ()>>(partitions: u32, test: impl FnOnce(Client, Producer) -> F) {
    let home = TestHome::new();
    let dev = DevProcess::start(&home, &["--base-port", "0"]);
    let runtime = Runtime::new().unwrap();
    runtime.block_on(async {
        let client = connect(&home).await;
        create(&client, partitions).await;
        let producer = client.producer(ProducerConfig::default()).await.unwrap();
        test(client, producer).await;
    });
    dev.stop();
}

#[test]
fn a_member_that_was_stopped_past_its_session_commits_nothing() {
    let home = TestHome::new();
    let dev = DevProcess::start(&home, &["--base-port", "0"]);
    let runtime = Runtime::new().unwrap();
    let manual = |member: &str| GroupConfig {
        session_timeout: Duration::from_secs(1),
        auto_commit: None,
        ..config(member)
    };
    let client = runtime.block_on(async {
        let client = connect(&home).await;
        create(&client, 1).await;
        let producer = client.producer(ProducerConfig::default()).await.unwrap();
        produce(&producer, 0, 100).await;
        client
    });
    // All of this member runs on one thread, which stops like a process with SIGSTOP.
    let one_thread = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .unwrap();
    let (mut zombie, record) = one_thread.block_on(async {
        let client = connect(&home).await;
        let mut zombie = client.group_consumer(manual("zombie")).await.unwrap();
        next(&mut zombie).await;
        let record = next(&mut zombie).await;
        zombie.commit_record(&record).await.unwrap();
        let record = next(&mut zombie).await;
        (zombie, record)
    });
    assert_eq!(position(&record), (0, 2));
    // Nothing runs on the thread of the zombie meanwhile.
    let other = runtime.block_on(async {
        let mut other = client.group_consumer(manual("other")).await.unwrap();
        for offset in 2..10 {
            let record = next(&mut other).await;
            assert_eq!(
                position(&record),
                (0, offset),
                "it starts at the committed offset"
            );
            other.commit_record(&record).await.unwrap();
        }
        other
    });
    one_thread.block_on(async {
        let error = zombie.commit_record(&record).await.unwrap_err();
        let refused = [Some(Reason::UnknownMember), Some(Reason::NotAssigned)];
        assert!(refused.contains(&error.reason()), "{error}");
    });
    let committed = runtime.block_on(committed_by_partition(&client));
    assert_eq!(committed, BTreeMap::from([(0, 10)]));
    runtime.block_on(other.close()).unwrap();
    // It is a member again, and reads on where the other one was.
    one_thread.block_on(async {
        let record = next(&mut zombie).await;
        assert_eq!(position(&record), (0, 10));
        zombie.commit_record(&record).await.unwrap();
        zombie.close().await.unwrap();
    });
    let committed = runtime.block_on(committed_by_partition(&client));
    assert_eq!(committed, BTreeMap::from([(0, 11)]));
    dev.stop();
}

fn held(consumer: &GroupConsumer) -> Vec<u32> {
    let partitions = consumer.status().partitions.into_iter();
    partitions
        .map(|status| status.partition.partition.get())
        .collect()
}

#[test]
fn a_static_member_restarts_without_a_move_and_ends_its_predecessor() {
    with_cluster(4, async |client, _producer| {
        let fixed = |member: &str| GroupConfig {
            instance_id: Some("pod-0".to_owned()),
            ..config(member)
        };
        let mut other = client.group_consumer(config("other")).await.unwrap();
        let mut one = client.group_consumer(fixed("one")).await.unwrap();
        let sharing = async {
            while held(&other).len() != 2 || held(&one).len() != 2 {
                tokio::select! {
                    _ = other.next() => {}
                    _ = one.next() => {}
                    () = sleep(Duration::from_millis(10)) => {}
                }
            }
        };
        timeout(PATIENCE, sharing).await.unwrap();
        let (mine, others) = (held(&one), held(&other));
        one.close().await.unwrap();
        sleep(Duration::from_secs(2)).await;
        let mut two = client.group_consumer(fixed("two")).await.unwrap();
        let GroupEvent::Assigned(_) = timeout(PATIENCE, two.next_event()).await.unwrap().unwrap()
        else {
            panic!("no assignment")
        };
        assert_eq!((held(&two), held(&other)), (mine.clone(), others));
        let disturbed = timeout(Duration::from_millis(500), other.next_event()).await;
        assert!(disturbed.is_err(), "{disturbed:?}");
        let mut three = client.group_consumer(fixed("three")).await.unwrap();
        let error = timeout(PATIENCE, async {
            loop {
                if let Err(error) = two.next().await {
                    return error;
                }
            }
        });
        assert_eq!(error.await.unwrap().reason(), Some(Reason::MemberReplaced));
        let event = timeout(PATIENCE, three.next_event())
            .await
            .unwrap()
            .unwrap();
        assert!(matches!(event, GroupEvent::Assigned(_)), "{event:?}");
        assert_eq!(held(&three), mine);
        // The former member does not take the partitions back.
        sleep(Duration::from_secs(1)).await;
        assert!(
            timeout(Duration::from_millis(500), three.next())
                .await
                .is_err()
        );
        three.leave().await.unwrap();
        let alone = async {
            while held(&other).len() != 4 {
                drop(timeout(Duration::from_millis(20), other.next()).await);
            }
        };
        timeout(PATIENCE, alone).await.unwrap();
        other.close().await.unwrap();
    });
}

#[test]
fn a_topic_that_grows_and_is_made_again_is_read_on() {
    with_cluster(1, async |client, producer| {
        let mut consumer = client.group_consumer(config("m")).await.unwrap();
        produce(&producer, 0, 10).await;
        for offset in 0..10 {
            assert_eq!(position(&next(&mut consumer).await), (0, offset));
        }
        let more = TopicChange {
            partitions: Some(2),
            ..TopicChange::default()
        };
        client.admin().alter_topic(TOPIC, more).await.unwrap();
        drop(producer);
        let producer = client.producer(ProducerConfig::default()).await.unwrap();
        produce(&producer, 1, 5).await;
        for offset in 0..5 {
            assert_eq!(position(&next(&mut consumer).await), (1, offset));
        }
        drop(producer);
        client.admin().delete_topic(TOPIC).await.unwrap();
        create(&client, 1).await;
        let producer = client.producer(ProducerConfig::default()).await.unwrap();
        produce(&producer, 0, 3).await;
        for offset in 0..3 {
            assert_eq!(
                position(&next(&mut consumer).await),
                (0, offset),
                "of the new topic"
            );
        }
        consumer.close().await.unwrap();
        assert_eq!(
            committed_by_partition(&client).await,
            BTreeMap::from([(0, 3)])
        );
    });
}
