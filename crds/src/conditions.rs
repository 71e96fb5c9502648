//! The conditions of a LogCluster and all of their reasons in one table, and the same for a
//! [LogTopic](topic) and a [LogUser](user). Clients wait for reasons, not for message texts.

pub mod topic;
pub mod user;

/// Type of a LogCluster condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ConditionType {
    /// Every partition accepts writes and every node is ready.
    Ready,
    /// A change is in progress.
    Progressing,
    /// A node or partition is lost or at risk; the cluster may still serve.
    Degraded,
    /// Every certificate is valid and not due for renewal.
    CertificatesReady,
    /// Every disk is bound and has the requested size.
    StorageReady,
    /// Reconciliation is paused.
    Paused,
}

impl ConditionType {
    /// All types, in the order of `status.conditions`.
    pub const ALL: [Self; 6] = [
        Self::Ready,
        Self::Progressing,
        Self::Degraded,
        Self::CertificatesReady,
        Self::StorageReady,
        Self::Paused,
    ];

    /// The value of `status.conditions[].type`.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Ready => "Ready",
            Self::Progressing => "Progressing",
            Self::Degraded => "Degraded",
            Self::CertificatesReady => "CertificatesReady",
            Self::StorageReady => "StorageReady",
            Self::Paused => "Paused",
        }
    }
}

/// Whether a state can end without intervention.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lasting {
    /// It ends by itself, or needs no action.
    Transient,
    /// It persists until somebody changes something.
    Terminal,
}

/// Reason of a condition.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "TABLE says what each means")]
pub enum Reason {
    Serving,
    Starting,
    NodesNotReady,
    PodBlocked,
    InvalidSpec,
    Settled,
    CreatingObjects,
    Bootstrapping,
    RollingOut,
    ScalingUp,
    Decommissioning,
    RolloutStuck,
    RolloutHeld,
    Contested,
    DowngradeRefused,
    Finalizing,
    NotFinalized,
    AuthorizationNotEffective,
    HttpNotServed,
    Whole,
    NotCreated,
    SingleReplica,
    NodeLost,
    QuorumLost,
    DataPlaneUnreachable,
    CheckRaised,
    Issued,
    Issuing,
    RenewalFailed,
    Expired,
    Bound,
    Binding,
    Growing,
    DiskNearlyFull,
    GrowthRefused,
    Running,
    PausedBySpec,
}

/// A row of a table: by default of [`TABLE`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row<C = ConditionType, R = Reason> {
    /// The reason.
    pub reason: R,
    /// The condition that can have this reason.
    pub condition: C,
    /// The status of the condition with this reason.
    pub status: bool,
    /// Whether it can end without intervention.
    pub lasting: Lasting,
    /// The value of `status.conditions[].reason`.
    pub name: &'static str,
    /// Description for people.
    pub meaning: &'static str,
}

macro_rules! rows {
    ($types:ident $reasons:ident
     $($condition:ident $status:literal $lasting:ident $reason:ident $meaning:literal;)*) => {
        &[$($crate::conditions::Row {
            reason: $reasons::$reason,
            condition: $types::$condition,
            status: $status,
            lasting: $crate::conditions::Lasting::$lasting,
            name: stringify!($reason),
            meaning: $meaning,
        }),*]
    };
}
use rows;

/// Every reason, once.
pub const TABLE: &[Row] = rows! { ConditionType Reason
    Ready true Transient Serving "Every partition accepts writes and every node is ready";
    Ready false Transient Starting "The cluster has not been ready yet";
    Ready false Transient NodesNotReady "Some nodes are not ready";
    Ready false Transient PodBlocked "A pod cannot be created, scheduled or started";
    Ready false Terminal InvalidSpec "The spec is invalid; the message names the field";
    Progressing false Transient Settled "The cluster matches its spec";
    Progressing true Transient CreatingObjects "Objects are being created";
    Progressing true Transient Bootstrapping "The first node creates the cluster";
    Progressing true Transient RollingOut "Pods are replaced one at a time";
    Progressing true Transient ScalingUp "New nodes join and catch up";
    Progressing true Transient Decommissioning "Nodes move their replicas away and leave";
    Progressing false Terminal RolloutStuck "A new pod does not become ready; change the spec";
    Progressing true Transient RolloutHeld "A changed template waits for its turn";
    Progressing false Terminal Contested "Somebody else undoes changes of the operator; the message names the object";
    Progressing false Terminal DowngradeRefused "The requested version is below the running one; allow it or change the spec";
    Progressing true Transient Finalizing "The new version runs; its feature level is not finalized yet";
    Progressing false Terminal NotFinalized "The upgrade waits for `lograft cluster finalize`";
    Progressing false Terminal AuthorizationNotEffective "Authorization has no effect before feature level 2 is finalized";
    Progressing false Terminal HttpNotServed "HTTP is requested, and the version of the nodes or the feature level does not have it";
    Degraded false Transient Whole "Nothing is lost or at risk";
    Degraded false Transient NotCreated "The cluster is being created; no node has been asked yet";
    Degraded false Transient SingleReplica "Nothing is lost, but some records exist on one node only";
    Degraded true Transient NodeLost "A node is lost; its partitions still have a majority";
    Degraded true Terminal QuorumLost "A partition has no majority and accepts no writes";
    Degraded true Transient DataPlaneUnreachable "No node answers the operator";
    Degraded true Transient CheckRaised "A node has raised a check; the message has the next step";
    CertificatesReady true Transient Issued "Every certificate is valid and not due for renewal";
    CertificatesReady false Transient Issuing "Certificates are being issued";
    CertificatesReady false Terminal RenewalFailed "A certificate is due and its renewal fails";
    CertificatesReady false Terminal Expired "A certificate has expired";
    StorageReady true Transient Bound "Every disk is bound and has the requested size";
    StorageReady false Transient Binding "Disks are being bound";
    StorageReady false Transient Growing "Disks are being grown";
    StorageReady false Terminal DiskNearlyFull "A disk is nearly full and cannot grow further";
    StorageReady false Terminal GrowthRefused "A disk cannot grow; the message says why";
    Paused false Transient Running "The operator reconciles this cluster";
    Paused true Terminal PausedBySpec "spec.paused is true; set it to false to resume";
};

impl Reason {
    /// The row of the reason. Each reason has one: a test checks it.
    pub fn row(self) -> Option<&'static Row> {
        TABLE.iter().find(|row| row.reason == self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_has_one_row() {
        let mut reasons: Vec<Reason> = TABLE.iter().map(|row| row.reason).collect();
        reasons.sort_unstable();
        let count = reasons.len();
        reasons.dedup();
        assert_eq!(reasons.len(), count);
        // The number of the last variant is the count minus one if no reason is missing.
        assert_eq!(Reason::PausedBySpec as usize + 1, count);
    }

    #[test]
    fn each_condition_can_be_both() {
        for condition in ConditionType::ALL {
            for status in [true, false] {
                let hit = |row: &&Row| row.condition == condition && row.status == status;
                assert!(TABLE.iter().any(|row| hit(&row)), "{condition:?} {status}");
            }
        }
    }

    #[test]
    fn names_fit_kubernetes() {
        let is_word = |name: &str| {
            name.starts_with(|c: char| c.is_ascii_uppercase())
                && name.chars().all(|c| c.is_ascii_alphanumeric())
        };
        assert!(TABLE.iter().all(|row| is_word(row.name)));
        assert!(ConditionType::ALL.iter().all(|c| is_word(c.name())));
        assert_eq!(Reason::QuorumLost.row().unwrap().name, "QuorumLost");
    }
}
