//! Rules as an index, for the decision about each request.
//!
//! For each principal pattern and kind of resource, the names and prefixes of all rules are one
//! sorted list. All prefixes of a name form a chain, in which each is a prefix of the next; each
//! entry of the list holds the grants of its whole chain, and refers to the next shorter prefix.
//! So a decision takes one binary search: the longest matching prefix is the entry before the
//! name, or in the chain of that entry.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::operation::Grants;
use super::{
    Effect, NamePattern, Operation, Operations, Principal, PrincipalPattern, Resource,
    ResourcePattern, RuleTable,
};

/// Compiled rules. [`CompiledRules::decide`] and [`RuleTable::explain`] agree.
#[derive(Clone, Debug, Default)]
pub struct CompiledRules {
    /// Of users of the cluster's own namespace, by name.
    own: UserRules,
    /// Of users of other namespaces.
    namespaces: BTreeMap<String, NamespaceRules>,
    /// Of all users.
    all: Option<Arc<PrincipalRules>>,
}

type UserRules = BTreeMap<String, Arc<PrincipalRules>>;

#[derive(Clone, Debug, Default)]
struct NamespaceRules {
    users: UserRules,
    all: Option<Arc<PrincipalRules>>,
}

/// The rights of one principal. Cheap to clone.
#[derive(Clone, Debug, Default)]
pub struct Rights {
    /// Of each pattern that matches the principal.
    patterns: [Option<Arc<PrincipalRules>>; 3],
}

/// The rules of one principal pattern.
#[derive(Debug, Default)]
struct PrincipalRules {
    topics: NameRules,
    groups: NameRules,
    cluster: Grants,
}

/// The rules of one kind of resource.
#[derive(Debug, Default)]
struct NameRules {
    /// Sorted by name, each name once.
    entries: Vec<NameEntry>,
    /// The grants on all names.
    any: Grants,
}

/// A name that occurs in rules, as a literal, as a prefix or both.
#[derive(Debug)]
struct NameEntry {
    name: Box<str>,
    /// The grants on the resource with exactly this name, those of its prefixes included.
    exact: Grants,
    /// The grants on resources that start with this name, those of shorter prefixes included; none
    /// if it is no prefix.
    below: Option<Grants>,
    /// The position of the longest prefix in the list that is shorter than this name.
    parent: Option<usize>,
}

/// The rules of one name while the list is built.
#[derive(Clone, Copy, Default)]
struct OfName {
    literal: Grants,
    prefix: Option<Grants>,
}

#[derive(Default)]
struct NameRulesBuilder {
    names: BTreeMap<String, OfName>,
    any: Grants,
}

#[derive(Default)]
struct Builder {
    topics: NameRulesBuilder,
    groups: NameRulesBuilder,
    cluster: Grants,
}

impl CompiledRules {
    /// Compiles a table.
    pub fn new(table: &RuleTable) -> Self {
        let mut builders: BTreeMap<PrincipalPattern, Builder> = BTreeMap::new();
        for (key, operations) in table.rules() {
            let grants = match key.effect {
                Effect::Allow => Grants {
                    allowed: operations,
                    denied: Operations::NONE,
                },
                Effect::Deny => Grants {
                    allowed: Operations::NONE,
                    denied: operations,
                },
            };
            let of_principal = builders.entry(key.principal.clone()).or_default();
            match &key.resource {
                ResourcePattern::Topic(names) => of_principal.topics.add(names, grants),
                ResourcePattern::Group(names) => of_principal.groups.add(names, grants),
                ResourcePattern::Cluster => {
                    of_principal.cluster = of_principal.cluster.with(grants);
                }
            }
        }
        let mut compiled = Self::default();
        for (principal, builder) in builders {
            compiled.insert(principal, Arc::new(builder.build()));
        }
        compiled
    }

    fn insert(&mut self, principal: PrincipalPattern, rules: Arc<PrincipalRules>) {
        match principal {
            PrincipalPattern::User {
                namespace: None,
                name,
            } => {
                self.own.insert(name, rules);
            }
            PrincipalPattern::User {
                namespace: Some(namespace),
                name,
            } => {
                let of_namespace = self.namespaces.entry(namespace).or_default();
                of_namespace.users.insert(name, rules);
            }
            PrincipalPattern::Namespace(namespace) => {
                self.namespaces.entry(namespace).or_default().all = Some(rules);
            }
            PrincipalPattern::AllUsers => self.all = Some(rules),
        }
    }

