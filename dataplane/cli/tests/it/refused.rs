//! What cannot work is refused in one line, before anything is started.

use std::net::TcpListener;

use crate::support::World;

#[test]
fn a_port_in_use_is_named() {
    let world = World::new();
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let line = world.run(&["dev", "--base-port", &port]).failed(1);
    let expected = format!("port {port} (client of node-1) is in use by another program");
    assert!(
        line.contains(&expected) && line.contains("--base-port"),
        "{line}"
    );
}

#[test]
fn numbers_of_nodes_have_bounds() {
    let world = World::new();
    for count in ["0", "10"] {
        let ended = world.run(&["dev", "--nodes", count]);
        assert_eq!(ended.code, Some(2), "{}", ended.stderr);
        assert!(ended.stderr.contains("1..=9"), "{}", ended.stderr);
    }
}

#[test]
fn a_topic_without_partitions_is_refused() {
    let world = World::new();
    let zero = [
        ["topic", "create", "t", "--partitions", "0"],
        ["topic", "alter", "t", "--partitions", "0"],
        ["topic", "create", "t", "--replication-factor", "0"],
    ];
    for args in zero {
        let ended = world.run(&args);
        assert_eq!(ended.code, Some(2), "{}", ended.stderr);
        assert!(ended.stderr.contains("1.."), "{}", ended.stderr);
    }
}

#[test]
fn nothing_is_made_when_the_ports_are_taken() {
    let world = World::new();
    let data = world.path("data");
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    world
        .run(&[
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
fn certificates_that_are_not_there_are_named() {
    let world = World::new();
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
    world.run(&args).ok();
    let line = world.run(&["topic", "list"]).failed(1);
    assert!(line.contains("/no/ca.crt"), "{line}");
}

#[test]
fn an_input_that_is_not_there_is_named_before_the_cluster_is_asked() {
    let world = World::new();
    let line = world
        .run(&["produce", "t", "--file", "/no/such/file"])
        .failed(1);
    assert!(line.contains("opening /no/such/file"), "{line}");
}
