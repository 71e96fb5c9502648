//! The CA of a dev cluster and its certificates. The CA is kept in the data directory, so that
//! later runs accept the certificates of earlier ones.

use std::fs::OpenOptions;
use std::io::{self, Write};
use std::net::{IpAddr, Ipv4Addr};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, SanType,
};
use rustix::rand::{GetRandomFlags, getrandom};
use time::{Duration, OffsetDateTime};
use x509_parser::pem::parse_x509_pem;

/// The user that may do everything.
pub(crate) const ADMIN: &str = "admin";
/// Validity of the CA.
const CA_VALID_DAYS: i64 = 3650;
/// Validity of a node or user certificate.
const LEAF_VALID_DAYS: i64 = 365;
/// A certificate with less validity left is replaced at the next start.
const LEAF_RENEW_DAYS: i64 = 30;
/// How far certificates are backdated, to tolerate clock differences.
const BACKDATE_HOURS: i64 = 1;
/// Length of a gossip key.
const GOSSIP_KEY_BYTES: usize = 32;
/// Prefix of the identities in URI SANs.
const IDENTITY_PREFIX: &str = "spiffe://lograft.io/ns/dev/cluster/dev";

/// A key or certificate cannot be read, written or issued.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PkiError {
    #[error("cannot read {}", path.display())]
    Read { path: PathBuf, source: io::Error },
    #[error("cannot write {}", path.display())]
    Write { path: PathBuf, source: io::Error },
    #[error("cannot parse the key or certificate in {}", path.display())]
    Parse { path: PathBuf, source: rcgen::Error },
    #[error("cannot issue the certificate of {name}")]
    Issue { name: String, source: rcgen::Error },
}

/// PEM files of a certificate and its key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    pub(crate) cert: PathBuf,
    pub(crate) key: PathBuf,
}

/// The CA and its directory.
pub(crate) struct Pki {
    dir: PathBuf,
    issuer: Issuer<'static, KeyPair>,
}

impl Pki {
    /// Opens the CA in `dir`, or creates one.
    pub(crate) fn open(dir: &Path) -> Result<Self, PkiError> {
        let (cert, key) = (dir.join("ca.crt"), dir.join("ca.key"));
        std::fs::create_dir_all(dir).map_err(|source| PkiError::Write {
            path: dir.into(),
            source,
        })?;
        if !cert.exists() || !key.exists() {
            create_ca(&cert, &key)?;
        }
        let parse = |path: &Path, source| PkiError::Parse {
            path: path.into(),
            source,
        };
        let key_pair = KeyPair::from_pem(&read(&key)?).map_err(|source| parse(&key, source))?;
        let issuer = Issuer::from_ca_cert_pem(&read(&cert)?, key_pair)
            .map_err(|source| parse(&cert, source))?;
        Ok(Self {
            dir: dir.into(),
            issuer,
        })
    }

    /// The file of the gossip key that all nodes share; created by the first call.
    pub(crate) fn gossip_keys(&self) -> Result<PathBuf, PkiError> {
        let path = self.dir.join("gossip.keys");
        if path.exists() {
            return Ok(path);
        }
        let mut key = [0_u8; GOSSIP_KEY_BYTES];
        let random = getrandom(&mut key, GetRandomFlags::empty()).map_err(io::Error::from);
        if let Err(source) = random.and_then(|read| whole(read, &key)) {
            return Err(PkiError::Write { path, source });
        }
        let mut text = key
            .iter()
            .fold(String::new(), |text, byte| format!("{text}{byte:02x}"));
        text.push('\n');
        write_private(&path, &text)?;
        Ok(path)
    }

    /// PEM file of the CA certificate.
    pub(crate) fn ca_cert(&self) -> PathBuf {
        self.dir.join("ca.crt")
    }

    /// Certificate of a node, which is a server for clients and a client of its peers.
    pub(crate) fn node(&self, name: &str) -> Result<Identity, PkiError> {
        let usages = [
            ExtendedKeyUsagePurpose::ServerAuth,
            ExtendedKeyUsagePurpose::ClientAuth,
        ];
        let local_names = [
            SanType::IpAddress(IpAddr::V4(Ipv4Addr::LOCALHOST)),
            SanType::DnsName(ia5("localhost", name)?),
            SanType::DnsName(ia5(name, name)?),
        ];
        self.leaf(
            name,
            &format!("{IDENTITY_PREFIX}/node/{name}"),
            &local_names,
            &usages,
        )
    }

