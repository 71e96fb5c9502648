//! Issues keys and certificates and reads existing ones. It is here because it needs randomness;
//! which certificates to issue, and when, is decided by the plan.

use std::collections::{BTreeMap, BTreeSet};

use k8s_openapi::ByteString;
use k8s_openapi::api::core::v1::Secret;
use lograft_crds::limits::CERTIFICATE_BACKDATE_SECONDS;
use lograft_crds::log_user::KeyAlgorithm;
use lograft_operator_desired::cluster::{
    Leaf, ObservedCertificate, ObservedSecret, ROOTS_FIELD, SecretPlan, key_field,
};
use lograft_operator_desired::user::{ObservedAuthority, UserCertificate, UserLeaf};
use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer, KeyPair,
    KeyUsagePurpose, PublicKeyData, SanType,
};
use rustls::crypto::aws_lc_rs;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use time::OffsetDateTime;
use x509_parser::prelude::{FromDer as _, GeneralName, ParsedExtension, X509Certificate};

/// Field of the CA's key in its Secret.
const CA_KEY: &str = "ca.key";
/// Fields of a client's certificate and of its key.
const CERTIFICATE: &str = "tls.crt";
const KEY: &str = "tls.key";
/// Object identifier of Ed25519 keys.
const ED25519: &str = "1.3.101.112";

/// Why certificates could not be issued.
#[derive(Debug, thiserror::Error)]
pub(crate) enum PkiError {
    /// The Secret of the CA is missing or damaged.
    #[error("cannot read the CA's certificate and key from its Secret")]
    Ca,
    /// A key or a certificate could not be created.
    #[error("cannot issue the certificate of {name}")]
    Issue {
        /// Common name.
        name: String,
        /// Cause.
        #[source]
        source: rcgen::Error,
    },
    /// A time is out of the range of certificates.
    #[error("certificate time must be within the calendar, got {unix_seconds} s")]
    Time {
        /// The time.
        unix_seconds: i64,
    },
}

/// The certificates in a Secret, without the private keys.
pub(crate) fn observe(secret: &Secret) -> ObservedSecret {
    let empty = BTreeMap::new();
    let data = secret.data.as_ref().unwrap_or(&empty);
    let mut observed = ObservedSecret::default();
    let is_certificate = |field: &str| field.strip_suffix(".crt").is_some();
    let certificates = data.iter().filter(|(field, _)| is_certificate(field));
    for (field, text) in certificates {
        let parsed = parse(&text.0);
        if field == ROOTS_FIELD {
            observed.roots = parsed.iter().map(|(root, _)| root.clone()).collect();
        }
        // A root without its key belongs to the bundle of others; a leaf without its key is
        // useless.
        let key = data.get(&key_field(field));
        if let (Some((certificate, public)), Some(key)) = (parsed.into_iter().next(), key)
            && public_key(&key.0).as_ref() == Some(&public)
        {
            observed.certificates.insert(field.clone(), certificate);
        }
    }
    observed
}

/// The readable certificates of a PEM text, each with its public key.
fn parse(text: &[u8]) -> Vec<(ObservedCertificate, Vec<u8>)> {
    let mut found = Vec::new();
    for der in CertificateDer::pem_slice_iter(text).flatten() {
        if let Ok((_, certificate)) = X509Certificate::from_der(&der) {
            let public_key = certificate.public_key().raw.to_vec();
            found.push((describe(&certificate, &der), public_key));
        }
    }
    found
}

