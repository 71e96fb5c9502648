//! The conditions of a LogUser and all of their reasons in one table.

use super::{Row, rows};

/// Type of a LogUser condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum UserConditionType {
    /// The certificate is valid, and the cluster has the rules of the spec.
    Ready,
    /// The Secret has a valid certificate.
    CertificateReady,
}

impl UserConditionType {
    /// All types, in the order of `status.conditions`.
    pub const ALL: [Self; 2] = [Self::Ready, Self::CertificateReady];

    /// The value of `status.conditions[].type`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ready => "Ready",
            Self::CertificateReady => "CertificateReady",
        }
    }
}

/// Reason of a LogUser condition. Those of `Ready` that are false are also the reasons in
/// `status.blocked`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "USER_TABLE says what each means")]
pub enum UserReason {
    Applied,
    Suspended,
    InvalidSpec,
    ClusterNotFound,
    NamespaceNotWatched,
    NamespaceNotAllowed,
    ClusterDeleting,
    ClusterPaused,
    ClusterNotBootstrapped,
    ClusterUnreachable,
    NameReserved,
    SecretNotOwned,
    GrantNotAllowed,
    SuspendedByAnother,
    LevelNotFinalized,
    Refused,
    AuthorityMissing,
    Applying,
    Deleting,
    Issued,
    NotIssued,
}

/// Every reason of a LogUser, once.
pub const USER_TABLE: &[Row<UserConditionType, UserReason>] = rows! {
    UserConditionType UserReason
    Ready true Transient Applied "The certificate is valid, and the cluster has the rules of the spec";
    Ready true Terminal Suspended "The cluster refuses all certificates of the user; see spec.suspended";
    Ready false Terminal InvalidSpec "The spec is invalid; the message names the field";
    Ready false Transient ClusterNotFound "The LogCluster does not exist";
    Ready false Terminal NamespaceNotWatched "The operator does not watch the namespace of the LogCluster";
    Ready false Terminal NamespaceNotAllowed "The LogCluster does not allow the namespace of the LogUser";
    Ready false Transient ClusterDeleting "The LogCluster is being deleted";
    Ready false Transient ClusterPaused "The LogCluster is paused; its users are not reconciled";
    Ready false Transient ClusterNotBootstrapped "The LogCluster has not been bootstrapped yet";
    Ready false Transient ClusterUnreachable "No node answers for the metadata of the cluster";
    Ready false Terminal NameReserved "The name is that of a super user of the LogCluster; choose another one";
    Ready false Terminal SecretNotOwned "The Secret belongs to somebody else; choose another name";
    Ready false Terminal GrantNotAllowed "The LogCluster does not permit to grant a rule; no rule is changed";
    Ready false Terminal SuspendedByAnother "Somebody else has suspended the user in the cluster";
    Ready false Transient LevelNotFinalized "Rules and revocations need feature level 2, which is not finalized";
    Ready false Terminal Refused "The cluster refuses the request; the message has its reason";
    Ready false Transient AuthorityMissing "The CA of the LogCluster has not been created yet";
    Ready false Transient Applying "The certificate, rules or revocations are being changed";
    Ready false Transient Deleting "The user is being revoked";
    CertificateReady true Transient Issued "The Secret has a valid certificate";
    CertificateReady false Transient NotIssued "The Secret has no valid certificate";
};

impl UserReason {
    /// The row of the reason. Each reason has one: a test checks it.
    pub fn row(self) -> Option<&'static Row<UserConditionType, Self>> {
        USER_TABLE.iter().find(|row| row.reason == self)
    }

    /// The name in conditions and in `status.blocked`.
    pub fn name(self) -> &'static str {
        self.row().map_or("", |row| row.name)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_one_row() {
        let mut reasons: Vec<UserReason> = USER_TABLE.iter().map(|row| row.reason).collect();
        reasons.sort_unstable();
        let count = reasons.len();
        reasons.dedup();
        assert_eq!(reasons.len(), count);
        assert_eq!(UserReason::NotIssued as usize + 1, count);
    }

    #[test]
    fn each_condition_can_be_both() {
        for condition in UserConditionType::ALL {
            for status in [true, false] {
                let mut rows = USER_TABLE.iter();
                let hit = rows.any(|row| row.condition == condition && row.status == status);
                assert!(hit, "{condition:?} {status}");
            }
        }
    }
}
