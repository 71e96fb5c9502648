use std::path::Path;

use lograft_core::capacity::Capacity;
use lograft_core::limits::{
    CONNECTION_LINGER_MAX, HANDSHAKE_SILENT_MAX, HANDSHAKE_STALLED_MAX, HANDSHAKES_MAX_COUNT,
};
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::TlsConnector;
use tokio_rustls::client::TlsStream as ClientStream;
use tokio_stream::StreamExt;

use super::*;
use crate::config::{ConnectionSettings, TlsConfig};
use crate::host;
use crate::net::{Net, TcpNet};
use crate::pki::Ca;
use crate::tls::Tls;

const PATIENCE: Duration = Duration::from_secs(5);

struct Fixture {
    incoming: Incoming,
    accepting: JoinHandle<()>,
    address: SocketAddr,
    metrics: Metrics,
    tls: Arc<Tls>,
    cut: watch::Sender<bool>,
    ca: Ca,
    dir: tempfile::TempDir,
}

fn paths(dir: &Path) -> TlsConfig {
    TlsConfig {
        cert: dir.join("tls.crt"),
        key: dir.join("tls.key"),
        ca: dir.join("ca.crt"),
    }
}

fn limits() -> ListenLimits {
    let capacity = Capacity::of(host::limits(), None);
    ListenLimits::of(Port::Peer, capacity, &ConnectionSettings::default())
}

async fn fixture(limits: ListenLimits) -> Fixture {
    let dir = tempfile::tempdir().unwrap();
    let ca = Ca::new();
    ca.write(dir.path(), "node/a");
    let tls = Arc::new(Tls::load(paths(dir.path())).unwrap());
    let metrics = Metrics::new().unwrap();
    let listener = TcpNet.listen(([127, 0, 0, 1], 0).into()).await.unwrap();
    let address = listener.local_address().unwrap();
    let (cut, is_cut) = watch::channel(false);
    let (incoming, accepting) = incoming(
        listener,
        (Port::Peer, limits),
        ClientTrust {
            tls: Arc::clone(&tls),
            revocations: watch::channel(Arc::default()).1,
            answer_revoked: None,
        },
        &metrics,
        is_cut,
    );
    Fixture {
        incoming,
        accepting,
        address,
        metrics,
        tls,
        cut,
        ca,
        dir,
    }
}

impl Fixture {
    /// The same node connects to itself.
    async fn connect(&self) -> std::io::Result<ClientStream<TcpStream>> {
        let io = TcpStream::connect(self.address).await?;
        let name = "localhost".try_into().unwrap();
        TlsConnector::from(self.tls.connect(None))
            .connect(name, io)
            .await
    }

    /// The same from another address of this host.
    async fn connect_from(&self, from: IpAddr) -> std::io::Result<ClientStream<TcpStream>> {
        let socket = tokio::net::TcpSocket::new_v4()?;
        socket.bind((from, 0).into())?;
        let io = socket.connect(self.address).await?;
        let name = "localhost".try_into().unwrap();
        TlsConnector::from(self.tls.connect(None))
            .connect(name, io)
            .await
    }

    async fn accept(&mut self) -> Accepted {
        let next = tokio::time::timeout(PATIENCE, self.incoming.next()).await;
        next.unwrap().unwrap().unwrap()
    }
}

/// Waits for the other end to close, whatever it says before.
async fn closed(io: &mut (impl AsyncRead + Unpin)) {
    let mut rest = Vec::new();
    // A reset is an end too.
    let _ = tokio::time::timeout(PATIENCE, io.read_to_end(&mut rest))
        .await
        .unwrap();
}

#[tokio::test]
async fn a_connection_tells_who_is_there() {
    let mut port = fixture(limits()).await;
    let mut near = port.connect().await.unwrap();
    let mut accepted = port.accept().await;
    assert_eq!(
        accepted.caller.identity.to_string(),
        crate::pki::uri("node/a")
    );
    near.write_all(b"hello").await.unwrap();
    near.flush().await.unwrap();
    let mut got = [0; 5];
    accepted.read_exact(&mut got).await.unwrap();
    assert_eq!(&got, b"hello");
    assert!(
        port.metrics
            .encode()
            .unwrap()
            .contains("lograft_connections{port=\"peer\"} 1")
    );
    drop(accepted);
    assert!(
        port.metrics
            .encode()
            .unwrap()
            .contains("lograft_connections{port=\"peer\"} 0")
    );
}

