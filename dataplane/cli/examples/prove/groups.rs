//! A consumer group whose members and coordinators fail: three members in processes of their own
//! read a topic that is written all the time, and a history checker judges the run.

mod committed;
mod history;
mod load;
pub(crate) mod member;

use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use clap::ValueEnum;
use lograft_client::{Client, NewTopic};
use rustix::process::Signal;
use tokio::sync::watch;
use tokio::time::sleep;

use self::history::{History, Verdict};
use self::load::Load;
use self::member::{GROUP, SESSION, TOPIC};
use crate::cluster::{Cluster, ProveArgs};
use crate::measure::median;
use crate::proc;

const MEMBERS_COUNT: usize = 3;
const CATCH_UP_TIMEOUT: Duration = Duration::from_mins(1);
const POLL_INTERVAL: Duration = Duration::from_millis(100);

/// Options of the runs.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Groups {
    /// What fails [default: each in turn]
    #[arg(long, value_enum)]
    case: Vec<Case>,
    /// Duration of a run, seconds
    #[arg(long, default_value_t = 120)]
    seconds: u64,
    /// Number of partitions
    #[arg(long, default_value_t = 12)]
    partitions: u32,
    /// Records per second, over all partitions
    #[arg(long, default_value_t = 1200)]
    rate: u32,
}

/// The failures of a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Case {
    /// A member is killed every 5 s, and another one started
    MemberKill,
    /// A member is stopped for longer than its session every 10 s, and continued
    MemberStop,
    /// The node that coordinates the group is killed every 10 s
    CoordinatorKill,
}

impl Case {
    const fn interval(self) -> Duration {
        Duration::from_secs(match self {
            Self::MemberKill => 5,
            Self::MemberStop | Self::CoordinatorKill => 10,
        })
    }
}

/// A process of a member.
struct Worker {
    name: String,
    process: Child,
    output: PathBuf,
}

impl Drop for Worker {
    fn drop(&mut self) {
        drop(self.process.kill());
        drop(self.process.wait());
    }
}

/// A cluster with a group.
struct Run {
    folder: PathBuf,
    cluster: Cluster,
    client: Client,
    workers: Vec<Worker>,
    /// Those that were killed.
    ended: Vec<Worker>,
    started_count: usize,
}

impl Groups {
    /// Runs all cases. Fails at the first history that breaks a rule.
    pub(crate) async fn run(self, args: &ProveArgs) -> Result<()> {
        let cases = if self.case.is_empty() {
            Case::value_variants().to_vec()
        } else {
            self.case.clone()
        };
        println!(
            "{MEMBERS_COUNT} members, {} partitions, {} records/s, {} s per case, sessions of {} s",
            self.partitions,
            self.rate,
            self.seconds,
            SESSION.as_secs()
        );
        println!(
            "| case | failures | records | processed again | moves | pause of a moved partition: \
             median, max | pause of others: max |"
        );
        println!("|---|---|---|---|---|---|---|");
        for case in cases {
            self.run_case(case, args).await?;
        }
        Ok(())
    }

