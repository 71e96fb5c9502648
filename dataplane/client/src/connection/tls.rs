//! TLS 1.3 settings with client certificates, from PEM files or PEM data in memory.

use std::fs::File;
use std::io::{self, Read as _};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use lograft_core::limits::TLS_FILE_MAX_BYTES;
use rustls::client::Resumption;
use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};

use super::tls_source::{TlsPem, TlsSource};

/// The reason why certificates or keys cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// The error of the operating system.
        #[source]
        source: io::Error,
    },
    /// A file is larger than any certificate.
    #[error("{} must be at most {TLS_FILE_MAX_BYTES} bytes", .path.display())]
    TooLarge {
        /// The file.
        path: PathBuf,
    },
    /// The data is not PEM, or has no section of the required kind.
    #[error("cannot parse the {what} as PEM")]
    Pem {
        /// `CA certificate`, `client certificate` or `client key`.
        what: &'static str,
        /// The error of the parser.
        #[source]
        source: pem::Error,
    },
    /// The PEM data has no certificate in it.
    #[error("the {what} contains no PEM certificate")]
    Empty {
        /// `CA certificate` or `client certificate`.
        what: &'static str,
    },
    /// A certificate without a key, or a key without a certificate.
    #[error("client certificate and client key must be given together")]
    HalfIdentity,
    /// Certificate and key do not belong together, or their algorithm is not supported.
    #[error("cannot use the certificates and the key together")]
    Unusable(#[source] rustls::Error),
}

/// TLS settings for new connections, rebuilt when the files have changed.
#[derive(Debug)]
pub(crate) struct TlsSettings {
    source: TlsSource,
    server_name: Option<String>,
    current: Mutex<Option<(TlsPem, Arc<ClientConfig>)>>,
}

impl TlsSettings {
    pub(crate) fn new(source: TlsSource, server_name: Option<String>) -> Self {
        Self {
            source,
            server_name,
            current: Mutex::new(None),
        }
    }

    /// Settings for a new connection. Reads up to three small files. Files that do not hold
    /// together, because only one of two is renewed yet, leave the former settings in use: the next
    /// connection reads them again. Fails only if no settings were ever usable.
    pub(crate) fn current(&self) -> Result<Arc<ClientConfig>, TlsError> {
        let pem = self.source.read();
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        let built = pem.and_then(|pem| match current.as_ref() {
            Some((known, config)) if *known == pem => Ok((pem, Arc::clone(config))),
            _ => build(&pem).map(|config| (pem, Arc::new(config))),
        });
        match (built, current.as_ref()) {
            (Ok((pem, config)), _) => {
                *current = Some((pem, Arc::clone(&config)));
                Ok(config)
            }
            (Err(error), Some((_, former))) => {
                tracing::warn!(%error, "cannot use the changed TLS files, keeping the previous ones");
                Ok(Arc::clone(former))
            }
            (Err(error), None) => Err(error),
        }
    }

    /// The name to verify in the certificate of the node at `address`. Fails with the host if that
    /// cannot be a name in a certificate.
    pub(crate) fn server_name(&self, address: &str) -> Result<ServerName<'static>, String> {
        let name = self
            .server_name
            .as_deref()
            .unwrap_or_else(|| host_of(address));
        ServerName::try_from(name.to_owned()).map_err(|_| name.to_owned())
    }
}

/// The host of a `host:port` address, without the brackets of an IPv6 address.
fn host_of(address: &str) -> &str {
    let host = address.rsplit_once(':').map_or(address, |(host, _)| host);
    host.trim_start_matches('[').trim_end_matches(']')
}

impl TlsSource {
    fn read(&self) -> Result<TlsPem, TlsError> {
        match self {
            Self::Pem(pem) => Ok(pem.clone()),
            Self::Files(files) => Ok(TlsPem {
                ca: read(&files.ca)?,
                cert: files.cert.as_deref().map(read).transpose()?,
                key: files.key.as_deref().map(read).transpose()?,
            }),
        }
    }
}

fn read(path: impl AsRef<Path>) -> Result<String, TlsError> {
    let path = path.as_ref();
    let failed = |source| TlsError::Read {
        path: path.into(),
        source,
    };
    let mut text = String::new();
    let file = File::open(path).map_err(failed)?;
    let read_bytes = file
        .take(TLS_FILE_MAX_BYTES + 1)
        .read_to_string(&mut text)
        .map_err(failed)?;
    if read_bytes as u64 > TLS_FILE_MAX_BYTES {
        return Err(TlsError::TooLarge { path: path.into() });
    }
    Ok(text)
}

fn certificates(text: &str, what: &'static str) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let all = CertificateDer::pem_slice_iter(text.as_bytes())
        .collect::<Result<Vec<_>, _>>()
        .map_err(|source| TlsError::Pem { what, source })?;
    if all.is_empty() {
        Err(TlsError::Empty { what })
    } else {
        Ok(all)
    }
}

