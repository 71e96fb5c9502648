//! Files that tell other commands about the running cluster: the contexts file and the run file.

use super::super::error::DevError;
use super::super::layout::{LayoutError, RunFile, RunningNode};
use super::{CONTEXT_NAME, DevCluster, NodeView};
use crate::contexts_file::{ContextsError, ContextsFile};

impl DevCluster {
    /// Adds the cluster's context and makes it the current one.
    pub(super) fn write_context(&self) -> Result<(), DevError> {
        let mut contexts = ContextsFile::load(&self.config)?;
        contexts
            .contexts
            .insert(CONTEXT_NAME.into(), self.context.clone());
        contexts.current = Some(CONTEXT_NAME.into());
        Ok(contexts.save(&self.config)?)
    }

    /// Restores the contexts as they were before an ephemeral cluster, unless another process has
    /// replaced its context.
    pub(super) fn restore_context(&self) -> Result<(), ContextsError> {
        let mut contexts = ContextsFile::load(&self.config)?;
        if contexts.contexts.get(CONTEXT_NAME) != Some(&self.context) {
            return Ok(());
        }
        match self.contexts_before.contexts.get(CONTEXT_NAME) {
            Some(context) => contexts
                .contexts
                .insert(CONTEXT_NAME.into(), context.clone()),
            None => contexts.contexts.remove(CONTEXT_NAME),
        };
        if contexts.current.as_deref() == Some(CONTEXT_NAME) {
            contexts.current.clone_from(&self.contexts_before.current);
        }
        contexts.save(&self.config)
    }

    /// Writes the process ids of the nodes.
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
