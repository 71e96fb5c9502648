//! What others read of a running cluster: the contexts file and the run file.

use super::super::error::DevError;
use super::super::layout::{LayoutError, RunFile, RunningNode};
use super::{CONTEXT_NAME, Dev, NodeView};
use crate::contexts_file::{ContextError, Contexts};

impl Dev {
    pub(super) fn write_context(&self) -> Result<(), DevError> {
        let mut contexts = Contexts::load(&self.config)?;
        contexts
            .contexts
            .insert(CONTEXT_NAME.into(), self.context.clone());
        contexts.current = Some(CONTEXT_NAME.into());
        Ok(contexts.save(&self.config)?)
    }

    /// After an ephemeral cluster the contexts are as before it.
    pub(super) fn restore_context(&self) -> Result<(), ContextError> {
        let mut contexts = Contexts::load(&self.config)?;
        if contexts.contexts.get(CONTEXT_NAME) != Some(&self.context) {
            return Ok(());
        }
        match self.before.contexts.get(CONTEXT_NAME) {
            Some(context) => contexts
                .contexts
                .insert(CONTEXT_NAME.into(), context.clone()),
            None => contexts.contexts.remove(CONTEXT_NAME),
        };
        if contexts.current.as_deref() == Some(CONTEXT_NAME) {
            contexts.current.clone_from(&self.before.current);
        }
        contexts.save(&self.config)
    }

    pub(super) fn write_run_file(&self) -> Result<(), LayoutError> {
        let running = |node: &NodeView| {
            let (name, client) = (node.name.clone(), node.ports.client.to_string());
            Some(RunningNode {
                name,
                pid: node.pid?,
                client,
            })
        };
        let nodes = self.nodes.iter().filter_map(running).collect();
        self.layout.write_run_file(&RunFile {
            pid: std::process::id(),
            nodes,
        })
    }
}
