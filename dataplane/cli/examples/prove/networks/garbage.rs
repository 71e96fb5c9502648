//! Produce while garbage arrives at the gossip ports, against a control whose datagrams go to a
//! port of the same namespaces that nobody reads.

use std::collections::BTreeMap;
use std::net::UdpSocket;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use tokio::time::sleep;

use super::flood::{Flood, Flooded, capture, garbage};
use super::lab::{Lab, Shown};
use super::net::{address, namespace, overflows, socket};
use super::nodes::{GOSSIP_PORT, Nodes};
use crate::ledger::{Ledger, Load, verify};
use crate::measure::{median, to_f64};
use crate::proc::Usage;

const SINK_PORT: u16 = 9499;
const RECORD_BYTES: usize = 1024;
const DROPPED: &str = "lograft_gossip_dropped_datagrams_total{";
/// The part of the control's speed below which produce has been stopped rather than slowed down by
/// the CPU that the datagrams take.
const SPEED_MIN: f64 = 0.5;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Kind {
    /// No datagrams.
    Quiet,
    /// Datagrams to ports that nobody reads.
    Control,
    /// Datagrams to the gossip ports.
    Garbage,
}

/// The figures of a phase.
#[derive(Debug)]
struct Phase {
    records: u64,
    records_per_second: f64,
    p50_ms: f64,
    p99_ms: f64,
    nodes_cpu_seconds: f64,
    /// Of this program without the senders of the flood: the load.
    load_cpu_seconds: f64,
    /// Datagrams that did not fit into the buffer of a socket of a node.
    overflows: u64,
    flooded: Flooded,
}

/// Options of the case.
#[derive(Clone, Copy, Debug)]
pub(super) struct Options {
    /// Datagrams per second.
    pub(super) rate: u64,
    /// Records per second; full speed without it.
    pub(super) pace: Option<u64>,
    pub(super) time: Duration,
    pub(super) rounds: u32,
    pub(super) seed: u64,
}

/// Runs the rounds. Each has all kinds of phases; the garbage of all rounds together lasts for
/// `time`.
pub(super) async fn flood(mut lab: Lab, options: Options) -> Result<Shown> {
    let time = options.time / options.rounds.max(1);
    let hosts = lab.nodes.hosts();
    // Open and never read: the kernel drops what its buffer does not hold.
    let sinks = hosts
        .iter()
        .map(|h| socket(namespace(*h), (address(*h), SINK_PORT)));
    let sinks = sinks.collect::<Result<Vec<UdpSocket>>>()?;
    let mut phases = BTreeMap::<Kind, Vec<Phase>>::new();
    let mut shown = Shown::default();
    let before = dropped(&lab.nodes).await?;
    for round in 0..options.rounds {
        let captured = tokio::task::block_in_place(capture)?;
        let all: Arc<[Vec<u8>]> = garbage(&captured, options.seed + u64::from(round)).into();
        for kind in [Kind::Quiet, Kind::Control, Kind::Garbage] {
            let flood = Flood {
                hosts: hosts.clone(),
                port: if kind == Kind::Garbage {
                    GOSSIP_PORT
                } else {
                    SINK_PORT
                },
                rate: if kind == Kind::Quiet { 0 } else { options.rate },
                time,
                garbage: Arc::clone(&all),
            };
            let phase = run(&mut lab, options.pace, flood).await?;
            shown.records += phase.records;
            phases.entry(kind).or_default().push(phase);
        }
    }
    drop(sinks);
    let after = dropped(&lab.nodes).await?;
    let full: u64 = phases[&Kind::Garbage].iter().map(|p| p.overflows).sum();
    let counted: u64 = after.values().sum::<u64>() - before.values().sum::<u64>();
    let sent: u64 = phases[&Kind::Garbage]
        .iter()
        .map(|phase| phase.flooded.sent)
        .sum();
    let shares = after.iter().filter(|(_, count)| **count > 0);
    let shares: Vec<String> = shares
        .map(|(reason, count)| format!("{reason} {count}"))
        .collect();
    println!(
        "  {sent} datagrams sent to the gossip ports, {counted} counted as dropped: {}; \
         {full} dropped by the kernel, since a socket was full",
        shares.join(", ")
    );
    let medians = print(&phases);
    let ratio = medians[&Kind::Garbage] / medians[&Kind::Control].max(1.0);
    shown
        .notes
        .push(format!("produce at {ratio:.2} of the control's speed"));
    ensure!(counted > 0, "no datagram was counted as dropped");
    ensure!(
        ratio > SPEED_MIN,
        "produce at {ratio:.2} of the control's speed"
    );
    shown.agreed_after = Some(lab.nodes.gossip_agrees(Duration::from_secs(10)).await?);
    lab.nodes.stop().await?;
    Ok(shown)
}

