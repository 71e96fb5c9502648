//! Nodes in network namespaces of their own, joined by a bridge whose paths fail: cut off, in one
//! direction, slow, lossy, up and down, flooded. The load and its checks run in a further
//! namespace. Needs root. All traffic stays in the namespaces, which have no route out and are
//! removed at the end, also after a failure or Ctrl-C.

mod command;
mod cuts;
mod flood;
mod garbage;
mod keys;
mod lab;
mod links;
mod net;
mod nodes;
mod watch;
mod wire;
mod writers;

use std::path::Path;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::{Context, Result, bail, ensure};
use clap::ValueEnum;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch as channel;
use tokio::time::timeout;

use crate::cluster::ProveArgs;
use lab::{Lab, Shown};
use net::{CLIENT, Net};
use nodes::Shape;

/// Time for the start of a cluster and the checks, beside the fault.
const BESIDE_MAX: Duration = Duration::from_mins(10);

/// A fault of the network.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Case {
    /// The leader is cut off from the other nodes
    LeaderCut,
    /// The leader and one more of five nodes are cut off from the others
    LeaderCutFive,
    /// Each node is cut off in turn, from the other nodes and from the clients
    HostCut,
    /// Frames from the leader are dropped, then frames to it
    OneWay,
    /// Every frame takes 200 ms
    Delay,
    /// 5 % of all frames are lost
    Loss,
    /// The link of a leader goes up and down
    Flap,
    /// Garbage arrives at the gossip ports while records are produced at full speed
    Garbage,
    /// Garbage arrives at the gossip ports while records are produced at a steady rate
    GarbagePaced,
    /// The gossip key is rotated while 5 % of all frames are lost
    Keys,
}

/// Options of the networks command.
#[derive(Clone, Debug, clap::Args)]
pub(crate) struct Networks {
    /// Case to run; several times for several [default: all]
    #[arg(long = "case", value_enum)]
    cases: Vec<Case>,
    /// Time that a leader is cut off
    #[arg(long, value_name = "SECONDS", default_value_t = 20)]
    cut_seconds: u64,
    /// Time of loss in each direction
    #[arg(long, value_name = "SECONDS", default_value_t = 30)]
    one_way_seconds: u64,
    /// Time of delay, and of loss
    #[arg(long, value_name = "SECONDS", default_value_t = 60)]
    link_seconds: u64,
    /// raft.heartbeat_ms of the nodes in the case of delay
    #[arg(long, value_name = "MS", default_value_t = 1000)]
    delay_heartbeat_ms: u64,
    /// Time of flapping
    #[arg(long, value_name = "SECONDS", default_value_t = 300)]
    flap_seconds: u64,
    /// Time of garbage, of all rounds together
    #[arg(long, value_name = "SECONDS", default_value_t = 20)]
    garbage_seconds: u64,
    /// Rounds of garbage
    #[arg(long, default_value_t = 3)]
    garbage_rounds: u32,
    /// Garbage datagrams per second, to all nodes together
    #[arg(long, value_name = "N", default_value_t = 100_000)]
    garbage_rate: u64,
    /// Records per second beside garbage, in the case of a steady rate
    #[arg(long, value_name = "N", default_value_t = 60_000)]
    garbage_pace: u64,
    /// Time of key rotations
    #[arg(long, value_name = "SECONDS", default_value_t = 120)]
    keys_seconds: u64,
    /// Seed of the random choices
    #[arg(long, default_value_t = 1)]
    seed: u64,
}

impl Networks {
    /// Runs the cases and prints a line for each. Fails if one has failed.
    pub(crate) async fn run(self, args: &ProveArgs) -> Result<ExitCode> {
        command::check()?;
        let program = args.program()?.canonicalize()?;
        let all = Case::value_variants();
        let cases = if self.cases.is_empty() {
            all
        } else {
            &self.cases
        };
        let (stop, stopped) = channel::channel(false);
        let signals = tokio::spawn(async move {
            let signal = interrupted().await;
            stop.send_replace(true);
            signal
        });
        println!("seed {}", self.seed);
        println!("case | records | longest pause | gossip agreed after | new terms | verdict");
        let mut failed = Vec::new();
        for case in cases {
            let name = case.to_possible_value().map(|v| v.get_name().to_owned());
            let name = name.unwrap_or_default();
            let folder = args.empty_folder(&format!("networks-{name}"))?;
            let shown = self
                .run_case(*case, &program, &folder, stopped.clone())
                .await;
            print(&name, &shown);
            if shown.is_err() {
                println!("  kept: {}", folder.display());
                failed.push(name);
            }
            if *stopped.borrow() {
                bail!("interrupted");
            }
        }
        signals.abort();
        if failed.is_empty() {
            return Ok(ExitCode::SUCCESS);
        }
        println!("failed: {}", failed.join(", "));
        Ok(ExitCode::FAILURE)
    }