fn describe(certificate: &X509Certificate<'_>, der: &[u8]) -> ObservedCertificate {
    let mut observed = ObservedCertificate {
        fingerprint: fingerprint(der),
        not_before: certificate.validity().not_before.timestamp(),
        not_after: certificate.validity().not_after.timestamp(),
        names: BTreeSet::new(),
        ..ObservedCertificate::default()
    };
    for extension in certificate.extensions() {
        match extension.parsed_extension() {
            ParsedExtension::SubjectKeyIdentifier(id) => observed.own_key = hex(id.0),
            ParsedExtension::AuthorityKeyIdentifier(id) => {
                observed.issuer_key = id
                    .key_identifier
                    .as_ref()
                    .map(|id| hex(id.0))
                    .unwrap_or_default();
            }
            ParsedExtension::SubjectAlternativeName(names) => {
                let names = names.general_names.iter().filter_map(|name| match name {
                    GeneralName::DNSName(name) | GeneralName::URI(name) => Some((*name).to_owned()),
                    _ => None,
                });
                observed.names = names.collect();
            }
            _ => {}
        }
    }
    observed
}

fn public_key(pem: &[u8]) -> Option<Vec<u8>> {
    let text = std::str::from_utf8(pem).ok()?;
    Some(KeyPair::from_pem(text).ok()?.subject_public_key_info())
}

/// SHA-256 of a certificate, hexadecimal; by the provider that TLS uses.
fn fingerprint(der: &[u8]) -> String {
    let suites = aws_lc_rs::cipher_suite::TLS13_AES_128_GCM_SHA256.tls13();
    suites.map_or_else(String::new, |suite| {
        hex(suite.common.hash_provider.hash(der).as_ref())
    })
}

pub(crate) fn hex(bytes: &[u8]) -> String {
    use std::fmt::Write as _;
    bytes.iter().fold(String::new(), |mut text, byte| {
        let _ = write!(text, "{byte:02x}");
        text
    })
}

/// The planned Secret with all its fields. `existing` are the existing Secrets of the cluster by
/// name, `ca` is that of the CA. It fails if the CA cannot be read or a certificate cannot be
/// created.
pub(crate) fn fill(
    plan: &SecretPlan,
    existing: &BTreeMap<String, Secret>,
    ca: Option<&Secret>,
    now_unix_seconds: i64,
) -> Result<Secret, PkiError> {
    let mut secret = plan.object.clone();
    let mut data = BTreeMap::new();
    let put = |data: &mut BTreeMap<String, ByteString>, field: &str, text: String| {
        data.insert(field.to_owned(), ByteString(text.into_bytes()));
    };
    if plan.is_ca {
        let namespace = secret.metadata.namespace.clone().unwrap_or_default();
        let name = secret.metadata.name.clone().unwrap_or_default();
        let name = format!("{namespace}/{name}");
        let (certificate, key) = root(&name, now_unix_seconds, plan.life_seconds)?;
        put(&mut data, ROOTS_FIELD, certificate);
        put(&mut data, CA_KEY, key);
        secret.data = Some(data);
        return Ok(secret);
    }
    let ca = Ca::of(ca.ok_or(PkiError::Ca)?)?;
    let empty = BTreeMap::new();
    let live = existing.get(plan.name());
    let old = live.and_then(|live| live.data.as_ref()).unwrap_or(&empty);
    for field in &plan.keep {
        for field in [field, &key_field(field)] {
            if let Some(text) = old.get(field) {
                data.insert(field.clone(), text.clone());
            }
        }
    }
    for leaf in &plan.issue {
        let (certificate, key) = ca.issue(leaf, now_unix_seconds, plan.life_seconds)?;
        put(&mut data, &leaf.field, certificate);
        put(&mut data, &key_field(&leaf.field), key);
    }
    let mut roots = ca.pem.clone();
    let bundles = existing.values().filter_map(|secret| secret.data.as_ref());
    let bundles = bundles.filter_map(|data| data.get(ROOTS_FIELD));
    for pem in former_roots(bundles, &plan.keep_roots) {
        roots.push_str(&pem);
    }
    put(&mut data, ROOTS_FIELD, roots);
    secret.data = Some(data);
    Ok(secret)
}

/// Last line of a certificate in PEM.
const END: &str = "-----END CERTIFICATE-----";

