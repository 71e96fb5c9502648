//! Authorization: the one place that all services of all protocols ask before they act.
//!
//! Rules are in the metadata, and hold as soon as this node has applied them. How they are used is
//! in the node's configuration, which a lock-out cannot reach.

mod call_rule;
mod command_rules;
mod decision;
mod grant;
#[cfg(test)]
mod tests;

use std::fmt::Display;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use arc_swap::ArcSwap;
use lograft_core::Reason;
use lograft_core::acl::{Operation, Principal, Resource};
use lograft_core::limits::REFUSAL_LOG_INTERVAL;
use lograft_core::metadata::Command;
use prometheus::IntCounterVec;
use tracing::warn;

pub(crate) use call_rule::CallRule;
use command_rules::rule_of_command;
use decision::Standing;
pub(crate) use decision::{Decider, Decision, DecisionBasis};
pub(crate) use grant::Grant;

use crate::LogLimit;
use crate::config::{AuthorizationMode, AuthorizationSettings, CurrentAuthorization};
use crate::error::ApiError;
use crate::metrics::Metrics;
use crate::serving::consumer_groups::ReadRights;
use crate::state_machine::MetaView;

/// The time since the last contact with the meta group; none before the metadata are caught up.
pub(crate) type RulesAge = Arc<dyn Fn() -> Option<Duration> + Send + Sync>;

/// The parts of an [`Access`].
pub(crate) struct AccessParts {
    /// The metadata, with the rules.
    pub(crate) view: MetaView,
    /// How the rules are used.
    pub(crate) settings: CurrentAuthorization,
    /// How old the metadata are.
    pub(crate) rules_age: RulesAge,
    /// Counters.
    pub(crate) metrics: Arc<Metrics>,
}

/// Authorization of a node. Cheap to clone.
#[derive(Clone)]
pub(crate) struct Access(Arc<Shared>);

struct Shared {
    view: MetaView,
    settings: CurrentAuthorization,
    rules_age: RulesAge,
    basis: ArcSwap<DecisionBasis>,
    /// Held while the rules are compiled, so that it is done once.
    compiling: Mutex<()>,
    /// Refused calls, by what was done about it.
    refusals: IntCounterVec,
    log: LogLimit,
}

impl Access {
    pub(crate) fn new(parts: AccessParts) -> Self {
        let AccessParts {
            view,
            settings,
            rules_age,
            metrics,
        } = parts;
        let basis = DecisionBasis::new(settings.load_full(), &view.load());
        Self(Arc::new(Shared {
            view,
            settings,
            rules_age,
            basis: ArcSwap::from_pointee(basis),
            compiling: Mutex::new(()),
            refusals: metrics.authorization_refusals.clone(),
            log: LogLimit::new(REFUSAL_LOG_INTERVAL),
        }))
    }

    /// Fails with PERMISSION_DENIED if a principal may not make a call for a resource, and with
    /// NOT_READY if this node cannot know.
    ///
    /// The resource must be of the kind that the rule names, [`Resource::Cluster`] for a rule that
    /// names none. Otherwise everybody is refused: a service that checks the wrong
    /// resource does not let anybody in.
    pub(crate) fn check(
        &self,
        principal: &Principal,
        rule: CallRule,
        resource: Resource<'_>,
    ) -> Result<(), ApiError> {
        self.check_by(&self.basis(), principal, (rule, resource))
    }

