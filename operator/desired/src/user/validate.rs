//! Validation of a LogUser. The API server checks the same with the schema and its rules, but a
//! stored object may be older than they are.

use lograft_crds::conditions::user::{UserConditionType, UserReason};
use lograft_crds::limits::{
    CERTIFICATE_BACKDATE_SECONDS, SECRET_NAME_MAX_BYTES, TOPIC_NAME_MAX_BYTES, USER_NAME_MAX_BYTES,
    USER_RULES_MAX_COUNT, USER_VALIDITY_MIN_SECONDS,
};
use lograft_crds::log_user::{KeyAlgorithm, UserOperation, UserRule};
use lograft_crds::names::{USER_FINALIZER, USER_SECRET_ENDING};
use lograft_crds::{LogUser, LogUserSpec, LogUserStatus};

use crate::consent::ClusterKey;
use crate::validation::{ValidationError, out_of_bounds, required, seconds};

/// A LogUser whose fields are within their bounds.
#[derive(Clone, Debug, PartialEq)]
pub struct ValidUser {
    /// Namespace.
    pub namespace: String,
    /// The LogCluster that it names.
    pub cluster: ClusterKey,
    /// Name in rules and in the certificate.
    pub principal: String,
    /// Name of the Secret.
    pub secret: String,
    /// Algorithm of the key.
    pub algorithm: KeyAlgorithm,
    /// Lifetime of a certificate; none for the default.
    pub validity_seconds: Option<i64>,
    /// Time before its end at which a certificate is renewed; none for a third of its lifetime.
    pub renew_before_seconds: Option<i64>,
    /// The rules; none if it is being deleted.
    pub rules: Vec<UserRule>,
    /// Why the rules are invalid: those that were applied last stay.
    pub invalid_rules: Option<ValidationError>,
    /// Why the lifetimes are invalid: a certificate is renewed with the lifetime that it had, and a
    /// first one is not issued.
    pub invalid_lifetimes: Option<ValidationError>,
    /// Whether all certificates are refused.
    pub suspended: bool,
    /// Whether it is being deleted.
    pub is_deleting: bool,
    /// Whether it has the operator's finalizer.
    pub has_finalizer: bool,
    /// The facts in its stored status.
    pub stored: Stored,
}

/// Facts in the stored status of a LogUser.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Stored {
    /// ID of the cluster that the certificate is for.
    pub cluster_id: Option<String>,
    /// Whether the operator has suspended the user.
    pub suspended: bool,
    /// Time before which certificates must not start, seconds since 1970.
    pub revoked_before: Option<i64>,
    /// Start of the last certificate, seconds since 1970.
    pub not_before: Option<i64>,
    /// End of the last certificate, seconds since 1970.
    pub not_after: Option<i64>,
    /// The latest end of all certificates that were issued, seconds since 1970.
    pub last_not_after: Option<i64>,
    /// Version of the metadata that a member must have applied.
    pub applied_version: Option<u64>,
    /// Whether the cluster had the rules of this generation of the spec.
    pub was_applied: bool,
}

impl Stored {
    fn new(status: &LogUserStatus, generation: Option<i64>) -> Self {
        let applied = [UserReason::Applied, UserReason::Suspended];
        let mut conditions = status.conditions.iter();
        let was_applied = conditions.any(|it| {
            it.type_ == UserConditionType::Ready.name()
                && it.observed_generation == generation
                && applied.iter().any(|reason| reason.name() == it.reason)
        });
        let revoked_before = status.revoked_before.as_ref();
        let certificate = status.certificate.as_ref();
        Self {
            cluster_id: status.cluster_id.clone(),
            suspended: status.suspended,
            revoked_before: revoked_before.map(|time| time.0.as_second()),
            not_before: certificate.map(|found| found.not_before.0.as_second()),
            not_after: certificate.map(|found| found.not_after.0.as_second()),
            last_not_after: (status.last_not_after.as_ref()).map(|time| time.0.as_second()),
            applied_version: status.applied_version.and_then(|it| u64::try_from(it).ok()),
            was_applied,
        }
    }

    /// Lifetime with which the last certificate was issued.
    fn lifetime_seconds(&self) -> Option<i64> {
        let seconds = self.not_after? - self.not_before? - CERTIFICATE_BACKDATE_SECONDS;
        Some(seconds.max(USER_VALIDITY_MIN_SECONDS))
    }
}

/// The name of the Secret of a LogUser.
pub(super) fn secret_name(user: &LogUser) -> String {
    let name = user.metadata.name.as_deref().unwrap_or_default();
    let default = || format!("{name}{USER_SECRET_ENDING}");
    user.spec.secret_name.clone().unwrap_or_else(default)
}

impl ValidUser {
    /// Whether a certificate may be issued: its lifetime is known.
    pub(super) fn may_issue(&self) -> bool {
        self.invalid_lifetimes.is_none() || self.validity_seconds.is_some()
    }