/// The roots with these fingerprints, in their order, each in its original PEM: the certificates
/// are copied as text, since no library here writes PEM from DER.
fn former_roots<'a>(
    bundles: impl Iterator<Item = &'a ByteString>,
    wanted: &[String],
) -> Vec<String> {
    let mut found = BTreeMap::new();
    for bundle in bundles {
        let text = String::from_utf8_lossy(&bundle.0);
        for part in text.split_inclusive(END) {
            let part = format!("{}\n", part.trim());
            if let Some((root, _)) = parse(part.as_bytes()).into_iter().next() {
                found.insert(root.fingerprint, part);
            }
        }
    }
    let wanted = wanted.iter();
    wanted.filter_map(|root| found.remove(root)).collect()
}

/// The certificate of a user in its Secret, if its key is beside it, and the roots.
pub(crate) fn observe_user(secret: &Secret) -> (Option<UserCertificate>, Vec<String>) {
    let empty = BTreeMap::new();
    let data = secret.data.as_ref().unwrap_or(&empty);
    let roots = data.get(ROOTS_FIELD);
    let roots = roots.map(|bundle| parse(&bundle.0)).unwrap_or_default();
    let roots = roots.into_iter().map(|(root, _)| root.fingerprint);
    (user_certificate(data), roots.collect())
}

fn user_certificate(data: &BTreeMap<String, ByteString>) -> Option<UserCertificate> {
    let der = CertificateDer::pem_slice_iter(&data.get(CERTIFICATE)?.0).next()?;
    let der = der.ok()?;
    let (_, certificate) = X509Certificate::from_der(&der).ok()?;
    let key = public_key(&data.get(KEY)?.0)?;
    let described = describe(&certificate, &der);
    let serial = certificate.raw_serial();
    let first = serial.iter().position(|byte| *byte != 0);
    let significant = first.and_then(|first| serial.get(first..)).unwrap_or(&[0]);
    let algorithm = certificate.public_key().algorithm.algorithm.to_id_string();
    (key == certificate.public_key().raw).then(|| UserCertificate {
        serial: hex(significant),
        not_before: described.not_before,
        not_after: described.not_after,
        issuer_key: described.issuer_key,
        names: described.names,
        is_ed25519: algorithm == ED25519,
    })
}

/// The data of a user's Secret: a new certificate or the one of `live`, and the bundle. It fails if
/// the CA cannot be read or a certificate cannot be created.
pub(crate) fn user_data(
    plan: &UserLeaf,
    live: Option<&Secret>,
    ca: &Secret,
    bundle: &[u8],
) -> Result<BTreeMap<String, ByteString>, PkiError> {
    let old = live.and_then(|live| live.data.as_ref());
    let kept = |field: &str| old.and_then(|old| old.get(field)).cloned();
    let (certificate, key) = match (kept(CERTIFICATE), kept(KEY)) {
        (Some(certificate), Some(key)) if !plan.issues => (certificate, key),
        _ => {
            let leaf = Leaf {
                field: CERTIFICATE.to_owned(),
                name: plan.name.clone(),
                uri: plan.uri.clone(),
                hosts: Vec::new(),
            };
            let times = (plan.not_before, plan.not_after);
            let (certificate, key) = Ca::of(ca)?.sign(&leaf, times, plan.algorithm)?;
            (
                ByteString(certificate.into_bytes()),
                ByteString(key.into_bytes()),
            )
        }
    };
    let data = [
        (CERTIFICATE, certificate),
        (KEY, key),
        (ROOTS_FIELD, ByteString(bundle.to_vec())),
    ];
    Ok(data.map(|(field, text)| (field.to_owned(), text)).into())
}

/// The CA of a cluster, and the bundle that its first user has. Nothing is issued by a CA before
/// its root is in that bundle: the nodes have it at the same time.
pub(crate) fn authority(ca: &Secret, first_user: &Secret) -> Option<ObservedAuthority> {
    let ca = observe(ca).certificates.remove(ROOTS_FIELD)?;
    let observed = observe(first_user);
    let leaf = observed.certificates.get(CERTIFICATE)?;
    let roots = observed.roots.iter().map(|root| root.fingerprint.clone());
    let roots: Vec<String> = roots.collect();
    roots.contains(&ca.fingerprint).then(|| ObservedAuthority {
        is_settled: leaf.issuer_key == ca.own_key,
        key: ca.own_key,
        roots,
    })
}

