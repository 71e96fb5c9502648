use std::sync::Arc;

use rustls::RootCertStore;
use rustls::client::WebPkiServerVerifier;
use rustls::client::danger::ServerCertVerifier as _;
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::server::WebPkiClientVerifier;

use super::*;

const NOW: i64 = 1_800_000_000;
const DAY: i64 = 86_400;
const HOST: &str = "events-0.events-nodes.prod.svc";

fn ca_plan() -> SecretPlan {
    SecretPlan {
        object: Secret::default(),
        is_ca: true,
        issue: Vec::new(),
        keep: Vec::new(),
        keep_roots: Vec::new(),
        life_seconds: 365 * DAY,
    }
}

fn node_plan(keep: &[&str], keep_roots: &[&str]) -> SecretPlan {
    let leaf = Leaf {
        field: "events-0.crt".to_owned(),
        name: "events-0".to_owned(),
        uri: "spiffe://lograft.io/ns/prod/cluster/events/node/events-0".to_owned(),
        hosts: vec![HOST.to_owned()],
    };
    SecretPlan {
        is_ca: false,
        issue: if keep.is_empty() {
            vec![leaf]
        } else {
            Vec::new()
        },
        keep: keep.iter().map(|field| (*field).to_owned()).collect(),
        keep_roots: keep_roots.iter().map(|root| (*root).to_owned()).collect(),
        life_seconds: 90 * DAY,
        ..ca_plan()
    }
}

fn ca() -> Secret {
    fill(&ca_plan(), &BTreeMap::new(), None, NOW).unwrap()
}

/// The nodes' Secret as the only one. Plans here have no name.
fn existing(nodes: &Secret) -> BTreeMap<String, Secret> {
    [(String::new(), nodes.clone())].into()
}

/// Whether a client that trusts the roots in the Secret accepts its certificate for the host.
fn is_trusted(secret: &Secret, host: &str, at: i64) -> bool {
    let data = secret.data.as_ref().unwrap();
    let mut roots = RootCertStore::empty();
    for root in CertificateDer::pem_slice_iter(&data[ROOTS_FIELD].0) {
        roots.add(root.unwrap()).unwrap();
    }
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = WebPkiServerVerifier::builder_with_provider(roots.into(), provider);
    let leaf = CertificateDer::from_pem_slice(&data["events-0.crt"].0).unwrap();
    let name = ServerName::try_from(host.to_owned()).unwrap();
    let at = UnixTime::since_unix_epoch(std::time::Duration::from_secs(at.try_into().unwrap()));
    let result = verifier
        .build()
        .unwrap()
        .verify_server_cert(&leaf, &[], &name, &[], at);
    result.is_ok()
}

#[test]
fn issued_certificates_are_trusted_and_readable() {
    let ca = ca();
    let nodes = fill(&node_plan(&[], &[]), &BTreeMap::new(), Some(&ca), NOW).unwrap();
    assert!(is_trusted(&nodes, HOST, NOW + DAY));
    assert!(!is_trusted(&nodes, HOST, NOW + 91 * DAY));
    assert!(!is_trusted(
        &nodes,
        "events-1.events-nodes.prod.svc",
        NOW + DAY
    ));
    let (ca, observed) = (observe(&ca), observe(&nodes));
    let leaf = &observed.certificates["events-0.crt"];
    let root = &ca.certificates[ROOTS_FIELD];
    assert_eq!(observed.roots, std::slice::from_ref(root));
    assert!(!root.own_key.is_empty() && root.fingerprint.len() == 64);
    assert_eq!(leaf.issuer_key, root.own_key);
    assert_eq!(
        (leaf.not_before, leaf.not_after),
        (NOW - 3600, NOW + 90 * DAY)
    );
    assert!(leaf.names.contains(HOST));
    assert!(
        leaf.names
            .contains("spiffe://lograft.io/ns/prod/cluster/events/node/events-0")
    );
}

#[test]
fn a_certificate_with_another_key_is_ignored() {
    let ca = ca();
    let mut nodes = fill(&node_plan(&[], &[]), &BTreeMap::new(), Some(&ca), NOW).unwrap();
    let key = ca.data.as_ref().unwrap()[CA_KEY].clone();
    nodes
        .data
        .as_mut()
        .unwrap()
        .insert("events-0.key".to_owned(), key);
    assert_eq!(observe(&nodes).certificates.len(), 0);
    let mut broken = ca.clone();
    broken.data.as_mut().unwrap().remove(CA_KEY);
    let error = fill(&node_plan(&[], &[]), &BTreeMap::new(), Some(&broken), NOW).unwrap_err();
    assert!(matches!(error, PkiError::Ca));
}

