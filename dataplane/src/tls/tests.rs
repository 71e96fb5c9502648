use std::path::Path;
use std::time::Duration;

use rustls::time_provider::TimeProvider;
use rustls_pki_types::UnixTime;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream, duplex};
use tokio_rustls::{TlsAcceptor, TlsConnector};

use super::*;
use crate::error_text::error_chain;
use crate::pki::{Ca, uri};

fn paths(dir: &Path) -> TlsConfig {
    TlsConfig {
        cert: dir.join("tls.crt"),
        key: dir.join("tls.key"),
        ca: dir.join("ca.crt"),
    }
}

fn node(ca: &Ca, role: &str) -> (TempDir, Tls) {
    let dir = tempfile::tempdir().unwrap();
    ca.write(dir.path(), role);
    let tls = Tls::load(paths(dir.path())).unwrap();
    (dir, tls)
}

/// A client that presents `leaf` and trusts `roots`.
fn client(roots: &Ca, leaf: Option<crate::pki::Leaf>) -> Arc<ClientConfig> {
    let mut store = RootCertStore::empty();
    store
        .add(CertificateDer::from_pem_slice(roots.pem().as_bytes()).unwrap())
        .unwrap();
    let builder = ClientConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_root_certificates(store);
    Arc::new(match leaf {
        None => builder.with_no_client_auth(),
        Some(leaf) => {
            let cert = CertificateDer::from_pem_slice(leaf.cert.as_bytes()).unwrap();
            let key = PrivateKeyDer::from_pem_slice(leaf.key.as_bytes()).unwrap();
            builder.with_client_auth_cert(vec![cert], key).unwrap()
        }
    })
}

/// The result of a handshake at each end, the server first. A byte goes both ways: with TLS 1.3 a
/// client learns of its refusal only with the first read.
async fn shake(near_end: Arc<ServerConfig>, far_end: Arc<ClientConfig>) -> (String, String) {
    let (near, far): (DuplexStream, DuplexStream) = duplex(64 * 1024);
    let accept = async {
        let mut stream = TlsAcceptor::from(near_end)
            .accept(near)
            .await
            .map_err(|e| error_chain(&e))?;
        let byte = stream.read_u8().await.map_err(|e| error_chain(&e))?;
        stream.write_u8(byte).await.map_err(|e| error_chain(&e))?;
        stream.flush().await.map_err(|e| error_chain(&e))
    };
    let connect = async {
        let name = "localhost".try_into().unwrap();
        let mut stream = TlsConnector::from(far_end)
            .connect(name, far)
            .await
            .map_err(|e| error_chain(&e))?;
        stream.write_u8(7).await.map_err(|e| error_chain(&e))?;
        stream.flush().await.map_err(|e| error_chain(&e))?;
        stream
            .read_u8()
            .await
            .map(drop)
            .map_err(|e| error_chain(&e))
    };
    let (served, connected): (Result<(), String>, Result<(), String>) =
        tokio::join!(accept, connect);
    let text = |r: Result<(), String>| r.map_or_else(|e| e, |()| "ok".to_owned());
    (text(served), text(connected))
}

async fn try_role(role: &str, port: Port) -> (String, String) {
    let ca = Ca::new();
    let (_dir, tls) = node(&ca, "node/a");
    shake(tls.server(port), client(&ca, Some(ca.issue(&[uri(role)])))).await
}

#[tokio::test]
async fn nodes_reach_both_ports_and_others_only_the_client_port() {
    for role in ["node/b", "user/alice", "operator"] {
        let (served, connected) = try_role(role, Port::Client).await;
        assert_eq!(
            (served.as_str(), connected.as_str()),
            ("ok", "ok"),
            "{role}"
        );
    }
    assert_eq!(
        try_role("node/b", Port::Peer).await,
        ("ok".to_owned(), "ok".to_owned())
    );
    for role in ["user/alice", "operator"] {
        let (served, connected) = try_role(role, Port::Peer).await;
        assert!(served.contains("is not a node"), "{served}");
        assert!(connected.contains("alert"), "{connected}");
    }
}

