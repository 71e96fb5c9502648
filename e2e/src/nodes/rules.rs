//! Rules and revocations of the stand-in.

use std::collections::{BTreeMap, BTreeSet};

use lograft_client::admin_wire as wire;

/// Rules and revocations.
#[derive(Default)]
pub(super) struct Access {
    /// Operations by principal, effect and resource.
    pub(super) rules: BTreeMap<(String, i32, String), BTreeSet<String>>,
    /// By principal.
    pub(super) revoked: BTreeMap<String, wire::RevokedPrincipal>,
}
