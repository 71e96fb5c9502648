//! A topic that is deleted and created again, as clients of a real cluster see it.

use std::time::{Duration, Instant};

use lograft_client::{
    Client, ClientError, Consumer, ConsumerConfig, NewTopic, Offset, OutOfRange, ProducerConfig,
    Reason, Record, RecordParts, StartAt,
};

use crate::support::{DevProcess, TestHome, connect};

const TOPIC: &str = "t";
/// Far below the two minutes that producers and consumers retry.
const SOON: Duration = Duration::from_secs(20);

fn record(value: &'static str) -> Record {
    Record {
        value: Some(value.into()),
        ..Record::default()
    }
}

fn follow(out_of_range: OutOfRange) -> ConsumerConfig {
    ConsumerConfig {
        out_of_range,
        ..ConsumerConfig::new(TOPIC, StartAt::Earliest)
    }
}

async fn next(consumer: &mut Consumer) -> Result<(Offset, String), ClientError> {
    let next = tokio::time::timeout(SOON, consumer.next());
    let record = next.await.expect("an answer in time")?.unwrap();
    let value = String::from_utf8(record.record.value.unwrap().to_vec()).unwrap();
    Ok((record.offset, value))
}

async fn create(client: &Client) {
    let topic = NewTopic {
        name: TOPIC.to_owned(),
        partitions: 1,
        replication_factor: 3,
        ..NewTopic::default()
    };
    client.admin().create_topic(topic).await.unwrap();
}

#[test]
fn nothing_crosses_into_a_topic_that_was_created_again() {
    let home = TestHome::new();
    let dev = DevProcess::start(&home, &["--base-port", "0"]);
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(recreated(&home));
    dev.stop();
}

async fn recreated(home: &TestHome) {
    let client = connect(home).await;
    create(&client).await;
    let producer = client.producer(ProducerConfig::default()).await.unwrap();
    let handle = producer.topic(TOPIC).await.unwrap();
    for value in ["a", "b", "c"] {
        let sent = handle
            .send(RecordParts::from(&record(value)), None)
            .await
            .unwrap();
        sent.await.unwrap();
    }
    let mut strict = client.consumer(follow(OutOfRange::Error)).await.unwrap();
    let mut resets = client.consumer(follow(OutOfRange::Earliest)).await.unwrap();
    for consumer in [&mut strict, &mut resets] {
        for offset in 0..3 {
            assert_eq!(next(consumer).await.unwrap().0, Offset(offset));
        }
    }

    let other = connect(home).await;
    other.admin().delete_topic(TOPIC).await.unwrap();
    create(&other).await;

    // The producer has sequence 3 in the old topic. Whatever is sent by the old handle fails.
    let started = Instant::now();
    let sent = match handle.send(RecordParts::from(&record("old")), None).await {
        Ok(delivery) => tokio::time::timeout(SOON, delivery)
            .await
            .unwrap()
            .map(drop),
        Err(error) => Err(error),
    };
    let reason = sent.unwrap_err().reason();
    assert_eq!(reason, Some(Reason::TopicRecreated));
    assert!(started.elapsed() < SOON);
    // Sent by name, records go to the new topic, from its start.
    let sent = producer.send(TOPIC, record("new"), None).await.unwrap();
    let stored = tokio::time::timeout(SOON, sent).await.unwrap().unwrap();
    assert_eq!(
        stored.offset,
        Some(Offset(0)),
        "the new topic has no other record"
    );

    let error = next(&mut strict).await.unwrap_err();
    assert_eq!(error.reason(), Some(Reason::TopicRecreated), "{error}");
    let found = next(&mut resets).await.unwrap();
    assert_eq!(found, (Offset(0), "new".to_owned()));

    // Deleted for good: both say so soon, not after two minutes.
    other.admin().delete_topic(TOPIC).await.unwrap();
    let error = next(&mut resets).await.unwrap_err();
    assert_eq!(error.reason(), Some(Reason::UnknownTopic), "{error}");
}
