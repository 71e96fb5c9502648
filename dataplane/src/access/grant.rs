//! The last decision of a stream, so that it is not taken again for each of its messages.

use std::sync::Arc;

use lograft_core::acl::{Principal, Resource};
use lograft_core::limits::ACL_GRANT_MAX;
use tokio::time::Instant;

use super::{Access, CallRule, DecisionBasis};
use crate::error::ApiError;

/// Authorizes the messages of a stream, which are mostly for the same topic.
pub(crate) struct Grant {
    access: Access,
    rule: CallRule,
    last: Option<Granted>,
}

/// The request that was allowed last.
struct Granted {
    principal: Arc<Principal>,
    topic: String,
    basis: Arc<DecisionBasis>,
    /// The age of the rules is checked again after it.
    until: Instant,
}

impl Grant {
    pub(crate) const fn new(access: Access, rule: CallRule) -> Self {
        Self {
            access,
            rule,
            last: None,
        }
    }

    /// Fails as [`Access::check`] does for a topic.
    pub(crate) fn check(
        &mut self,
        principal: &Arc<Principal>,
        topic: &str,
        now: Instant,
    ) -> Result<(), ApiError> {
        let basis = self.access.basis();
        let is_same = |granted: &Granted| {
            Arc::ptr_eq(&granted.basis, &basis)
                && granted.topic == topic
                && granted.until > now
                && granted.principal == *principal
        };
        if self.last.as_ref().is_some_and(is_same) {
            return Ok(());
        }
        self.last = None;
        let resource = Resource::Topic(topic);
        self.access
            .check_by(&basis, principal, (self.rule, resource))?;
        self.last = Some(Granted {
            principal: Arc::clone(principal),
            topic: topic.to_owned(),
            basis,
            until: now + ACL_GRANT_MAX,
        });
        Ok(())
    }
}