#[tokio::test]
async fn one_connection_too_many_is_closed() {
    let limits = ListenLimits {
        connections_max_count: 1,
        ..limits()
    };
    let mut port = fixture(limits).await;
    let _first = port.connect().await.unwrap();
    let accepted = port.accept().await;
    assert!(port.connect().await.is_err());
    let text = port.metrics.encode().unwrap();
    assert!(
        text.contains("lograft_connections_refused_total{port=\"peer\"} 1"),
        "{text}"
    );
    // Its place is free again once it has ended.
    drop(accepted);
    let _second = port.connect().await.unwrap();
    port.accept().await;
}

#[tokio::test]
async fn an_address_above_its_share_is_refused_and_others_are_not() {
    let limits = ListenLimits {
        connections_max_count: 4,
        per_address_max_count: 2,
        ..limits()
    };
    let mut port = fixture(limits).await;
    let mut held = Vec::new();
    for _ in 0..2 {
        held.push((port.connect().await.unwrap(), port.accept().await));
    }
    assert!(port.connect().await.is_err());
    let text = port.metrics.encode().unwrap();
    let line = "lograft_connections_over_share_total{share=\"ADDRESS\"} 1";
    assert!(text.contains(line), "{text}");
    let line = "lograft_connections_refused_total{port=\"peer\"} 1";
    assert!(text.contains(line), "{text}");
    // Loopback has more addresses.
    let _other = port.connect_from([127, 0, 0, 2].into()).await.unwrap();
    port.accept().await;
    // A connection without a certificate has a place of its address too, while it may be silent.
    held.pop();
    let _silent = TcpStream::connect(port.address).await.unwrap();
    let refused = tokio::time::timeout(HANDSHAKE_SILENT_MAX * 20, port.connect()).await;
    assert!(refused.unwrap().is_err());
}

#[tokio::test]
async fn a_user_above_its_share_is_refused() {
    let limits = ListenLimits {
        per_user_max_count: 1,
        ..limits()
    };
    let mut port = fixture(limits).await;
    let _first = (port.connect().await.unwrap(), port.accept().await);
    // A client of TLS 1.3 has completed its handshake before it is refused.
    let mut second = port.connect().await.unwrap();
    closed(&mut second).await;
    let text = port.metrics.encode().unwrap();
    for line in [
        "lograft_connections_over_share_total{share=\"USER\"} 1",
        "lograft_connections_refused_total{port=\"peer\"} 1",
    ] {
        assert!(text.contains(line), "{text}");
    }
}

#[test]
fn shares_are_of_the_connections_of_clients() {
    let capacity = Capacity {
        client_connections_max_count: 4096,
        ..Capacity::of(host::limits(), None)
    };
    let settings = ConnectionSettings {
        per_address_percent: 25,
        per_user_percent: 100,
        ..ConnectionSettings::default()
    };
    let client = ListenLimits::of(Port::Client, capacity, &settings);
    assert_eq!(client.per_address_max_count, 1024);
    assert_eq!(client.per_user_max_count, 4096);
    let peer = ListenLimits::of(Port::Peer, capacity, &settings);
    assert_eq!(peer.per_address_max_count, peer.connections_max_count);
    let tiny = Capacity {
        client_connections_max_count: 2,
        ..capacity
    };
    let tiny = ListenLimits::of(Port::Client, tiny, &settings);
    assert_eq!(tiny.per_address_max_count, 1);
}

#[tokio::test]
async fn a_silent_client_is_closed_and_holds_up_nobody() {
    let limits = ListenLimits {
        handshake_max: Duration::from_millis(100),
        handshakes_max_count: 2,
        ..limits()
    };
    let mut port = fixture(limits).await;
    let mut silent = TcpStream::connect(port.address).await.unwrap();
    let _talking = port.connect().await.unwrap();
    port.accept().await;
    closed(&mut silent).await;
    let text = port.metrics.encode().unwrap();
    assert!(
        text.contains("lograft_handshakes_failed_total{port=\"peer\"} 1"),
        "{text}"
    );
}

/// Twice as many connections as may be in their handshake, each with a part of its first message.
async fn open_silent(port: &Fixture, bytes: &[u8]) -> Vec<TcpStream> {
    let mut silent = Vec::new();
    for _ in 0..2 * HANDSHAKES_MAX_COUNT {
        let mut io = TcpStream::connect(port.address).await.unwrap();
        io.write_all(bytes).await.unwrap();
        silent.push(io);
    }
    silent
}

#[tokio::test]
async fn a_client_is_served_in_time_whatever_silent_connections_there_are() {
    // A TLS record of which only the head ever arrives: the slowest kind to be noticed.
    let halves: [(&[u8], Duration); 2] = [
        (b"", HANDSHAKE_SILENT_MAX * 4),
        (b"\x16\x03\x01\x02\x00", HANDSHAKE_STALLED_MAX * 2),
    ];
    for (bytes, max) in halves {
        let mut port = fixture(limits()).await;
        let _silent = open_silent(&port, bytes).await;
        let started = tokio::time::Instant::now();
        let near = tokio::time::timeout(max, port.connect()).await;
        let _near = near.expect("served in time").unwrap();
        port.accept().await;
        assert!(started.elapsed() < max, "{:?}", started.elapsed());
    }
}