    /// The rights of a principal, for several decisions.
    pub fn rights(&self, principal: &Principal) -> Rights {
        let (user, of_namespace) = match principal {
            Principal::User {
                namespace: None,
                name,
            } => (self.own.get(name), None),
            Principal::User {
                namespace: Some(namespace),
                name,
            } => match self.namespaces.get(namespace) {
                Some(rules) => (rules.users.get(name), rules.all.as_ref()),
                None => (None, None),
            },
            // Rules are for users alone.
            Principal::Node(_) | Principal::Operator => return Rights::default(),
        };
        Rights {
            patterns: [user, of_namespace, self.all.as_ref()].map(Option::<&_>::cloned),
        }
    }

    /// Whether a principal may apply an operation to a resource.
    pub fn decide(
        &self,
        principal: &Principal,
        operation: Operation,
        resource: Resource<'_>,
    ) -> bool {
        self.rights(principal).allow(operation, resource)
    }
}

impl Rights {
    /// Whether an operation on a resource is allowed.
    pub fn allow(&self, operation: Operation, resource: Resource<'_>) -> bool {
        let patterns = self.patterns.iter().flatten();
        let grants = patterns.map(|rules| rules.grants(resource));
        let grants = grants.fold(Grants::default(), Grants::with);
        grants.allows(operation)
    }

    /// Whether an operation may be allowed on some topic: a rule allows it, and none denies it on
    /// all.
    pub fn may_allow_on_a_topic(&self, operation: Operation) -> bool {
        let topics = || self.patterns.iter().flatten().map(|rules| &rules.topics);
        let is_denied = topics().any(|topics| topics.any.denied.contains(operation));
        !is_denied && topics().any(|topics| topics.allows_somewhere(operation))
    }
}

impl PrincipalRules {
    fn grants(&self, resource: Resource<'_>) -> Grants {
        match resource {
            Resource::Topic(name) => self.topics.grants(name),
            Resource::Group(name) => self.groups.grants(name),
            Resource::Cluster => self.cluster,
        }
    }
}

impl NameRules {
    fn grants(&self, name: &str) -> Grants {
        let after = self.entries.partition_point(|entry| &*entry.name <= name);
        let mut position = after.checked_sub(1);
        while let Some(entry) = position.and_then(|position| self.entries.get(position)) {
            if &*entry.name == name {
                return self.any.with(entry.exact);
            }
            if let Some(below) = entry.below
                && name.starts_with(&*entry.name)
            {
                return self.any.with(below);
            }
            position = entry.parent;
        }
        self.any
    }

    fn allows_somewhere(&self, operation: Operation) -> bool {
        let of_names = self.entries.iter().flat_map(|entry| {
            let below = entry.below.unwrap_or_default();
            [entry.exact, below]
        });
        of_names
            .chain([self.any])
            .any(|grants| grants.allows(operation))
    }
}

impl Builder {
    fn build(self) -> PrincipalRules {
        PrincipalRules {
            topics: self.topics.build(),
            groups: self.groups.build(),
            cluster: self.cluster,
        }
    }
}

impl NameRulesBuilder {
    fn add(&mut self, names: &NamePattern, grants: Grants) {
        match names {
            NamePattern::Literal(name) => {
                let of_name = self.names.entry(name.clone()).or_default();
                of_name.literal = of_name.literal.with(grants);
            }
            NamePattern::Prefix(prefix) => {
                let of_name = self.names.entry(prefix.clone()).or_default();
                let before = of_name.prefix.unwrap_or_default();
                of_name.prefix = Some(before.with(grants));
            }
            NamePattern::Any => self.any = self.any.with(grants),
        }
    }

    fn build(self) -> NameRules {
        let mut entries: Vec<NameEntry> = Vec::with_capacity(self.names.len());
        // The prefixes that the current name starts with, shortest first: in the sorted order, all
        // names below a prefix follow it without a gap.
        let mut chain: Vec<(usize, Grants)> = Vec::new();
        for (position, (name, of_name)) in self.names.into_iter().enumerate() {
            while let Some((prefix, _)) = chain.last()
                && !entries
                    .get(*prefix)
                    .is_some_and(|entry| name.starts_with(&*entry.name))
            {
                chain.pop();
            }
            let inherited = chain.last().map_or_else(Grants::default, |(_, g)| *g);
            let below = of_name.prefix.map(|prefix| inherited.with(prefix));
            entries.push(NameEntry {
                name: name.into(),
                exact: below.unwrap_or(inherited).with(of_name.literal),
                below,
                parent: chain.last().map(|(position, _)| *position),
            });
            if let Some(below) = below {
                chain.push((position, below));
            }
        }
        NameRules {
            entries,
            any: self.any,
        }
    }
}
