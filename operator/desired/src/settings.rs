//! Settings of the operator that plans depend on.

/// Settings of the operator that plans depend on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Settings {
    /// Repository of the nodes' image, without a tag.
    pub image_repository: String,
    /// Version of clusters whose spec names none.
    pub version: String,
    /// Namespace of the operator; network policies let it reach every cluster.
    pub operator_namespace: String,
}