    async fn run_case(&self, case: Case, args: &ProveArgs) -> Result<()> {
        let folder = args.empty_folder("groups")?;
        let cluster = Cluster::start(&args.program()?, &folder, 3)?;
        let client = cluster.client().await?;
        let topic = NewTopic {
            name: TOPIC.to_owned(),
            partitions: self.partitions,
            replication_factor: 3,
            ..NewTopic::default()
        };
        client.admin().create_topic(topic).await?;
        let load = Load::start(client.clone(), self.partitions, self.rate);
        let mut run = Run {
            folder,
            cluster,
            client: client.clone(),
            workers: Vec::new(),
            ended: Vec::new(),
            started_count: 0,
        };
        for _ in 0..MEMBERS_COUNT {
            run.start_member()?;
        }
        let (stop, stopped) = watch::channel(false);
        let following = tokio::spawn(committed::follow(client.clone(), stopped));
        let mut failures = 0;
        let started = Instant::now();
        sleep(case.interval()).await;
        while started.elapsed() < Duration::from_secs(self.seconds) {
            let next = Instant::now() + case.interval();
            run.fail(case, failures).await?;
            failures += 1;
            sleep(next.saturating_duration_since(Instant::now())).await;
        }
        let acknowledged = load.finish().await?;
        let caught_up = Instant::now() + CATCH_UP_TIMEOUT;
        loop {
            let committed = committed::read(&client).await.unwrap_or_default();
            if committed == acknowledged {
                break;
            }
            ensure!(
                Instant::now() < caught_up,
                "{committed:?} are committed, {acknowledged:?} are in the log"
            );
            sleep(POLL_INTERVAL).await;
        }
        stop.send_replace(true);
        let seen = following.await?;
        let history = run.history()?;
        committed::check(&seen, &history)?;
        let lost = history.lost_count;
        if case == Case::MemberStop {
            ensure!(
                lost >= failures,
                "{failures} members were stopped, {lost} learned that they lost their partitions"
            );
        }
        let committed = seen.last().map(|seen| seen.offsets.clone());
        let verdict = history.judge(&acknowledged, &committed.unwrap_or_default())?;
        print(case, failures, verdict);
        run.cluster.stop()
    }
}

fn print(case: Case, failures: usize, verdict: Verdict) {
    let Verdict {
        processed,
        repeated,
        moves,
        moved,
        stayed_max,
    } = verdict;
    let max = moved.iter().max().copied().unwrap_or_default();
    let seconds: Vec<f64> = moved.iter().map(Duration::as_secs_f64).collect();
    let name = case.to_possible_value();
    println!(
        "| {} | {failures} | {processed} | {repeated} | {moves} | {:.2} s, {:.2} s | {:.2} s |",
        name.as_ref().map_or("", |name| name.get_name()),
        median(&seconds),
        max.as_secs_f64(),
        stayed_max.as_secs_f64(),
    );
}

impl Run {
    fn start_member(&mut self) -> Result<()> {
        let name = format!("m{}", self.started_count);
        self.started_count += 1;
        let output = self.folder.join(format!("{name}.out"));
        let log = File::create(self.folder.join(format!("{name}.log")))?;
        let process = Command::new(std::env::current_exe()?)
            .args(["group-member", "--id", &name, "--folder"])
            .arg(&self.folder)
            .stdin(Stdio::null())
            .stdout(File::create(&output)?)
            .stderr(log)
            .spawn()
            .context("cannot start a member")?;
        self.workers.push(Worker {
            name,
            process,
            output,
        });
        Ok(())
    }

    async fn fail(&mut self, case: Case, turn: usize) -> Result<()> {
        for worker in &mut self.workers {
            let ended = worker.process.try_wait()?;
            ensure!(
                ended.is_none(),
                "member {} has ended: {ended:?}",
                worker.name
            );
        }
        match case {
            Case::MemberKill => {
                let mut worker = self.workers.remove(0);
                worker.process.kill()?;
                worker.process.wait()?;
                self.ended.push(worker);
                self.start_member()
            }
            Case::MemberStop => {
                let pid = self.workers[turn % MEMBERS_COUNT].process.id();
                proc::signal(pid, Signal::STOP)?;
                sleep(SESSION + Duration::from_secs(2)).await;
                proc::signal(pid, Signal::CONT)
            }
            Case::CoordinatorKill => {
                let described = self.client.groups().describe(GROUP).await?;
                let nodes = self.cluster.nodes()?;
                let id = described.coordinator_node;
                let position = usize::try_from(id)?.checked_sub(1);
                let node = position.and_then(|at| nodes.get(at));
                let node = node.with_context(|| format!("node {id} is not running"))?;
                proc::signal(node.pid, Signal::KILL)
            }
        }
    }

    fn history(&mut self) -> Result<History> {
        let mut history = History::default();
        let all = self.ended.drain(..).chain(self.workers.drain(..));
        for worker in all {
            let (name, output) = (worker.name.clone(), worker.output.clone());
            drop(worker);
            history.read(&name, &output)?;
        }
        Ok(history)
    }
}
