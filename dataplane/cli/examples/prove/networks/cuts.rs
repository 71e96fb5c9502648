//! Nodes that are cut off from the others, in both directions or in one.

use std::time::Duration;

use anyhow::{Result, ensure};
use tokio::time::sleep;

use super::lab::{GOES_ON_MAX, Lab, TOPICS};
use super::net::{CLIENT, Fault, Net};
use super::writers::Writer;

const MINORITY_TOPIC: &str = "minority";
/// Time in which acknowledgements may still arrive that were sent before the cut.
const IN_FLIGHT_MAX: Duration = Duration::from_secs(2);

/// Drops all frames between two groups of hosts.
fn between(some: &[u8], others: &[u8]) -> Vec<Fault> {
    let pairs = some.iter().flat_map(|a| others.iter().map(|b| (*a, *b)));
    let both = pairs.flat_map(|(a, b)| [(a, b), (b, a)]);
    both.map(|(from, to)| Fault::Drop { from, to }).collect()
}

/// Cuts off the leader of a partition and of the metadata, with as many followers as leave a
/// majority to the others. The client still reaches all nodes.
pub(super) async fn leader(lab: &mut Lab, time: Duration) -> Result<()> {
    lab.nodes.create_topic(MINORITY_TOPIC).await?;
    lab.nodes.wait_healthy().await?;
    let leader = lab.nodes.leader(TOPICS[0]).await?;
    lab.nodes.lead(leader, &[TOPICS[0], MINORITY_TOPIC]).await?;
    let hosts = lab.nodes.hosts();
    let followers = hosts.iter().copied().filter(|host| *host != leader);
    let (with, others): (Vec<_>, Vec<_>) = followers.enumerate().partition(|(at, _)| {
        // Of five nodes two are cut off, of three one.
        *at + 2 <= hosts.len() / 2
    });
    let minority: Vec<u8> = [leader]
        .into_iter()
        .chain(with.iter().map(|w| w.1))
        .collect();
    let majority: Vec<u8> = others.into_iter().map(|(_, host)| host).collect();
    // A client that reaches the cut-off leader alone: nobody else can acknowledge its records.
    let writer = Writer::start(&lab.nodes.client_of(leader)?, MINORITY_TOPIC).await?;
    writer.wait_ack(GOES_ON_MAX).await?;
    lab.nodes.lead(leader, &[TOPICS[0], MINORITY_TOPIC]).await?;
    Net::set_faults(&between(&minority, &majority))?;
    sleep(IN_FLIGHT_MAX).await;
    let (before, others_before) = (writer.records(), all_records(lab));
    sleep(time).await;
    lab.goes_on().await?;
    let by_minority = writer.records() - before;
    let by_majority = all_records(lab) - others_before;
    ensure!(
        by_minority == 0,
        "the minority has acknowledged {by_minority} records"
    );
    ensure!(by_majority > 0, "the majority has acknowledged nothing");
    lab.notes.push(format!(
        "hosts {minority:?} cut off for {} s: they acknowledged {by_minority} records, the others \
         {by_majority}",
        time.as_secs()
    ));
    lab.cut_off = Some(writer);
    Ok(())
}

fn all_records(lab: &Lab) -> u64 {
    lab.writers.iter().map(Writer::records).sum()
}

/// Cuts off each node in turn, with the leadership of a topic, from the other nodes and from the
/// clients: their connections to it stay open, and nothing comes back.
pub(super) async fn each_host(lab: &mut Lab, time: Duration) -> Result<()> {
    for host in lab.nodes.hosts() {
        lab.nodes.lead(host, &TOPICS[..1]).await?;
        let hosts = lab.nodes.hosts().into_iter();
        let others: Vec<u8> = hosts
            .filter(|other| *other != host)
            .chain([CLIENT])
            .collect();
        lab.hold(&between(&[host], &others), time).await?;
        Net::set_faults(&[])?;
        lab.nodes.wait_healthy().await?;
    }
    Ok(())
}

/// Drops what the leader sends to the others, then what the others send to the leader.
pub(super) async fn one_way(lab: &mut Lab, time: Duration) -> Result<()> {
    let mut pauses = Vec::new();
    for is_outbound in [true, false] {
        let leader = lab.nodes.leader(TOPICS[0]).await?;
        lab.nodes.lead(leader, &TOPICS[..1]).await?;
        let others = lab.nodes.hosts().into_iter().filter(|host| *host != leader);
        let faults: Vec<Fault> = others
            .map(|other| {
                let (from, to) = if is_outbound {
                    (leader, other)
                } else {
                    (other, leader)
                };
                Fault::Drop { from, to }
            })
            .collect();
        let before = all_records(lab);
        lab.hold(&faults, time).await?;
        let direction = if is_outbound { "from" } else { "to" };
        let records = all_records(lab) - before;
        pauses.push(format!("{direction} leader {leader}: {records} records"));
        Net::set_faults(&[])?;
        lab.nodes.wait_healthy().await?;
    }
    lab.notes.push(pauses.join(", "));
    Ok(())
}
