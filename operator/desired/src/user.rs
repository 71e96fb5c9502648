//! LogUser: [`ValidUser`] is a checked LogUser and [`Observed`] a snapshot of its LogCluster, its
//! Secret, and its rules and revocation. [`plan`] makes the next step from them, and
//! [`status::next`] the status after the step was carried out.

mod access;
mod applied;
mod certificate;
mod decide;
mod grant;
mod observed;
mod plan;
pub mod status;
mod validate;
mod wait;

pub use access::{AccessRequest, Revocation, RuleChange, RuleSet};
pub use certificate::UserLeaf;
pub use decide::{of_invalid, plan};
pub use observed::{
    Observed, ObservedAccess, ObservedAuthority, ObservedUserSecret, UserAccess, UserCertificate,
};
pub use plan::{Failure, Plan};
pub use validate::ValidUser;
pub use wait::Wait;