#[tokio::test]
async fn a_client_without_a_certificate_gets_an_alert() {
    let ca = Ca::new();
    let (_dir, tls) = node(&ca, "node/a");
    let (served, connected) = shake(tls.server(Port::Client), client(&ca, None)).await;
    assert!(served.contains("peer sent no certificates"), "{served}");
    assert!(connected.contains("CertificateRequired"), "{connected}");
}

#[tokio::test]
async fn a_certificate_of_another_ca_gets_an_alert() {
    let (ca, other) = (Ca::new(), Ca::new());
    let (_dir, tls) = node(&ca, "node/a");
    let stranger = client(&ca, Some(other.issue(&[uri("node/b")])));
    let (served, connected) = shake(tls.server(Port::Client), stranger).await;
    assert!(served.contains("invalid peer certificate"), "{served}");
    assert!(connected.contains("alert"), "{connected}");
}

#[tokio::test]
async fn a_certificate_without_one_identity_of_this_cluster_is_refused() {
    let ca = Ca::new();
    let (_dir, tls) = node(&ca, "node/a");
    let other = "spiffe://lograft.io/ns/test/cluster/other/user/alice".to_owned();
    let cases = [
        (vec![], "has no URI"),
        (vec![other], "another cluster"),
        (vec![uri("user/a"), uri("user/b")], "more than one"),
        (vec!["spiffe://lograft.io/x".to_owned()], "is not spiffe://"),
    ];
    for (uris, expected) in cases {
        let presented = client(&ca, Some(ca.issue(&uris)));
        let (served, _) = shake(tls.server(Port::Client), presented).await;
        assert!(served.contains(expected), "{uris:?}: {served}");
    }
}

#[tokio::test]
async fn a_node_connects_to_nodes_only() {
    let ca = Ca::new();
    let (_dir, tls) = node(&ca, "node/a");
    let (_peer_dir, peer) = node(&ca, "node/b");
    let both = shake(peer.server(Port::Peer), tls.connect(None)).await;
    assert_eq!(both, ("ok".to_owned(), "ok".to_owned()));

    let leaf = ca.issue(&[uri("user/mallory")]);
    let fake = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![CertificateDer::from_pem_slice(leaf.cert.as_bytes()).unwrap()],
            PrivateKeyDer::from_pem_slice(leaf.key.as_bytes()).unwrap(),
        )
        .unwrap();
    let (_, connected) = shake(Arc::new(fake), tls.connect(None)).await;
    assert!(connected.contains("is not a node"), "{connected}");
}

/// The time of a server, seconds since the Unix epoch.
#[derive(Debug)]
struct At(u64);

impl TimeProvider for At {
    fn current_time(&self) -> Option<UnixTime> {
        Some(UnixTime::since_unix_epoch(Duration::from_secs(self.0)))
    }
}

/// The same port, with the same sessions, at another time.
fn at(port: &ServerConfig, time_s: u64) -> Arc<ServerConfig> {
    let mut config = port.clone();
    config.time_provider = Arc::new(At(time_s));
    Arc::new(config)
}

#[tokio::test]
async fn a_named_node_must_answer_itself_whatever_its_address() {
    let ca = Ca::new();
    let (_near, tls) = node(&ca, "node/a");
    let (_far, peer) = node(&ca, "node/b");
    for (name, is_accepted) in [(None, true), (Some("b"), true), (Some("a"), false)] {
        let name: Option<Arc<str>> = name.map(Into::into);
        let (_, connected) = shake(peer.server(Port::Peer), tls.connect(name.as_ref())).await;
        assert_eq!(connected == "ok", is_accepted, "{name:?}: {connected}");
        assert!(
            is_accepted || connected.contains("node/b is not node a"),
            "{connected}"
        );
    }
}

