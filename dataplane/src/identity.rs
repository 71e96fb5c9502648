//! Who is at the other end of a connection: the SPIFFE identity in the URI SAN of its certificate,
//! `spiffe://<trust domain>/ns/<namespace>/cluster/<cluster>/{node/<name>,user/<name>,operator}`.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use lograft_core::{ClusterId, NodeId};
use rustls_pki_types::CertificateDer;
use x509_parser::certificate::X509Certificate;
use x509_parser::extensions::GeneralName;
use x509_parser::prelude::FromDer;

use crate::closing::Closing;

/// Why a certificate or a text holds no identity.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum IdentityError {
    /// The certificate does not decode.
    #[error("cannot decode the certificate")]
    Certificate,
    /// There is no `spiffe://` URI among the certificate's names.
    #[error("the certificate has no spiffe:// URI in its subject alternative names")]
    Missing,
    /// There is more than one, which SPIFFE forbids.
    #[error("the certificate has more than one spiffe:// URI in its subject alternative names")]
    Ambiguous,
    /// The URI is no identity of ours.
    #[error(
        "{uri:?} is not spiffe://<trust domain>/ns/<namespace>/cluster/<cluster>/\
         {{node/<name>,user/<name>,operator}}"
    )]
    Malformed {
        /// The URI.
        uri: String,
    },
}

/// The role of an identity, with its name.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Role {
    /// A node of the cluster.
    Node(String),
    /// A client.
    User(String),
    /// The operator.
    Operator,
}

/// An identity.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct PeerIdentity {
    /// Trust domain, by default `lograft.io`.
    pub trust_domain: String,
    /// The namespace of the cluster.
    pub namespace: String,
    /// The cluster's name.
    pub cluster: String,
    /// Role and name.
    pub role: Role,
}

impl PeerIdentity {
    /// The identity in a certificate.
    pub fn from_certificate(der: &CertificateDer<'_>) -> Result<Self, IdentityError> {
        let (_, certificate) =
            X509Certificate::from_der(der).map_err(|_| IdentityError::Certificate)?;
        let names = certificate
            .subject_alternative_name()
            .map_err(|_| IdentityError::Certificate)?;
        let mut uris = names
            .iter()
            .flat_map(|names| &names.value.general_names)
            .filter_map(|n| match n {
                GeneralName::URI(uri) if uri.starts_with("spiffe://") => Some(*uri),
                _ => None,
            });
        let uri = uris.next().ok_or(IdentityError::Missing)?;
        if uris.next().is_some() {
            return Err(IdentityError::Ambiguous);
        }
        uri.parse()
    }

    /// The cluster without the role: what its nodes have in common.
    pub fn scope(&self) -> String {
        let Self {
            trust_domain,
            namespace,
            cluster,
            role: _,
        } = self;
        format!("{trust_domain}/ns/{namespace}/cluster/{cluster}")
    }

    /// Whether this is the node of a name.
    pub fn is_node_named(&self, name: &str) -> bool {
        matches!(&self.role, Role::Node(found) if found == name)
    }

    /// Whether the role is that of a node.
    pub const fn is_node(&self) -> bool {
        matches!(self.role, Role::Node(_))
    }

    /// Whether both belong to the same cluster, by their certificates.
    pub fn is_same_cluster(&self, other: &Self) -> bool {
        self.trust_domain == other.trust_domain
            && self.namespace == other.namespace
            && self.cluster == other.cluster
    }
}

impl fmt::Display for PeerIdentity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            trust_domain,
            namespace,
            cluster,
            role,
        } = self;
        write!(
            f,
            "spiffe://{trust_domain}/ns/{namespace}/cluster/{cluster}/"
        )?;
        match role {
            Role::Node(name) => write!(f, "node/{name}"),
            Role::User(name) => write!(f, "user/{name}"),
            Role::Operator => f.write_str("operator"),
        }
    }
}

impl FromStr for PeerIdentity {
    type Err = IdentityError;

    fn from_str(uri: &str) -> Result<Self, Self::Err> {
        parse(uri).ok_or_else(|| IdentityError::Malformed {
            uri: uri.to_owned(),
        })
    }
}

fn parse(uri: &str) -> Option<PeerIdentity> {
    let mut parts = uri.strip_prefix("spiffe://")?.split('/');
    let mut named = |expected: Option<&str>| {
        if let Some(expected) = expected {
            (parts.next()? == expected).then_some(())?;
        }
        parts
            .next()
            .filter(|part| !part.is_empty())
            .map(str::to_owned)
    };
    let trust_domain = named(None)?;
    let namespace = named(Some("ns"))?;
    let cluster = named(Some("cluster"))?;
    let role = match named(None)?.as_str() {
        "node" => Role::Node(named(None)?),
        "user" => Role::User(named(None)?),
        "operator" => Role::Operator,
        _ => return None,
    };
    parts.next().is_none().then_some(PeerIdentity {
        trust_domain,
        namespace,
        cluster,
        role,
    })
}

/// When a certificate expires, seconds since the Unix epoch.
pub(crate) fn not_after_s(der: &CertificateDer<'_>) -> Result<i64, IdentityError> {
    let (_, certificate) =
        X509Certificate::from_der(der).map_err(|_| IdentityError::Certificate)?;
    Ok(certificate.validity().not_after.timestamp())
}

/// The membership of a node in a cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Member {
    /// The cluster.
    pub cluster: ClusterId,
    /// The node's id in it.
    pub node: NodeId,
}

/// The caller of a request, in the request's extensions.
#[derive(Clone, Debug)]
pub(crate) struct Caller {
    /// The identity in the caller's certificate, verified by the handshake.
    pub identity: Arc<PeerIdentity>,
    /// Whether the caller's connection is closing.
    pub closing: Closing,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_role_reads_back() {
        for role in ["node/lograft-0", "user/alice", "operator"] {
            let uri = format!("spiffe://lograft.io/ns/prod/cluster/main/{role}");
            let identity: PeerIdentity = uri.parse().unwrap();
            assert_eq!(identity.to_string(), uri);
            assert_eq!(identity.is_node(), role.starts_with("node/"));
        }
    }

    #[test]
    fn what_is_not_quite_an_identity_is_refused() {
        let refused = [
            "",
            "https://lograft.io/ns/a/cluster/b/operator",
            "spiffe://lograft.io/ns/a/cluster/b",
            "spiffe://lograft.io/ns/a/cluster/b/node",
            "spiffe://lograft.io/ns/a/cluster/b/node/",
            "spiffe://lograft.io/ns/a/cluster/b/node/x/y",
            "spiffe://lograft.io/ns/a/cluster/b/operator/x",
            "spiffe://lograft.io/ns/a/cluster/b/root/x",
            "spiffe:///ns/a/cluster/b/node/x",
            "spiffe://lograft.io/sa/a/cluster/b/node/x",
        ];
        for uri in refused {
            let error = uri.parse::<PeerIdentity>().unwrap_err();
            assert_eq!(
                error,
                IdentityError::Malformed {
                    uri: uri.to_owned()
                }
            );
        }
    }

    #[test]
    fn another_namespace_is_another_cluster() {
        let a: PeerIdentity = "spiffe://d/ns/a/cluster/c/operator".parse().unwrap();
        let b: PeerIdentity = "spiffe://d/ns/b/cluster/c/operator".parse().unwrap();
        assert!(a.is_same_cluster(&a) && !a.is_same_cluster(&b));
    }
}