    /// Certificate of a user, which is only a client.
    pub(crate) fn user(&self, name: &str) -> Result<Identity, PkiError> {
        let usages = [ExtendedKeyUsagePurpose::ClientAuth];
        // The file of the administrator has its name from before there were others, which must not
        // get that of a node.
        let file = if name == ADMIN {
            name.to_owned()
        } else {
            format!("user-{name}")
        };
        self.leaf(
            &file,
            &format!("{IDENTITY_PREFIX}/user/{name}"),
            &[],
            &usages,
        )
    }

    /// The existing certificate with this name if it is valid for long enough, otherwise a new one.
    fn leaf(
        &self,
        name: &str,
        uri: &str,
        extra_names: &[SanType],
        usages: &[ExtendedKeyUsagePurpose],
    ) -> Result<Identity, PkiError> {
        let identity = Identity {
            cert: self.dir.join(format!("{name}.crt")),
            key: self.dir.join(format!("{name}.key")),
        };
        if identity.key.exists() && is_fresh(&identity.cert) {
            return Ok(identity);
        }
        let failed = |source| PkiError::Issue {
            name: name.into(),
            source,
        };
        let mut params = CertificateParams::default();
        params.distinguished_name.push(DnType::CommonName, name);
        params.subject_alt_names.push(SanType::URI(ia5(uri, name)?));
        params.subject_alt_names.extend_from_slice(extra_names);
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = usages.to_vec();
        params.use_authority_key_identifier_extension = true;
        set_validity(&mut params, LEAF_VALID_DAYS);
        let key = KeyPair::generate().map_err(failed)?;
        let cert = params.signed_by(&key, &self.issuer).map_err(failed)?;
        write_private(&identity.key, &key.serialize_pem())?;
        write_private(&identity.cert, &cert.pem())?;
        Ok(identity)
    }
}

/// The system returns fewer bytes only for much longer requests.
fn whole(read: usize, wanted: &[u8]) -> io::Result<()> {
    if read == wanted.len() {
        return Ok(());
    }
    Err(io::ErrorKind::UnexpectedEof.into())
}

fn create_ca(cert_path: &Path, key_path: &Path) -> Result<(), PkiError> {
    let failed = |source| PkiError::Issue {
        name: "the dev CA".into(),
        source,
    };
    let mut params = CertificateParams::default();
    params
        .distinguished_name
        .push(DnType::CommonName, "lograft dev CA");
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    set_validity(&mut params, CA_VALID_DAYS);
    let key = KeyPair::generate().map_err(failed)?;
    let cert = params.self_signed(&key).map_err(failed)?;
    write_private(key_path, &key.serialize_pem())?;
    write_private(cert_path, &cert.pem())
}

fn set_validity(params: &mut CertificateParams, days: i64) {
    let now = OffsetDateTime::now_utc();
    params.not_before = now - Duration::hours(BACKDATE_HOURS);
    params.not_after = now + Duration::days(days);
}

/// Whether the certificate exists and need not be renewed yet.
fn is_fresh(cert: &Path) -> bool {
    let end = || {
        let text = std::fs::read(cert).ok()?;
        let (_, pem) = parse_x509_pem(&text).ok()?;
        Some(pem.parse_x509().ok()?.validity().not_after.timestamp())
    };
    let renew_at = OffsetDateTime::now_utc() + Duration::days(LEAF_RENEW_DAYS);
    end().is_some_and(|end| end > renew_at.unix_timestamp())
}

fn ia5(text: &str, name: &str) -> Result<Ia5String, PkiError> {
    Ia5String::try_from(text).map_err(|source| PkiError::Issue {
        name: name.into(),
        source,
    })
}

fn read(path: &Path) -> Result<String, PkiError> {
    std::fs::read_to_string(path).map_err(|source| PkiError::Read {
        path: path.into(),
        source,
    })
}