    /// Checks all fields that plans depend on. It fails on the first invalid one without which
    /// there is no certificate; a retry helps only after a change of the object. Of one that is
    /// being deleted only its name is needed.
    pub fn new(user: &LogUser) -> Result<Self, ValidationError> {
        let LogUser {
            metadata,
            spec,
            status,
        } = user;
        let name = required(metadata.name.as_ref(), "metadata.name")?;
        let namespace = required(metadata.namespace.as_ref(), "metadata.namespace")?;
        required(Some(&spec.cluster_ref.name), "spec.clusterRef.name")?;
        let is_deleting = metadata.deletion_timestamp.is_some();
        let cluster = ClusterKey::new(&spec.cluster_ref, &namespace);
        let principal = if cluster.namespace == namespace {
            format!("user/{name}")
        } else {
            format!("user/{namespace}/{name}")
        };
        let secret = secret_name(user);
        let stored = status.as_ref();
        let stored = stored.map(|status| Stored::new(status, metadata.generation));
        let stored = stored.unwrap_or_default();
        let (mut rules, mut lifetimes) = (Ok(()), Ok(Lifetimes::default()));
        if !is_deleting {
            check_names(&name, &secret)?;
            // A typing error in a rule or a time must not let the certificate run out.
            rules = check_rules(&spec.rules);
            lifetimes = Lifetimes::new(spec);
        }
        let (lifetimes, invalid_lifetimes) = match lifetimes {
            Ok(lifetimes) => (lifetimes, None),
            Err(error) => {
                let validity_seconds = stored.lifetime_seconds();
                let former = Lifetimes {
                    validity_seconds,
                    ..Lifetimes::default()
                };
                (former, Some(error))
            }
        };
        let mut finalizers = metadata.finalizers.iter().flatten();
        Ok(Self {
            namespace,
            cluster,
            principal,
            secret,
            algorithm: spec.key_algorithm,
            validity_seconds: lifetimes.validity_seconds,
            renew_before_seconds: lifetimes.renew_before_seconds,
            rules: if is_deleting {
                Vec::new()
            } else {
                spec.rules.clone()
            },
            invalid_rules: rules.err(),
            invalid_lifetimes,
            suspended: spec.suspended,
            is_deleting,
            has_finalizer: finalizers.any(|it| it == USER_FINALIZER),
            stored,
        })
    }
}

fn check_names(name: &str, secret: &str) -> Result<(), ValidationError> {
    if name.len() > USER_NAME_MAX_BYTES {
        let bound = format!("at most {USER_NAME_MAX_BYTES} bytes");
        return Err(out_of_bounds("metadata.name", &name.len(), &bound));
    }
    if secret.is_empty() || secret.len() > SECRET_NAME_MAX_BYTES {
        let bound = format!("1 to {SECRET_NAME_MAX_BYTES} bytes");
        return Err(out_of_bounds("spec.secretName", &secret.len(), &bound));
    }
    Ok(())
}

/// Lifetimes of certificates in the spec.
#[derive(Clone, Copy, Default)]
struct Lifetimes {
    validity_seconds: Option<i64>,
    renew_before_seconds: Option<i64>,
}

impl Lifetimes {
    fn new(spec: &LogUserSpec) -> Result<Self, ValidationError> {
        let validity = spec.validity.as_ref();
        let validity = validity.map(|it| seconds("spec.validity", it));
        let validity = validity.transpose()?;
        let before = spec.renew_before.as_ref();
        let before = before.map(|it| seconds("spec.renewBefore", it));
        let before = before.transpose()?;
        if let Some(found) = validity.filter(|found| *found < USER_VALIDITY_MIN_SECONDS) {
            let bound = format!("at least {USER_VALIDITY_MIN_SECONDS} s");
            return Err(out_of_bounds("spec.validity", &found, &bound));
        }
        if let (Some(validity), Some(before)) = (validity, before)
            && before >= validity
        {
            let bound = "below spec.validity";
            return Err(out_of_bounds("spec.renewBefore", &before, &bound));
        }
        Ok(Self {
            validity_seconds: validity,
            renew_before_seconds: before,
        })
    }
}

fn check_rules(rules: &[UserRule]) -> Result<(), ValidationError> {
    let field = "spec.rules";
    if rules.len() > USER_RULES_MAX_COUNT {
        let bound = format!("at most {USER_RULES_MAX_COUNT} rules");
        return Err(out_of_bounds(field, &rules.len(), &bound));
    }
    for rule in rules {
        let resource = &rule.resource;
        let Some(known) = operations_on(resource) else {
            let bound = "topic:NAME, topic:PREFIX*, topic:*, the same with group:, or cluster";
            return Err(out_of_bounds("spec.rules[].resource", resource, &bound));
        };
        let names = |operations: &[UserOperation]| {
            let names: Vec<&str> = operations.iter().map(|it| it.name()).collect();
            names.join(", ")
        };
        let is_known = |it: &UserOperation| known.contains(it);
        if rule.operations.is_empty() || !rule.operations.iter().all(is_known) {
            let bound = format!("of {} on {resource}", names(known));
            let found = names(&rule.operations);
            return Err(out_of_bounds("spec.rules[].operations", &found, &bound));
        }
    }
    Ok(())
}

/// The operations that exist on a resource; none if it is no resource.
fn operations_on(resource: &str) -> Option<&'static [UserOperation]> {
    use UserOperation::{Alter, Create, Delete, Describe, Read, Write};
    let (kind, names) = resource.split_once(':').unwrap_or((resource, "*"));
    let operations: &[UserOperation] = match (kind, resource.contains(':')) {
        ("topic", true) => &[Read, Write, Create, Delete, Alter, Describe],
        ("group", true) => &[Read, Delete, Alter, Describe],
        ("cluster", false) => &[Alter, Describe],
        _ => return None,
    };
    let name = names.strip_suffix('*').unwrap_or(names);
    let is_own = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    let is_valid = names == "*"
        || (1..=TOPIC_NAME_MAX_BYTES).contains(&name.len()) && name.chars().all(is_own);
    is_valid.then_some(operations)
}
