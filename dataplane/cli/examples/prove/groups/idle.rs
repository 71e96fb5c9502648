//! The cost of groups whose members only wait for changes.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::{Result, ensure};
use lograft_client::Client;
use lograft_client::group_wire::GroupState;
use tokio::task::JoinSet;
use tokio::time::sleep;

use super::wire::{Connections, Heartbeats, NewMember, TOPIC, join_all};
use super::{Groups, create_topic};
use crate::cluster::{Cluster, Node, ProveArgs};
use crate::measure::to_f64;
use crate::proc::{Memory, Usage};

const GROUPS_COUNT: u32 = 1000;
const MEMBERS_COUNT: u32 = 3;
const CONNECTIONS_COUNT: usize = 4;
const SESSION: Duration = Duration::from_secs(30);
/// Time in which the heartbeats after the joins have passed.
const SETTLE: Duration = Duration::from_secs(15);
const STABLE_TIMEOUT: Duration = Duration::from_mins(2);
const POLL_INTERVAL: Duration = Duration::from_millis(500);

/// CPU and memory of a node.
struct Cost {
    /// Seconds per second.
    cpu: f64,
    resident_mib: u64,
}

/// Runs the case and prints a table.
pub(super) async fn run(options: &Groups, args: &ProveArgs) -> Result<()> {
    let folder = args.empty_folder("groups")?;
    let cluster = Cluster::start(&args.program()?, &folder, 3)?;
    let client = cluster.client().await?;
    create_topic(&client, TOPIC, MEMBERS_COUNT).await?;
    let nodes = cluster.nodes()?;
    let time = Duration::from_secs(options.seconds);
    sleep(SETTLE).await;
    let before = measure(&nodes, time).await?;

    let groups = options.count.unwrap_or(GROUPS_COUNT);
    let connections = Connections::open(&folder, &client, CONNECTIONS_COUNT).await?;
    let heartbeats = Arc::new(Heartbeats::default());
    let mut staying = JoinSet::new();
    let started = Instant::now();
    // All groups get a member, then all a second one: the first gives up partitions for it.
    for member in 0..MEMBERS_COUNT {
        let new = (0..groups).map(|group| NewMember {
            group: format!("group-{group}"),
            id: format!("member-{member}"),
            session: SESSION,
        });
        for joined in join_all(&connections, new).await? {
            staying.spawn(joined.stay(Arc::clone(&heartbeats)));
        }
    }
    wait_stable(&client, groups).await?;
    println!(
        "{groups} groups of {MEMBERS_COUNT} members, {CONNECTIONS_COUNT} connections to each node, \
         stable after {:.1} s, {} calls failed meanwhile",
        started.elapsed().as_secs_f64(),
        heartbeats.failed.swap(0, Ordering::Relaxed)
    );
    sleep(SETTLE).await;
    let (from, count) = (Instant::now(), heartbeats.answered.load(Ordering::Relaxed));
    let with = measure(&nodes, time).await?;
    let answered = heartbeats.answered.load(Ordering::Relaxed) - count;
    let rate = to_f64(answered) / from.elapsed().as_secs_f64();
    print(&nodes, &before, &with);
    let failed = heartbeats.failed.load(Ordering::Relaxed);
    println!("{rate:.0} heartbeats/s answered, {failed} failed");
    ensure!(
        is_stable(&client, groups).await?,
        "not all groups are stable at the end"
    );
    staying.shutdown().await;
    cluster.stop()
}

fn print(nodes: &[Node], before: &[Cost], with: &[Cost]) {
    println!("| node | CPU, s/s, without groups | with | RSS, MiB, without groups | with |");
    println!("|---|---|---|---|---|");
    for ((node, before), with) in nodes.iter().zip(before).zip(with) {
        println!(
            "| {} | {:.3} | {:.3} | {} | {} |",
            node.name, before.cpu, with.cpu, before.resident_mib, with.resident_mib
        );
    }
}

async fn measure(nodes: &[Node], time: Duration) -> Result<Vec<Cost>> {
    let usages = || nodes.iter().map(|node| Usage::of(&[node.pid]));
    let (started, before) = (Instant::now(), usages().collect::<Result<Vec<_>>>()?);
    sleep(time).await;
    let after = usages().collect::<Result<Vec<_>>>()?;
    let seconds = started.elapsed().as_secs_f64();
    let costs = nodes.iter().zip(before).zip(after);
    let costs = costs.map(|((node, before), after)| {
        Ok(Cost {
            cpu: after.since(before).cpu_seconds / seconds,
            resident_mib: Memory::of(node.pid)?.resident_bytes >> 20,
        })
    });
    costs.collect()
}

async fn wait_stable(client: &Client, groups: u32) -> Result<()> {
    let started = Instant::now();
    while !is_stable(client, groups).await? {
        ensure!(
            started.elapsed() < STABLE_TIMEOUT,
            "groups are not stable after {STABLE_TIMEOUT:?}"
        );
        sleep(POLL_INTERVAL).await;
    }
    Ok(())
}

/// Whether all groups have all members, each with what it shall have.
async fn is_stable(client: &Client, groups: u32) -> Result<bool> {
    let listed = client.groups().list().await?;
    let stable = listed
        .iter()
        .filter(|group| group.member_count == MEMBERS_COUNT && group.state() == GroupState::Stable);
    Ok(stable.count() == usize::try_from(groups)?)
}