#[tokio::test]
async fn clients_that_return_all_at_once_are_all_served() {
    let limits = ListenLimits {
        handshakes_max_count: 4,
        ..limits()
    };
    let mut port = fixture(limits).await;
    let clients: Vec<_> = (0..200)
        .map(|_| {
            let (address, tls) = (port.address, Arc::clone(&port.tls));
            tokio::spawn(async move {
                let io = TcpStream::connect(address).await?;
                let name = "localhost".try_into().unwrap();
                TlsConnector::from(tls.connect(None))
                    .connect(name, io)
                    .await
            })
        })
        .collect();
    let mut accepted = Vec::new();
    for _ in 0..200 {
        accepted.push(port.accept().await);
    }
    for client in clients {
        client.await.unwrap().unwrap();
    }
}

#[tokio::test]
async fn a_client_that_is_silent_after_its_handshake_is_closed() {
    let limits = ListenLimits {
        preface_max: Duration::from_millis(300),
        ..limits()
    };
    for sent in [b"".as_slice(), b"PRI * HTTP/2.0\r\n"] {
        let mut port = fixture(limits).await;
        let mut near = port.connect().await.unwrap();
        let mut accepted = port.accept().await;
        near.write_all(sent).await.unwrap();
        near.flush().await.unwrap();
        let started = tokio::time::Instant::now();
        let mut rest = Vec::new();
        let read = accepted.read_to_end(&mut rest);
        let ended = tokio::time::timeout(PATIENCE, read)
            .await
            .unwrap()
            .unwrap_err();
        assert_eq!(ended.kind(), std::io::ErrorKind::TimedOut);
        assert_eq!(rest, sent);
        assert!(started.elapsed() >= limits.preface_max / 2);
    }
}

#[tokio::test]
async fn a_client_with_a_preface_may_be_silent() {
    let mut port = fixture(limits()).await;
    let mut near = port.connect().await.unwrap();
    let mut accepted = port.accept().await;
    near.write_all(&[1; Preface::BYTES]).await.unwrap();
    near.flush().await.unwrap();
    let mut got = [0; Preface::BYTES];
    accepted.read_exact(&mut got).await.unwrap();
    assert!(accepted.preface.is_none());
}

#[tokio::test]
async fn a_cut_ends_connections_and_a_dropped_stream_the_port() {
    let mut port = fixture(limits()).await;
    let _near = port.connect().await.unwrap();
    let mut accepted = port.accept().await;
    port.cut.send_replace(true);
    let read = tokio::time::timeout(PATIENCE, accepted.read_u8())
        .await
        .unwrap();
    assert_eq!(
        read.unwrap_err().kind(),
        std::io::ErrorKind::ConnectionAborted
    );

    let Fixture {
        incoming,
        accepting,
        address,
        ..
    } = port;
    drop(incoming);
    tokio::time::timeout(PATIENCE, accepting)
        .await
        .unwrap()
        .unwrap();
    assert!(TcpStream::connect(address).await.is_err());
}

/// Asserts that a connection ends although its client goes on sending.
async fn ends(accepted: &mut Accepted, near: &mut ClientStream<TcpStream>) {
    let ended = async {
        loop {
            // It may have been closed already.
            let _ = near.write_all(b"x").await;
            let _ = near.flush().await;
            match accepted.read_u8().await {
                Ok(_) => tokio::time::sleep(Duration::from_millis(10)).await,
                Err(error) => return error.kind(),
            }
        }
    };
    let ended = tokio::time::timeout(PATIENCE, ended).await.unwrap();
    assert_eq!(ended, std::io::ErrorKind::ConnectionAborted);
}

async fn serves(accepted: &mut Accepted, near: &mut ClientStream<TcpStream>) {
    near.write_all(b"x").await.unwrap();
    near.flush().await.unwrap();
    assert_eq!(accepted.read_u8().await.unwrap(), b'x');
}

