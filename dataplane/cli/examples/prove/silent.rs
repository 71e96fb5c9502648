//! Silent connections to every open port of every node: probes, new clients and produce go on.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lograft_client::NewTopic;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpSocket, TcpStream};
use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};

use crate::cluster::{Cluster, ProveArgs};
use crate::ledger::{Load, verify};
use crate::proc;

const TOPIC: &str = "silent";
/// Pause between two rounds of probes, and before a closed connection is opened again.
const INTERVAL: Duration = Duration::from_millis(250);
/// Time until a probe or a new client must have its answer: kubelet's default is one second.
const ANSWER_MAX: Duration = Duration::from_secs(1);
/// The address that probes come from, as kubelet's do from that of its host: silent connections of
/// others must not cost them their places.
const PROBER: SocketAddr = SocketAddr::new(IpAddr::V4(Ipv4Addr::new(127, 0, 0, 2)), 0);
/// What a silent connection sends first, in turn: nothing, or the start of a head or a handshake.
const BEGINNINGS: [&[u8]; 3] = [b"", b"GET /rea", b"\x16\x03\x01\x02\x00\x01"];

/// Options of the silent command.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(crate) struct Silent {
    /// Silent connections per port
    #[arg(long, default_value_t = 200)]
    connections: usize,
    /// Duration in seconds
    #[arg(long, default_value_t = 60)]
    seconds: u64,
}

/// What clients saw beside the silent connections.
#[derive(Debug, Default)]
struct Seen {
    probes: u64,
    slowest_probe: Duration,
    clients: u64,
    slowest_client: Duration,
}

/// Keeps one connection open that never completes a request; opens it again when it is closed.
async fn stay_silent(port: SocketAddr, beginning: &'static [u8]) {
    loop {
        if let Ok(mut io) = TcpStream::connect(port).await
            && io.write_all(beginning).await.is_ok()
        {
            // Returns when the node closes the connection.
            drop(io.read_to_end(&mut Vec::new()).await);
        }
        sleep(INTERVAL).await;
    }
}

/// The status line of a GET request over plain HTTP.
async fn get(port: SocketAddr, path: &str) -> Result<String> {
    let socket = TcpSocket::new_v4()?;
    socket.bind(PROBER)?;
    let mut io = socket.connect(port).await?;
    let request = format!("GET {path} HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n");
    io.write_all(request.as_bytes()).await?;
    let mut reply = Vec::new();
    io.read_to_end(&mut reply).await?;
    let text = String::from_utf8_lossy(&reply);
    Ok(text.lines().next().unwrap_or_default().to_owned())
}

/// The port that answers probes.
async fn health_port(ports: &[SocketAddr]) -> Result<SocketAddr> {
    for port in ports {
        let answer = timeout(ANSWER_MAX, get(*port, "/healthz")).await;
        if let Ok(Ok(status)) = answer
            && status.contains("200")
        {
            return Ok(*port);
        }
    }
    anyhow::bail!("no port answers /healthz")
}

impl Seen {
    async fn probe(&mut self, port: SocketAddr) -> Result<()> {
        for path in ["/healthz", "/readyz", "/metrics"] {
            let started = Instant::now();
            let answer = timeout(ANSWER_MAX, get(port, path)).await;
            let status = answer.with_context(|| format!("{path} not answered"))?;
            let status = status.with_context(|| format!("{path} failed"))?;
            ensure!(status.contains("200"), "{path}: {status:?}");
            self.probes += 1;
            self.slowest_probe = self.slowest_probe.max(started.elapsed());
        }
        Ok(())
    }

    async fn connect(&mut self, cluster: &Cluster) -> Result<()> {
        let started = Instant::now();
        cluster.client().await?.metadata().await?;
        self.clients += 1;
        self.slowest_client = self.slowest_client.max(started.elapsed());
        Ok(())
    }
}

impl Silent {
    /// Holds silent connections to every port of every node. Fails if a probe is not answered in
    /// time, a new client is not served, a record is lost, or a node ends.
    pub(crate) async fn run(self, args: &ProveArgs) -> Result<()> {
        let folder = args.empty_folder("silent")?;
        let cluster = Cluster::start(&args.program()?, &folder, 3)?;
        let pids = cluster.pids()?;
        let mut ports = Vec::new();
        let mut health = Vec::new();
        for pid in &pids {
            let own = proc::listening_ports(*pid)?;
            let own: Vec<SocketAddr> = own
                .into_iter()
                .map(|port| (Ipv4Addr::LOCALHOST, port).into())
                .collect();
            health.push(health_port(&own).await?);
            ports.extend(own);
        }
        let client = cluster.client().await?;
        let topic = NewTopic {
            name: TOPIC.to_owned(),
            partitions: 1,
            replication_factor: 3,
            ..NewTopic::default()
        };
        client.admin().create_topic(topic).await?;
        proc::raise_open_files()?;
        let mut silent = JoinSet::new();
        for port in &ports {
            for beginning in BEGINNINGS.iter().cycle().take(self.connections) {
                silent.spawn(stay_silent(*port, beginning));
            }
        }
        sleep(Duration::from_secs(2)).await;
        let load = Load::start(client.clone(), TOPIC, 1024, 0);
        let ledger = load.ledger.clone();
        let mut seen = Seen::default();
        let end = Instant::now() + Duration::from_secs(self.seconds);
        while Instant::now() < end {
            for port in &health {
                seen.probe(*port).await?;
            }
            seen.connect(&cluster).await?;
            sleep(INTERVAL).await;
        }
        load.finish().await?;
        ensure!(cluster.pids()? == pids, "a node ended");
        ensure!(ledger.failed().is_empty(), "failed: {:?}", ledger.failed());
        let verdict = verify(&client, TOPIC, 0, 0, &ledger).await?;
        println!("| ports | silent on each | probes | slowest | new clients | slowest | records |");
        println!("|---|---|---|---|---|---|---|");
        println!(
            "| {} | {} | {} | {} ms | {} | {} ms | {} acknowledged, {} read |",
            ports.len(),
            self.connections,
            seen.probes,
            seen.slowest_probe.as_millis(),
            seen.clients,
            seen.slowest_client.as_millis(),
            verdict.acked,
            verdict.read
        );
        ensure!(
            seen.slowest_client < ANSWER_MAX * 2,
            "a new client waited for {:?}",
            seen.slowest_client
        );
        silent.shutdown().await;
        cluster.stop()
    }
}