#[test]
fn kept_certificates_and_former_roots_stay_beside_the_new_root() {
    let (old, new) = (ca(), ca());
    let nodes = fill(&node_plan(&[], &[]), &BTreeMap::new(), Some(&old), NOW).unwrap();
    let root = observe(&old).roots[0].fingerprint.clone();
    let old_root = root.clone();
    let keep = node_plan(&["events-0.crt"], &[&root]);
    let after = fill(&keep, &existing(&nodes), Some(&new), NOW + DAY).unwrap();
    let data = |secret: &Secret| secret.data.as_ref().unwrap()["events-0.crt"].clone();
    assert_eq!(data(&after), data(&nodes));
    let roots: Vec<_> = observe(&after)
        .roots
        .into_iter()
        .map(|root| root.fingerprint)
        .collect();
    assert_eq!(roots, [observe(&new).roots[0].fingerprint.clone(), root]);
    assert!(is_trusted(&after, HOST, NOW + DAY));
    // The bundle of a lost Secret is that of the others.
    let others = [("admin".to_owned(), after.clone())].into();
    let lost = fill(&node_plan(&[], &[&old_root]), &others, Some(&new), NOW).unwrap();
    assert_eq!(observe(&lost).roots, observe(&after).roots);
    assert_ne!(data(&lost), data(&after));
    let dropped = fill(
        &node_plan(&["events-0.crt"], &[]),
        &existing(&after),
        Some(&new),
        NOW,
    )
    .unwrap();
    assert!(!is_trusted(&dropped, HOST, NOW + DAY));
}

/// Whether a node that trusts the roots in a user's Secret accepts its certificate.
fn is_accepted(data: &BTreeMap<String, ByteString>, at: i64) -> bool {
    let mut roots = RootCertStore::empty();
    for root in CertificateDer::pem_slice_iter(&data[ROOTS_FIELD].0) {
        roots.add(root.unwrap()).unwrap();
    }
    let provider = Arc::new(aws_lc_rs::default_provider());
    let verifier = WebPkiClientVerifier::builder_with_provider(roots.into(), provider);
    let leaf = CertificateDer::from_pem_slice(&data[CERTIFICATE].0).unwrap();
    let at = UnixTime::since_unix_epoch(std::time::Duration::from_secs(at.try_into().unwrap()));
    let result = verifier.build().unwrap().verify_client_cert(&leaf, &[], at);
    result.is_ok()
}

#[test]
fn certificates_of_users_are_accepted_and_read_with_each_algorithm() {
    let ca = ca();
    let bundle = ca.data.as_ref().unwrap()[ROOTS_FIELD].0.clone();
    for algorithm in [KeyAlgorithm::EcdsaP256, KeyAlgorithm::Ed25519] {
        let mut leaf = UserLeaf {
            issues: true,
            name: "user/orders".to_owned(),
            uri: "spiffe://lograft.io/ns/logs/cluster/events/user/orders".to_owned(),
            algorithm,
            not_before: NOW,
            not_after: NOW + DAY,
        };
        let data = user_data(&leaf, None, &ca, &bundle).unwrap();
        assert!(is_accepted(&data, NOW) && !is_accepted(&data, NOW - 1));
        assert!(!is_accepted(&data, NOW + DAY + 1));
        // A key of the algorithm can be used for TLS.
        let key = PrivateKeyDer::from_pem_slice(&data[KEY].0).unwrap();
        aws_lc_rs::sign::any_supported_type(&key).unwrap();
        let secret = Secret {
            data: Some(data.clone()),
            ..Secret::default()
        };
        let (found, roots) = observe_user(&secret);
        let found = found.unwrap();
        assert_eq!(found.is_ed25519, algorithm == KeyAlgorithm::Ed25519);
        assert_eq!((found.not_before, found.not_after), (NOW, NOW + DAY));
        assert!(found.names.iter().eq([&leaf.uri]));
        assert!(!found.serial.starts_with("00") && found.serial.len().is_multiple_of(2));
        assert_eq!(roots, [observe(&ca).roots[0].fingerprint.clone()]);
        // With another bundle alone the certificate stays.
        leaf.issues = false;
        let after = user_data(&leaf, Some(&secret), &ca, b"other").unwrap();
        assert_eq!(after[CERTIFICATE], data[CERTIFICATE]);
        assert_eq!(after[ROOTS_FIELD].0, b"other");
    }
}
