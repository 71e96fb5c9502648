//! Makes a plan.

use super::chains::move_along_chains;
use super::layout::Layout;
use super::leaders;
use super::moves::Mover;
use super::placement::Placement;
use super::step::{BeforeAfter, Cost, NodeChange, Plan, Step};

/// Plans the moves of replicas, and then the changes of preferred leaders, that balance the
/// cluster.
pub fn plan(layout: &Layout) -> Plan {
    plan_of(layout, |placement| {
        // A node that was full can have room after other moves, for a replica in a wrong zone.
        let mut step_count = None;
        while step_count != Some(placement.steps.len()) {
            step_count = Some(placement.steps.len());
            move_replicas(placement);
        }
    })
}

fn move_replicas(placement: &mut Placement) {
    let node_count = placement.nodes.len();
    let mut mover = Mover::new(placement);
    mover.fix_zones();
    mover.move_directly();
    move_along_chains(&mut mover, node_count);
}

/// Plans the changes of preferred leaders that balance them over the current replicas.
pub fn plan_leaders(layout: &Layout) -> Plan {
    plan_of(layout, |_| {})
}

fn plan_of(layout: &Layout, change: impl FnOnce(&mut Placement)) -> Plan {
    let mut placement = Placement::new(layout);
    let faults_before = faults(&placement);
    let loads_before = placement.loads.clone();
    let leaders_before = placement.leader_counts();
    change(&mut placement);
    let leaders_moved = placement.leader_counts();
    leaders::spread(&mut placement);
    let leaders_after = placement.leader_counts();

    let fixed = faults_before.saturating_sub(faults(&placement));
    let mut cost = Cost {
        least_moves: lost(&loads_before, &placement.loads).max(fixed),
        least_leader_changes: lost(&leaders_moved, &leaders_after),
        ..Cost::default()
    };
    for step in &placement.steps {
        cost.add(step);
    }
    let number = |before: &[u32], after: &[u32], node: usize| BeforeAfter {
        before: before[node],
        after: after[node],
    };
    let nodes = layout
        .nodes
        .iter()
        .enumerate()
        .map(|(at, node)| NodeChange {
            node: node.id,
            zone: node.zone.clone(),
            replicas: number(&loads_before, &placement.loads, at),
            leaders: number(&leaders_before, &leaders_after, at),
        });
    Plan {
        nodes: nodes.collect(),
        steps: placement.steps,
        cost,
    }
}

/// Number of replicas in a wrong zone, of the partitions that may be moved.
fn faults(placement: &Placement) -> u64 {
    let items = 0..placement.items.len();
    let movable = items.filter(|item| placement.items[*item].is_movable);
    movable.map(|item| placement.zone_faults(item) as u64).sum()
}

/// Number of replicas or leaders that nodes lose in total.
fn lost(before: &[u32], after: &[u32]) -> u64 {
    let each = before.iter().zip(after);
    each.map(|(before, after)| u64::from(before.saturating_sub(*after)))
        .sum()
}

impl Cost {
    fn add(&mut self, step: &Step) {
        match step {
            Step::Move { size_bytes, .. } => {
                self.moves += 1;
                self.size_bytes += size_bytes.unwrap_or(0);
                self.unknown_sizes += u64::from(size_bytes.is_none());
            }
            Step::Lead { .. } => self.leader_changes += 1,
        }
    }
}
