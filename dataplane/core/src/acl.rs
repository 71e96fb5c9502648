//! Who may do what: rules, the table of them that the metadata hold, and its compiled form.
//!
//! A rule allows or denies a [principal](Principal) some [operations](Operation) on the resources
//! of a [pattern](ResourcePattern). A denial wins over every permission, and a request that no rule
//! matches is refused. [`RuleTable::explain`] decides by going through all rules, and names them;
//! [`CompiledRules`] decides the same from an index, for each request.

mod compiled;
mod explain;
mod operation;
mod principal;
mod resource;
mod revocation;
mod rule;
mod table;
#[cfg(test)]
mod tests;

pub use compiled::{CompiledRules, Rights};
pub use explain::Explanation;
pub use operation::{Operation, Operations};
pub use principal::{Principal, PrincipalPattern, is_name};
pub use resource::{NamePattern, Resource, ResourceKind, ResourcePattern};
pub use revocation::{
    CertificateId, RevocationChange, RevocationTable, Revoked, RevokedBefore, Serial,
};
pub use rule::{Effect, Rule, RuleError};
pub use table::{RuleChange, RuleKey, RuleTable, StoredRule};
