//! Clients whose calls time out reset their streams, many at once: they keep their connection.

use std::time::Duration;

use lograft_proto::log::v1 as log;
use prost::Message;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio_rustls::client::TlsStream;

use crate::cluster::{Cluster, PATIENCE};

/// Long polls that time out before the node has looked at them.
const CALLS_COUNT: u32 = 2000;

/// Types and flags of HTTP/2 frames (RFC 9113, section 6).
const DATA: u8 = 0;
const HEADERS: u8 = 1;
const RST_STREAM: u8 = 3;
const SETTINGS: u8 = 4;
const PING: u8 = 6;
const GOAWAY: u8 = 7;
const ACK: u8 = 1;
const END_STREAM: u8 = 1;
const END_HEADERS: u8 = 4;
const CANCEL: u32 = 8;

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let length = u32::try_from(payload.len()).unwrap().to_be_bytes();
    let mut frame = length[1..].to_vec();
    frame.extend([kind, flags]);
    frame.extend(stream.to_be_bytes());
    frame.extend(payload);
    frame
}

/// Headers as literals without indexing (RFC 7541, section 6.2.2).
fn headers(fields: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in fields {
        block.push(0);
        for text in [name, value] {
            block.push(u8::try_from(text.len()).unwrap());
            block.extend(text.as_bytes());
        }
    }
    block
}

/// A long poll at the end of the log.
fn long_poll(topic: &str) -> Vec<u8> {
    let position = log::Position {
        at: Some(log::position::At::Latest(true)),
    };
    let request = log::FetchRequest {
        topic: topic.to_owned(),
        position: Some(position),
        max_wait_ms: 30_000,
        ..log::FetchRequest::default()
    };
    let message = request.encode_to_vec();
    let length = u32::try_from(message.len()).unwrap().to_be_bytes();
    [&[0], &length[..], &message].concat()
}

/// Whether the connection answers a ping. False if the node says goodbye.
async fn answers(io: &mut TlsStream<TcpStream>) -> bool {
    io.write_all(&frame(PING, 0, 0, b"12345678")).await.unwrap();
    io.flush().await.unwrap();
    loop {
        let mut head = [0; 9];
        io.read_exact(&mut head).await.unwrap();
        let length = u32::from_be_bytes([0, head[0], head[1], head[2]]);
        let mut payload = vec![0; length as usize];
        io.read_exact(&mut payload).await.unwrap();
        match (head[3], head[4]) {
            (GOAWAY, _) => {
                println!("{}", String::from_utf8_lossy(&payload));
                return false;
            }
            (PING, ACK) if payload == b"12345678" => return true,
            _ => {}
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_client_whose_calls_all_time_out_keeps_its_connection() {
    let cluster = Cluster::of(1).await;
    cluster.create_topic(0, "t", 1, 1).await;
    let to = cluster.addresses(0).client;
    let mut io = cluster.open_as("user/admin", to).await;
    let mut sent = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_vec();
    sent.extend(frame(SETTINGS, 0, 0, &[]));
    let head = headers(&[
        (":method", "POST"),
        (":scheme", "https"),
        (":authority", "localhost"),
        (":path", "/lograft.log.v1.LogService/Fetch"),
        ("content-type", "application/grpc"),
        ("te", "trailers"),
    ]);
    let body = long_poll("t");
    for call in 0..CALLS_COUNT {
        let stream = 2 * call + 1;
        sent.extend(frame(HEADERS, END_HEADERS, stream, &head));
        sent.extend(frame(DATA, END_STREAM, stream, &body));
        sent.extend(frame(RST_STREAM, 0, stream, &CANCEL.to_be_bytes()));
    }
    io.write_all(&sent).await.unwrap();
    let answered = tokio::time::timeout(PATIENCE, answers(&mut io)).await;
    assert!(answered.unwrap(), "the node has closed the connection");
    // Calls that are given up do not go on: another one is served at once.
    let served = cluster.produce(0, 0, "value");
    tokio::time::timeout(Duration::from_secs(10), served)
        .await
        .unwrap();
}
