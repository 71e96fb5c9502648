//! Measures the plan that balances a large cluster: `cargo run --release -p lograft-core --example
//! rebalance`. Prints the time of a plan and its moves against the least possible number.

#![expect(clippy::disallowed_methods, reason = "a benchmark needs a clock")]

use std::time::Instant;

use lograft_core::rebalance::{BalancedNode, BalancedPartition, Layout, Participation, plan};
use lograft_core::{GroupId, NodeId};

const ROUNDS: usize = 5;
const PARTITIONS: u64 = 100_000;
const REPLICAS: u64 = 3;

/// A cluster of `nodes` nodes in `zones` zones, with all replicas on the first `used` nodes.
fn layout(nodes: u64, used: u64, zones: u64) -> Layout {
    let zone = |id: u64| match zones {
        0 => String::new(),
        zones => format!("zone-{}", id % zones),
    };
    let nodes = (1..=nodes).map(|id| BalancedNode {
        id: NodeId(id),
        zone: zone(id),
        participation: Participation::Full,
        replicas_max_count: u32::MAX,
    });
    // Neighbors are in different zones; the stride mixes which nodes share partitions.
    let partitions = (0..PARTITIONS).map(|number| {
        let first = number * 7919 + number / used;
        let replicas = (0..REPLICAS).map(|replica| NodeId((first + replica) % used + 1));
        BalancedPartition {
            group: GroupId(number + 1),
            replicas: replicas.collect(),
            is_movable: true,
            size_bytes: Some(1 << 20),
        }
    });
    Layout {
        nodes: nodes.collect(),
        partitions: partitions.collect(),
    }
}

fn measure(what: &str, layout: &Layout) {
    let mut times: Vec<f64> = Vec::new();
    let mut cost = lograft_core::rebalance::Cost::default();
    let mut spread = (0, 0);
    for _ in 0..ROUNDS {
        let started = Instant::now();
        let plan = plan(layout);
        times.push(started.elapsed().as_secs_f64() * 1e3);
        cost = plan.cost;
        let range = |numbers: Vec<u32>| {
            numbers.iter().max().unwrap_or(&0) - numbers.iter().min().unwrap_or(&0)
        };
        spread = (
            range(plan.nodes.iter().map(|n| n.replicas.after).collect()),
            range(plan.nodes.iter().map(|n| n.leaders.after).collect()),
        );
    }
    times.sort_by(f64::total_cmp);
    let (least, median, most) = (times[0], times[ROUNDS / 2], times[ROUNDS - 1]);
    println!(
        "{what}: median {median:.0} ms ({least:.0} to {most:.0}); {} moves (least {}), {} leader \
         changes (least {}); replicas at most {} apart, leaders {}",
        cost.moves,
        cost.least_moves,
        cost.leader_changes,
        cost.least_leader_changes,
        spread.0,
        spread.1,
    );
}

fn main() {
    println!("{PARTITIONS} partitions with {REPLICAS} replicas, {ROUNDS} rounds");
    measure("1000 nodes, nothing to do", &layout(1000, 1000, 0));
    measure("500 -> 1000 nodes", &layout(1000, 500, 0));
    measure("999 -> 1000 nodes", &layout(1000, 999, 0));
    measure("500 -> 1000 nodes, 5 zones", &layout(1000, 500, 5));
    measure("500 -> 1000 nodes, 3 zones", &layout(1000, 498, 3));
    measure("500 -> 1000 nodes, 500 zones", &layout(1000, 500, 500));
    measure("3 -> 1000 nodes", &layout(1000, 3, 0));
    measure("3 -> 1000 nodes, 10 zones", &layout(1000, 3, 10));
    measure("3 -> 5 nodes", &layout(5, 3, 0));
    measure("3 -> 5 nodes, 3 zones", &layout(5, 3, 3));
}