#[tokio::test]
async fn a_connection_ends_with_its_certificate_whatever_arrives() {
    let mut port = fixture(limits()).await;
    let dir = tempfile::tempdir().unwrap();
    port.ca.write(dir.path(), "node/b");
    let soon = std::time::SystemTime::now() + Duration::from_secs(2);
    let leaf = port.ca.issue_with(&[crate::pki::uri("node/b")], |params| {
        params.not_after = soon.into();
    });
    std::fs::write(dir.path().join("tls.crt"), leaf.cert).unwrap();
    std::fs::write(dir.path().join("tls.key"), leaf.key).unwrap();
    let client = Tls::load(paths(dir.path())).unwrap();
    let io = TcpStream::connect(port.address).await.unwrap();
    let name = "localhost".try_into().unwrap();
    let connector = TlsConnector::from(client.connect(None));
    let mut near = connector.connect(name, io).await.unwrap();
    let mut accepted = port.accept().await;
    serves(&mut accepted, &mut near).await;
    ends(&mut accepted, &mut near).await;
    assert!(std::time::SystemTime::now() >= soon - Duration::from_secs(1));
}

#[tokio::test]
async fn a_closing_connection_is_cut_when_its_requests_do_not_end() {
    let limits = ListenLimits {
        drain_max: Duration::from_millis(200),
        ..limits()
    };
    let mut port = fixture(limits).await;
    let mut near = port.connect().await.unwrap();
    let mut accepted = port.accept().await;
    serves(&mut accepted, &mut near).await;
    let started = tokio::time::Instant::now();
    accepted.caller.closing.start();
    serves(&mut accepted, &mut near).await;
    ends(&mut accepted, &mut near).await;
    assert!(started.elapsed() >= limits.drain_max);
}

#[tokio::test]
async fn a_client_that_still_sends_reads_the_end_of_a_closed_connection() {
    let mut port = fixture(limits()).await;
    let near = port.connect().await.unwrap();
    let mut accepted = port.accept().await;
    let (mut reader, mut writer) = tokio::io::split(near);
    let sending = tokio::spawn(async move {
        // Until the other end is gone.
        while writer.write_all(&[7; 1024]).await.is_ok() && writer.flush().await.is_ok() {}
    });
    // The client sends all the time, and nobody reads it.
    tokio::time::sleep(Duration::from_millis(200)).await;
    accepted.write_all(&vec![1; 100_000]).await.unwrap();
    accepted.flush().await.unwrap();
    let started = tokio::time::Instant::now();
    let closing = tokio::spawn(async move {
        let closed = accepted.shutdown().await;
        drop(accepted);
        closed
    });
    tokio::time::sleep(Duration::from_millis(100)).await;
    let mut got = vec![0; 100_000];
    reader.read_exact(&mut got).await.unwrap();
    closing.await.unwrap().unwrap();
    assert!(
        started.elapsed() >= CONNECTION_LINGER_MAX,
        "{:?}",
        started.elapsed()
    );
    sending.abort();
}

/// Waits until nothing but the accept loop and the server of the port is left in the runtime.
async fn tasks_end(tasks_max_count: usize) {
    let all_ended = async {
        while tokio::runtime::Handle::current()
            .metrics()
            .num_alive_tasks()
            > tasks_max_count
        {
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
    };
    tokio::time::timeout(PATIENCE, all_ended).await.unwrap();
}

#[tokio::test]
async fn nothing_is_left_of_a_connection_that_its_client_has_closed() {
    let port = fixture(limits()).await;
    let Fixture {
        incoming,
        address,
        tls,
        cut: _cut,
        ..
    } = port;
    let (stop, is_stopped) = watch::channel(false);
    let server = tokio::spawn(serve(
        incoming,
        tonic::service::Routes::default(),
        is_stopped,
    ));
    for _ in 0..20 {
        let io = TcpStream::connect(address).await.unwrap();
        let name = "localhost".try_into().unwrap();
        let connector = TlsConnector::from(tls.connect(None));
        let mut near = connector.connect(name, io).await.unwrap();
        near.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0")
            .await
            .unwrap();
        near.flush().await.unwrap();
        // The server's first bytes.
        near.read_u8().await.unwrap();
    }
    tasks_end(2).await;
    stop.send_replace(true);
    tokio::time::timeout(PATIENCE, server)
        .await
        .unwrap()
        .unwrap();
    assert!(TcpStream::connect(address).await.is_err());
}

#[tokio::test]
async fn a_connection_outlives_another_certificate_of_its_ca_but_not_the_ca() {
    let mut port = fixture(limits()).await;
    let mut near = port.connect().await.unwrap();
    let mut accepted = port.accept().await;
    port.ca.write(port.dir.path(), "node/a");
    assert!(port.tls.reload().unwrap());
    serves(&mut accepted, &mut near).await;
    let both = port.ca.pem() + &Ca::new().pem();
    std::fs::write(port.dir.path().join("ca.crt"), both).unwrap();
    assert!(port.tls.reload().unwrap());
    serves(&mut accepted, &mut near).await;
    Ca::new().write(port.dir.path(), "node/a");
    assert!(port.tls.reload().unwrap());
    ends(&mut accepted, &mut near).await;
}
