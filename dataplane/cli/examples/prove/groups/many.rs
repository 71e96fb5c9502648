//! Many groups with one member each that commit at a steady rate, and a producer with and without
//! them.

use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use lograft_client::{Client, NewTopic, admin_wire};
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::Groups;
use super::commits::{Commits, Committed};
use super::direct::Direct;
use super::wire::{Connections, Heartbeats, NewMember, TOPIC, join_all};
use crate::cluster::{Cluster, ProveArgs};
use crate::ledger::Load;
use crate::measure::{median, micros, to_f64};
use crate::proc::{Memory, Usage};

/// The topic that is written.
const LOAD_TOPIC: &str = "load";
const RECORD_BYTES: usize = 1024;
const RETENTION_BYTES: u64 = 256 << 20;
const GROUPS_COUNT: u32 = 10_000;
/// Part of the highest rate that the producer keeps.
const PRODUCE_DIVISOR: u64 = 5;
const MAXIMUM_TIME: Duration = Duration::from_secs(8);
/// Time after a change of the load that is not measured.
const SETTLE: Duration = Duration::from_secs(3);
/// The session of members that send no heartbeats. Each commit extends it.
const SESSION: Duration = Duration::from_mins(10);
const HEARTBEAT_SESSION: Duration = Duration::from_secs(30);
/// Part of the rate of commits below which the reason is printed.
const REACHED_MIN: f64 = 0.98;

/// Options of the case.
#[derive(Clone, Copy, Debug, clap::Args)]
pub(super) struct Options {
    /// Commits per second of `many`, over all groups
    #[arg(long, default_value_t = 20_000)]
    commits: u64,
    /// Records per second of the producer of `many` [default: a fifth of the highest rate, which is
    /// measured first]
    #[arg(long)]
    produce_rate: Option<u64>,
    /// Rounds of `many`, each without and with
    #[arg(long, default_value_t = 3)]
    rounds: u32,
    /// Duration of each half of a round of `many`, seconds
    #[arg(long, default_value_t = 20)]
    round_seconds: u64,
    /// Connections of `many` to each node
    #[arg(long, default_value_t = 2)]
    connections: usize,
    /// Let the members of `many` send heartbeats too: one of each waits at its coordinator
    #[arg(long)]
    heartbeats: bool,
}

/// Half of a round.
struct Half {
    seconds: f64,
    commits: Committed,
    records_per_second: f64,
    p50_ms: f64,
    p99_ms: f64,
    /// Seconds per second.
    nodes_cpu: f64,
    load_cpu: f64,
}

/// A cluster with many groups and a producer.
struct Run {
    options: Options,
    cluster: Cluster,
    load: Load,
    commits: Commits,
}

/// Runs the case and prints its figures.
pub(super) async fn run(options: &Groups, args: &ProveArgs) -> Result<()> {
    let folder = args.empty_folder("groups")?;
    let cluster = Cluster::start(&args.program()?, &folder, 3)?;
    let client = cluster.client().await?;
    create_topics(&client).await?;
    let groups = options.count.unwrap_or(GROUPS_COUNT);
    let options = options.many;
    let highest = highest_rate(&client).await?;
    let rate = options.produce_rate.unwrap_or(highest / PRODUCE_DIVISOR);
    println!(
        "produce, records of {RECORD_BYTES} bytes: {highest} records/s at most, {rate} from now \
         on ({:.2} of it)",
        to_f64(rate) / to_f64(highest)
    );
    print_memory(&cluster, "without groups")?;

    let connections = Connections::open(&folder, &client, options.connections).await?;
    let direct = Direct::open(&folder, &client, options.connections).await?;
    let started = Instant::now();
    let session = if options.heartbeats {
        HEARTBEAT_SESSION
    } else {
        SESSION
    };
    let members = join_all(&connections, new_members(groups, session)).await?;
    let waiting = members.clone();
    let commits = Commits::of(members, &direct)?;
    println!(
        "{groups} groups with a member each after {:.1} s, {} connections to each node",
        started.elapsed().as_secs_f64(),
        options.connections
    );
    let heartbeats = Arc::new(Heartbeats::default());
    let mut staying = JoinSet::new();
    if options.heartbeats {
        for member in waiting {
            staying.spawn(member.stay(Arc::clone(&heartbeats)));
        }
    }
    print_memory(&cluster, "with groups")?;
    let load = Load::paced(client.clone(), LOAD_TOPIC, RECORD_BYTES, rate);
    let run = Run {
        options,
        cluster,
        load,
        commits,
    };
    run.measure_and_finish().await
}

fn new_members(groups: u32, session: Duration) -> impl Iterator<Item = NewMember> {
    (0..groups).map(move |group| NewMember {
        group: format!("group-{group}"),
        id: "member".to_owned(),
        session,
    })
}

async fn create_topics(client: &Client) -> Result<()> {
    let retention = admin_wire::Retention {
        bytes: Some(RETENTION_BYTES),
        ms: None,
    };
    for (name, retention) in [(LOAD_TOPIC, Some(retention)), (TOPIC, None)] {
        let topic = NewTopic {
            name: name.to_owned(),
            partitions: 1,
            replication_factor: 3,
            retention,
            ..NewTopic::default()
        };
        client.admin().create_topic(topic).await?;
    }
    Ok(())
}

