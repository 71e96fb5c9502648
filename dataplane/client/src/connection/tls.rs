//! TLS 1.3 with client certificates, out of PEM files or texts.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use rustls::crypto::{CryptoProvider, aws_lc_rs};
use rustls::pki_types::pem::{self, PemObject};
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, RootCertStore};

use crate::config::{TlsPem, TlsSource, host_of};
use crate::dial::DialErrorKind;

/// Why the certificates cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read.
    #[error("cannot read {}", .path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// Why.
        #[source]
        source: io::Error,
    },
    /// A text is no PEM, or holds nothing of what is wanted.
    #[error("the {what} is no PEM of its kind")]
    Pem {
        /// Which one: `CA certificate`, `client certificate`, `client key`.
        what: &'static str,
        /// What the parser says.
        #[source]
        source: pem::Error,
    },
    /// A text holds no certificate.
    #[error("the {what} holds no certificate")]
    Empty {
        /// Which one.
        what: &'static str,
    },
    /// There is a certificate without a key, or a key without a certificate.
    #[error("client certificate and client key must be given together")]
    HalfIdentity,
    /// Certificate and key do not belong together, or their algorithm is not supported.
    #[error("certificates and key cannot be used together")]
    Unusable(#[source] rustls::Error),
}

/// The TLS settings in force, made anew when the files have changed.
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

    /// The settings for a new connection. Three small files are read, once per connection.
    pub(crate) fn current(&self) -> Result<Arc<ClientConfig>, TlsError> {
        let pem = match &self.source {
            TlsSource::Pem(pem) => pem.clone(),
            TlsSource::Files(files) => TlsPem {
                ca: read(&files.ca)?,
                cert: files.cert.as_deref().map(read).transpose()?,
                key: files.key.as_deref().map(read).transpose()?,
            },
        };
        let mut current = self.current.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some((known, config)) = current.as_ref()
            && *known == pem
        {
            return Ok(Arc::clone(config));
        }
        let config = Arc::new(build(&pem)?);
        *current = Some((pem, Arc::clone(&config)));
        Ok(config)
    }

    /// The name that the certificate of the node at `address` must carry.
    pub(crate) fn server_name(&self, address: &str) -> Result<ServerName<'static>, DialErrorKind> {
        let name = self
            .server_name
            .as_deref()
            .unwrap_or_else(|| host_of(address));
        ServerName::try_from(name.to_owned())
            .map_err(|_| DialErrorKind::ServerName(name.to_owned()))
    }
}

fn read(path: impl AsRef<Path>) -> Result<String, TlsError> {
    let path = path.as_ref();
    std::fs::read_to_string(path).map_err(|source| TlsError::Read {
        path: path.into(),
        source,
    })
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
    Ok(config)
}

/// aws-lc-rs with AES-128-GCM first: measured the cheapest per byte.
fn provider() -> CryptoProvider {
    let mut provider = aws_lc_rs::default_provider();
    provider.cipher_suites = vec![
        aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256,
        aws_lc_rs::cipher_suite::TLS13_AES_256_GCM_SHA384,
        aws_lc_rs::cipher_suite::TLS13_CHACHA20_POLY1305_SHA256,
    ];
    provider
}
