//! Certificates.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::quantity::Period;
use crate::rules;

/// Certificates. TLS cannot be disabled: every connection uses mTLS.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = rules::TLS))]
pub struct Tls {
    /// Issuer of the certificates.
    pub mode: TlsMode,
    /// The cert-manager issuer; required in mode certManager.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuer_ref: Option<IssuerRef>,
    /// Validity of the cluster's CA.
    pub ca_validity: Period,
    /// Validity of the certificates of nodes, users and the operator.
    pub leaf_validity: Period,
    /// How long before its expiry a certificate is renewed. Default: a third of its validity.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub renew_before: Option<Period>,
}

/// Issuer of the certificates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum TlsMode {
    /// The operator, with a CA per cluster.
    #[default]
    Builtin,
    /// cert-manager.
    CertManager,
}

/// An issuer of cert-manager.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct IssuerRef {
    /// Name of the issuer.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// `Issuer` or `ClusterIssuer`.
    #[serde(default = "issuer_kind")]
    #[schemars(length(min = 1, max = 63))]
    pub kind: String,
    /// API group of the issuer.
    #[serde(default = "issuer_group")]
    #[schemars(length(min = 1, max = 253))]
    pub group: String,
}

fn issuer_kind() -> String {
    "Issuer".to_owned()
}

fn issuer_group() -> String {
    "cert-manager.io".to_owned()
}

impl Default for Tls {
    fn default() -> Self {
        Self {
            mode: TlsMode::default(),
            issuer_ref: None,
            ca_validity: Period::from("43800h"),
            leaf_validity: Period::from("2160h"),
            renew_before: None,
        }
    }
}
