//! Who is at the other end of a connection: the SPIFFE identity in the URI SAN of its certificate,
//! `spiffe://<trust domain>/ns/<namespace>/cluster/<cluster>/<principal>`. The principal is
//! `node/<name>`, `user/<name>`, `user/<namespace>/<name>` for a user of another namespace, or
//! `operator`.

use std::fmt;
use std::str::FromStr;
use std::sync::Arc;

use lograft_core::acl::{CertificateId, Principal, Serial, is_name};
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
    /// There is no URI among the certificate's names.
    #[error("the certificate has no URI in its subject alternative names")]
    Missing,
    /// There is more than one URI, which SPIFFE forbids.
    #[error("the certificate has more than one URI in its subject alternative names")]
    Ambiguous,
    /// The URI is no identity of ours.
    #[error(
        "{uri:?} is not spiffe://<trust domain>/ns/<namespace>/cluster/<cluster>/\
         {{node/<name>,user/<name>,user/<namespace>/<name>,operator}}"
    )]
    Malformed {
        /// The URI.
        uri: String,
    },
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
    /// The principal in the cluster.
    pub principal: Arc<Principal>,
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
                GeneralName::URI(uri) => Some(*uri),
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
            principal: _,
        } = self;
        format!("{trust_domain}/ns/{namespace}/cluster/{cluster}")
    }

    /// Whether this is the node of a name.
    pub fn is_node_named(&self, name: &str) -> bool {
        matches!(&*self.principal, Principal::Node(found) if found == name)
    }

    /// Whether it is a node.
    pub fn is_node(&self) -> bool {
        matches!(*self.principal, Principal::Node(_))
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
            principal,
        } = self;
        write!(
            f,
            "spiffe://{trust_domain}/ns/{namespace}/cluster/{cluster}/{principal}"
        )
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

/// Reads a URI of exactly this form. Nothing is decoded, folded or trimmed: an identity has one
/// text.
fn parse(uri: &str) -> Option<PeerIdentity> {
    let (trust_domain, rest) = uri.strip_prefix("spiffe://")?.split_once('/')?;
    let (namespace, rest) = rest.strip_prefix("ns/")?.split_once('/')?;
    let (cluster, principal) = rest.strip_prefix("cluster/")?.split_once('/')?;
    if ![trust_domain, namespace, cluster].into_iter().all(is_name) {
        return None;
    }
    let principal: Principal = principal.parse().ok()?;
    let is_second_text = matches!(
        &principal,
        Principal::User { namespace: Some(of), .. } if of == namespace
    );
    // A user of the cluster's own namespace is user/<name> and nothing else: rules for one of two
    // texts would not hold for the other.
    (!is_second_text).then(|| PeerIdentity {
        trust_domain: trust_domain.to_owned(),
        namespace: namespace.to_owned(),
        cluster: cluster.to_owned(),
        principal: Arc::new(principal),
    })
}

/// A certificate apart from its identity.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct CertificateFacts {
    /// By which it is revoked.
    pub(crate) id: CertificateId,
    /// Its end, seconds since the Unix epoch.
    pub(crate) not_after_s: i64,
}

impl CertificateFacts {
    pub(crate) fn of(der: &CertificateDer<'_>) -> Result<Self, IdentityError> {
        let (_, certificate) =
            X509Certificate::from_der(der).map_err(|_| IdentityError::Certificate)?;
        let validity = certificate.validity();
        Ok(Self {
            id: CertificateId {
                serial: Serial::from_bytes(certificate.raw_serial()),
                not_before_s: validity.not_before.timestamp(),
            },
            not_after_s: validity.not_after.timestamp(),
        })
    }
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
    fn every_principal_reads_back() {
        for principal in [
            "node/lograft-0",
            "user/alice",
            "user/team/alice",
            "operator",
        ] {
            let uri = format!("spiffe://lograft.io/ns/prod/cluster/main/{principal}");
            let identity: PeerIdentity = uri.parse().unwrap();
            assert_eq!(identity.to_string(), uri);
            assert_eq!(identity.is_node(), principal.starts_with("node/"));
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
            "SPIFFE://lograft.io/ns/a/cluster/b/node/x",
            "spiffe://lograft.io/ns/a/cluster/b/user/x/",
            "spiffe://lograft.io/ns/a/cluster/b/user/*",
            "spiffe://lograft.io/ns/a/cluster/b/user/%61",
            "spiffe://lograft.io/ns/a/cluster/b/user/a/x",
            "spiffe://lograft.io/ns/a/cluster/b/User/x",
            "spiffe://lograft.io/ns/a/cluster/b/user/x?y",
            "spiffe://lograft.io/ns/a/cluster/b/user/x#y",
            "spiffe://lograft.io/ns/a/cluster/../b/user/x",
            "spiffe://lograft.io:443/ns/a/cluster/b/user/x",
            "spiffe://user@lograft.io/ns/a/cluster/b/user/x",
            "spiffe://lograft.io/ns/a/cluster/b//user/x",
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

    /// Certificates of any bytes: the peer of a handshake sends them before anything is known.
    #[test]
    fn certificates_and_identities_of_any_bytes_neither_panic_nor_grow() {
        use rustls_pki_types::pem::PemObject;
        let uri = "spiffe://lograft.io/ns/prod/cluster/main/user/team/alice";
        let leaf = crate::pki::Ca::new().issue(&[uri.to_owned()]);
        let der = CertificateDer::from_pem_slice(leaf.cert.as_bytes()).unwrap();
        crate::fuzz::run("certificates", |random| {
            let mutated = CertificateDer::from(random.mutated(&der, 8192));
            let _ = PeerIdentity::from_certificate(&mutated);
            let _ = CertificateFacts::of(&mutated);
            let text = random.mutated(uri.as_bytes(), 2048);
            if let Ok(text) = std::str::from_utf8(&text)
                && let Ok(identity) = text.parse::<PeerIdentity>()
            {
                assert_eq!(identity.to_string(), text, "one text for each identity");
            }
        });
    }

    #[test]
    fn another_namespace_is_another_cluster() {
        let a: PeerIdentity = "spiffe://d/ns/a/cluster/c/operator".parse().unwrap();
        let b: PeerIdentity = "spiffe://d/ns/b/cluster/c/operator".parse().unwrap();
        assert!(a.is_same_cluster(&a) && !a.is_same_cluster(&b));
    }
}