/// Records per second at full speed.
async fn highest_rate(client: &Client) -> Result<u64> {
    let load = Load::start(client.clone(), LOAD_TOPIC, RECORD_BYTES, 0);
    sleep(SETTLE).await;
    let (started, before) = (Instant::now(), load.ledger.records());
    sleep(MAXIMUM_TIME).await;
    let count = load.ledger.records() - before;
    let rate = count * 1_000_000 / micros(started.elapsed());
    let failed = load.ledger.failed();
    load.finish().await?;
    ensure!(failed.is_empty(), "records failed: {failed:?}");
    Ok(rate)
}

impl Run {
    async fn measure_and_finish(self) -> Result<()> {
        println!(
            "| | commits/s | p50, p99 ms | late | failed | records/s | p50, p99 ms | CPU of nodes | \
             of the load |"
        );
        println!("|---|---|---|---|---|---|---|---|---|");
        let (mut quiet, mut loaded) = (Vec::new(), Vec::new());
        for _ in 0..self.options.rounds {
            let half = self.measure().await?;
            half.print("without");
            quiet.push(half);
            let running = self.commits.start(self.options.commits);
            let half = self.measure().await?;
            running.stop().await?;
            half.print("with");
            loaded.push(half);
        }
        self.print_medians(&quiet, &loaded);
        print_memory(&self.cluster, "at the end")?;
        let failed = self.load.ledger.failed();
        self.load.finish().await?;
        ensure!(failed.is_empty(), "records failed: {failed:?}");
        self.commits.check().await?;
        println!("the committed offset of each group is the last one that was acknowledged");
        self.cluster.stop()
    }

    async fn measure(&self) -> Result<Half> {
        let ledger = &self.load.ledger;
        let pids = self.cluster.pids()?;
        let own = [std::process::id()];
        sleep(SETTLE).await;
        drop((self.commits.take(), ledger.take_latencies()));
        let (started, records) = (Instant::now(), ledger.records());
        let (nodes_before, load_before) = (Usage::of(&pids)?, Usage::of(&own)?);
        sleep(Duration::from_secs(self.options.round_seconds)).await;
        let (commits, latencies) = (self.commits.take(), ledger.take_latencies());
        let seconds = started.elapsed().as_secs_f64();
        let ms = |quantile| to_f64(latencies.value_at_quantile(quantile)) / 1000.0;
        Ok(Half {
            records_per_second: to_f64(ledger.records() - records) / seconds,
            p50_ms: ms(0.50),
            p99_ms: ms(0.99),
            nodes_cpu: Usage::of(&pids)?.since(nodes_before).cpu_seconds / seconds,
            load_cpu: Usage::of(&own)?.since(load_before).cpu_seconds / seconds,
            commits,
            seconds,
        })
    }

    fn print_medians(&self, quiet: &[Half], loaded: &[Half]) {
        let median_of = |halves: &[Half], figure: fn(&Half) -> f64| {
            median(&halves.iter().map(figure).collect::<Vec<_>>())
        };
        let rates = [quiet, loaded].map(|halves| median_of(halves, |half| half.records_per_second));
        let reached = median_of(loaded, Half::commits_per_second);
        println!(
            "medians: {reached:.0} commits/s, produce {:.0} records/s without and {:.0} with them: \
             {:.3}",
            rates[0],
            rates[1],
            rates[1] / rates[0]
        );
        for (error, count) in loaded.iter().flat_map(|half| &half.commits.failed) {
            println!("  {count} commits failed: {error}");
        }
        if reached < REACHED_MIN * to_f64(self.options.commits) {
            let cores = std::thread::available_parallelism().map_or(0, usize::from);
            println!(
                "{} commits/s were not reached: nodes used {:.2} and the load {:.2} of {cores} cores",
                self.options.commits,
                median_of(loaded, |half| half.nodes_cpu),
                median_of(loaded, |half| half.load_cpu)
            );
        }
    }
}

impl Half {
    fn commits_per_second(&self) -> f64 {
        to_f64(self.commits.answered) / self.seconds
    }

    fn print(&self, name: &str) {
        let latencies = &self.commits.latencies;
        let ms = |quantile| to_f64(latencies.value_at_quantile(quantile)) / 1000.0;
        println!(
            "| {name} | {:.0} | {:.1}, {:.1} | {} | {} | {:.0} | {:.1}, {:.1} | {:.2} | {:.2} |",
            self.commits_per_second(),
            ms(0.50),
            ms(0.99),
            self.commits.late,
            self.commits.failed.values().sum::<u64>(),
            self.records_per_second,
            self.p50_ms,
            self.p99_ms,
            self.nodes_cpu,
            self.load_cpu
        );
    }
}

fn print_memory(cluster: &Cluster, state: &str) -> Result<()> {
    let pids = cluster.pids()?.into_iter();
    let memory = pids.map(|pid| Memory::of(pid).map(|memory| memory.resident_bytes >> 20));
    let memory = memory.collect::<Result<Vec<_>>>()?;
    println!("RSS of each node {state}: {memory:?} MiB");
    Ok(())
}
