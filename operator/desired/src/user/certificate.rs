//! When the certificate of a user is issued.
//!
//! Safety: a certificate of a new CA is issued, and the bundle changed, only when the operator has
//! done both for the first user of the cluster: until then not everybody trusts the new CA. The
//! start of a certificate is never before the time up to which the principal is revoked, or a user
//! that is created again would get one that is refused.

use lograft_crds::limits::{CERTIFICATE_BACKDATE_SECONDS, ROOT_SETTLE_MAX_SECONDS};
use lograft_crds::log_user::KeyAlgorithm;
use lograft_crds::names::ClusterNames;

use crate::user::access::Revocation;
use crate::user::observed::{
    Observed, ObservedAccess, ObservedAuthority, ObservedUserSecret, UserCertificate,
};
use crate::user::validate::ValidUser;

/// The Secret of a user to write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct UserLeaf {
    /// Whether a certificate is issued; else the one in the Secret stays, with another bundle.
    pub issues: bool,
    /// Common name.
    pub name: String,
    /// SPIFFE identity.
    pub uri: String,
    /// Algorithm of the key.
    pub algorithm: KeyAlgorithm,
    /// Start of its validity, seconds since 1970.
    pub not_before: i64,
    /// End of its validity, seconds since 1970.
    pub not_after: i64,
}

/// The SPIFFE identity of a user.
fn identity(user: &ValidUser) -> String {
    let names = ClusterNames(&user.cluster.name);
    names.identity(&user.cluster.namespace, &user.principal)
}

/// The certificate in the Secret, if it can be used.
pub(super) fn usable<'a>(user: &ValidUser, observed: &'a Observed) -> Option<&'a UserCertificate> {
    let certificate = observed.secret.certificate()?;
    let is_valid = certificate.not_after > observed.now_unix_seconds
        && certificate.names.iter().eq([&identity(user)])
        && certificate.is_ed25519 == (user.algorithm == KeyAlgorithm::Ed25519);
    is_valid.then_some(certificate)
}

/// The Secret to write, if it is not as it should be.
pub(super) fn plan(
    user: &ValidUser,
    observed: &Observed,
    authority: &ObservedAuthority,
    leaf_seconds: i64,
) -> Option<UserLeaf> {
    let now = observed.now_unix_seconds;
    let kept = usable(user, observed);
    let kept = kept.filter(|found| is_kept(user, found, observed, authority));
    let has_roots = match &observed.secret {
        ObservedUserSecret::Own { roots, .. } => *roots == authority.roots,
        ObservedUserSecret::Missing | ObservedUserSecret::Foreign { .. } => false,
    };
    if kept.is_some() && has_roots {
        return None;
    }
    let floor = match &observed.access {
        ObservedAccess::Listed(access) => match access.revocation {
            Some(Revocation::Before(time)) => Some(time),
            Some(Revocation::Suspended) => user.stored.revoked_before,
            None => None,
        },
        // It is not known from when on certificates are valid. From now on they are.
        ObservedAccess::NotAsked | ObservedAccess::Unreachable(_) => Some(now),
    };
    let seconds = user.validity_seconds.unwrap_or(leaf_seconds);
    let start = now - CERTIFICATE_BACKDATE_SECONDS;
    Some(UserLeaf {
        issues: kept.is_none(),
        name: user.principal.clone(),
        uri: identity(user),
        algorithm: user.algorithm,
        not_before: floor.map_or(start, |floor| floor.max(start)),
        not_after: now + seconds.min(leaf_seconds),
    })
}

fn is_kept(
    user: &ValidUser,
    found: &UserCertificate,
    observed: &Observed,
    authority: &ObservedAuthority,
) -> bool {
    let life = found.not_after - found.not_before;
    let before = user.renew_before_seconds.unwrap_or(life / 3);
    let due = (found.not_before + life / 2).max(found.not_after - before);
    let is_former = found.issuer_key != authority.key;
    let is_revoked = match &observed.access {
        ObservedAccess::Listed(access) => {
            let is_older = |revocation| match revocation {
                Revocation::Before(time) => found.not_before < time,
                Revocation::Suspended => false,
            };
            access.revocation.is_some_and(is_older) || access.serials.contains(&found.serial)
        }
        ObservedAccess::NotAsked | ObservedAccess::Unreachable(_) => false,
    };
    let now = observed.now_unix_seconds;
    // One that is due serves until everybody trusts the new CA.
    let may_be_late =
        is_former && !authority.is_settled && found.not_after > now + ROOT_SETTLE_MAX_SECONDS;
    let is_due = due <= now && !may_be_late;
    !(is_due || is_revoked || is_former && authority.is_settled)
}