/// Atomically replaces a file that only its owner can read.
fn write_private(path: &Path, text: &str) -> Result<(), PkiError> {
    let write = || -> io::Result<()> {
        let part = path.with_extension("part");
        let mut options = OpenOptions::new();
        let mut file = options
            .write(true)
            .create(true)
            .truncate(true)
            .mode(0o600)
            .open(&part)?;
        file.write_all(text.as_bytes())?;
        file.sync_all()?;
        std::fs::rename(&part, path)
    };
    write().map_err(|source| PkiError::Write {
        path: path.into(),
        source,
    })
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use x509_parser::prelude::{GeneralName, ParsedExtension};

    use super::*;

    fn names(cert: &Path) -> Vec<String> {
        let text = std::fs::read(cert).unwrap();
        let (_, pem) = parse_x509_pem(&text).unwrap();
        let cert = pem.parse_x509().unwrap();
        let san = cert.subject_alternative_name().unwrap().unwrap();
        let show = |name: &GeneralName<'_>| match name {
            GeneralName::URI(uri) => (*uri).to_owned(),
            GeneralName::DNSName(dns) => (*dns).to_owned(),
            GeneralName::IPAddress(ip) => format!("{ip:?}"),
            other => format!("{other:?}"),
        };
        san.value.general_names.iter().map(show).collect()
    }

    #[test]
    fn a_node_certificate_has_its_identity_and_its_addresses() {
        let dir = tempfile::tempdir().unwrap();
        let pki = Pki::open(dir.path()).unwrap();
        let node = pki.node("node-1").unwrap();
        assert_eq!(
            names(&node.cert),
            [
                "spiffe://lograft.io/ns/dev/cluster/dev/node/node-1",
                "[127, 0, 0, 1]",
                "localhost",
                "node-1"
            ]
        );
        let user = pki.user("admin").unwrap();
        assert_eq!(
            names(&user.cert),
            ["spiffe://lograft.io/ns/dev/cluster/dev/user/admin"]
        );
    }

    #[test]
    fn keys_are_readable_only_by_their_owner() {
        let dir = tempfile::tempdir().unwrap();
        let pki = Pki::open(dir.path()).unwrap();
        let node = pki.node("node-1").unwrap();
        for path in [dir.path().join("ca.key"), node.key] {
            assert_eq!(
                std::fs::metadata(&path).unwrap().permissions().mode() & 0o777,
                0o600
            );
        }
    }

    #[test]
    fn a_second_run_keeps_the_ca_and_its_certificates() {
        let dir = tempfile::tempdir().unwrap();
        let first = Pki::open(dir.path()).unwrap();
        let node = first.node("node-1").unwrap();
        let before = (read(&first.ca_cert()).unwrap(), read(&node.cert).unwrap());
        let second = Pki::open(dir.path()).unwrap();
        let again = second.node("node-1").unwrap();
        assert_eq!(
            before,
            (read(&second.ca_cert()).unwrap(), read(&again.cert).unwrap())
        );
    }

    #[test]
    fn a_certificate_near_expiry_is_renewed_by_the_same_ca() {
        let dir = tempfile::tempdir().unwrap();
        let pki = Pki::open(dir.path()).unwrap();
        let node = pki.node("node-1").unwrap();
        let key = KeyPair::generate().unwrap();
        let mut params = CertificateParams::default();
        set_validity(&mut params, LEAF_RENEW_DAYS - 1);
        write_private(&node.cert, &params.self_signed(&key).unwrap().pem()).unwrap();
        let renewed = pki.node("node-1").unwrap();

        let (ca, leaf) = (read(&pki.ca_cert()).unwrap(), read(&renewed.cert).unwrap());
        let (_, ca) = parse_x509_pem(ca.as_bytes()).unwrap();
        let (_, leaf) = parse_x509_pem(leaf.as_bytes()).unwrap();
        let (ca, leaf) = (ca.parse_x509().unwrap(), leaf.parse_x509().unwrap());
        assert_eq!(leaf.issuer(), ca.subject());
        let issuer_key = leaf
            .extensions()
            .iter()
            .find_map(|ext| match ext.parsed_extension() {
                ParsedExtension::AuthorityKeyIdentifier(id) => id.key_identifier.clone(),
                _ => None,
            });
        assert!(issuer_key.is_some(), "the leaf names its issuer's key");
    }

    #[test]
    fn a_corrupt_ca_is_reported_and_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        drop(Pki::open(dir.path()).unwrap());
        std::fs::write(dir.path().join("ca.key"), "no key").unwrap();
        let text = Pki::open(dir.path()).err().unwrap().to_string();
        assert!(text.contains("ca.key"), "{text}");
        assert_eq!(read(&dir.path().join("ca.key")).unwrap(), "no key");
    }
}
