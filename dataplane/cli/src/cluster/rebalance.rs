//! `lograft cluster rebalance`: the plan, its cost, and its progress.

use std::fmt::Write as _;

use lograft_client::Admin;
use lograft_client::admin_wire::{RebalanceAction as Action, RebalanceReply, RebalanceState};
use tokio::time::{Instant, sleep};

use super::render::rebalance_state_name;
use super::{ClusterError, POLL_INTERVAL, RESUME, RebalanceAction, RebalanceArgs};
use crate::call_error::cannot;
use crate::error::CliError;
use crate::output::{Paint, StatusLine, Table, plural, print};
use crate::units;

/// Number of steps that are printed.
const STEPS_SHOWN_COUNT: usize = 40;

pub(super) async fn run(admin: &Admin, args: RebalanceArgs) -> Result<(), CliError> {
    let RebalanceArgs {
        action,
        wait,
        timeout,
    } = args;
    let action = match action {
        RebalanceAction { dry_run: true, .. } => Action::Plan,
        RebalanceAction { pause: true, .. } => Action::Pause,
        RebalanceAction { resume: true, .. } => Action::Resume,
        RebalanceAction { .. } => Action::Start,
    };
    let request = |action| async move {
        let reply = admin.rebalance(action).await;
        reply.map_err(cannot("balance the cluster"))
    };
    let mut reply = request(action).await?;
    if !wait {
        return print(&text(&reply, Paint::stdout()));
    }
    let started = Instant::now();
    let mut status = StatusLine::new();
    while reply.state() == RebalanceState::Running {
        let left = left(&reply);
        if started.elapsed() >= timeout {
            let after = units::elapsed(timeout);
            return Err(ClusterError::StillMoving { left, after }.into());
        }
        let size = units::size(reply.move_bytes);
        status.show(&format!("{left} replicas left to move, {size} not started"));
        sleep(POLL_INTERVAL).await;
        reply = request(Action::Plan).await?;
    }
    status.clear();
    let left = left(&reply);
    if reply.state() == RebalanceState::Paused && left > 0 {
        return Err(ClusterError::Paused { left }.into());
    }
    print(&text(&reply, Paint::stdout()))
}

/// Number of replicas that are left to move.
fn left(reply: &RebalanceReply) -> u64 {
    reply.moves + u64::from(reply.moves_in_progress)
}

/// The state, the nodes before and after, and the first steps.
fn text(reply: &RebalanceReply, paint: Paint) -> String {
    let state = rebalance_state_name(reply.state());
    let mut out = format!("rebalancing is {state}; ");
    if reply.moves_in_progress > 0 {
        let _ = write!(
            out,
            "{} replicas are being moved; ",
            reply.moves_in_progress
        );
    }
    if reply.moves + reply.leader_changes == 0 {
        out.push_str("nothing is left to move\n");
    } else {
        let size = match (reply.move_bytes, reply.moves_of_unknown_size) {
            (bytes, 0) => units::size(bytes),
            (bytes, unknown) => format!("{} and {unknown} of unknown size", units::size(bytes)),
        };
        let _ = writeln!(
            out,
            "{} to move ({size}; no plan needs fewer than {}), {} to change",
            plural(
                usize::try_from(reply.moves).unwrap_or(usize::MAX),
                "replica"
            ),
            reply.least_moves,
            plural(
                usize::try_from(reply.leader_changes).unwrap_or(usize::MAX),
                "preferred leader"
            ),
        );
    }
    if reply.state() == RebalanceState::Paused {
        let _ = writeln!(out, "{RESUME}");
    }
    out.push('\n');
    out.push_str(&nodes(reply, paint));
    if !reply.steps.is_empty() {
        out.push('\n');
        out.push_str(&steps(reply, paint));
    }
    out
}

fn nodes(reply: &RebalanceReply, paint: Paint) -> String {
    let mut table = Table::new(&[">ID", "ZONE", ">REPLICAS", ">AFTER", ">LEADERS", ">AFTER"]);
    for node in &reply.nodes {
        let zone = if node.zone.is_empty() {
            "-".to_owned()
        } else {
            node.zone.clone()
        };
        table.row([
            node.node_id.to_string(),
            zone,
            node.replicas_before.to_string(),
            node.replicas_after.to_string(),
            node.leaders_before.to_string(),
            node.leaders_after.to_string(),
        ]);
    }
    table.render(paint, 0)
}

fn steps(reply: &RebalanceReply, paint: Paint) -> String {
    let mut table = Table::new(&["PARTITION", "STEP", ">FROM", ">TO", ">SIZE"]);
    for step in reply.steps.iter().take(STEPS_SHOWN_COUNT) {
        let kind = if step.leader_only { "leader" } else { "move" };
        let size = match step.bytes {
            _ if step.leader_only => String::new(),
            Some(bytes) => units::size(bytes),
            None => "?".to_owned(),
        };
        table.row([
            format!("{}/{}", step.topic, step.partition),
            kind.to_owned(),
            step.from_node.to_string(),
            step.to_node.to_string(),
            size,
        ]);
    }
    let mut out = table.render(paint, 0);
    let shown = reply.steps.len().min(STEPS_SHOWN_COUNT) as u64;
    let more = (reply.moves + reply.leader_changes).saturating_sub(shown);
    if more > 0 {
        let _ = writeln!(out, "and {more} more");
    }
    out
}

#[cfg(test)]
mod tests {
    use lograft_client::admin_wire::{RebalanceNode, RebalanceStep};

    use super::*;

    #[test]
    fn the_plan_shows_its_cost_the_nodes_and_the_steps() {
        let node = |node_id, before, after| RebalanceNode {
            node_id,
            zone: if node_id == 1 {
                "a".into()
            } else {
                String::new()
            },
            replicas_before: before,
            replicas_after: after,
            leaders_before: before,
            leaders_after: after,
        };
        let step = |leader_only, bytes| RebalanceStep {
            topic: "t".into(),
            partition: 3,
            from_node: 1,
            to_node: 2,
            leader_only,
            bytes,
        };
        let mut reply = RebalanceReply {
            moves_in_progress: 2,
            steps: vec![step(false, Some(2048)), step(true, None)],
            moves: 1,
            least_moves: 1,
            move_bytes: 2048,
            leader_changes: 2,
            nodes: vec![node(1, 2, 1), node(2, 0, 1)],
            ..RebalanceReply::default()
        };
        reply.set_state(RebalanceState::Running);
        let expected = "\
rebalancing is running; 2 replicas are being moved; 1 replica to move (2.0 KiB; no plan needs fewer than 1), 2 preferred leaders to change

ID  ZONE  REPLICAS  AFTER  LEADERS  AFTER
 1  a            2      1        2      1
 2  -            0      1        0      1

PARTITION  STEP    FROM  TO     SIZE
t/3        move       1   2  2.0 KiB
t/3        leader     1   2
and 1 more
";
        assert_eq!(text(&reply, Paint::plain()), expected);
        reply.set_state(RebalanceState::Paused);
        assert!(text(&reply, Paint::plain()).contains("--resume` to continue it\n"));
        let done = text(&RebalanceReply::default(), Paint::plain());
        assert!(
            done.starts_with("rebalancing is idle; nothing is left to move\n"),
            "{done}"
        );
    }
}
