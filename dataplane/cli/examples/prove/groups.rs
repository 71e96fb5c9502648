//! Consumer groups: members, coordinators and leaders that fail or move, judged by the history, and
//! the cost of many groups.

mod commits;
pub(crate) mod committed;
mod direct;
mod failures;
mod history;
mod idle;
mod leaders;
pub(crate) mod load;
mod many;
pub(crate) mod member;
pub(crate) mod reader;
mod wire;

use anyhow::Result;
use clap::ValueEnum;
use lograft_client::{Client, NewTopic};

use self::failures::Failure;
use crate::cluster::ProveArgs;

/// Options of the runs.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Groups {
    /// Case, may be repeated [default: the three failures, each in turn]
    #[arg(long, value_enum)]
    case: Vec<Case>,
    /// Duration of a run, of the idle time, or of the phase in which leaders move, seconds
    #[arg(long, default_value_t = 120)]
    seconds: u64,
    /// Number of partitions
    #[arg(long, default_value_t = 12)]
    partitions: u32,
    /// Records per second of the failures, over all partitions
    #[arg(long, default_value_t = 1200)]
    rate: u32,
    /// Number of groups [default: 10000 of `many`, 1000 of `idle`]
    #[arg(long = "groups", value_name = "GROUPS")]
    count: Option<u32>,
    /// Duration of the quiet phase of `leaders-moved`, seconds
    #[arg(long, default_value_t = 30)]
    quiet_seconds: u64,
    #[command(flatten)]
    many: many::Options,
}

/// The cases.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Case {
    /// A member is killed every 5 s, and another one started
    MemberKill,
    /// A member is stopped for longer than its session every 10 s, and continued
    MemberStop,
    /// The node that coordinates the group is killed every 10 s
    CoordinatorKill,
    /// Groups with one member each commit at a steady rate, beside a producer
    Many,
    /// Groups with three members each wait for changes
    Idle,
    /// The leader of a random partition is moved every second
    LeadersMoved,
}

impl Case {
    const FAILURES: [Self; 3] = [Self::MemberKill, Self::MemberStop, Self::CoordinatorKill];

    const fn failure(self) -> Option<Failure> {
        match self {
            Self::MemberKill => Some(Failure::MemberKill),
            Self::MemberStop => Some(Failure::MemberStop),
            Self::CoordinatorKill => Some(Failure::CoordinatorKill),
            Self::Many | Self::Idle | Self::LeadersMoved => None,
        }
    }
}

impl Groups {
    /// Runs all cases. Fails at the first one that breaks a rule.
    pub(crate) async fn run(self, args: &ProveArgs) -> Result<()> {
        let cases = if self.case.is_empty() {
            &Case::FAILURES
        } else {
            &self.case[..]
        };
        let failures: Vec<Failure> = cases.iter().filter_map(|case| case.failure()).collect();
        if !failures.is_empty() {
            failures::print_head(&self);
        }
        for failure in failures {
            failures::run(&self, failure, args).await?;
        }
        for case in cases {
            match case {
                Case::Many => many::run(&self, args).await?,
                Case::Idle => idle::run(&self, args).await?,
                Case::LeadersMoved => leaders::run(&self, args).await?,
                Case::MemberKill | Case::MemberStop | Case::CoordinatorKill => {}
            }
        }
        Ok(())
    }
}

/// Creates a topic with three replicas.
async fn create_topic(client: &Client, name: &str, partitions: u32) -> Result<()> {
    let topic = NewTopic {
        name: name.to_owned(),
        partitions,
        replication_factor: 3,
        ..NewTopic::default()
    };
    client.admin().create_topic(topic).await?;
    Ok(())
}