fn build(pem: &TlsPem) -> Result<ClientConfig, TlsError> {
    let mut roots = RootCertStore::empty();
    for certificate in certificates(&pem.ca, "CA certificate")? {
        roots.add(certificate).map_err(TlsError::Unusable)?;
    }
    let builder = ClientConfig::builder_with_provider(Arc::new(provider()))
        .with_protocol_versions(&[&rustls::version::TLS13])
        .map_err(TlsError::Unusable)?
        .with_root_certificates(roots);
    let mut config = match (&pem.cert, &pem.key) {
        (Some(cert), Some(key)) => {
            let key =
                PrivateKeyDer::from_pem_slice(key.as_bytes()).map_err(|source| TlsError::Pem {
                    what: "client key",
                    source,
                })?;
            builder
                .with_client_auth_cert(certificates(cert, "client certificate")?, key)
                .map_err(TlsError::Unusable)?
        }
        (None, None) => builder.with_no_client_auth(),
        _ => return Err(TlsError::HalfIdentity),
    };
    config.alpn_protocols = vec![b"h2".to_vec()];
    // A resumed session skips the certificate of the node.
    config.resumption = Resumption::disabled();
    Ok(config)
}

/// aws-lc-rs with AES-128-GCM first, which costs the least CPU per byte.
fn provider() -> CryptoProvider {
    let mut provider = aws_lc_rs::default_provider();
    provider.cipher_suites = vec![
        aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256,
        aws_lc_rs::cipher_suite::TLS13_AES_256_GCM_SHA384,
        aws_lc_rs::cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
    ];
    provider
}

#[cfg(test)]
mod tests {
    use rcgen::{CertificateParams, KeyPair};
    use rustls::{ClientConnection, HandshakeKind, ServerConfig, ServerConnection};

    use super::*;
    use crate::connection::tls_source::TlsFiles;

    /// Exchanges all bytes of both ends, and one byte of data, with which tickets arrive.
    fn shake(near: Arc<ClientConfig>, far: Arc<ServerConfig>) -> Option<HandshakeKind> {
        let name = ServerName::try_from("localhost").unwrap();
        let mut client = ClientConnection::new(near, name).unwrap();
        let mut server = ServerConnection::new(far).unwrap();
        for _ in 0..4 {
            let mut bytes = Vec::new();
            while client.wants_write() {
                client.write_tls(&mut bytes).unwrap();
            }
            let mut unread = bytes.as_slice();
            while !unread.is_empty() {
                server.read_tls(&mut unread).unwrap();
                server.process_new_packets().unwrap();
            }
            let mut bytes = Vec::new();
            while server.wants_write() {
                server.write_tls(&mut bytes).unwrap();
            }
            let mut unread = bytes.as_slice();
            while !unread.is_empty() {
                client.read_tls(&mut unread).unwrap();
                client.process_new_packets().unwrap();
            }
        }
        client.handshake_kind()
    }

    #[test]
    fn no_session_is_resumed_with_a_node_that_offers_it() {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec!["localhost".to_owned()]).unwrap();
        let cert = params.self_signed(&key).unwrap();
        let pem = TlsPem {
            ca: cert.pem(),
            cert: None,
            key: None,
        };
        let server = ServerConfig::builder_with_provider(Arc::new(provider()))
            .with_protocol_versions(&[&rustls::version::TLS13])
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(
                vec![cert.der().clone()],
                PrivateKeyDer::from_pem_slice(key.serialize_pem().as_bytes()).unwrap(),
            )
            .unwrap();
        let mut server = server;
        server.alpn_protocols = vec![b"h2".to_vec()];
        let (server, client) = (Arc::new(server), Arc::new(build(&pem).unwrap()));
        for _ in 0..2 {
            let kind = shake(Arc::clone(&client), Arc::clone(&server));
            assert_eq!(kind, Some(HandshakeKind::Full));
        }
        // The same node resumes the sessions of a client that asks for it.
        let mut resuming = (*client).clone();
        resuming.resumption = Resumption::default();
        let resuming = Arc::new(resuming);
        shake(Arc::clone(&resuming), Arc::clone(&server));
        assert_eq!(shake(resuming, server), Some(HandshakeKind::Resumed));
    }

    fn pair(name: &str) -> (String, String) {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let cert = params.self_signed(&key).unwrap();
        (cert.pem(), key.serialize_pem())
    }

    #[test]
    fn a_renewal_that_is_half_written_leaves_the_former_certificate_in_use() {
        let dir = tempfile::tempdir().unwrap();
        let path = |name: &str| dir.path().join(name);
        let write = |name: &str, text: &str| std::fs::write(path(name), text).unwrap();
        let files = TlsFiles::new(path("ca"), path("cert"), path("key"));
        let settings = TlsSettings::new(files.into(), None);
        assert!(matches!(settings.current(), Err(TlsError::Read { .. })));
        let (cert, key) = pair("first");
        for (name, text) in [("ca", &cert), ("cert", &cert), ("key", &key)] {
            write(name, text);
        }
        let first = settings.current().unwrap();
        assert!(Arc::ptr_eq(&first, &settings.current().unwrap()));
        let (cert, key) = pair("second");
        write("cert", &cert);
        assert!(
            Arc::ptr_eq(&first, &settings.current().unwrap()),
            "half of it"
        );
        std::fs::remove_file(path("key")).unwrap();
        assert!(Arc::ptr_eq(&first, &settings.current().unwrap()), "no key");
        write("key", &key);
        let second = settings.current().unwrap();
        assert!(!Arc::ptr_eq(&first, &second));
        write(
            "ca",
            &"x".repeat(usize::try_from(TLS_FILE_MAX_BYTES).unwrap() + 1),
        );
        assert!(
            Arc::ptr_eq(&second, &settings.current().unwrap()),
            "too large"
        );
    }

    #[test]
    fn host_of_removes_port_and_brackets() {
        assert_eq!(host_of("[::1]:9400"), "::1");
        assert_eq!(host_of("node-1.svc:9400"), "node-1.svc");
    }
}
