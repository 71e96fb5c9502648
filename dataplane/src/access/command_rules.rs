//! The right that a metadata command needs. The leader of the meta group checks it for commands
//! that another node proposes: each node checks its own clients, but rules may have changed since.

use lograft_core::acl::{Operation, Resource};
use lograft_core::metadata::Command;

/// The right of the principal whose request a command carries out, or none if the command is the
/// work of nodes alone.
pub(super) fn rule_of_command(command: &Command) -> Option<(Operation, Resource<'_>)> {
    use Operation::{Admin, Alter, Create, Delete};
    match command {
        Command::CreateTopic { name, .. } => Some((Create, Resource::Topic(name))),
        Command::AlterTopic { name, .. } => Some((Alter, Resource::Topic(name))),
        Command::DeleteTopic { name, .. } => Some((Delete, Resource::Topic(name))),
        Command::SetPreferredLeader { .. } | Command::RestNode { .. } => {
            Some((Alter, Resource::Cluster))
        }
        Command::DrainNode { .. }
        | Command::UndrainNode { .. }
        | Command::StartRebalance
        | Command::PauseRebalance { .. }
        | Command::FinalizeLevel { .. }
        | Command::ChangeRules { .. }
        | Command::ChangeRevocations { .. }
        | Command::RecoverPartition { .. } => Some((Admin, Resource::Cluster)),
        Command::InitCluster { .. }
        | Command::RegisterNode(_)
        | Command::UpdateNode { .. }
        | Command::AllocateProducers { .. }
        | Command::StartPartition { .. }
        | Command::SetTarget { .. }
        | Command::CommitMove { .. }
        | Command::ReportDamage { .. }
        | Command::CommitEviction { .. }
        | Command::CommitRepair { .. }
        | Command::RemoveNode { .. }
        | Command::EndRebalance { .. }
        | Command::MarkLost { .. }
        | Command::FindNode { .. }
        | Command::CommitRecovery { .. }
        | Command::RecoverMetadata { .. }
        | Command::CreateCoordinators { .. } => None,
    }
}
