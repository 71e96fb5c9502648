//! The conditions of a LogCluster and every reason that one may have: one table, so that nobody
//! who waits for a reason waits for a text.

/// A condition of a LogCluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum ConditionType {
    /// Every partition takes writes and every node is up.
    Ready,
    /// Something is being changed.
    Progressing,
    /// Something is lost or at risk, though the cluster may still serve.
    Degraded,
    /// Every certificate is valid and not due.
    CertificatesReady,
    /// Every disk is bound and has the size asked for.
    StorageReady,
    /// The operator keeps its hands off.
    Paused,
}

impl ConditionType {
    /// All of them, in the order that status lists them.
    pub const ALL: [Self; 6] = [
        Self::Ready,
        Self::Progressing,
        Self::Degraded,
        Self::CertificatesReady,
        Self::StorageReady,
        Self::Paused,
    ];

    /// As it stands in `status.conditions[].type`.
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

/// Whether a state ends by itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Lasting {
    /// It ends without anybody's help, or is fine as it is.
    Transient,
    /// It stays until somebody changes something.
    Terminal,
}

/// Why a condition has its status.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[expect(missing_docs, reason = "TABLE says what each means")]
pub enum Reason {
    Serving,
    Starting,
    NodesNotReady,
    InvalidSpec,
    Settled,
    CreatingObjects,
    Bootstrapping,
    RollingOut,
    ScalingUp,
    Decommissioning,
    RolloutStuck,
    Whole,
    NodeLost,
    QuorumLost,
    DataPlaneUnreachable,
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

/// A line of [`TABLE`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// The reason.
    pub reason: Reason,
    /// The condition that may have it.
    pub condition: ConditionType,
    /// The condition's status then.
    pub status: bool,
    /// Whether it ends by itself.
    pub lasting: Lasting,
    /// As it stands in `status.conditions[].reason`.
    pub name: &'static str,
    /// What it means, for people.
    pub meaning: &'static str,
}

macro_rules! rows {
    ($($condition:ident $status:literal $lasting:ident $reason:ident $meaning:literal;)*) => {
        &[$(Row {
            reason: Reason::$reason,
            condition: ConditionType::$condition,
            status: $status,
            lasting: Lasting::$lasting,
            name: stringify!($reason),
            meaning: $meaning,
        }),*]
    };
}

/// Every reason, once.
pub const TABLE: &[Row] = rows! {
    Ready true Transient Serving "Every partition takes writes and every node is up";
    Ready false Transient Starting "The cluster has not served yet";
    Ready false Transient NodesNotReady "Some nodes are not up";
    Ready false Terminal InvalidSpec "The spec was refused; the text names the field";
    Progressing false Transient Settled "What stands is what was asked for";
    Progressing true Transient CreatingObjects "Objects are being created";
    Progressing true Transient Bootstrapping "The first node makes the cluster";
    Progressing true Transient RollingOut "Pods are replaced one at a time";
    Progressing true Transient ScalingUp "New nodes join and catch up";
    Progressing true Transient Decommissioning "Nodes hand over what they hold and leave";
    Progressing false Terminal RolloutStuck "A new pod does not come up; change the spec";
    Degraded false Transient Whole "Nothing is lost or at risk";
    Degraded true Transient NodeLost "A node is gone; its partitions have a majority";
    Degraded true Terminal QuorumLost "A partition has no majority and takes no writes";
    Degraded true Transient DataPlaneUnreachable "No node answers the operator";
    CertificatesReady true Transient Issued "Every certificate is valid and not due";
    CertificatesReady false Transient Issuing "Certificates are being issued";
    CertificatesReady false Terminal RenewalFailed "A certificate is due and cannot be renewed";
    CertificatesReady false Terminal Expired "A certificate has expired";
    StorageReady true Transient Bound "Every disk is bound and has its size";
    StorageReady false Transient Binding "Disks are being bound";
    StorageReady false Transient Growing "Disks are being grown";
    StorageReady false Terminal DiskNearlyFull "A disk is nearly full and may not grow";
    StorageReady false Terminal GrowthRefused "The storage class cannot grow disks";
    Paused false Transient Running "The operator acts on this cluster";
    Paused true Terminal PausedBySpec "spec.paused is set; unset it to go on";
};

impl Reason {
    /// The reason's line. Each reason has one: a test holds it.
    pub fn row(self) -> Option<&'static Row> {
        TABLE.iter().find(|row| row.reason == self)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_stands_once() {
        let mut reasons: Vec<Reason> = TABLE.iter().map(|row| row.reason).collect();
        reasons.sort_unstable();
        let count = reasons.len();
        reasons.dedup();
        assert_eq!(reasons.len(), count);
        // The last variant's number is the count less one, as long as none is missing.
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