/// Produces to a new topic for the time of a flood.
async fn run(lab: &mut Lab, pace: Option<u64>, flood: Flood) -> Result<Phase> {
    const TOPIC: &str = "speed";
    let nodes = &mut lab.nodes;
    nodes.create_topic(TOPIC).await?;
    nodes.wait_healthy().await?;
    let leader = nodes.hosts()[0];
    nodes.lead(leader, &[TOPIC]).await?;
    let client = nodes.client.clone();
    let load = match pace {
        None => Load::start(client, TOPIC, RECORD_BYTES, 0),
        Some(rate) => Load::paced(client, TOPIC, RECORD_BYTES, rate),
    };
    let ledger = load.ledger.clone();
    sleep(Duration::from_secs(1)).await;
    ledger.take_latencies();
    let before = Counters::read(nodes, &ledger)?;
    let flooded = watch(nodes, flood).await?;
    let after = Counters::read(nodes, &ledger)?;
    let latencies = ledger.take_latencies();
    load.finish().await?;
    ensure!(ledger.failed().is_empty(), "failed: {:?}", ledger.failed());
    verify(&nodes.client, TOPIC, 0, 0, &ledger).await?;
    nodes.client.admin().delete_topic(TOPIC).await?;
    let seconds = (after.at - before.at).as_secs_f64();
    let per_second = |usage: Usage, earlier| usage.since(earlier).cpu_seconds / seconds;
    let ms = |quantile| to_f64(latencies.value_at_quantile(quantile)) / 1000.0;
    let own_cpu = per_second(after.own, before.own);
    Ok(Phase {
        records: ledger.records(),
        records_per_second: to_f64(after.records - before.records) / seconds,
        p50_ms: ms(0.50),
        p99_ms: ms(0.99),
        nodes_cpu_seconds: per_second(after.nodes, before.nodes),
        load_cpu_seconds: own_cpu - flooded.cpu_seconds / seconds,
        overflows: after.overflows - before.overflows,
        flooded,
    })
}

/// What is counted before and after a flood.
struct Counters {
    at: Instant,
    records: u64,
    nodes: Usage,
    own: Usage,
    overflows: u64,
}

impl Counters {
    fn read(nodes: &Nodes, ledger: &Ledger) -> Result<Self> {
        let full = nodes.hosts().into_iter().map(|h| overflows(&namespace(h)));
        Ok(Self {
            at: Instant::now(),
            records: ledger.records(),
            nodes: Usage::of(&nodes.pids()?)?,
            own: Usage::of(&[std::process::id()])?,
            overflows: full.sum::<Result<u64>>()?,
        })
    }
}

/// Waits for the end of a flood. Fails if gossip loses a node meanwhile.
async fn watch(nodes: &Nodes, flood: Flood) -> Result<Flooded> {
    let hosts = nodes.hosts();
    let flooding = flood.start();
    let mut unseen = Vec::new();
    while !flooding.is_finished() {
        sleep(Duration::from_millis(500)).await;
        for view in &nodes.views {
            // A node under full load may answer late.
            if let Ok(reply) = view.describe().await {
                unseen.extend(view.unseen(&reply, &hosts));
            }
        }
    }
    ensure!(unseen.is_empty(), "gossip has lost the hosts {unseen:?}");
    flooding.join()
}

/// Datagrams that the nodes have dropped, by reason.
async fn dropped(nodes: &Nodes) -> Result<BTreeMap<String, u64>> {
    let mut all = BTreeMap::new();
    for view in &nodes.views {
        for (line, count) in view.metrics(DROPPED).await? {
            let reason = line.split('"').nth(1).unwrap_or_default();
            *all.entry(reason.to_owned()).or_default() += count;
        }
    }
    Ok(all)
}

/// Prints the medians, and returns those of the records per second.
fn print(phases: &BTreeMap<Kind, Vec<Phase>>) -> BTreeMap<Kind, f64> {
    println!("  | | datagrams/s | records/s | p50 ms | p99 ms | CPU of nodes | load | sender |");
    println!("  |---|---|---|---|---|---|---|---|");
    let mut medians = BTreeMap::new();
    for (kind, phases) in phases {
        let of = |value: fn(&Phase) -> f64| median(&phases.iter().map(value).collect::<Vec<_>>());
        let speed = of(|phase| phase.records_per_second);
        println!(
            "  | {kind:?} | {:.0} | {speed:.0} | {:.1} | {:.1} | {:.2} | {:.2} | {:.2} |",
            of(|phase| to_f64(phase.flooded.sent) / phase.flooded.seconds),
            of(|phase| phase.p50_ms),
            of(|phase| phase.p99_ms),
            of(|phase| phase.nodes_cpu_seconds),
            of(|phase| phase.load_cpu_seconds),
            of(|phase| phase.flooded.cpu_seconds / phase.flooded.seconds)
        );
        medians.insert(*kind, speed);
    }
    medians
}
