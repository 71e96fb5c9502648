//! The webpki verifiers, with a look at the identity after them.

use std::fmt;
use std::sync::Arc;

use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::server::danger::{ClientCertVerified, ClientCertVerifier};
use rustls::{
    CertificateError, DigitallySignedStruct, DistinguishedName, Error, OtherError, SignatureScheme,
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
) -> Result<(), Refused> {
    let identity = PeerIdentity::from_certificate(certificate).map_err(Refused::Identity)?;
    if !identity.is_same_cluster(own) {
        return Err(Refused::OtherCluster(identity));
    }
    if must_be_node && !identity.is_node() {
        return Err(Refused::NotANode(identity));
    }
    Ok(())
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

/// Checks the certificate of a peer that this node connects to.
#[derive(Debug)]
pub(super) struct CheckNode {
    pub(super) inner: Arc<WebPkiServerVerifier>,
    pub(super) own: Arc<PeerIdentity>,
}

impl ServerCertVerifier for CheckNode {
    fn verify_server_cert(
        &self,
        end_entity: &CertificateDer<'_>,
        intermediates: &[CertificateDer<'_>],
        server_name: &ServerName<'_>,
        ocsp_response: &[u8],
        now: UnixTime,
    ) -> Result<ServerCertVerified, Error> {
        let verified = self.inner.verify_server_cert(
            end_entity,
            intermediates,
            server_name,
            ocsp_response,
            now,
        )?;
        check(end_entity, &self.own, true)?;
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
