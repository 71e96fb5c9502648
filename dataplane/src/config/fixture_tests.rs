//! Configuration files against the checked-in ones of every feature level.

use std::path::Path;

use super::*;
use crate::fixtures::Fixtures;

fn fixtures(folder: &'static str) -> Fixtures {
    Fixtures::new(env!("CARGO_MANIFEST_DIR"), folder)
}

fn parse(bytes: &[u8]) -> NodeConfig {
    let text = std::str::from_utf8(bytes).unwrap();
    NodeConfig::parse(text, Path::new("node.yaml")).unwrap()
}

/// A configuration with every field set, none to its default.
fn full() -> NodeConfig {
    let address = |port| SocketAddr::from(([127, 0, 0, 1], port));
    NodeConfig {
        name: "node-0".to_owned(),
        data_dir: PathBuf::from("/var/lib/lograft"),
        zone: "zone-a".to_owned(),
        listen: ListenConfig {
            client: address(9500),
            peer: address(9501),
            health: address(9503),
            http: None,
        },
        advertise: AdvertiseConfig {
            client: Some("node-0.example:9500".to_owned()),
            peer: Some("node-0.example:9501".to_owned()),
        },
        tls: TlsConfig {
            cert: PathBuf::from("/tls/node.crt"),
            key: PathBuf::from("/tls/node.key"),
            ca: PathBuf::from("/tls/ca.crt"),
        },
        connections: ConnectionSettings::default(),
        http: HttpSettings::default(),
        seeds: vec!["node-1.example:9501".to_owned(), "[::1]:9501".to_owned()],
        authorization: AuthorizationSettings::default(),
        discovery: DiscoverySettings::default(),
        runtime: RuntimeSettings {
            worker_threads_count: Some(3),
            replicas_max_count: None,
        },
        storage: StorageSettings {
            segment_max_bytes: 4 << 20,
            writer_threads_count: 5,
            tail_cache_max_bytes: 64 << 20,
            reserve_bytes: 1 << 30,
        },
        raft: RaftSettings {
            heartbeat_ms: 100,
            election_min_ms: 500,
            election_max_ms: 900,
        },
        topics: TopicDefaults {
            partitions: 6,
            replication_factor: Some(2),
            retention_bytes: Some(1 << 30),
            retention_ms: Some(86_400_000),
            batch_max_bytes: None,
            record_max_bytes: None,
        },
        log: LogSettings {
            level: "lograft_node=debug,info".to_owned(),
            format: LogFormat::Json,
        },
        recovery: RecoverySettings::default(),
        ignore_if_unknown: Vec::new(),
        ignored: Vec::new(),
        file: None,
        is_zone_fixed: false,
    }
}

fn with_list() -> NodeConfig {
    NodeConfig {
        ignore_if_unknown: vec!["topics.batch_max_bytes".to_owned()],
        ..full()
    }
}

#[test]
fn configurations_keep_their_form() {
    let mut level_1 = full();
    level_1.topics.batch_max_bytes = Some(524_288);
    let mut level_2 = full();
    level_2.topics.batch_max_bytes = Some(3_149_824);
    level_2.topics.record_max_bytes = Some(3_145_728);
    level_2.recovery.dead_node_after_ms = 1_800_000;
    let samples = [
        ("full.yaml".to_owned(), full()),
        ("full-level_1.yaml".to_owned(), level_1),
        ("full-level_2.yaml".to_owned(), level_2),
        ("ignore_if_unknown.yaml".to_owned(), with_list()),
    ];
    fixtures("config").check(
        &samples,
        |config| serde_yaml::to_string(config).unwrap().into_bytes(),
        parse,
    );
}

fn log_of_the_operator(is_development: bool) -> LogSettings {
    let (level, format) = if is_development {
        ("lograft_node=debug,info", LogFormat::Text)
    } else {
        ("info", LogFormat::Json)
    };
    LogSettings {
        level: level.to_owned(),
        format,
    }
}

/// The configuration of the first node of each golden file of the operator.
fn written_by_the_operator(name: &str) -> NodeConfig {
    let (node, seeds, topics) = match name {
        "development.yaml" => ("dev", 0..0, TopicDefaults::default()),
        "minimal.yaml" => (
            "lograft",
            1..3,
            TopicDefaults {
                partitions: 3,
                ..TopicDefaults::default()
            },
        ),
        // "finalized.yaml" is "production.yaml" of a cluster at level 1, with a field of that level.
        "production.yaml" | "finalized.yaml" => (
            "events",
            1..3,
            TopicDefaults {
                partitions: 12,
                replication_factor: Some(3),
                retention_bytes: Some(20 << 30),
                retention_ms: Some(2_592_000_000),
                batch_max_bytes: (name == "finalized.yaml").then_some(524_288),
                record_max_bytes: None,
            },
        ),
        _ => panic!("add the configuration that is expected of {name}"),
    };
    let address = |n: i32, port: u16| format!("{node}-{n}.{node}-nodes.prod.svc:{port}");
    let tls = |file: &str| PathBuf::from(format!("/etc/lograft/tls/{file}"));
    let is_development = node == "dev";
    NodeConfig {
        name: format!("{node}-0"),
        data_dir: PathBuf::from("/var/lib/lograft/node"),
        zone: String::new(),
        listen: ListenConfig::default(),
        advertise: AdvertiseConfig {
            client: Some(address(0, 9400)),
            peer: Some(address(0, 9401)),
        },
        tls: TlsConfig {
            cert: tls(&format!("{node}-0.crt")),
            key: tls(&format!("{node}-0.key")),
            ca: tls("ca.crt"),
        },
        connections: ConnectionSettings::default(),
        http: HttpSettings::default(),
        seeds: seeds.map(|n| address(n, 9401)).collect(),
        discovery: DiscoverySettings::default(),
        runtime: RuntimeSettings::default(),
        storage: StorageSettings {
            segment_max_bytes: if is_development { 4 << 20 } else { 64 << 20 },
            ..StorageSettings::default()
        },
        raft: RaftSettings::default(),
        topics,
        authorization: AuthorizationSettings::default(),
        log: log_of_the_operator(is_development),
        recovery: RecoverySettings::default(),
        ignore_if_unknown: match name {
            "finalized.yaml" => vec!["topics.batch_max_bytes".to_owned()],
            _ => Vec::new(),
        },
        ignored: Vec::new(),
        file: None,
        is_zone_fixed: false,
    }
}

#[test]
fn configurations_of_earlier_operators_are_read() {
    let all = fixtures("operator_config").all();
    assert!(all.len() >= 3, "{}", all.len());
    for fixture in all {
        let expected = written_by_the_operator(&fixture.name);
        assert_eq!(parse(&fixture.bytes), expected, "level {}", fixture.level);
    }
}
