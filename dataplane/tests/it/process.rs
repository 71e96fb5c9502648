//! The program `lograft-node` as a pod runs it: its signals, its environment, its health port and
//! its log lines.

use std::fs::File;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::Duration;

use lograft_core::limits::STOP_CONNECTIONS_MAX;
use lograft_node::config::RaftSettings;
use lograft_node::run::Addresses;
use serde_json::Value;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::sync::watch;
use tokio::time::{Instant, sleep, timeout};

use crate::cluster::{Cluster, PATIENCE, eventually};
use crate::load::{Produced, assert_kept, lead_all, produce_steadily};

/// A node's process; it is killed when this is dropped.
pub(crate) struct Process {
    child: Child,
    log: PathBuf,
}

impl Process {
    /// Starts it with a configuration; what it says goes to a file beside that.
    pub(crate) fn start(config: &Path, environment: &[(&str, &str)]) -> Self {
        let log = config.with_extension("log");
        let child = Command::new(env!("CARGO_BIN_EXE_lograft-node"))
            .arg("--config")
            .arg(config)
            .env_remove("LOGRAFT_LOG")
            .envs(environment.iter().copied())
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(File::create(&log).unwrap())
            .spawn()
            .unwrap();
        Self { child, log }
    }

    /// Its whole lines so far, each of which must be a JSON object.
    fn lines(&self) -> Vec<Value> {
        let text = std::fs::read_to_string(&self.log).unwrap();
        let whole = text.rsplit_once('\n').map_or("", |(whole, _)| whole);
        let line = |line: &str| serde_json::from_str(line).unwrap_or_else(|_| panic!("{line}"));
        whole.lines().map(line).collect()
    }

    pub(crate) fn said(&self, text: &str) -> Option<Value> {
        let is_it = |line: &Value| line["fields"]["message"].as_str() == Some(text);
        self.lines().into_iter().find(is_it)
    }

    /// Where it listens, once it does.
    pub(crate) async fn addresses(&self) -> Addresses {
        let line = eventually("the node to listen", async || {
            self.said("node is listening")
        })
        .await;
        let address = |name: &str| line["fields"][name].as_str().unwrap().parse().unwrap();
        Addresses {
            client: address("client"),
            peer: address("peer"),
            health: address("health"),
            gossip: line["fields"]["gossip"]
                .as_str()
                .map(|text| text.parse().unwrap()),
            http: line["fields"]["http"]
                .as_str()
                .map(|text| text.parse().unwrap()),
        }
    }

    fn terminate(&self) {
        let kill = Command::new("kill")
            .arg(self.child.id().to_string())
            .status();
        assert!(kill.unwrap().success());
    }

    /// Ends it without a grace period, as kubelet does after the grace period or a host that
    /// vanishes.
    pub(crate) fn kill(&mut self) {
        self.child.kill().unwrap();
    }

