//! The parts of the configuration that are read again while the node runs: the zone, how the
//! authorization rules are used, and when nodes count as lost. One reader of the file serves all.

use std::path::PathBuf;

use super::authorization::{AuthorizationFollower, CurrentAuthorization};
use super::recovery::CurrentRecovery;
use super::zone::{Zone, ZoneFollower};
use super::{NodeConfig, authorization, zone};
use crate::blocking::run_blocking;
use crate::reload;

/// Logged once for each different error of the file.
const REFUSAL: &str = "cannot reload the configuration, keeping the settings that follow it";

/// The followed parts as they are now.
pub(crate) struct Followed {
    pub(crate) zone: Zone,
    pub(crate) authorization: CurrentAuthorization,
    pub(crate) recovery: CurrentRecovery,
}

/// Follows them in the file.
pub(crate) struct FollowedFile {
    file: Option<PathBuf>,
    zone: ZoneFollower,
    authorization: AuthorizationFollower,
    recovery: CurrentRecovery,
}

impl FollowedFile {
    /// The parts of this configuration, and what follows its file.
    pub(crate) fn new(config: &NodeConfig) -> (Followed, Self) {
        let (zone, zone_follower) = zone::followed(config);
        let (authorization, authorization_follower) = authorization::followed(config);
        let recovery = CurrentRecovery::new(config);
        let followed = Followed {
            zone,
            authorization,
            recovery: recovery.clone(),
        };
        let file = Self {
            file: config.file.clone(),
            zone: zone_follower,
            authorization: authorization_follower,
            recovery,
        };
        (followed, file)
    }

    /// Runs until dropped.
    pub(crate) async fn watch(self) {
        let Some(file) = &self.file else {
            // Kept: a reader of the zone may wait for a change that never comes.
            return std::future::pending().await;
        };
        reload::watch(REFUSAL, || {
            let (path, this) = (file.clone(), &self);
            async move {
                let loaded = run_blocking(move || NodeConfig::load(&path)).await?;
                Some(loaded.map(|config| this.follow(config)))
            }
        })
        .await;
    }

    fn follow(&self, config: NodeConfig) {
        self.zone.follow(&config.zone);
        self.authorization.follow(config.authorization);
        self.recovery.follow(&config.recovery);
    }
}
