//! A cluster grows from three nodes to five and shrinks to three again under a steady load: nothing
//! is lost or doubled, no call fails, and replicas and leaders are even after each change.

mod balance;
mod crew;
mod history;
mod kills;
mod load;
mod report;
mod verifier;

use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lograft_client::{Client, GroupConfig, NewTopic};
use tokio::time::sleep;

use self::balance::Shape;
use self::crew::Crew;
use self::history::Moves;
use self::kills::{Killer, Random};
use self::load::{Load, Pace, TopicShape};
use self::report::{PhaseFigures, print_head};
use self::verifier::Verifier;
use crate::cluster::{ProveArgs, connect};
use crate::groups::member::{GROUP, TOPIC};
use crate::groups::reader::{Delivered, Reader};

/// The topic with one replica.
const SINGLE: &str = "single";
const MEMBERS_COUNT: usize = 2;
const COMMIT_INTERVAL: Duration = Duration::from_millis(200);
const WARM_UP: Duration = Duration::from_secs(5);

/// Options of the rescale command.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Rescale {
    /// Records per second of the load, over all partitions
    #[arg(long, default_value_t = 25_000)]
    records_per_second: u32,
    /// Size of each record in bytes
    #[arg(long, default_value_t = 256)]
    record_bytes: usize,
    /// Partitions of the topic with three replicas
    #[arg(long, default_value_t = 24)]
    partitions: u32,
    /// Partitions of the topic with one replica
    #[arg(long, default_value_t = 4)]
    single_partitions: u32,
    /// Duration of each quiet phase, seconds
    #[arg(long, default_value_t = 20)]
    quiet_seconds: u64,
    /// Zones of the five nodes; an empty name is no zone
    #[arg(long, value_delimiter = ',', num_args = 5, default_value = "a,b,c,a,b")]
    zones: Vec<String>,
    /// How often the cluster grows and shrinks
    #[arg(long, default_value_t = 1)]
    rounds: u32,
    /// Pairs of nodes that are killed in each growth and each shrinking, one after the other
    #[arg(long, default_value_t = 0)]
    kills: u32,
    /// Seed of the kills
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Time that the cluster may take to become even
    #[arg(long, default_value_t = 300)]
    patience_seconds: u64,
}

/// A phase, and what changes in it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Phase {
    Quiet(Shape),
    Grow,
    Shrink,
}

impl Phase {
    /// One round, after the first quiet phase.
    const ROUND: [Self; 4] = [
        Self::Grow,
        Self::Quiet(Shape::FIVE),
        Self::Shrink,
        Self::Quiet(Shape::THREE),
    ];

    const fn name(self) -> &'static str {
        match self {
            Self::Quiet(Shape { nodes: 3 }) => "3 nodes",
            Self::Quiet(_) => "5 nodes",
            Self::Grow => "3 -> 5",
            Self::Shrink => "5 -> 3",
        }
    }

    const fn shape(self) -> Shape {
        match self {
            Self::Quiet(shape) => shape,
            Self::Grow => Shape::FIVE,
            Self::Shrink => Shape::THREE,
        }
    }
}

/// A running test.
struct Run {
    options: Rescale,
    crew: Crew,
    client: Client,
    load: Load,
    verifiers: Vec<Verifier>,
    readers: Vec<Reader>,
    delivered: Delivered,
    random: Random,
}

impl Rescale {
    /// Runs all phases. Fails if a record is lost, doubled or out of order, a call fails, or the
    /// cluster does not become even.
    pub(crate) async fn run(self, args: &ProveArgs) -> Result<()> {
        let rounds = self.rounds;
        let mut run = Run::start(self, args).await?;
        print_head();
        run.phase(Phase::Quiet(Shape::THREE)).await?;
        for _ in 0..rounds {
            for phase in Phase::ROUND {
                run.phase(phase).await?;
            }
        }
        run.finish().await
    }

    fn topics(&self) -> [TopicShape; 2] {
        [
            TopicShape {
                name: TOPIC,
                partitions: self.partitions,
                replication_factor: 3,
            },
            TopicShape {
                name: SINGLE,
                partitions: self.single_partitions,
                replication_factor: 1,
            },
        ]
    }
}

