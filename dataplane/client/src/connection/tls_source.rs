//! Where certificates and keys are read from.

use std::fmt;
use std::path::PathBuf;

/// Source of the CA certificates and of the client's certificate and key.
#[derive(Clone, Debug)]
pub enum TlsSource {
    /// PEM files, read again for each new connection, so a renewed certificate needs no restart.
    Files(TlsFiles),
    /// PEM data in memory.
    Pem(TlsPem),
}

/// Paths of PEM files.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TlsFiles {
    /// CA certificates against which the certificates of nodes are verified.
    pub ca: PathBuf,
    /// The client's certificate chain. Nodes refuse clients without a certificate.
    pub cert: Option<PathBuf>,
    /// The private key of the client's certificate.
    pub key: Option<PathBuf>,
}

impl TlsFiles {
    /// Paths of the CA certificates, the client certificate and its key.
    pub fn new(ca: impl Into<PathBuf>, cert: impl Into<PathBuf>, key: impl Into<PathBuf>) -> Self {
        Self {
            ca: ca.into(),
            cert: Some(cert.into()),
            key: Some(key.into()),
        }
    }
}

/// PEM data in memory.
#[derive(Clone, PartialEq, Eq)]
pub struct TlsPem {
    /// CA certificates against which the certificates of nodes are verified.
    pub ca: String,
    /// The client's certificate chain. Nodes refuse clients without a certificate.
    pub cert: Option<String>,
    /// The private key of the client's certificate.
    pub key: Option<String>,
}

impl fmt::Debug for TlsPem {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The private key must not appear in logs.
        f.debug_struct("TlsPem")
            .field("ca", &self.ca)
            .finish_non_exhaustive()
    }
}

impl From<TlsFiles> for TlsSource {
    fn from(files: TlsFiles) -> Self {
        Self::Files(files)
    }
}

impl From<TlsPem> for TlsSource {
    fn from(pem: TlsPem) -> Self {
        Self::Pem(pem)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_private_key_is_not_printed() {
        let pem = TlsPem {
            ca: "CA".into(),
            cert: None,
            key: Some("SECRET".into()),
        };
        assert!(!format!("{pem:?}").contains("SECRET"));
    }
}
