//! Finalizes feature levels.

use std::sync::Arc;

use lograft_core::acl::Principal;
use lograft_core::metadata::{Command, Metadata};
use lograft_core::{FeatureLevel, Reason};

use super::cluster_report::ClusterReporter;
use super::cluster_report::reports::Reports;
use crate::error::ApiError;
use crate::serving::meta_group::{MetaHandle, MetaProposal};
use crate::state_machine::MetaView;

/// Finalizes feature levels. Cheap to clone.
#[derive(Clone)]
pub(crate) struct LevelAdmin {
    pub(crate) view: MetaView,
    pub(crate) proposer: MetaHandle,
    pub(crate) cluster: Arc<ClusterReporter>,
}

/// The finalized level after a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct FinalizedLevel {
    pub(crate) level: FeatureLevel,
    /// Whether the request changed it.
    pub(crate) is_changed: bool,
}

impl LevelAdmin {
    /// Finalizes a level; by default the newest that all nodes know. Idempotent.
    ///
    /// A node that is replaced by an older version between its report and the commit of the level
    /// ends when it applies the level, and refuses to start until it has a version that knows it.
    pub(crate) async fn finalize(
        &self,
        requested: Option<FeatureLevel>,
        by: &Arc<Principal>,
    ) -> Result<FinalizedLevel, ApiError> {
        let finalized = self.view.load().finalized_level();
        if requested.is_some_and(|level| level <= finalized) {
            return Ok(FinalizedLevel {
                level: finalized,
                is_changed: false,
            });
        }
        let reports = self.cluster.collect().await;
        let metadata = self.view.load();
        let level = choose(&metadata, &reports, requested)?;
        let is_changed = level > metadata.finalized_level();
        if is_changed {
            let command = Command::FinalizeLevel { level };
            self.proposer.propose(MetaProposal::of(by, command)).await?;
        }
        Ok(FinalizedLevel {
            level: self.view.load().finalized_level(),
            is_changed,
        })
    }
}

/// The level to finalize, which all members must know. A member that is not reachable counts as one
/// that may not know it: it would be lost as soon as it restarts.
fn choose(
    metadata: &Metadata,
    reports: &Reports,
    requested: Option<FeatureLevel>,
) -> Result<FeatureLevel, ApiError> {
    let common = reports.lowest_level(metadata).map_err(|node| {
        let text = format!("node {node} is not reachable, so its feature level is not known");
        ApiError::new(Reason::NotReady, text).with("node", node)
    })?;
    let level = requested.unwrap_or(common);
    let too_old = metadata.members().find_map(|member| {
        let report = reports.node(member.id)?;
        (report.level < level).then_some((member, report))
    });
    let Some((member, report)) = too_old else {
        return Ok(level);
    };
    let text = format!(
        "node {} ({}) runs version {}, which knows feature levels up to {}, not {level}",
        member.id, member.registration.name, report.version, report.level
    );
    Err(ApiError::new(Reason::VersionTooOld, text)
        .with("node", member.id)
        .with("field", "level")
        .with("bound", format!("0..={}", report.level)))
}

#[cfg(test)]
mod tests {
    use lograft_core::{ClusterId, NodeId};

    use super::*;
    use crate::control::node_report::NodeReport;
    use crate::control::test_metadata::cluster;
    use crate::identity::Member;

    fn reports(levels: &[(u64, u32)]) -> Reports {
        Reports::new(levels.iter().map(|(node, level)| NodeReport {
            member: Some(Member {
                cluster: ClusterId::from_bytes([1; 16]),
                node: NodeId(*node),
            }),
            level: FeatureLevel(*level),
            ..NodeReport::default()
        }))
    }

    #[test]
    fn a_level_is_finalized_once_all_members_know_it() {
        let metadata = cluster(3);
        let choose = |levels: &[(u64, u32)], requested: Option<u32>| {
            choose(&metadata, &reports(levels), requested.map(FeatureLevel))
                .map_err(|error| error.reason())
        };
        let all = [(1, 2), (2, 1), (3, 3)];
        assert_eq!(choose(&all, None), Ok(FeatureLevel(1)));
        assert_eq!(choose(&all, Some(1)), Ok(FeatureLevel(1)));
        assert_eq!(choose(&all, Some(2)), Err(Some(Reason::VersionTooOld)));
        assert_eq!(choose(&all[1..], None), Err(Some(Reason::NotReady)));
        assert_eq!(
            choose(&[(1, 1), (2, 0), (3, 1)], None),
            Ok(FeatureLevel::ZERO)
        );
    }
}
