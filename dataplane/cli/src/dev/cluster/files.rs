//! Files that tell other commands about the running cluster: the contexts file and the run file.

use super::super::error::DevError;
use super::super::layout::{LayoutError, RunFile, RunningNode};
use super::{CONTEXT_NAME, DevCluster, NodeView};
use crate::contexts_file::{ClusterContext, ContextsError, ContextsFile};

impl DevCluster {
    /// Adds the cluster's context and makes it the current one.
    pub(super) fn write_context(&self) -> Result<(), DevError> {
        let mut contexts = ContextsFile::load(&self.config)?;
        for (name, context) in self.contexts() {
            contexts.contexts.insert(name, context);
        }
        contexts.current = Some(CONTEXT_NAME.into());
        Ok(contexts.save(&self.config)?)
    }

    /// The contexts of this cluster: of the administrator and of further users.
    fn contexts(&self) -> impl Iterator<Item = (String, ClusterContext)> {
        let admin = (CONTEXT_NAME.to_owned(), self.context.clone());
        let users = self.users.iter().map(|(name, identity)| {
            let context = ClusterContext {
                cert: identity.cert.clone(),
                key: identity.key.clone(),
                ..self.context.clone()
            };
            (format!("{CONTEXT_NAME}-{name}"), context)
        });
        std::iter::once(admin).chain(users)
    }

    /// Restores the contexts as they were before an ephemeral cluster, unless another process has
    /// replaced its context.
    pub(super) fn restore_context(&self) -> Result<(), ContextsError> {
        let mut contexts = ContextsFile::load(&self.config)?;
        for (name, context) in self.contexts() {
            if contexts.contexts.get(&name) != Some(&context) {
                continue;
            }
            match self.contexts_before.contexts.get(&name) {
                Some(before) => contexts.contexts.insert(name, before.clone()),
                None => contexts.contexts.remove(&name),
            };
        }
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
