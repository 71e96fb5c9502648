//! Handles and prints events of node processes.

use std::process::ExitStatus;

use super::super::error::DevError;
use super::super::supervise::{NodeEvent, NodeEventKind, describe_end};
use super::super::tail::log_tail;
use super::{DevCluster, NodeView, STARTUP_CRASHES_MAX, print_line};
use crate::units;

impl DevCluster {
    /// Updates the state of the node and prints the event.
    pub(super) fn on_event(&mut self, event: NodeEvent) -> Result<(), DevError> {
        let (paint, is_up) = (self.paint, self.is_up);
        if matches!(event.kind, NodeEventKind::Decommissioned) {
            return self.on_decommissioned(event.number);
        }
        let mut nodes = self.nodes.iter_mut();
        let Some(node) = nodes.find(|node| node.ports.number == event.number) else {
            return Ok(());
        };
        let name = &node.name;
        match event.kind {
            NodeEventKind::Started { pid } => node.pid = Some(pid),
            NodeEventKind::Ready { pid, after } => {
                (node.is_ready, node.startup_crashes) = (true, 0);
                if is_up {
                    let (ready, after) = (paint.good("is ready again"), units::elapsed(after));
                    let client = node.ports.client;
                    print_line(format_args!(
                        "{name} {ready} after {after} (pid {pid}, client {client})"
                    ));
                }
            }
            NodeEventKind::Ended {
                pid,
                status,
                was_ready,
                retry_in,
            } => {
                (node.pid, node.is_ready) = (None, false);
                node.startup_crashes += u32::from(!was_ready);
                if !is_up && node.startup_crashes >= STARTUP_CRASHES_MAX {
                    return Err(crash_loop(node, status));
                }
                let end = paint.bad(describe_end(status));
                let backoff = units::elapsed(retry_in);
                print_line(format_args!(
                    "{name} (pid {pid}) {end}, restarting in {backoff}"
                ));
                if !was_ready {
                    print_line(format_args!("{}", paint.faint(log_tail(&node.log))));
                }
            }
            NodeEventKind::NotStarted { source, retry_in } => {
                let backoff = units::elapsed(retry_in);
                print_line(format_args!(
                    "cannot start {name}: {source}; retrying in {backoff}"
                ));
            }
            NodeEventKind::Decommissioned => {}
            NodeEventKind::Killed { pid } => {
                print_line(format_args!(
                    "{name} (pid {pid}) did not stop in time and was killed"
                ));
            }
        }
        if self.is_up {
            Ok(self.write_run_file()?)
        } else {
            Ok(())
        }
    }

    /// Removes the node from the state, so that it is never started again.
    fn on_decommissioned(&mut self, number: u32) -> Result<(), DevError> {
        let Some(at) = self
            .nodes
            .iter()
            .position(|node| node.ports.number == number)
        else {
            return Ok(());
        };
        let node = self.nodes.remove(at);
        let data = self.layout.node_data(&node.name);
        let (name, paint) = (&node.name, self.paint);
        print_line(format_args!(
            "{name} {} and stopped; its data in {} is no longer needed",
            paint.warn("has been decommissioned"),
            data.display()
        ));
        self.state.removed.push(number);
        self.layout.save_state(&self.state)?;
        let endpoint = node.ports.client.to_string();
        self.context.endpoints.retain(|known| *known != endpoint);
        if self.is_up {
            self.write_context()?;
            self.write_run_file()?;
        }
        Ok(())
    }
}

fn crash_loop(node: &NodeView, status: ExitStatus) -> DevError {
    DevError::CrashLoop {
        name: node.name.clone(),
        end: describe_end(status),
        count: node.startup_crashes,
        log: node.log.clone(),
        tail: log_tail(&node.log),
    }
}
