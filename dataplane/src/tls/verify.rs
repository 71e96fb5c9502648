//! The webpki verifiers, with a look at the identity after them.

use std::fmt;
use std::sync::Arc;

use lograft_core::acl::Principal;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::client::{WebPkiServerVerifier, verify_server_cert_signed_by_trust_anchor};
use rustls::crypto::WebPkiSupportedAlgorithms;
use rustls::server::ParsedCertificate;
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, RootCertStore,
    SignatureScheme,
};
use rustls_pki_types::{CertificateDer, ServerName, UnixTime};

use super::Port;
use crate::identity::{IdentityError, PeerIdentity};

/// Why a certificate of the right CA is refused all the same.
#[derive(thiserror::Error)]
enum Refused {
    #[error("not a certificate of a Lograft cluster: {0}")]
    Identity(IdentityError),
    #[error("{0} belongs to another cluster")]
    OtherCluster(PeerIdentity),
    #[error("{0} is not a node")]
    NotANode(PeerIdentity),
    #[error("{identity} is not node {name}")]
    OtherNode {
        identity: PeerIdentity,
        name: Arc<str>,
    },
}

/// rustls shows the `Debug` form of such a cause to people.
impl fmt::Debug for Refused {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl From<Refused> for Error {
    fn from(refused: Refused) -> Self {
        Self::InvalidCertificate(CertificateError::Other(OtherError(Arc::new(refused))))
    }
}

fn check(
    certificate: &CertificateDer<'_>,
    own: &PeerIdentity,
    must_be_node: bool,
) -> Result<PeerIdentity, Refused> {
    let identity = PeerIdentity::from_certificate(certificate).map_err(Refused::Identity)?;
    if !identity.is_same_cluster(own) {
        return Err(Refused::OtherCluster(identity));
    }
    if must_be_node && !identity.is_node() {
        return Err(Refused::NotANode(identity));
    }
    Ok(identity)
}

/// Checks the certificates of clients of a port.
#[derive(Debug)]
pub(super) struct CheckClient {
    pub(super) inner: Arc<dyn ClientCertVerifier>,
    pub(super) own: Arc<PeerIdentity>,
    pub(super) port: Port,
}

impl ClientCertVerifier for CheckClient {
    fn root_hint_subjects(&self) -> &[DistinguishedName] {
        self.inner.root_hint_subjects()
    }

    fn verify_client_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        now: UnixTime,
    ) -> Result<ClientCertVerified, Error> {
        let verified = self
            .inner
            .verify_client_cert(end_entity, intermediates, now)?;
        check(end_entity, &self.own, self.port == Port::Peer)?;
        Ok(verified)
    }

    fn verify_tls12_signature(
        &self,
        handshake: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner
            .verify_tls12_signature(handshake, cert, signature)
    }

    fn verify_tls13_signature(
        &self,
        handshake: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner
            .verify_tls13_signature(handshake, cert, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}

/// Checks the certificate of a peer that this node connects to: its chain and its identity. The
/// host name that was dialed does not count. A pod's address changes and says nothing, and a
/// certificate that has the names of all nodes' service would answer for any of them.
#[derive(Clone, Debug)]
pub(super) struct CheckNode {
    /// Checks signatures.
    pub(super) inner: Arc<WebPkiServerVerifier>,
    pub(super) roots: Arc<RootCertStore>,
    pub(super) algorithms: WebPkiSupportedAlgorithms,
    pub(super) own: Arc<PeerIdentity>,
    /// The name that the node must have, if that is known.
    pub(super) name: Option<Arc<str>>,
}

impl ServerCertVerifier for CheckNode {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        verify_server_cert_signed_by_trust_anchor(
            &ParsedCertificate::try_from(end_entity)?,
            &self.roots,
            intermediates,
            now,
            self.algorithms.all,
        )?;
        let identity = check(end_entity, &self.own, true)?;
        match (&self.name, &*identity.principal) {
            (Some(name), Principal::Node(found)) if **name != **found => {
                let name = Arc::clone(name);
                Err(Refused::OtherNode { identity, name }.into())
            }
            _ => Ok(ServerCertVerified::assertion()),
        }
    }

    fn verify_tls12_signature(
        &self,
        handshake: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner
            .verify_tls12_signature(handshake, cert, signature)
    }

    fn verify_tls13_signature(
        &self,
        handshake: &[u8],
        cert: &CertificateDer<'_>,
        signature: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, Error> {
        self.inner
            .verify_tls13_signature(handshake, cert, signature)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.inner.supported_verify_schemes()
    }
}
