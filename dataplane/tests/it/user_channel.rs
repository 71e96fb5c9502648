//! Connections of a client with any certificate, which the node's own client code does not make.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;

use hyper_util::rt::TokioIo;
use rustls::ClientConfig;
use rustls_pki_types::pem::PemObject;
use rustls_pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use tokio::io::AsyncReadExt;
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream;
use tonic::transport::{Channel, Endpoint, Uri};
use tower::service_fn;

use crate::pki::{Ca, Leaf};

/// The TLS of a client with this certificate, or with none.
pub(crate) fn client_tls(ca: &Ca, leaf: Option<&Leaf>) -> Arc<ClientConfig> {
    let mut roots = rustls::RootCertStore::empty();
    roots
        .add(CertificateDer::from_pem_slice(ca.pem().as_bytes()).unwrap())
        .unwrap();
    let builder = ClientConfig::builder().with_root_certificates(roots);
    let mut config = match leaf {
        Some(leaf) => builder
            .with_client_auth_cert(
                vec![CertificateDer::from_pem_slice(leaf.cert.as_bytes()).unwrap()],
                PrivateKeyDer::from_pem_slice(leaf.key.as_bytes()).unwrap(),
            )
            .unwrap(),
        None => builder.with_no_client_auth(),
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    Arc::new(config)
}

/// Connects.
pub(crate) async fn open(
    tls: Arc<ClientConfig>,
    to: SocketAddr,
) -> io::Result<TlsStream<TcpStream>> {
    let io = TcpStream::connect(to).await?;
    let name = ServerName::try_from("localhost").unwrap();
    TlsConnector::from(tls).connect(name, io).await
}

/// Connects and waits for the server's first bytes, its HTTP/2 settings: a refusal comes after a
/// TLS 1.3 client's handshake.
pub(crate) async fn try_connect(tls: Arc<ClientConfig>, to: SocketAddr) -> io::Result<()> {
    open(tls, to).await?.read_u8().await.map(drop)
}

/// A channel that connects when it is first used.
pub(crate) fn channel(tls: Arc<ClientConfig>, to: SocketAddr) -> Channel {
    let connect = service_fn(move |_: Uri| {
        let tls = Arc::clone(&tls);
        async move { open(tls, to).await.map(TokioIo::new) }
    });
    Endpoint::from_static("http://lograft").connect_with_connector_lazy(connect)
}