/// A CA with its key.
struct Ca {
    pem: String,
    not_after: i64,
    issuer: Issuer<'static, KeyPair>,
}

impl Ca {
    fn of(secret: &Secret) -> Result<Self, PkiError> {
        let observed = observe(secret);
        let certificate = observed.certificates.get(ROOTS_FIELD).ok_or(PkiError::Ca)?;
        let data = secret.data.as_ref().ok_or(PkiError::Ca)?;
        let text = |field: &str| {
            let bytes = data.get(field).ok_or(PkiError::Ca)?;
            String::from_utf8(bytes.0.clone()).map_err(|_| PkiError::Ca)
        };
        let (pem, key) = (text(ROOTS_FIELD)?, text(CA_KEY)?);
        let key = KeyPair::from_pem(&key).map_err(|_| PkiError::Ca)?;
        let issuer = Issuer::from_ca_cert_pem(&pem, key).map_err(|_| PkiError::Ca)?;
        Ok(Self {
            pem,
            not_after: certificate.not_after,
            issuer,
        })
    }

    fn issue(&self, leaf: &Leaf, now: i64, life: i64) -> Result<(String, String), PkiError> {
        let times = (now - CERTIFICATE_BACKDATE_SECONDS, now + life);
        self.sign(leaf, times, KeyAlgorithm::EcdsaP256)
    }

    fn sign(
        &self,
        leaf: &Leaf,
        (not_before, not_after): (i64, i64),
        algorithm: KeyAlgorithm,
    ) -> Result<(String, String), PkiError> {
        let failed = |source| PkiError::Issue {
            name: leaf.name.clone(),
            source,
        };
        let ia5 = |text: &String| Ia5String::try_from(text.as_str()).map_err(failed);
        let mut params = CertificateParams::default();
        params
            .distinguished_name
            .push(DnType::CommonName, leaf.name.clone());
        params.subject_alt_names.push(SanType::URI(ia5(&leaf.uri)?));
        for host in &leaf.hosts {
            params.subject_alt_names.push(SanType::DnsName(ia5(host)?));
        }
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
        if !leaf.hosts.is_empty() {
            params
                .extended_key_usages
                .push(ExtendedKeyUsagePurpose::ServerAuth);
        }
        params.use_authority_key_identifier_extension = true;
        params.not_before = time(not_before)?;
        // Nobody trusts a certificate after the end of its CA.
        params.not_after = time(not_after.min(self.not_after))?;
        let algorithm = match algorithm {
            KeyAlgorithm::EcdsaP256 => &rcgen::PKCS_ECDSA_P256_SHA256,
            KeyAlgorithm::Ed25519 => &rcgen::PKCS_ED25519,
        };
        let key = KeyPair::generate_for(algorithm).map_err(failed)?;
        let certificate = params.signed_by(&key, &self.issuer).map_err(failed)?;
        Ok((certificate.pem(), key.serialize_pem()))
    }
}

fn root(name: &str, now: i64, life: i64) -> Result<(String, String), PkiError> {
    let failed = |source| PkiError::Issue {
        name: name.to_owned(),
        source,
    };
    let mut params = CertificateParams::default();
    params
        .distinguished_name
        .push(DnType::CommonName, format!("Lograft {name}"));
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.use_authority_key_identifier_extension = true;
    params.not_before = time(now - CERTIFICATE_BACKDATE_SECONDS)?;
    params.not_after = time(now + life)?;
    let key = KeyPair::generate().map_err(failed)?;
    let certificate = params.self_signed(&key).map_err(failed)?;
    Ok((certificate.pem(), key.serialize_pem()))
}

fn time(unix_seconds: i64) -> Result<OffsetDateTime, PkiError> {
    OffsetDateTime::from_unix_timestamp(unix_seconds).map_err(|_| PkiError::Time { unix_seconds })
}

#[cfg(test)]
mod tests;
