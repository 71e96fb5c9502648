//! Authorization of a cluster: the mode that is wanted, and the one that has an effect.
//!
//! A cluster that was created before there was authorization must not refuse its clients after an
//! upgrade of the operator, and a new one is closed. Which of the two it is, is decided once,
//! before the cluster has an ID, and stored together with the ID. A cluster that adopts the disks
//! of a deleted one is not new: its users may have no rules. Its mode is on the label of the disks
//! or, if an operator without that label made them, disabled as for an older cluster. Until it is
//! known what the disks hold, nodes enforce: a closed cluster is not opened by making it again.

use lograft_crds::limits::{SUPER_USERS_MAX_COUNT, USER_NAME_MAX_BYTES};
use lograft_crds::log_cluster::{Authorization, AuthorizationMode, AuthorizationStatus};
use lograft_crds::names::FIRST_USER;
use lograft_crds::{LogClusterSpec, LogClusterStatus};

use crate::cluster::view::FeatureLevel;
use crate::cluster::wait::Wait;
use crate::validation::{ValidationError, out_of_bounds};

/// Authorization as the spec and the stored status ask for it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ValidAuthorization {
    /// Mode without one in the spec.
    pub default_mode: AuthorizationMode,
    /// Mode that is wanted.
    pub mode: AuthorizationMode,
    /// Whether the spec has one.
    pub is_chosen: bool,
    /// Users who may do everything, `user/<name>` or `user/<namespace>/<name>`.
    pub super_users: Vec<String>,
}

impl ValidAuthorization {
    pub(super) fn new(spec: &Authorization, status: Option<&LogClusterStatus>) -> Self {
        let default_mode = default_mode(status);
        let enabled = spec.enabled.then_some(AuthorizationMode::Enforced);
        let chosen = spec.mode.or(enabled);
        Self {
            default_mode,
            mode: chosen.unwrap_or(default_mode),
            is_chosen: chosen.is_some(),
            super_users: super_users(spec),
        }
    }

    /// The wait for the level without which the mode has no effect.
    pub(super) fn wait(&self, finalized: Option<FeatureLevel>) -> Option<Wait> {
        let (mode, finalized) = (self.mode, finalized?);
        let is_open =
            mode != AuthorizationMode::Disabled && finalized < FeatureLevel::AUTHORIZATION;
        is_open.then_some(Wait::AuthorizationEffective { mode, finalized })
    }

    /// Authorization for status.
    pub(super) fn status(&self, finalized: Option<FeatureLevel>) -> AuthorizationStatus {
        let effective = |level| {
            if level >= FeatureLevel::AUTHORIZATION {
                self.mode
            } else {
                AuthorizationMode::Disabled
            }
        };
        AuthorizationStatus {
            default_mode: self.default_mode,
            mode: finalized.map(effective),
        }
    }
}

/// The super users as principals: those of the spec that are users, else the first user.
pub(crate) fn super_users(spec: &Authorization) -> Vec<String> {
    let users = spec.super_users.iter();
    let users = users.filter_map(|user| principal(user));
    let mut super_users: Vec<String> = users.collect();
    super_users.sort_unstable();
    super_users.dedup();
    if super_users.is_empty() {
        super_users.push(format!("user/{FIRST_USER}"));
    }
    super_users
}

/// A cluster with an ID and without a stored mode was created before there was one.
fn default_mode(status: Option<&LogClusterStatus>) -> AuthorizationMode {
    let stored = status.and_then(|status| status.authorization.as_ref());
    match stored {
        Some(stored) => stored.default_mode,
        None if status.is_some_and(|status| status.cluster_id.is_some()) => {
            AuthorizationMode::Disabled
        }
        None => AuthorizationMode::Enforced,
    }
}

/// The principal of a super user; none if it is no user.
fn principal(user: &str) -> Option<String> {
    let is_name = |name: &str| {
        let is_own = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
        (1..=USER_NAME_MAX_BYTES).contains(&name.len()) && name.chars().all(is_own)
    };
    match user.split('/').collect::<Vec<_>>().as_slice() {
        [name] if is_name(name) => Some(format!("user/{name}")),
        ["user", name] if is_name(name) => Some(user.to_owned()),
        ["user", namespace, name] if is_name(namespace) && is_name(name) => Some(user.to_owned()),
        _ => None,
    }
}

