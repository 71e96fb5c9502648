//! Invalid requests are rejected with one line, before anything is started.

use std::net::TcpListener;

use crate::support::TestHome;

#[test]
fn a_port_in_use_is_reported() {
    let home = TestHome::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let line = home.run(&["dev", "--base-port", &port]).failed(1);
    let expected = format!("port {port} (client of node-1) is in use by another program");
    assert!(
        line.contains(&expected) && line.contains("--base-port"),
        "{line}"
    );
}

#[test]
fn the_number_of_nodes_is_bounded() {
    let home = TestHome::new();
    for count in ["0", "10"] {
        let finished = home.run(&["dev", "--nodes", count]);
        assert_eq!(finished.code, Some(2), "{}", finished.stderr);
        assert!(finished.stderr.contains("1..=9"), "{}", finished.stderr);
    }
}

#[test]
fn zero_partitions_and_replicas_are_rejected() {
    let home = TestHome::new();
    let zero = [
        ["topic", "create", "t", "--partitions", "0"],
        ["topic", "alter", "t", "--partitions", "0"],
        ["topic", "create", "t", "--replication-factor", "0"],
    ];
    for args in zero {
        let finished = home.run(&args);
        assert_eq!(finished.code, Some(2), "{}", finished.stderr);
        assert!(finished.stderr.contains("1.."), "{}", finished.stderr);
    }
}

#[test]
fn nothing_is_created_when_a_port_is_in_use() {
    let home = TestHome::new();
    let data = home.path("data");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    home.run(&[
        "dev",
        "--data-dir",
        data.to_str().unwrap(),
        "--base-port",
        &port,
    ])
    .failed(1);
    assert!(!data.join("pki").exists() && !data.join("dev.yaml").exists());
}

#[test]
fn missing_certificates_are_reported() {
    let home = TestHome::new();
    let args = [
        "context",
        "set",
        "a",
        "--endpoint",
        "127.0.0.1:1",
        "--ca",
        "/no/ca.crt",
        "--cert",
        "c",
        "--key",
        "k",
    ];
    home.run(&args).ok();
    let line = home.run(&["topic", "list"]).failed(1);
    assert!(line.contains("/no/ca.crt"), "{line}");
}

#[test]
fn a_missing_input_file_is_reported_before_connecting() {
    let home = TestHome::new();
    let line = home
        .run(&["produce", "t", "--file", "/no/such/file"])
        .failed(1);
    assert!(line.contains("cannot open /no/such/file"), "{line}");
}
