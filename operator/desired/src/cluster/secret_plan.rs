//! Secrets to write: which certificates to issue and which to keep.

use k8s_openapi::api::core::v1::Secret;

/// Field of the CA roots in each Secret.
pub const ROOTS_FIELD: &str = "ca.crt";

/// A Secret to write: the object without data, and what its data is made of.
#[derive(Clone, Debug, PartialEq)]
pub struct SecretPlan {
    /// The object without data.
    pub object: Secret,
    /// Whether it holds the CA: then a new CA is created, and the lists below are empty.
    pub is_ca: bool,
    /// Certificates to issue.
    pub issue: Vec<Leaf>,
    /// Fields of certificates to keep, with their keys.
    pub keep: Vec<String>,
    /// Fingerprints of former roots to keep in the bundle, after the current root.
    pub keep_roots: Vec<String>,
    /// Lifetime of new certificates.
    pub life_seconds: i64,
}

impl SecretPlan {
    /// Name of the Secret.
    pub fn name(&self) -> &str {
        self.object.metadata.name.as_deref().unwrap_or_default()
    }
}

/// A certificate to issue.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Leaf {
    /// Field of the certificate. Its key is in the field of the same name with `.key`.
    pub field: String,
    /// Common name.
    pub name: String,
    /// SPIFFE identity.
    pub uri: String,
    /// DNS names. A certificate without any is for clients only.
    pub hosts: Vec<String>,
}

/// Field of the key of a certificate.
pub fn key_field(certificate: &str) -> String {
    let stem = certificate.strip_suffix(".crt").unwrap_or(certificate);
    format!("{stem}.key")
}
