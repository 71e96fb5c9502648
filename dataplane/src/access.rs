//! Who may do what. Every identity that the cluster's CA issued may produce and fetch for now;
//! lists of rights per topic find their place here.

use std::sync::Arc;

use lograft_core::Reason;
use tonic::{Extensions, Status};

use crate::api::grpc::status::ApiError;
use crate::identity::{Caller, PeerIdentity, Role};

/// What a call does with a topic.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Act {
    /// Writes records.
    Write,
    /// Reads records or where they are.
    Read,
}

/// What the caller may do.
#[derive(Clone, Debug)]
pub(crate) struct Access {
    identity: Arc<PeerIdentity>,
}

impl Access {
    /// That of the call's certificate.
    pub(crate) fn of(extensions: &Extensions) -> Result<Self, Status> {
        let caller = extensions.get::<Caller>();
        let caller = caller
            .ok_or_else(|| ApiError::new(Reason::Unauthenticated, "no client certificate"))?;
        Ok(Self {
            identity: Arc::clone(&caller.identity),
        })
    }

    /// Whether the caller may do this with a topic.
    #[expect(clippy::unnecessary_wraps, reason = "rights per topic will refuse")]
    pub(crate) fn check(&self, act: Act, _topic: &str) -> Result<(), ApiError> {
        match (&self.identity.role, act) {
            (Role::Node(_) | Role::User(_) | Role::Operator, Act::Write | Act::Read) => Ok(()),
        }
    }

    /// Only nodes may say that they pass a request on: it could otherwise be kept from its leader.
    pub(crate) fn check_forwarded(&self, forwarded: bool) -> Result<(), ApiError> {
        match self.identity.role {
            Role::User(_) | Role::Operator if forwarded => Err(ApiError::new(
                Reason::PermissionDenied,
                "only nodes may set forwarded",
            )),
            _ => Ok(()),
        }
    }
}
