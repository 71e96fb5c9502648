//! The CA of a LogCluster, and its rules and revocations, read once for all of its LogUsers.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use k8s_openapi::api::core::v1::Secret;
use kube::{Api, Client};
use lograft_crds::names::ClusterNames;
use lograft_operator_desired::cluster::{FeatureLevel, ROOTS_FIELD};
use lograft_operator_desired::consent::ClusterKey;
use lograft_operator_desired::user::{
    AccessRequest, ObservedAccess, ObservedAuthority, UserAccess,
};

use crate::admin_client::{AccessList, TopicClient};
use crate::error_text::error_text;
use crate::pki;

/// The facts that LogUsers depend on.
pub(crate) struct ClusterUsers {
    /// The CA and the bundle, if both exist.
    pub(crate) authority: Option<ObservedAuthority>,
    /// The Secret of the CA.
    pub(crate) ca: Option<Secret>,
    /// The roots that the first user has.
    pub(crate) bundle: Vec<u8>,
    finalized: FeatureLevel,
    /// Version that each member has applied, by its name.
    members: BTreeMap<String, u64>,
    access: Access,
}

enum Access {
    NotAsked,
    Unreachable(String),
    Listed(Mutex<AccessList>),
}

impl ClusterUsers {
    /// Rules and revocations of a principal.
    pub(crate) fn access(&self, principal: &str) -> ObservedAccess {
        match &self.access {
            Access::NotAsked => ObservedAccess::NotAsked,
            Access::Unreachable(why) => ObservedAccess::Unreachable(why.clone()),
            Access::Listed(list) => {
                let list = lock(list);
                let revoked = list.revocations.get(principal).copied();
                ObservedAccess::Listed(UserAccess {
                    finalized: self.finalized,
                    rules: list.rules.get(principal).cloned().unwrap_or_default(),
                    revocation: revoked.map(|(revocation, _)| revocation),
                    revocation_end: revoked.and_then(|(_, end)| end),
                    serials: list.serials.clone(),
                    version: list.version,
                    members: self.members.clone(),
                })
            }
        }
    }

    /// Enters the result of a request for a principal.
    pub(crate) fn enter(&self, principal: &str, request: &AccessRequest) {
        let Access::Listed(list) = &self.access else {
            return;
        };
        let mut list = lock(list);
        // The change is in a later version.
        list.version = 0;
        match request {
            AccessRequest::Rules(changes) => {
                let rules = list.rules.entry(principal.to_owned()).or_default();
                for change in changes {
                    rules.apply(change);
                }
            }
            AccessRequest::Revoke {
                revocation,
                not_after,
            } => {
                let revoked = (*revocation, *not_after);
                list.revocations.insert(principal.to_owned(), revoked);
            }
            AccessRequest::Restore => {
                list.revocations.remove(principal);
            }
        }
    }
}

/// Reads it. `asked` is the node to ask, or why there is none. Fails if the API server does not
/// answer.
pub(crate) async fn read(
    client: &Client,
    cluster: &ClusterKey,
    asked: Result<&TopicClient, Option<String>>,
    (finalized, members): (FeatureLevel, BTreeMap<String, u64>),
) -> Result<ClusterUsers, kube::Error> {
    let names = ClusterNames(&cluster.name);
    let secrets: Api<Secret> = Api::namespaced(client.clone(), &cluster.namespace);
    let ca = secrets.get_opt(&names.ca()).await?;
    let first_user = secrets.get_opt(&names.admin_tls()).await?;
    let bundle = first_user.as_ref().and_then(|secret| secret.data.as_ref());
    let bundle = bundle.and_then(|data| data.get(ROOTS_FIELD)).cloned();
    let authority = match (&ca, &first_user) {
        (Some(ca), Some(first_user)) => pki::authority(ca, first_user),
        _ => None,
    };
    let access = match asked {
        // Before that level there are none.
        Ok(_) if finalized < FeatureLevel::AUTHORIZATION => Access::Listed(Mutex::default()),
        Ok(node) => match node.access().await {
            Ok(list) => Access::Listed(Mutex::new(list)),
            Err(error) => Access::Unreachable(error_text(&error)),
        },
        Err(Some(why)) => Access::Unreachable(why),
        Err(None) => Access::NotAsked,
    };
    Ok(ClusterUsers {
        authority,
        ca,
        bundle: bundle.map(|bundle| bundle.0).unwrap_or_default(),
        finalized,
        members,
        access,
    })
}

fn lock(list: &Mutex<AccessList>) -> MutexGuard<'_, AccessList> {
    list.lock().unwrap_or_else(PoisonError::into_inner)
}
