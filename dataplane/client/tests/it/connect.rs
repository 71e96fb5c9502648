//! Connecting: accepted and refused identities, and their errors.

use std::time::{Duration, Instant};

use lograft_client::{
    Client, ClientConfig, ClientError, DialErrorKind, PartitionId, Reason, TlsFiles, TlsPem,
};
use lograft_core::limits::{CLIENT_CONNECT_TIMEOUT, CLIENT_METADATA_TIMEOUT};

use crate::certs::Ca;
use crate::fake::{Cluster, TOPIC};

async fn refused(cluster: &Cluster, tls: TlsPem) -> ClientError {
    let config = ClientConfig {
        tls: tls.into(),
        ..cluster.config()
    };
    let error = Client::connect(config).await.unwrap_err();
    let endpoint = &cluster.endpoints()[0];
    assert!(
        error.to_string().contains(endpoint),
        "no endpoint in: {error}"
    );
    error
}

fn kind(error: &ClientError) -> &DialErrorKind {
    match error {
        ClientError::Connect(error) => &error.kind,
        other => panic!("{other:?}"),
    }
}

#[tokio::test]
async fn a_client_without_a_certificate_gets_no_certificate() {
    let cluster = Cluster::start(1, 1);
    let tls = TlsPem {
        cert: None,
        key: None,
        ..cluster.ca.client()
    };
    let error = refused(&cluster, tls).await;
    assert!(
        matches!(kind(&error), DialErrorKind::NoCertificate),
        "{error:?}"
    );
    assert_eq!(error.reason(), Some(Reason::Unauthenticated));
    assert!(!error.is_retryable());
}

#[tokio::test]
async fn a_client_certificate_of_another_ca_is_refused() {
    let cluster = Cluster::start(1, 1);
    let tls = TlsPem {
        ca: cluster.ca.pem(),
        ..Ca::new().client()
    };
    let error = refused(&cluster, tls).await;
    assert!(kind(&error).is_refused_identity(), "{error:?}");
    assert_eq!(error.reason(), Some(Reason::Unauthenticated));
}

#[tokio::test]
async fn a_node_of_another_ca_is_not_trusted() {
    let cluster = Cluster::start(1, 1);
    let tls = TlsPem {
        ca: Ca::new().pem(),
        ..cluster.ca.client()
    };
    let error = refused(&cluster, tls).await;
    assert!(
        matches!(kind(&error), DialErrorKind::NodeUnknownCa),
        "{error:?}"
    );
    assert!(!error.is_retryable());
}

#[tokio::test]
async fn a_node_of_another_name_is_not_trusted() {
    let cluster = Cluster::start(1, 1);
    let config = ClientConfig {
        server_name: Some("elsewhere".into()),
        ..cluster.config()
    };
    let error = Client::connect(config).await.unwrap_err();
    assert!(
        matches!(kind(&error), DialErrorKind::NodeCertificate(_)),
        "{error:?}"
    );
}

#[tokio::test]
async fn a_closed_port_is_refused() {
    let mut cluster = Cluster::start(1, 1);
    let config = cluster.config();
    cluster.kill(0);
    let error = Client::connect(config).await.unwrap_err();
    assert!(matches!(kind(&error), DialErrorKind::Refused), "{error:?}");
}

#[tokio::test]
async fn one_reachable_endpoint_is_enough() {
    let cluster = Cluster::start(2, 1);
    let mut config = cluster.config();
    config.endpoints.insert(0, "127.0.0.1:1".into());
    let client = Client::connect(config).await.unwrap();
    assert_eq!(client.metadata().await.unwrap().nodes.len(), 2);
}

#[tokio::test]
async fn a_silent_endpoint_times_out() {
    let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let cluster = Cluster::start(1, 1);
    let mut config = cluster.config();
    config.connect_timeout = Duration::from_millis(200);
    config.endpoints = vec![silent.local_addr().unwrap().to_string()];
    let error = Client::connect(config).await.unwrap_err();
    assert!(matches!(kind(&error), DialErrorKind::TimedOut), "{error:?}");
}

#[tokio::test]
async fn tls_files_are_read_and_missing_files_are_an_error() {
    let cluster = Cluster::start(1, 1);
    let dir = tempfile::tempdir().unwrap();
    let path = |name: &str| dir.path().join(name);
    let pem = cluster.ca.client();
    std::fs::write(path("ca"), pem.ca).unwrap();
    std::fs::write(path("cert"), pem.cert.unwrap()).unwrap();
    let tls = TlsFiles::new(path("ca"), path("cert"), path("key"));
    let config = ClientConfig {
        tls: tls.into(),
        ..cluster.config()
    };
    let error = Client::connect(config.clone()).await.unwrap_err();
    assert!(matches!(error, ClientError::Tls(_)), "{error:?}");
    std::fs::write(path("key"), pem.key.unwrap()).unwrap();
    Client::connect(config).await.unwrap();
}

#[tokio::test]
async fn an_unknown_topic_has_its_own_reason() {
    let cluster = Cluster::start(2, 1);
    let client = cluster.client().await;
    assert_eq!(client.topic(TOPIC).await.unwrap().partitions.len(), 1);
    let error = client.topic("nowhere").await.unwrap_err();
    assert_eq!(error.reason(), Some(Reason::UnknownTopic));
}

#[tokio::test]
async fn a_call_ends_within_its_timeout_however_many_nodes_it_asks() {
    const TIMEOUT: Duration = Duration::from_secs(3);
    let cluster = Cluster::start(3, 1);
    let config = ClientConfig {
        request_timeout: TIMEOUT,
        ..cluster.config()
    };
    let client = Client::connect(config).await.unwrap();
    // Each node alone is in time, all of them one after the other are not.
    cluster.state().leaderless_after = Some(TIMEOUT * 2 / 3);
    let started = Instant::now();
    let partitions = [PartitionId(0)];
    let failed = client.list_offsets(TOPIC, &partitions, None).await;
    let error = failed.unwrap_err();
    assert!(started.elapsed() < TIMEOUT * 5 / 3, "{error}");
    assert!(
        matches!(error, ClientError::Timeout { after: TIMEOUT, .. }),
        "{error:?}"
    );
    assert!(error.is_retryable());
    // The failure of a node before says more than the call that was cut.
    assert_eq!(error.reason(), Some(Reason::NoLeader));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_hangs_does_not_hold_up_the_question_for_metadata() {
    // Whichever node has replied last, in two of three rounds it is one that hangs.
    for survivor in 0..3 {
        let cluster = Cluster::start(3, 1);
        let client = cluster.client().await;
        client.metadata().await.unwrap();
        let hung = (0..3).filter(|node| *node != survivor);
        let _hung: Vec<_> = hung.map(|node| cluster.hang(node)).collect();
        let started = Instant::now();
        client.metadata().await.unwrap();
        // Less than one node that hangs would take if the others had to wait for it.
        assert!(started.elapsed() < CLIENT_CONNECT_TIMEOUT + CLIENT_METADATA_TIMEOUT);
    }
}