    /// Runs a case in a thread of its own, which is moved to the client's namespace with all
    /// threads and processes that it starts.
    async fn run_case(
        &self,
        case: Case,
        program: &Path,
        folder: &Path,
        mut stopped: channel::Receiver<bool>,
    ) -> Result<Shown> {
        let (options, shape) = (self.clone(), self.shape(case));
        let (program, folder) = (program.to_owned(), folder.to_owned());
        let work = move || {
            let net = Net::create(shape.count)?;
            net::enter(&net::namespace(CLIENT))?;
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .enable_all()
                .build()?;
            // On every way out the processes are ended first, then the namespaces removed.
            runtime.block_on(async {
                let bound = BESIDE_MAX + options.time_of(case);
                let bounded = timeout(bound, options.steps(case, net, (&program, &folder), shape));
                tokio::select! {
                    shown = bounded => shown.context("the case did not end")?,
                    _ = stopped.wait_for(|is_stopped| *is_stopped) => bail!("interrupted"),
                }
            })
        };
        tokio::task::spawn_blocking(move || {
            let ended = std::thread::spawn(work).join();
            ended.unwrap_or_else(|_| bail!("the case panicked"))
        })
        .await?
    }

    /// The cluster of a case. A round trip has to fit into 3/4 of the heartbeat interval.
    const fn shape(&self, case: Case) -> Shape {
        Shape {
            count: if matches!(case, Case::LeaderCutFive) {
                5
            } else {
                3
            },
            heartbeat_ms: match case {
                Case::Delay => Some(self.delay_heartbeat_ms),
                _ => None,
            },
        }
    }

    const fn time_of(&self, case: Case) -> Duration {
        Duration::from_secs(match case {
            Case::LeaderCut | Case::LeaderCutFive => self.cut_seconds,
            Case::HostCut => 3 * self.cut_seconds,
            Case::OneWay => 2 * self.one_way_seconds,
            Case::Delay | Case::Loss => self.link_seconds,
            Case::Flap => self.flap_seconds,
            Case::Garbage | Case::GarbagePaced => 3 * self.garbage_seconds,
            Case::Keys => self.keys_seconds,
        })
    }

    async fn steps(
        &self,
        case: Case,
        net: Net,
        (program, folder): (&Path, &Path),
        shape: Shape,
    ) -> Result<Shown> {
        let time = self.time_of(case);
        if matches!(case, Case::Garbage | Case::GarbagePaced) {
            let lab = Lab::quiet(net, program, folder, shape).await?;
            let options = garbage::Options {
                rate: self.garbage_rate,
                pace: (case == Case::GarbagePaced).then_some(self.garbage_pace),
                time: Duration::from_secs(self.garbage_seconds),
                rounds: self.garbage_rounds,
                seed: self.seed,
            };
            return garbage::flood(lab, options).await;
        }
        let mut lab = Lab::start(net, program, folder, shape).await?;
        match case {
            Case::LeaderCut | Case::LeaderCutFive => cuts::leader(&mut lab, time).await?,
            Case::HostCut => cuts::each_host(&mut lab, time / 3).await?,
            Case::OneWay => cuts::one_way(&mut lab, time / 2).await?,
            Case::Delay => links::delay(&mut lab, time).await?,
            Case::Loss => links::loss(&mut lab, time).await?,
            Case::Flap => links::flap(&mut lab, time, self.seed).await?,
            Case::Keys => keys::rotate(&mut lab, time).await?,
            Case::Garbage | Case::GarbagePaced => bail!("no case of links"),
        }
        let shown = lab.finish().await?;
        if case == Case::Delay {
            links::check_terms(shown.new_terms.unwrap_or(0), time)?;
        }
        if case == Case::Keys {
            let unseen = &shown.unseen;
            ensure!(unseen.is_empty(), "gossip has lost members: {unseen:?}");
        }
        Ok(shown)
    }
}

fn print(name: &str, shown: &Result<Shown>) {
    let shown = match shown {
        Ok(shown) => shown,
        Err(error) => return println!("{name} | - | - | - | - | FAILED: {error:#}"),
    };
    let seconds = |time: Duration| format!("{:.2} s", time.as_secs_f64());
    let or_none = |text: Option<String>| text.unwrap_or_else(|| "-".to_owned());
    println!(
        "{name} | {} | {} | {} | {} | ok",
        shown.records,
        seconds(shown.longest_pause),
        or_none(shown.agreed_after.map(seconds)),
        or_none(shown.new_terms.map(|terms| terms.to_string()))
    );
    for note in &shown.notes {
        println!("  {note}");
    }
}

async fn interrupted() -> Result<()> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    tokio::select! {
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    Ok(())
}
