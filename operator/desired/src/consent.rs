//! Consent of a LogCluster to objects of users that name it, such as a LogTopic: those of its own
//! namespace always may, those of another namespace only if its `spec.allowedNamespaces` has that
//! namespace by name or by the labels of its Namespace object.

use std::collections::BTreeMap;
use std::fmt;

use lograft_crds::log_cluster::AllowedNamespaces;
use lograft_crds::log_topic::ClusterRef;

/// Namespace and name of a LogCluster.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct ClusterKey {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
}

impl ClusterKey {
    /// The LogCluster that an object of `namespace` names.
    pub fn new(reference: &ClusterRef, namespace: &str) -> Self {
        let other = reference.namespace.as_deref();
        Self {
            namespace: other.unwrap_or(namespace).to_owned(),
            name: reference.name.clone(),
        }
    }
}

impl fmt::Display for ClusterKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.namespace, self.name)
    }
}

/// The namespace of an object that names a LogCluster.
#[derive(Clone, Copy, Debug)]
pub struct Applicant<'a> {
    /// Name of the namespace.
    pub namespace: &'a str,
    /// Labels of its Namespace object; none if they are not known.
    pub labels: Option<&'a BTreeMap<String, String>>,
}

/// Why a LogCluster does not consent.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ConsentRefusal {
    /// The namespace is not among the allowed ones, or there is no such LogCluster: somebody
    /// without access to its namespace must not learn which of the two it is.
    #[error(
        "LogCluster {cluster} does not exist or does not allow namespace {namespace}: its \
         spec.allowedNamespaces must name it or match its labels"
    )]
    NotAllowed {
        /// The LogCluster.
        cluster: ClusterKey,
        /// The refused namespace.
        namespace: String,
    },
    /// The labels of the namespace decide, and they are not known.
    #[error(
        "cannot read the labels of namespace {namespace}, which decide whether LogCluster {cluster} \
         allows it"
    )]
    LabelsUnknown {
        /// The LogCluster.
        cluster: ClusterKey,
        /// The namespace.
        namespace: String,
    },
}

impl ConsentRefusal {
    /// The refusal for a LogCluster that does not exist.
    pub fn of_missing(applicant: Applicant<'_>, cluster: &ClusterKey) -> Self {
        Self::NotAllowed {
            cluster: cluster.clone(),
            namespace: applicant.namespace.to_owned(),
        }
    }
}

/// Whether the labels of the namespace decide.
pub fn needs_labels(
    namespace: &str,
    cluster: &ClusterKey,
    allowed: Option<&AllowedNamespaces>,
) -> bool {
    let has_selector = allowed.is_some_and(|allowed| allowed.selector.is_some());
    has_selector && !is_allowed_by_name(namespace, cluster, allowed)
}

/// Whether the LogCluster with these allowed namespaces consents to an object of the applicant.
pub fn consent(
    applicant: Applicant<'_>,
    cluster: &ClusterKey,
    allowed: Option<&AllowedNamespaces>,
) -> Result<(), ConsentRefusal> {
    let Applicant { namespace, labels } = applicant;
    if is_allowed_by_name(namespace, cluster, allowed) {
        return Ok(());
    }
    let selector = allowed.and_then(|allowed| allowed.selector.as_ref());
    // An empty selector matches nothing, whatever it means elsewhere in Kubernetes: nobody opens a
    // cluster to everyone by leaving something out.
    let wanted = selector.map(|selector| &selector.match_labels);
    let Some(wanted) = wanted.filter(|wanted| !wanted.is_empty()) else {
        return Err(ConsentRefusal::of_missing(applicant, cluster));
    };
    let Some(labels) = labels else {
        return Err(ConsentRefusal::LabelsUnknown {
            cluster: cluster.clone(),
            namespace: namespace.to_owned(),
        });
    };
    let matches = wanted
        .iter()
        .all(|(key, value)| labels.get(key) == Some(value));
    if matches {
        Ok(())
    } else {
        Err(ConsentRefusal::of_missing(applicant, cluster))
    }
}

fn is_allowed_by_name(
    namespace: &str,
    cluster: &ClusterKey,
    allowed: Option<&AllowedNamespaces>,
) -> bool {
    let is_named = |allowed: &AllowedNamespaces| allowed.names.iter().any(|it| it == namespace);
    namespace == cluster.namespace || allowed.is_some_and(is_named)
}

#[cfg(test)]
mod tests {
    use lograft_crds::log_cluster::NamespaceSelector;

    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> BTreeMap<String, String> {
        let pairs = pairs.iter();
        pairs
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect()
    }

    fn allowed(names: &[&str], selector: Option<&[(&str, &str)]>) -> AllowedNamespaces {
        AllowedNamespaces {
            names: names.iter().map(|name| (*name).to_owned()).collect(),
            selector: selector.map(|pairs| NamespaceSelector {
                match_labels: labels(pairs),
            }),
        }
    }

    fn is_ok(
        namespace: &str,
        with: Option<&[(&str, &str)]>,
        allowed: Option<&AllowedNamespaces>,
    ) -> bool {
        let cluster = ClusterKey {
            namespace: "logs".to_owned(),
            name: "events".to_owned(),
        };
        let with = with.map(labels);
        let applicant = Applicant {
            namespace,
            labels: with.as_ref(),
        };
        let found = consent(applicant, &cluster, allowed);
        // Labels that are not needed change nothing.
        if !needs_labels(namespace, &cluster, allowed) {
            let without = Applicant {
                namespace,
                labels: None,
            };
            assert_eq!(consent(without, &cluster, allowed), found);
        }
        found.is_ok()
    }

    #[test]
    fn the_own_namespace_always_may() {
        assert!(is_ok("logs", None, None));
        assert!(is_ok("logs", None, Some(&allowed(&["other"], None))));
        assert!(!is_ok("shop", None, None));
        assert!(!is_ok("shop", None, Some(&AllowedNamespaces::default())));
    }

    #[test]
    fn names_are_compared_as_a_whole() {
        let named = allowed(&["shop", "web"], None);
        assert!(is_ok("shop", None, Some(&named)));
        for other in ["sho", "shopx", "Shop", "*", ""] {
            assert!(!is_ok(other, None, Some(&named)), "{other}");
        }
    }

    #[test]
    fn all_labels_of_the_selector_must_be_there() {
        let both = allowed(&["web"], Some(&[("team", "a"), ("logs", "yes")]));
        let has = |pairs: &[(&str, &str)]| is_ok("shop", Some(pairs), Some(&both));
        assert!(has(&[("team", "a"), ("logs", "yes"), ("more", "x")]));
        assert!(!has(&[("team", "a")]));
        assert!(!has(&[("team", "b"), ("logs", "yes")]));
        assert!(!has(&[]));
        assert!(!is_ok("shop", None, Some(&both)));
        assert!(is_ok("web", None, Some(&both)));
    }

    #[test]
    fn an_empty_selector_allows_nobody() {
        let empty = allowed(&[], Some(&[]));
        assert!(!is_ok("shop", Some(&[("team", "a")]), Some(&empty)));
        assert!(!is_ok("shop", None, Some(&empty)));
    }

    #[test]
    fn a_missing_cluster_and_a_closed_one_look_alike() {
        let cluster = ClusterKey {
            namespace: "logs".to_owned(),
            name: "events".to_owned(),
        };
        let applicant = Applicant {
            namespace: "shop",
            labels: None,
        };
        let closed = consent(applicant, &cluster, None).unwrap_err();
        assert_eq!(closed, ConsentRefusal::of_missing(applicant, &cluster));
    }
}
