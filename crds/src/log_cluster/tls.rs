//! Certificates.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use crate::quantity::Period;
use crate::rules;

/// Certificates. There is no mode without: every connection is mTLS.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase", default)]
#[schemars(extend("x-kubernetes-validations" = rules::TLS))]
pub struct Tls {
    /// Who issues.
    pub mode: TlsMode,
    /// The issuer of mode certManager.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub issuer_ref: Option<IssuerRef>,
    /// Life of the cluster's CA.
    pub ca_validity: Period,
    /// Life of the certificates of nodes, users and the operator.
    pub leaf_validity: Period,
    /// How long before its end a certificate is renewed; a third of its life without it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub renew_before: Option<Period>,
}

/// Who issues certificates.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub enum TlsMode {
    /// The operator, from a CA of its own for the cluster.
    #[default]
    Builtin,
    /// cert-manager.
    CertManager,
}

/// An issuer of cert-manager's.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "camelCase")]
pub struct IssuerRef {
    /// Its name.
    #[schemars(length(min = 1, max = 253))]
    pub name: String,
    /// `Issuer` or `ClusterIssuer`.
    #[serde(default = "issuer_kind")]
    #[schemars(length(min = 1, max = 63))]
    pub kind: String,
    /// Its API group.
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
