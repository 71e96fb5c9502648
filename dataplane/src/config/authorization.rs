//! How the node uses the authorization rules of the metadata. Read again when the file changes, so
//! that a lock-out is mended without a restart.

use std::sync::Arc;
use std::time::Duration;

use arc_swap::ArcSwap;
use lograft_core::acl::Principal;
use lograft_core::limits::{ACL_AGE_DEFAULT, ACL_AGE_MAX, ACL_AGE_MIN, SUPER_USERS_MAX_COUNT};
use serde::{Deserialize, Serialize};
use tracing::info;

use super::{ConfigError, NodeConfig, field, within};

/// Whether the rules decide. Not `on` and `off`: many readers of YAML take these for booleans.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum AuthorizationMode {
    /// Users may do everything.
    #[default]
    Disabled,
    /// Users may do everything; operations that the rules refuse are counted and logged.
    ReportOnly,
    /// The rules decide.
    Enforced,
}

/// How the node uses the authorization rules.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct AuthorizationSettings {
    /// Whether the rules decide. Without effect until feature level 2 is finalized.
    pub mode: AuthorizationMode,
    /// Users who may do everything, whatever the rules say: `user/<name>` or
    /// `user/<namespace>/<name>`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub super_users: Vec<String>,
    /// Maximum age of the rules: the time since the node's last contact with the meta group, after
    /// which it refuses users, milliseconds.
    pub rules_max_age_ms: u64,
}

impl Default for AuthorizationSettings {
    fn default() -> Self {
        Self {
            mode: AuthorizationMode::Disabled,
            super_users: Vec::new(),
            rules_max_age_ms: ms(ACL_AGE_DEFAULT),
        }
    }
}

impl AuthorizationSettings {
    pub(super) fn is_default(&self) -> bool {
        *self == Self::default()
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let name = "authorization.super_users";
        within(
            name,
            self.super_users.len(),
            0,
            SUPER_USERS_MAX_COUNT,
            "users",
        )?;
        for user in &self.super_users {
            if !matches!(user.parse(), Ok(Principal::User { .. })) {
                let bound = "user/<name> or user/<namespace>/<name>".to_owned();
                return Err(field(name, &format!("{user:?}"), bound));
            }
        }
        within(
            "authorization.rules_max_age_ms",
            self.rules_max_age_ms,
            ms(ACL_AGE_MIN),
            ms(ACL_AGE_MAX),
            "ms",
        )
    }

    /// The super users, parsed. One that is no user is none: the configuration is checked before.
    pub(crate) fn super_users(&self) -> impl Iterator<Item = Principal> {
        self.super_users.iter().filter_map(|user| user.parse().ok())
    }
}

fn ms(duration: Duration) -> u64 {
    u64::try_from(duration.as_millis()).unwrap_or(u64::MAX)
}

/// The settings as they are now. Cheap to clone.
pub(crate) type CurrentAuthorization = Arc<ArcSwap<AuthorizationSettings>>;

/// The settings of this configuration, and what changes them.
pub(super) fn followed(config: &NodeConfig) -> (CurrentAuthorization, AuthorizationFollower) {
    let current = Arc::new(ArcSwap::from_pointee(config.authorization.clone()));
    (Arc::clone(&current), AuthorizationFollower(current))
}

/// Takes over the settings of a newer file.
pub(super) struct AuthorizationFollower(CurrentAuthorization);

impl AuthorizationFollower {
    pub(super) fn follow(&self, new: AuthorizationSettings) {
        follow(&self.0, new);
    }
}

fn follow(current: &CurrentAuthorization, new: AuthorizationSettings) {
    if **current.load() == new {
        return;
    }
    let (mode, super_users) = (new.mode, new.super_users.join(" "));
    info!(?mode, super_users, "authorization settings changed");
    current.store(Arc::new(new));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn settings_are_checked() {
        let refused = |settings: AuthorizationSettings| match settings.check() {
            Err(ConfigError::Field { field, .. }) => Some(field),
            Err(other) => panic!("{other}"),
            Ok(()) => None,
        };
        let base = AuthorizationSettings::default;
        for (user, is_refused) in [
            ("user/a", false),
            ("user/team/a", false),
            ("a", true),
            ("user/*", true),
            ("operator", true),
            ("node/a", true),
        ] {
            let found = refused(AuthorizationSettings {
                super_users: vec![user.to_owned()],
                ..base()
            });
            assert_eq!(found.is_some(), is_refused, "{user}");
        }
        for rules_max_age_ms in [0, 9_999, 86_400_001] {
            let found = refused(AuthorizationSettings {
                rules_max_age_ms,
                ..base()
            });
            assert_eq!(found, Some("authorization.rules_max_age_ms"));
        }
        assert_eq!(refused(base()), None);
    }

    #[test]
    fn a_change_in_the_file_is_followed() {
        let current: CurrentAuthorization = Arc::default();
        let on = AuthorizationSettings {
            mode: AuthorizationMode::Enforced,
            ..AuthorizationSettings::default()
        };
        follow(&current, on.clone());
        assert_eq!(**current.load(), on);
        let before = current.load_full();
        follow(&current, on);
        assert!(Arc::ptr_eq(&before, &current.load_full()), "nothing to do");
    }
}