#[tokio::test]
async fn an_expired_certificate_opens_no_connection_by_resuming_a_session() {
    let ca = Ca::new();
    let (_dir, tls) = node(&ca, "node/a");
    let expires = rcgen::date_time_ymd(2030, 1, 1);
    let expires_s = u64::try_from(expires.unix_timestamp()).unwrap();
    for port in [Port::Client, Port::Peer] {
        let leaf = ca.issue_with(&[uri("node/b")], |params| params.not_after = expires);
        // One configuration for both connections: a client keeps its sessions in it.
        let client = client(&ca, Some(leaf));
        let config = tls.server(port);
        for hour in 1..=3 {
            let earlier = at(&config, expires_s - hour * 3600);
            assert_eq!(shake(earlier, Arc::clone(&client)).await.0, "ok");
        }
        let later = at(&config, expires_s + 3600);
        let (served, connected) = shake(later, client).await;
        assert!(served.contains("expired"), "{port:?}: {served}");
        assert!(connected.contains("alert"), "{port:?}: {connected}");
    }
}

#[tokio::test]
async fn a_certificate_of_a_removed_ca_opens_no_connection_by_resuming_a_session() {
    let (old, new) = (Ca::new(), Ca::new());
    let (dir, tls) = node(&old, "node/a");
    // During a rotation of the CA both are trusted, and the client trusts both.
    std::fs::write(dir.path().join("ca.crt"), old.pem() + &new.pem()).unwrap();
    assert!(tls.reload().unwrap());
    let client = client(&old, Some(old.issue(&[uri("user/u")])));
    assert_eq!(
        shake(tls.server(Port::Client), Arc::clone(&client)).await.0,
        "ok"
    );
    std::fs::write(dir.path().join("ca.crt"), new.pem()).unwrap();
    assert!(tls.reload().unwrap());
    let (served, _) = shake(tls.server(Port::Client), client).await;
    assert!(served.contains("invalid peer certificate"), "{served}");
}

#[tokio::test]
async fn a_node_resumes_no_session_with_a_peer_that_offers_it() {
    let ca = Ca::new();
    let (_dir, tls) = node(&ca, "node/a");
    let expires = rcgen::date_time_ymd(2030, 1, 1);
    let leaf = ca.issue_with(&[uri("node/b")], |params| params.not_after = expires);
    // As nodes before 0.3.0 did: with tickets.
    let peer = ServerConfig::builder_with_provider(provider())
        .with_protocol_versions(&[&rustls::version::TLS13])
        .unwrap()
        .with_no_client_auth()
        .with_single_cert(
            vec![CertificateDer::from_pem_slice(leaf.cert.as_bytes()).unwrap()],
            PrivateKeyDer::from_pem_slice(leaf.key.as_bytes()).unwrap(),
        )
        .unwrap();
    let peer = Arc::new(peer);
    let connect = |time_s| {
        let mut config = (*tls.connect(None)).clone();
        config.time_provider = Arc::new(At(time_s));
        Arc::new(config)
    };
    let expires_s = u64::try_from(expires.unix_timestamp()).unwrap();
    let before = shake(Arc::clone(&peer), connect(expires_s - 60)).await;
    assert_eq!(before, ("ok".to_owned(), "ok".to_owned()));
    let (_, connected) = shake(peer, connect(expires_s + 60)).await;
    assert!(connected.contains("expired"), "{connected}");
}

