//! The decision about one operation: fixed rights, super users, then the rules.

use std::collections::BTreeSet;
use std::sync::Arc;

use lograft_core::FeatureLevel;
use lograft_core::acl::{CompiledRules, Operation, Principal, Resource, Rights, RuleTable};
use lograft_core::metadata::Metadata;

use crate::config::{AuthorizationMode, AuthorizationSettings};

/// The feature level from which on there are rules.
const RULES_LEVEL: FeatureLevel = FeatureLevel(2);

/// The ground of a decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Decider {
    /// The rules, or that none matches.
    Rules,
    /// The principal is a super user.
    SuperUser,
    /// The rights of nodes and of the operator are fixed.
    Fixed,
    /// Authorization is disabled.
    Disabled,
}

/// A decision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Decision {
    pub(crate) is_allowed: bool,
    pub(crate) decider: Decider,
}

/// Everything that a decision depends on, at one moment.
pub(crate) struct DecisionBasis {
    pub(super) settings: Arc<AuthorizationSettings>,
    pub(super) table: Arc<RuleTable>,
    /// None before the cluster is bootstrapped, and before this node has replayed the metadata.
    level: Option<FeatureLevel>,
    super_users: BTreeSet<Principal>,
    compiled: CompiledRules,
}

/// The rights of a principal: to everything, for one reason, or by the rules.
pub(super) enum Standing {
    Everything(Decider),
    /// A node: it may see everything, so that its operator can look at the cluster from it.
    Node,
    /// The operator: everything but the records.
    Operator,
    Rules(Rights),
}

impl DecisionBasis {
    pub(super) fn new(settings: Arc<AuthorizationSettings>, metadata: &Metadata) -> Self {
        let table = Arc::clone(metadata.rules());
        Self {
            super_users: settings.super_users().collect(),
            compiled: CompiledRules::new(&table),
            level: level_of(metadata),
            settings,
            table,
        }
    }

    /// Whether decisions of this basis are still right for these settings and metadata.
    pub(super) fn is_current(
        &self,
        settings: &Arc<AuthorizationSettings>,
        metadata: &Metadata,
    ) -> bool {
        Arc::ptr_eq(&self.settings, settings)
            && Arc::ptr_eq(&self.table, metadata.rules())
            && self.level == level_of(metadata)
    }

    /// The mode in effect. While the level is not known it is the configured one: there are no
    /// rules yet, so that only fixed rights and super users count.
    pub(crate) fn mode(&self) -> AuthorizationMode {
        match self.level {
            Some(level) if level < RULES_LEVEL => AuthorizationMode::Disabled,
            Some(_) | None => self.settings.mode,
        }
    }

    pub(super) fn standing(&self, principal: &Principal) -> Standing {
        match principal {
            _ if self.mode() == AuthorizationMode::Disabled => {
                Standing::Everything(Decider::Disabled)
            }
            Principal::Node(_) => Standing::Node,
            Principal::Operator => Standing::Operator,
            user @ Principal::User { .. } => {
                if self.super_users.contains(user) {
                    Standing::Everything(Decider::SuperUser)
                } else {
                    Standing::Rules(self.compiled.rights(user))
                }
            }
        }
    }

    /// Decides about an operation on a resource.
    pub(crate) fn decide(
        &self,
        principal: &Principal,
        operation: Operation,
        resource: Resource<'_>,
    ) -> Decision {
        self.standing(principal).decide(operation, resource)
    }
}

fn level_of(metadata: &Metadata) -> Option<FeatureLevel> {
    metadata.cluster_id().map(|_| metadata.finalized_level())
}

impl Standing {
    pub(super) fn decide(&self, operation: Operation, resource: Resource<'_>) -> Decision {
        let (is_allowed, decider) = match self {
            Self::Everything(decider) => (true, *decider),
            Self::Node => (operation == Operation::Describe, Decider::Fixed),
            Self::Operator => {
                let is_of_records = matches!(operation, Operation::Read | Operation::Write);
                (!is_of_records, Decider::Fixed)
            }
            Self::Rules(rights) => (rights.allow(operation, resource), Decider::Rules),
        };
        Decision {
            is_allowed,
            decider,
        }
    }

    pub(super) fn decide_on_some_topic(&self, operation: Operation) -> Decision {
        match self {
            Self::Rules(rights) => Decision {
                is_allowed: rights.may_allow_on_a_topic(operation),
                decider: Decider::Rules,
            },
            other => other.decide(operation, Resource::Topic("")),
        }
    }
}
