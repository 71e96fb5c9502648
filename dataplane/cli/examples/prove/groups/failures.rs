//! A group whose members and coordinators fail: three members in processes of their own read a topic
//! that is written all the time, and a history checker judges the run.

use std::fs::File;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use anyhow::{Context, Result, ensure};
use lograft_client::Client;
use rustix::process::Signal;
use tokio::time::sleep;

use super::history::{History, Verdict};
use super::load::Load;
use super::member::{GROUP, SESSION, TOPIC};
use super::{Groups, committed, create_topic};
use crate::cluster::{Cluster, ProveArgs};
use crate::measure::median;
use crate::proc;

const MEMBERS_COUNT: usize = 3;

/// What fails in a run.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Failure {
    /// A member is killed every 5 s, and another one started.
    MemberKill,
    /// A member is stopped for longer than its session every 10 s, and continued.
    MemberStop,
    /// The node that coordinates the group is killed every 10 s.
    CoordinatorKill,
}

impl Failure {
    const fn name(self) -> &'static str {
        match self {
            Self::MemberKill => "member-kill",
            Self::MemberStop => "member-stop",
            Self::CoordinatorKill => "coordinator-kill",
        }
    }

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

/// Prints the head of the table.
pub(super) fn print_head(options: &Groups) {
    println!(
        "{MEMBERS_COUNT} members, {} partitions, {} records/s, {} s per case, sessions of {} s",
        options.partitions,
        options.rate,
        options.seconds,
        SESSION.as_secs()
    );
    println!(
        "| case | failures | records | processed again | moves | pause of a moved partition: \
         median, max | pause of others: max |"
    );
    println!("|---|---|---|---|---|---|---|");
}

/// Runs a case and prints its row. Fails if the history breaks a rule.
pub(super) async fn run(options: &Groups, failure: Failure, args: &ProveArgs) -> Result<()> {
    let folder = args.empty_folder("groups")?;
    let cluster = Cluster::start(&args.program()?, &folder, 3)?;
    let client = cluster.client().await?;
    create_topic(&client, TOPIC, options.partitions).await?;
    let load = Load::start(client.clone(), options.partitions, options.rate);
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
    let following = committed::Following::start(client.clone());
    let mut failures = 0;
    let started = Instant::now();
    sleep(failure.interval()).await;
    while started.elapsed() < Duration::from_secs(options.seconds) {
        let next = Instant::now() + failure.interval();
        run.fail(failure, failures).await?;
        failures += 1;
        sleep(next.saturating_duration_since(Instant::now())).await;
    }
    let acknowledged = load.finish().await?;
    let seen = following.finish(&acknowledged).await?;
    let history = run.history()?;
    committed::check(&seen, &history)?;
    let lost = history.lost_count;
    if failure == Failure::MemberStop {
        ensure!(
            lost >= failures,
            "{failures} members were stopped, {lost} learned that they lost their partitions"
        );
    }
    let committed = seen.last().map(|seen| seen.offsets.clone());
    let verdict = history.judge(&acknowledged, &committed.unwrap_or_default())?;
    print(failure, failures, verdict);
    run.cluster.stop()
}

fn print(failure: Failure, failures: usize, verdict: Verdict) {
    let Verdict {
        processed,
        repeated,
        moves,
        moved,
        stayed_max,
    } = verdict;
    let max = moved.iter().max().copied().unwrap_or_default();
    let seconds: Vec<f64> = moved.iter().map(Duration::as_secs_f64).collect();
    println!(
        "| {} | {failures} | {processed} | {repeated} | {moves} | {:.2} s, {:.2} s | {:.2} s |",
        failure.name(),
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

    async fn fail(&mut self, failure: Failure, turn: usize) -> Result<()> {
        for worker in &mut self.workers {
            let ended = worker.process.try_wait()?;
            ensure!(
                ended.is_none(),
                "member {} has ended: {ended:?}",
                worker.name
            );
        }
        match failure {
            Failure::MemberKill => {
                let mut worker = self.workers.remove(0);
                worker.process.kill()?;
                worker.process.wait()?;
                self.ended.push(worker);
                self.start_member()
            }
            Failure::MemberStop => {
                let pid = self.workers[turn % MEMBERS_COUNT].process.id();
                proc::signal(pid, Signal::STOP)?;
                sleep(SESSION + Duration::from_secs(2)).await;
                proc::signal(pid, Signal::CONT)
            }
            Failure::CoordinatorKill => {
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