#[tokio::test]
async fn changed_files_are_taken_and_broken_ones_are_not() {
    let (old, new) = (Ca::new(), Ca::new());
    let (dir, tls) = node(&old, "node/a");
    let of = |ca: &Ca| client(ca, Some(ca.issue(&[uri("user/u")])));
    assert!(!tls.reload().unwrap());

    // A new certificate with the old key does not go together: the old pair stays.
    let leaf = new.issue(&[uri("node/a")]);
    std::fs::write(dir.path().join("tls.crt"), leaf.cert).unwrap();
    assert!(matches!(tls.reload(), Err(TlsError::Pair { .. })));
    assert_eq!(shake(tls.server(Port::Client), of(&old)).await.0, "ok");

    new.write(dir.path(), "node/a");
    assert!(tls.reload().unwrap());
    assert_eq!(shake(tls.server(Port::Client), of(&new)).await.0, "ok");
    assert_ne!(shake(tls.server(Port::Client), of(&old)).await.0, "ok");
}

/// The SHA-256 fingerprint of the certificate beside it, as other programs print it.
const KNOWN: (&str, &str) = (
    "-----BEGIN CERTIFICATE-----
MIIBdjCCAR2gAwIBAgIUA6g+0RLc17L1f7jPsP1fr1+tifIwCgYIKoZIzj0EAwIw
EDEOMAwGA1UEAwwFa25vd24wIBcNMjYxMTI3MjI0NzA3WhgPMjEyNjExMDMyMjQ3
MDdaMBAxDjAMBgNVBAMMBWtub3duMFkwEwYHKoZIzj0CAQYIKoZIzj0DAQcDQgAE
MmSOWnuI9M8ulcDffg4jz1o589Oz/J3pUcYV7L0BjpFwRwxEfOwpUUSED/3y/FVC
QbomQLMtuMrQGMC3PCKiJaNTMFEwHQYDVR0OBBYEFJUnNEZZRmum4Yxv5BjScQA5
iNh7MB8GA1UdIwQYMBaAFJUnNEZZRmum4Yxv5BjScQA5iNh7MA8GA1UdEwEB/wQF
MAMBAf8wCgYIKoZIzj0EAwIDRwAwRAIgPGb8OIuZvatOH8G4oUV9VPDeybVu/doB
bhN2AwkUspQCIB2UzFHdGVWIUMNxvlOArMmi83H3JrFfyT62TP7b7RvB
-----END CERTIFICATE-----
",
    "ae0565678587217010bf87e12a14667264d95f7c59290010bb4df38f741ff74b",
);

#[test]
fn every_loaded_ca_is_told_by_its_fingerprint_and_the_leaf_by_its_end() {
    let ca = Ca::new();
    let (dir, tls) = node(&ca, "node/a");
    let one = tls.loaded();
    assert_eq!(one.not_after_s, tls.not_after_s());
    assert_eq!(one.ca_fingerprints.len(), 1);
    std::fs::write(dir.path().join("ca.crt"), KNOWN.0.to_owned() + &ca.pem()).unwrap();
    assert!(tls.reload().unwrap());
    let both = [KNOWN.1.to_owned(), one.ca_fingerprints[0].clone()];
    assert_eq!(tls.loaded().ca_fingerprints, both);
    std::fs::write(dir.path().join("ca.crt"), "half a file").unwrap();
    assert!(tls.reload().is_err());
    assert_eq!(
        tls.loaded().ca_fingerprints,
        both,
        "the old ones are in use"
    );
}

#[test]
fn files_that_cannot_work_are_named() {
    let ca = Ca::new();
    let dir = tempfile::tempdir().unwrap();
    let load = || Tls::load(paths(dir.path())).map(drop).unwrap_err();
    assert!(load().to_string().contains("tls.crt"));
    ca.write(dir.path(), "user/alice");
    assert!(matches!(load(), TlsError::NotANode { .. }));
    ca.write(dir.path(), "node/a");
    std::fs::write(dir.path().join("tls.key"), "no key").unwrap();
    assert!(matches!(
        load(),
        TlsError::Pem {
            what: "private key",
            ..
        }
    ));
    std::fs::write(dir.path().join("ca.crt"), "").unwrap();
    assert!(load().to_string().contains("ca.crt") || load().to_string().contains("tls.key"));
}
