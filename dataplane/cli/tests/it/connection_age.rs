//! The client library over connections that reach their maximum age: the application notices
//! nothing.

use std::net::SocketAddr;
use std::path::Path;
use std::time::{Duration, Instant};

use lograft_client::{
    Admin, Client, ClientConfig, Consumer, ConsumerConfig, NewTopic, Offset, ProducerConfig,
    Record, StartAt, TlsFiles,
};
use lograft_node::config::{ConnectionSettings, NodeConfig};
use lograft_node::run::{Node, NodeEnv};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;

use crate::pki::Ca;

const TOPIC: &str = "t";
const CLUSTER_ID: &str = "0190b7a4-7c1e-4d55-9c52-6f2f6f3c0d11";
/// Several ages of the connections.
const DURATION: Duration = Duration::from_secs(6);
const AGE_MS: u64 = 1000;

async fn start(ca: &Ca, dir: &Path) -> Node {
    ca.write(&dir.join("node"), "node/n0");
    let text = format!(
        "name: n0\ndata_dir: {0}/data\nlisten: {{client: '127.0.0.1:0', peer: '127.0.0.1:0', \
         health: '127.0.0.1:0'}}\ntls: {{cert: {0}/node/tls.crt, key: {0}/node/tls.key, ca: \
         {0}/node/ca.crt}}\nstorage: {{reserve_bytes: 1}}\n",
        dir.display()
    );
    let config = NodeConfig {
        connections: ConnectionSettings {
            max_age_ms: AGE_MS,
            ..ConnectionSettings::default()
        },
        ..NodeConfig::parse(&text, Path::new("node.yaml")).unwrap()
    };
    Node::start(config, NodeEnv::real()).await.unwrap()
}

fn client_config(ca: &Ca, dir: &Path, to: SocketAddr) -> ClientConfig {
    let user = dir.join("user");
    ca.write(&user, "user/alice");
    let path = |name| user.join(name);
    let tls = TlsFiles::new(path("ca.crt"), path("tls.crt"), path("tls.key"));
    ClientConfig::new([to.to_string()], tls)
}

/// Sends until the time is over, many records in flight. Returns their number.
async fn produce(client: &Client) -> u64 {
    let producer = client.producer(ProducerConfig::default()).await.unwrap();
    let started = Instant::now();
    let mut deliveries = Vec::new();
    while started.elapsed() < DURATION {
        for _ in 0..100 {
            let record = Record {
                value: Some(deliveries.len().to_string().into()),
                ..Record::default()
            };
            deliveries.push(producer.send(TOPIC, record, None).await.unwrap());
        }
        tokio::time::sleep(Duration::from_millis(2)).await;
    }
    let count = deliveries.len() as u64;
    for (offset, delivery) in (0..).zip(deliveries) {
        assert_eq!(delivery.await.unwrap().offset, Some(Offset(offset)));
    }
    count
}

/// Reads and compares every record, and publishes their number.
async fn follow(mut consumer: Consumer, read: watch::Sender<u64>) {
    loop {
        let record = consumer.next().await.unwrap().unwrap();
        let value = String::from_utf8(record.record.value.unwrap().to_vec()).unwrap();
        let expected = *read.borrow();
        assert_eq!(record.offset, Offset(expected));
        assert_eq!(value, expected.to_string());
        read.send_replace(expected + 1);
    }
}

/// The number of connections that the node has closed at their age.
async fn expired_count(node: &Node) -> u64 {
    let mut io = TcpStream::connect(node.addresses().health).await.unwrap();
    let request = b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n";
    io.write_all(request).await.unwrap();
    let mut text = String::new();
    io.read_to_string(&mut text).await.unwrap();
    let name = "lograft_connections_expired_total{reason=\"AGE\"} ";
    let line = text.lines().find_map(|line| line.strip_prefix(name));
    line.map_or(0, |count| count.parse().unwrap())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_or_stored_twice_when_connections_reach_their_age() {
    let _ = rustls::crypto::aws_lc_rs::default_provider().install_default();
    let dir = tempfile::tempdir().unwrap();
    let ca = Ca::new();
    let node = start(&ca, dir.path()).await;
    let address = node.addresses().client;
    let config = client_config(&ca, dir.path(), address);
    Admin::bootstrap(&config, &address.to_string(), CLUSTER_ID)
        .await
        .unwrap();
    let client = Client::connect(config).await.unwrap();
    let topic = NewTopic {
        name: TOPIC.to_owned(),
        partitions: 1,
        replication_factor: 1,
        ..NewTopic::default()
    };
    client.admin().create_topic(topic).await.unwrap();
    let config = ConsumerConfig::new(TOPIC, StartAt::Earliest);
    let consumer = client.consumer(config).await.unwrap();
    let (read, mut is_read) = watch::channel(0);
    let following = tokio::spawn(follow(consumer, read));
    let count = produce(&client).await;
    let all = is_read.wait_for(|read| *read == count);
    let waited = tokio::time::timeout(DURATION * 4, all).await;
    waited
        .expect("all records are read")
        .expect("no record is wrong");
    // The streams of producer and consumer, several times each.
    let expired = expired_count(&node).await;
    assert!(expired >= 8, "{expired}");
    following.abort();
    node.stop().await;
}