impl Run {
    async fn start(options: Rescale, args: &ProveArgs) -> Result<Self> {
        let folder = args.empty_folder("rescale")?;
        let patience = Duration::from_secs(options.patience_seconds);
        let crew = Crew::start(&args.program()?, &folder, &options.zones, patience).await?;
        let client = connect(&folder).await?;
        let topics = options.topics();
        for topic in &topics {
            let topic = NewTopic {
                name: topic.name.to_owned(),
                partitions: topic.partitions,
                replication_factor: topic.replication_factor,
                ..NewTopic::default()
            };
            client.admin().create_topic(topic).await?;
        }
        let delivered = Delivered::default();
        let mut readers = Vec::new();
        for _ in 0..MEMBERS_COUNT {
            let config = GroupConfig {
                auto_commit: Some(COMMIT_INTERVAL),
                ..GroupConfig::new(GROUP, [TOPIC])
            };
            readers.push(Reader::start(&connect(&folder).await?, config, &delivered).await?);
        }
        let mut verifiers = Vec::new();
        for topic in &topics {
            verifiers.push(Verifier::start(&connect(&folder).await?, topic).await?);
        }
        let pace = Pace {
            records_per_second: options.records_per_second,
            record_bytes: options.record_bytes,
        };
        let load = Load::start(&connect(&folder).await?, &topics, pace).await?;
        sleep(WARM_UP).await;
        let random = Random::new(options.seed);
        balance::wait_even(&client, Shape::THREE, patience).await?;
        load.take();
        Ok(Self {
            options,
            crew,
            client,
            load,
            verifiers,
            readers,
            delivered,
            random,
        })
    }

    /// Runs a phase and prints its figures.
    async fn phase(&mut self, phase: Phase) -> Result<()> {
        let moves = Moves::watch(self.client.clone());
        let started = Instant::now();
        let patience = Duration::from_secs(self.options.patience_seconds);
        let even = match phase {
            Phase::Quiet(shape) => {
                sleep(Duration::from_secs(self.options.quiet_seconds)).await;
                balance::wait_even(&self.client, shape, patience).await?
            }
            Phase::Grow | Phase::Shrink => {
                let killer = Killer::new(self.crew.processes(), self.random.fork());
                let killing = killer.run(self.options.kills);
                let (changed, all_restarted) = tokio::join!(self.change(phase), killing);
                changed.and(all_restarted)?;
                balance::wait_even(&self.client, phase.shape(), patience).await?
            }
        };
        let took = started.elapsed();
        self.check()
            .with_context(|| format!("in {}", phase.name()))?;
        let figures = PhaseFigures {
            name: phase.name(),
            took,
            load: self.load.take(),
            moves: moves.finish().await?,
            even,
        };
        figures.print();
        Ok(())
    }

    /// Changes the number of nodes.
    async fn change(&self, phase: Phase) -> Result<()> {
        if phase == Phase::Grow {
            self.crew.grow(&self.client).await
        } else {
            self.crew.shrink(&self.client).await
        }
    }

    /// Fails if an application has seen an error.
    fn check(&self) -> Result<()> {
        self.load.check()?;
        self.verifiers.iter().try_for_each(Verifier::check)?;
        self.readers.iter().try_for_each(Reader::check_running)
    }

    async fn finish(self) -> Result<()> {
        let ends = self.load.finish().await?;
        let mut records = 0;
        for verifier in self.verifiers {
            let topic = verifier.topic();
            let ends = ends.get(topic).context("a topic without a load")?;
            records += verifier.finish(ends).await?;
        }
        let ends = ends.get(TOPIC).context("no load")?;
        self.delivered.wait_until(ends).await?;
        for reader in self.readers {
            reader.close().await?;
        }
        let totals = self.delivered.check(ends)?;
        ensure!(
            self.options.kills > 0 || totals.repeated == 0,
            "{} records were handed out again without a failure",
            totals.repeated
        );
        println!(
            "\n{records} records acknowledged, each once in the log and in order; a group of \
             {MEMBERS_COUNT} was handed out {}, {} of them again",
            totals.records, totals.repeated
        );
        self.crew.stop().await
    }
}
