//! Bounds of the rules that LogUsers of a namespace may have. An allowed rule outside of them is
//! refused, and with it all rules of the LogUser. A denial takes nothing from anybody else, so it
//! may be anywhere.

use lograft_crds::log_cluster::UserGrant;
use lograft_crds::log_user::{UserRule, UserRuleEffect};

use crate::consent::ClusterKey;

/// Entry of `spec.userGrants` for the namespaces that have none.
const OTHERS: &str = "*";

/// The first rule that the namespace may not grant, as the reason why.
pub(super) fn refusal(
    rules: &[UserRule],
    namespace: &str,
    cluster: &ClusterKey,
    grants: &[UserGrant],
) -> Option<String> {
    let is_home = namespace == cluster.namespace;
    let prefixes = prefixes(namespace, is_home, grants);
    let allowed = rules
        .iter()
        .filter(|rule| rule.effect == UserRuleEffect::Allow);
    let mut refused = allowed.filter(|rule| match rule.resource.split_once(':') {
        Some((_, names)) => !prefixes.iter().any(|prefix| covers(prefix, names)),
        None => !is_home,
    });
    let rule = refused.next()?;
    let resource = &rule.resource;
    Some(if rule.resource.contains(':') {
        let bound = prefixes.join(", ");
        let bound = if bound.is_empty() { "none" } else { &bound };
        format!(
            "namespace {namespace} may not grant rights to {resource}: LogCluster {cluster} permits \
             it these prefixes of names: {bound}; change the rule, or spec.userGrants of the \
             LogCluster"
        )
    } else {
        format!(
            "namespace {namespace} may not grant rights to the cluster: only LogUsers in the \
             namespace of LogCluster {cluster} may; remove the rule"
        )
    })
}

fn prefixes(namespace: &str, is_home: bool, grants: &[UserGrant]) -> Vec<String> {
    let entry = |name: &str| grants.iter().find(|grant| grant.namespace == name);
    match entry(namespace).or_else(|| entry(OTHERS).filter(|_| !is_home)) {
        Some(grant) => grant.prefixes.clone(),
        None if is_home => vec!["*".to_owned()],
        None => vec![format!("{namespace}.")],
    }
}

/// Whether all names that a pattern matches start with the prefix.
fn covers(prefix: &str, names: &str) -> bool {
    // The pattern `*` is the prefix "", which is covered by all names alone.
    let start = names.strip_suffix('*').unwrap_or(names);
    prefix == "*" || (!prefix.is_empty() && start.starts_with(prefix))
}

#[cfg(test)]
mod tests {
    use lograft_crds::log_user::UserOperation;

    use super::*;

    fn is_granted(namespace: &str, resource: &str, grants: &[(&str, &[&str])]) -> bool {
        let cluster = ClusterKey {
            namespace: "logs".to_owned(),
            name: "events".to_owned(),
        };
        let grants: Vec<UserGrant> = grants
            .iter()
            .map(|(namespace, prefixes)| UserGrant {
                namespace: (*namespace).to_owned(),
                prefixes: prefixes.iter().map(|it| (*it).to_owned()).collect(),
            })
            .collect();
        let rule = |effect| UserRule {
            effect,
            operations: vec![UserOperation::Read],
            resource: resource.to_owned(),
        };
        let denial = [rule(UserRuleEffect::Deny)];
        assert_eq!(refusal(&denial, namespace, &cluster, &grants), None);
        refusal(&[rule(UserRuleEffect::Allow)], namespace, &cluster, &grants).is_none()
    }

    #[test]
    fn another_namespace_grants_its_own_names_alone() {
        for resource in ["topic:shop.orders", "topic:shop.*", "group:shop.a*"] {
            assert!(is_granted("shop", resource, &[]), "{resource}");
        }
        for resource in [
            "topic:shop*",
            "topic:shop",
            "topic:shopping.a",
            "topic:*",
            "group:*",
            "topic:s*",
            "topic:web.shop.a",
            "cluster",
        ] {
            assert!(!is_granted("shop", resource, &[]), "{resource}");
        }
    }

    #[test]
    fn the_own_namespace_grants_all_topics_unless_it_has_an_entry() {
        for resource in ["topic:*", "group:x", "cluster"] {
            assert!(is_granted("logs", resource, &[]), "{resource}");
            let others: &[(&str, &[&str])] = &[("*", &["x"])];
            assert!(is_granted("logs", resource, others), "{resource}");
        }
        assert!(!is_granted("logs", "topic:b", &[("logs", &["a"])]));
    }

    #[test]
    fn an_entry_replaces_the_default() {
        let grants: &[(&str, &[&str])] = &[("shop", &["shared."]), ("*", &[]), ("all", &["*"])];
        assert!(is_granted("shop", "topic:shared.x", grants));
        assert!(!is_granted("shop", "topic:shop.x", grants));
        assert!(!is_granted("web", "topic:web.x", grants));
        assert!(is_granted("all", "topic:*", grants));
        assert!(!is_granted("all", "cluster", grants));
        assert!(!is_granted("shop", "topic:*", &[("shop", &[""])]));
    }
}