    /// How it ends by itself.
    pub(crate) async fn ended(&mut self) -> ExitStatus {
        eventually("the process to end", async || {
            self.child.try_wait().unwrap()
        })
        .await
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // It may have ended: then there is nothing to kill.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// The answer of a health port, or nothing if there is none.
pub(crate) async fn get(cluster: &Cluster, at: usize, path: &str) -> Option<String> {
    let mut io = TcpStream::connect(cluster.addresses(at).health)
        .await
        .ok()?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: node\r\n\r\n");
    io.write_all(request.as_bytes()).await.ok()?;
    let mut answer = String::new();
    io.read_to_string(&mut answer).await.ok()?;
    Some(answer)
}

pub(crate) async fn serves(cluster: &Cluster, at: usize) {
    eventually("the process to be ready", async || {
        let answer = get(cluster, at, "/readyz").await?;
        answer.starts_with("HTTP/1.1 200").then_some(())
    })
    .await;
}

/// So slow to elect that a leader that hands over is told from one that does not, on any machine.
const SLOW: RaftSettings = RaftSettings {
    heartbeat_ms: 200,
    election_min_ms: 3000,
    election_max_ms: 4000,
};
/// The pause of an election: the least silence before it.
const ELECTION: Duration = Duration::from_millis(SLOW.election_min_ms);

/// Three processes of one cluster, without a topic.
pub(crate) async fn three_empty(raft: RaftSettings) -> (Cluster, Vec<Process>) {
    let mut cluster = Cluster::new();
    let mut processes = vec![cluster.add_process(raft.clone(), &[]).await];
    cluster.bootstrap(0).await.unwrap();
    for _ in 1..3 {
        processes.push(cluster.add_process(raft.clone(), &[]).await);
    }
    for at in 0..3 {
        serves(&cluster, at).await;
    }
    (cluster, processes)
}

/// Three processes; a topic of three partitions, all of it led by the first.
pub(crate) async fn three(raft: RaftSettings) -> (Cluster, Vec<Process>) {
    let (cluster, processes) = three_empty(raft).await;
    cluster.create_topic(1, "t", 3, 3).await;
    cluster.healthy(1, 3).await;
    let node_id = cluster.id_of(0).await;
    assert_eq!(lead_all(&cluster, 1, node_id).await, 3);
    (cluster, processes)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_is_told_to_stop_under_load_loses_nothing_and_makes_no_election_due() {
    let (cluster, mut processes) = three(SLOW).await;
    let (stop, stopped) = watch::channel(false);
    let producers = (0..2).map(|p| produce_steadily(&cluster, 1, p, stopped.clone()));
    // One speaks to the leader itself, until that hangs up.
    let at_the_leader = async {
        let mut acknowledged = Vec::new();
        loop {
            let value = format!("direct-{}", acknowledged.len());
            match cluster.try_produce(0, 2, &value).await {
                Ok(_) => acknowledged.push(value),
                Err(_) => return acknowledged,
            }
        }
    };
    let stopping = async {
        for partition in 0..2 {
            cluster.produce(1, partition, "first").await;
        }
        sleep(Duration::from_millis(500)).await;
        let begun = Instant::now();
        processes[0].terminate();
        eventually("it to be not ready", async || {
            let answer = get(&cluster, 0, "/readyz").await;
            answer
                .is_none_or(|text| text.starts_with("HTTP/1.1 503"))
                .then_some(())
        })
        .await;
        let unready = begun.elapsed();
        let status = processes[0].ended().await;
        println!(
            "not ready after {unready:?}, ended after {:?}",
            begun.elapsed()
        );
        assert_eq!(status.code(), Some(0), "{status:?}");
        assert!(unready < Duration::from_secs(1), "{unready:?}");
        // Longer than an election: had one been due, the producers have seen it by now.
        sleep(ELECTION * 2).await;
        stop.send(true).unwrap();
    };
    let all = futures_util::future::join_all(producers);
    let (produced, direct, ()) = tokio::join!(all, at_the_leader, stopping);
    assert!(processes[0].said("node stopped").is_some());
    assert!(!direct.is_empty());
    assert_kept(&cluster, 1, 2, &direct).await;
    for (partition, produced) in (0..).zip(produced) {
        let Produced {
            acknowledged,
            longest_gap,
        } = produced;
        println!(
            "partition {partition}: {} records, {longest_gap:?}",
            acknowledged.len()
        );
        assert!(acknowledged.len() > 10, "there was no load");
        assert!(
            longest_gap < ELECTION,
            "partition {partition}: {longest_gap:?}"
        );
        assert_kept(&cluster, 1, partition, &acknowledged).await;
    }
}

/// Longest pause of writes after a kill, which needs an election, on a busy machine.
const KILLED_PAUSE_MAX: Duration = Duration::from_secs(10);

/// When a process is killed that was told to stop.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Killed {
    AtOnce,
    /// As soon as it says that it stops.
    WhileItStops,
    /// After the grace period of a host in a hurry.
    AfterFiveSeconds,
}

impl Killed {
    async fn wait(self, process: &Process) {
        match self {
            Self::AtOnce => {}
            Self::WhileItStops => {
                eventually("it to stop", async || process.said("node is stopping")).await;
            }
            Self::AfterFiveSeconds => sleep(Duration::from_secs(5)).await,
        }
    }
}

/// A grace period that is too short, or none: the process is killed before or while it stops.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_leader_that_is_killed_while_it_stops_under_load_loses_nothing() {
    for killed in [
        Killed::AtOnce,
        Killed::WhileItStops,
        Killed::AfterFiveSeconds,
    ] {
        let (cluster, mut processes) = three(RaftSettings::default()).await;
        let (stop, stopped) = watch::channel(false);
        let producers = (0..2).map(|p| produce_steadily(&cluster, 1, p, stopped.clone()));
        let killing = async {
            for partition in 0..2 {
                cluster.produce(1, partition, "first").await;
            }
            sleep(Duration::from_millis(500)).await;
            processes[0].terminate();
            killed.wait(&processes[0]).await;
            processes[0].kill();
            let status = processes[0].ended().await;
            println!("killed {killed:?}: {status:?}");
            for partition in 0..2 {
                cluster.produce(1, partition, "last").await;
            }
            sleep(Duration::from_secs(1)).await;
            stop.send(true).unwrap();
            status.code()
        };
        let all = futures_util::future::join_all(producers);
        let (produced, code) = tokio::join!(all, killing);
        let is_cut_short = killed != Killed::AfterFiveSeconds;
        assert!(!is_cut_short || code != Some(0), "it had stopped before");
        for (partition, produced) in (0..).zip(produced) {
            let Produced {
                acknowledged,
                longest_gap,
            } = produced;
            println!("{} records, {longest_gap:?}", acknowledged.len());
            assert!(acknowledged.len() > 10, "there was no load");
            assert!(
                longest_gap < KILLED_PAUSE_MAX,
                "{killed:?}: {longest_gap:?}"
            );
            assert_kept(&cluster, 1, partition, &acknowledged).await;
        }
    }
}

/// One process with a reader that never hangs up.
async fn one_with_a_reader() -> (Cluster, Process) {
    let mut cluster = Cluster::new();
    let environment = [("LOGRAFT_ZONE", "zone-b")];
    let process = cluster
        .add_process(RaftSettings::default(), &environment)
        .await;
    cluster.bootstrap(0).await.unwrap();
    serves(&cluster, 0).await;
    cluster.create_topic(0, "t", 1, 1).await;
    cluster.produce(0, 0, "x").await;
    (cluster, process)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_pod_of_one_says_what_it_should_and_ends_with_0_though_a_reader_stays() {
    let (cluster, mut process) = one_with_a_reader().await;
    for (path, text) in [
        ("/healthz", "ok"),
        ("/readyz", "ready"),
        ("/metrics", "\nlograft_produce_records_total 1\n"),
    ] {
        let answer = get(&cluster, 0, path).await.unwrap();
        assert!(
            answer.starts_with("HTTP/1.1 200") && answer.contains(text),
            "{path}: {answer}"
        );
    }
    let described = cluster.describe(0).await.nodes.remove(0);
    assert_eq!(described.zone, "zone-b");
    assert!(described.certificate_not_after_s.is_some_and(|at| at > 0));
    assert_eq!(described.ca_fingerprints.len(), 1);
    assert_eq!(described.ca_fingerprints[0].len(), 64);
    let mut reader = cluster.follow(0).await;
    process.terminate();
    let status = timeout(PATIENCE, process.ended()).await.unwrap();
    assert_eq!(status.code(), Some(0), "{status:?}");
    assert!(process.said("node stopped").is_some());
    while let Ok(Some(_)) = reader.message().await {}
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn told_a_second_time_it_ends_at_once() {
    let (cluster, mut process) = one_with_a_reader().await;
    // A request in progress keeps the connection open; a stream would end by itself.
    let mut log = cluster.log(0);
    let waiting = tokio::spawn(async move {
        let request = lograft_proto::log::v1::FetchRequest {
            topic: "t".to_owned(),
            position: Some(lograft_proto::log::v1::Position {
                at: Some(lograft_proto::log::v1::position::At::Latest(true)),
            }),
            max_wait_ms: 30_000,
            ..lograft_proto::log::v1::FetchRequest::default()
        };
        log.fetch(request).await.is_err()
    });
    tokio::time::sleep(std::time::Duration::from_millis(300)).await;
    process.terminate();
    eventually("it to stop", async || process.said("node is stopping")).await;
    let again = Instant::now();
    process.terminate();
    let status = process.ended().await;
    assert_eq!(status.code(), Some(1), "{status:?}");
    assert!(
        again.elapsed() < STOP_CONNECTIONS_MAX,
        "{:?}",
        again.elapsed()
    );
    assert!(process.said("node stopped").is_none());
    assert!(waiting.await.unwrap(), "its request is cut off");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn topics_that_say_nothing_take_what_the_file_says_now() {
    let (cluster, _process) = one_with_a_reader().await;
    let file = cluster.file("n0");
    let text = std::fs::read_to_string(&file).unwrap();
    let changed = text.replace("  partitions: 1", "  partitions: 5\n  retention_ms: 60000");
    assert_ne!(changed, text);
    std::fs::write(&file, &changed).unwrap();
    cluster.create_topic(0, "u", 0, 0).await;
    let topics = cluster.topics(0).await;
    let found = topics.iter().find(|topic| topic.name == "u").unwrap();
    assert_eq!((found.partitions, found.replication_factor), (5, 1));
    assert_eq!(found.retention.unwrap().ms, Some(60_000));
    // A file that cannot be used is no reason to refuse a topic.
    std::fs::write(&file, "partitions: many").unwrap();
    cluster.create_topic(0, "v", 0, 0).await;
    let topics = cluster.topics(0).await;
    let found = topics.iter().find(|topic| topic.name == "v").unwrap();
    assert_eq!(found.partitions, 1);
}
