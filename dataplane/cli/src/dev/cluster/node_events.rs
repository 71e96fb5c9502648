//! What happens to nodes is noted and told.

use std::process::ExitStatus;

use super::super::error::DevError;
use super::super::supervise::{NodeEvent, What, describe_end};
use super::super::tail::log_tail;
use super::{Dev, NodeView, STARTUP_ENDS_MAX, say};
use crate::units;

impl Dev {
    pub(super) fn on_event(&mut self, event: NodeEvent) -> Result<(), DevError> {
        let (paint, is_up) = (self.paint, self.is_up);
        if matches!(event.what, What::Decommissioned) {
            return self.on_decommissioned(event.number);
        }
        let mut nodes = self.nodes.iter_mut();
        let Some(node) = nodes.find(|node| node.ports.number == event.number) else {
            return Ok(());
        };
        let id = node.id.map(|id| format!(" (id {id})")).unwrap_or_default();
        let who = format!("{}{id}", node.name);
        match event.what {
            What::Started { pid } => node.pid = Some(pid),
            What::Ready { pid, after } => {
                (node.is_ready, node.early_ends) = (true, 0);
                if is_up {
                    let (back, after) = (paint.good("is back"), units::elapsed(after));
                    let client = node.ports.client;
                    say(format_args!(
                        "{who} {back}: pid {pid}, client {client}, ready after {after}"
                    ));
                }
            }
            What::Ended {
                pid,
                status,
                was_ready,
                retry_in,
            } => {
                (node.pid, node.is_ready) = (None, false);
                node.early_ends += u32::from(!was_ready);
                if !is_up && node.early_ends >= STARTUP_ENDS_MAX {
                    return Err(keeps_ending(node, status));
                }
                let end = paint.bad(describe_end(status));
                let wait = units::elapsed(retry_in);
                say(format_args!(
                    "{who} {end}: pid {pid}; starting it again in {wait}"
                ));
                if !was_ready {
                    say(format_args!("{}", paint.faint(log_tail(&node.log))));
                }
            }
            What::NotStarted { source, retry_in } => {
                let wait = units::elapsed(retry_in);
                say(format_args!(
                    "{who} could not be started ({source}); trying again in {wait}"
                ));
            }
            What::Decommissioned => {}
            What::Killed { pid } => {
                say(format_args!("{who} did not stop in time: killed pid {pid}"));
            }
        }
        if self.is_up {
            Ok(self.write_run_file()?)
        } else {
            Ok(())
        }
    }

    /// Such a node is never started again.
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
        say(format_args!(
            "{name} {}: its process is stopped, {} is not needed any more",
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

fn keeps_ending(node: &NodeView, status: ExitStatus) -> DevError {
    DevError::KeepsEnding {
        name: node.name.clone(),
        end: describe_end(status),
        count: node.early_ends,
        log: node.log.clone(),
        tail: log_tail(&node.log),
    }
}
