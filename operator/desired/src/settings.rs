//! Settings of the operator that plans depend on.

/// Settings of the operator that plans depend on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Repository of the nodes' image, without a tag.
    pub image_repository: String,
    /// Version of new clusters whose spec names none.
    pub version: String,
    /// Whether existing clusters whose spec names no version move to `version`, if it is newer.
    pub upgrade_clusters: bool,
    /// Revision of the operator and its settings: with another one, templates may change.
    pub revision: String,
    /// Namespace of the operator; network policies let it reach every cluster.
    pub operator_namespace: String,
}