    fn check_by(
        &self,
        basis: &DecisionBasis,
        principal: &Principal,
        (rule, resource): (CallRule, Resource<'_>),
    ) -> Result<(), ApiError> {
        let standing = || basis.standing(principal);
        let (operation, object, decision): (_, &dyn Display, _) = match rule {
            CallRule::On(kind, operation) if kind == resource.kind() => {
                (operation, &resource, standing().decide(operation, resource))
            }
            CallRule::OnSomeTopic(operation) => {
                let decision = standing().decide_on_some_topic(operation);
                (operation, &"any topic", decision)
            }
            CallRule::Filtered => return Ok(()),
            CallRule::NodesOnly => return check_node(principal),
            CallRule::On(kind, _) => {
                let text = format!("a call of a {kind} was checked for another resource");
                return Err(ApiError::new(Reason::Internal, text));
            }
        };
        // Also before a refusal: a rule that allows it may have been added meanwhile.
        if decision.decider == Decider::Rules && basis.mode() == AuthorizationMode::Enforced {
            self.check_age(basis)?;
        }
        if decision.is_allowed {
            return Ok(());
        }
        self.refuse(basis, principal, (operation, object))
    }

    /// Checks a metadata command that another node proposes, on behalf of the principal that it
    /// names. Fails as [`Access::check`] does.
    ///
    /// A node whose certificate was stolen can name any principal, but nothing that no principal
    /// may do, and each change has a name.
    pub(crate) fn check_command(
        &self,
        on_behalf_of: Option<&Principal>,
        command: &Command,
    ) -> Result<(), ApiError> {
        let basis = self.basis();
        let wrong_name = match command {
            Command::ChangeRules { changed_by, .. }
            | Command::ChangeRevocations { changed_by, .. } => Some(changed_by) != on_behalf_of,
            _ => false,
        };
        match (rule_of_command(command), on_behalf_of) {
            (None, None) => Ok(()),
            (Some((operation, resource)), Some(principal)) if !wrong_name => {
                if basis.decide(principal, operation, resource).is_allowed {
                    return Ok(());
                }
                self.refuse(&basis, principal, (operation, &resource))
            }
            // Nodes of before 0.3.0 name no principal. They do not know the level of rules.
            (Some(_), None) if basis.mode() == AuthorizationMode::Disabled && !wrong_name => Ok(()),
            (_, _) => {
                let text = format!(
                    "command {} was proposed for another principal than it is for",
                    command.name()
                );
                Err(ApiError::new(Reason::PermissionDenied, text))
            }
        }
    }

    /// The topics that a principal may see.
    pub(crate) fn visibility<'a>(&self, principal: &'a Principal) -> Visibility<'a> {
        let basis = self.basis();
        let standing = match basis.mode() {
            AuthorizationMode::Enforced => basis.standing(principal),
            AuthorizationMode::Disabled | AuthorizationMode::ReportOnly => {
                Standing::Everything(Decider::Disabled)
            }
        };
        Visibility {
            standing,
            principal,
        }
    }

    /// The basis of decisions at this moment. Compiles the rules if they have changed.
    pub(crate) fn basis(&self) -> Arc<DecisionBasis> {
        let shared = &*self.0;
        let current = shared.basis.load();
        if current.is_current(&shared.settings.load(), &shared.view.load()) {
            return Arc::clone(&current);
        }
        let _compiling = shared
            .compiling
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let (settings, metadata) = (shared.settings.load_full(), shared.view.load());
        let current = shared.basis.load_full();
        if current.is_current(&settings, &metadata) {
            return current;
        }
        let new = Arc::new(DecisionBasis::new(settings, &metadata));
        shared.basis.store(Arc::clone(&new));
        new
    }

    /// Fails if the rules of this node are too old to decide by them: a right may have been taken
    /// away.
    fn check_age(&self, basis: &DecisionBasis) -> Result<(), ApiError> {
        let max_ms = basis.settings.rules_max_age_ms;
        let age = (self.0.rules_age)();
        if age.is_some_and(|age| age <= Duration::from_millis(max_ms)) {
            return Ok(());
        }
        let text = "this node has had no contact with the meta group for too long to know the \
                    authorization rules";
        Err(ApiError::new(Reason::NotReady, text)
            .with("field", "authorization.rules_max_age_ms")
            .with("bound", max_ms))
    }

    /// Refuses a request, or only reports that.
    fn refuse(
        &self,
        basis: &DecisionBasis,
        principal: &Principal,
        (operation, object): (Operation, &dyn Display),
    ) -> Result<(), ApiError> {
        let is_enforced = basis.mode() == AuthorizationMode::Enforced;
        let result = if is_enforced { "refused" } else { "reported" };
        self.0.refusals.with_label_values(&[result]).inc();
        if let Some(held_back) = self.0.log.pass() {
            warn!(%principal, %operation, resource = %object, result, held_back, "request not authorized");
        }
        if !is_enforced {
            return Ok(());
        }
        Err(denied(principal, operation, object))
    }
}

fn denied(principal: &Principal, operation: Operation, object: &dyn Display) -> ApiError {
    let text = format!("{principal} is not allowed to {operation} {object}");
    ApiError::new(Reason::PermissionDenied, text)
}

/// Fails with PERMISSION_DENIED unless the principal is a node.
pub(crate) fn check_node(principal: &Principal) -> Result<(), ApiError> {
    if matches!(principal, Principal::Node(_)) {
        return Ok(());
    }
    let text = format!("{principal} is not allowed to act as a node of the cluster");
    Err(ApiError::new(Reason::PermissionDenied, text))
}

impl ReadRights for Access {
    fn may_read(&self, principal: &Principal, topic: &str) -> bool {
        let basis = self.basis();
        let asked = (Operation::Read, Resource::Topic(topic));
        basis.mode() != AuthorizationMode::Enforced
            || basis.decide(principal, asked.0, asked.1).is_allowed
    }

    fn settings(&self) -> Arc<AuthorizationSettings> {
        self.0.settings.load_full()
    }
}

/// The topics that one principal may see. For one request: later changes of the rules do not show.
pub(crate) struct Visibility<'a> {
    standing: Standing,
    principal: &'a Principal,
}

impl Visibility<'_> {
    /// Whether the principal may see a topic.
    pub(crate) fn includes_topic(&self, name: &str) -> bool {
        let seen = self
            .standing
            .decide(Operation::Describe, Resource::Topic(name));
        seen.is_allowed
    }

    /// Whether the principal may see a consumer group.
    pub(crate) fn includes_group(&self, name: &str) -> bool {
        let seen = self
            .standing
            .decide(Operation::Describe, Resource::Group(name));
        seen.is_allowed
    }

    /// The error for a topic that the principal may not see, whether or not it exists.
    pub(crate) fn hidden_topic(&self, name: &str) -> ApiError {
        denied(self.principal, Operation::Describe, &Resource::Topic(name))
    }
}
