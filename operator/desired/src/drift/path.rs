//! Paths of fields, for comparison with rules and for people.

use std::fmt;

/// A step from a value to one of its parts.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum PathStep {
    /// A field of a type, or a key of a map.
    Field(String),
    /// An item of a list.
    Item {
        /// Position in the live list.
        index: usize,
        /// Its name, if it has one.
        name: Option<String>,
    },
}

/// Path of a field in an object. Display is for people: `spec.ports[client].port`.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct FieldPath(pub(crate) Vec<PathStep>);

/// Fields whose values are maps with keys of users. The API server sets no defaults in them.
const MAPS: [&str; 9] = [
    "annotations",
    "binaryData",
    "data",
    "labels",
    "limits",
    "matchLabels",
    "nodeSelector",
    "requests",
    "selector",
];

impl FieldPath {
    /// The path of a field of this value.
    pub(crate) fn field(&self, name: &str) -> Self {
        self.with(PathStep::Field(name.to_owned()))
    }

    /// The path of an item of this list.
    pub(crate) fn item(&self, index: usize, name: Option<&str>) -> Self {
        let name = name.map(str::to_owned);
        self.with(PathStep::Item { index, name })
    }

    fn with(&self, step: PathStep) -> Self {
        let mut steps = self.0.clone();
        steps.push(step);
        Self(steps)
    }

    /// The path with `[]` for each item, for rules.
    pub(crate) fn pattern(&self) -> String {
        let mut text = String::new();
        for step in &self.0 {
            match step {
                PathStep::Field(name) if text.is_empty() => text.push_str(name),
                PathStep::Field(name) => {
                    text.push('.');
                    text.push_str(name);
                }
                PathStep::Item { .. } => text.push_str("[]"),
            }
        }
        text
    }

    /// Whether it is a field, not an item of a list.
    pub(crate) fn ends_with_field(&self) -> bool {
        matches!(self.0.last(), Some(PathStep::Field(_)))
    }

    /// Whether it is a key of a map.
    pub(crate) fn is_in_map(&self) -> bool {
        self.parent().is_some_and(|name| MAPS.contains(&name))
    }

    /// Whether its value is a quantity of a resource.
    pub(crate) fn is_quantity(&self) -> bool {
        let parent = self.parent();
        parent.is_some_and(|name| name == "requests" || name == "limits")
    }

    fn parent(&self) -> Option<&str> {
        match self.0.iter().rev().nth(1)? {
            PathStep::Field(name) => Some(name),
            PathStep::Item { .. } => None,
        }
    }
}

impl fmt::Display for FieldPath {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (at, step) in self.0.iter().enumerate() {
            match step {
                PathStep::Field(name) if at == 0 => write!(f, "{name}")?,
                PathStep::Field(name) => write!(f, ".{name}")?,
                PathStep::Item {
                    name: Some(name), ..
                } => write!(f, "[{name}]")?,
                PathStep::Item { index, name: None } => write!(f, "[{index}]")?,
            }
        }
        Ok(())
    }
}