/// Fails on a contradiction and on a super user that is no user.
pub(super) fn check(spec: &LogClusterSpec) -> Result<(), ValidationError> {
    let authorization = &spec.authorization;
    if authorization.enabled && authorization.mode == Some(AuthorizationMode::Disabled) {
        return Err(out_of_bounds(
            "spec.authorization.mode",
            &AuthorizationMode::Disabled.name(),
            &"on or report-only while spec.authorization.enabled is true",
        ));
    }
    let users = &authorization.super_users;
    let field = "spec.authorization.superUsers";
    if users.len() > SUPER_USERS_MAX_COUNT {
        let bound = format!("at most {SUPER_USERS_MAX_COUNT} users");
        return Err(out_of_bounds(field, &users.len(), &bound));
    }
    let Some(bad) = users.iter().find(|user| principal(user).is_none()) else {
        return Ok(());
    };
    let bound = format!(
        "NAME, user/NAME or user/NAMESPACE/NAME of 1 to {USER_NAME_MAX_BYTES} letters, digits, '.', \
         '_' and '-'"
    );
    Err(out_of_bounds(field, &format!("{bad:?}"), &bound))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn with_users(users: &[&str]) -> LogClusterSpec {
        let mut spec = LogClusterSpec::default();
        spec.authorization.super_users = users.iter().map(|user| (*user).to_owned()).collect();
        spec
    }

    #[test]
    fn a_mode_is_chosen_once() {
        let mode_of = |spec: &Authorization, status: Option<&LogClusterStatus>| {
            ValidAuthorization::new(spec, status).mode
        };
        let unset = Authorization::default();
        let new = LogClusterStatus::default();
        assert_eq!(mode_of(&unset, None), AuthorizationMode::Enforced);
        assert_eq!(mode_of(&unset, Some(&new)), AuthorizationMode::Enforced);
        let old = LogClusterStatus {
            cluster_id: Some("id".to_owned()),
            ..LogClusterStatus::default()
        };
        assert_eq!(mode_of(&unset, Some(&old)), AuthorizationMode::Disabled);
        let stored = LogClusterStatus {
            authorization: Some(AuthorizationStatus {
                default_mode: AuthorizationMode::Enforced,
                mode: None,
            }),
            ..old.clone()
        };
        assert_eq!(mode_of(&unset, Some(&stored)), AuthorizationMode::Enforced);
        let enabled = Authorization {
            enabled: true,
            ..unset
        };
        assert_eq!(mode_of(&enabled, Some(&old)), AuthorizationMode::Enforced);
        let both = Authorization {
            mode: Some(AuthorizationMode::ReportOnly),
            ..enabled
        };
        assert_eq!(mode_of(&both, Some(&old)), AuthorizationMode::ReportOnly);
    }

    #[test]
    fn super_users_are_users() {
        let users = |users: &[&str]| {
            let spec = with_users(users);
            assert_eq!(check(&spec), Ok(()), "{users:?}");
            ValidAuthorization::new(&spec.authorization, None).super_users
        };
        assert_eq!(users(&[]), ["user/admin"]);
        assert_eq!(
            users(&["root", "user/root", "user/shop/orders"]),
            ["user/root", "user/shop/orders"]
        );
        let long = "n".repeat(USER_NAME_MAX_BYTES + 1);
        for bad in [
            "",
            "shop/orders",
            "user/",
            "user//a",
            "user/*",
            "user/a/b/c",
            "node/a/b",
            "ä",
            &long,
        ] {
            let error = check(&with_users(&[bad])).unwrap_err().to_string();
            assert!(error.contains("1 to 253 letters"), "{bad}: {error}");
        }
    }

    #[test]
    fn a_contradiction_is_invalid() {
        let mut spec = with_users(&[]);
        spec.authorization.enabled = true;
        spec.authorization.mode = Some(AuthorizationMode::Disabled);
        let error = check(&spec).unwrap_err().to_string();
        assert!(error.contains("spec.authorization.mode"), "{error}");
    }
}
