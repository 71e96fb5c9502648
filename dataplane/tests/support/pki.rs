//! A throw-away CA and its certificates, for tests; used by the crate's unit tests and by `it`.

use std::path::Path;

use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair, SanType};

/// A CA in memory.
pub(crate) struct Ca(CertifiedIssuer<'static, KeyPair>);

/// A certificate and its key, PEM.
pub(crate) struct Leaf {
    /// The certificate.
    pub(crate) cert: String,
    /// Its key.
    pub(crate) key: String,
}

/// The identity of a role in the tests' cluster.
pub(crate) fn uri(role: &str) -> String {
    format!("spiffe://lograft.io/ns/test/cluster/it/{role}")
}

impl Ca {
    /// A new CA with a new key.
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        Self(CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap())
    }

    /// The CA's certificate, PEM.
    pub(crate) fn pem(&self) -> String {
        self.0.pem()
    }

    /// A certificate for loopback with these URIs.
    pub(crate) fn issue(&self, uris: &[String]) -> Leaf {
        self.issue_with(uris, |_| {})
    }

    /// The same with changed parameters.
    pub(crate) fn issue_with(
        &self,
        uris: &[String],
        change: impl FnOnce(&mut CertificateParams),
    ) -> Leaf {
        let names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        let mut params = CertificateParams::new(names).unwrap();
        for uri in uris {
            params
                .subject_alt_names
                .push(SanType::URI(uri.as_str().try_into().unwrap()));
        }
        change(&mut params);
        let key = KeyPair::generate().unwrap();
        let cert = params.signed_by(&key, &self.0).unwrap();
        Leaf {
            cert: cert.pem(),
            key: key.serialize_pem(),
        }
    }

    /// Issues a certificate and writes `tls.crt`, `tls.key` and `ca.crt` into `dir`.
    pub(crate) fn write(&self, dir: &Path, role: &str) {
        std::fs::create_dir_all(dir).unwrap();
        let leaf = self.issue(&[uri(role)]);
        std::fs::write(dir.join("tls.crt"), leaf.cert).unwrap();
        std::fs::write(dir.join("tls.key"), leaf.key).unwrap();
        std::fs::write(dir.join("ca.crt"), self.pem()).unwrap();
    }
}
