use std::path::Path;

use lograft_core::limits::{IGNORE_IF_UNKNOWN_FIELD_MAX_BYTES, IGNORE_IF_UNKNOWN_MAX_COUNT};

use super::*;

const SMALLEST: &str = "
name: a
data_dir: /d
tls: {cert: c, key: k, ca: a}
listen: {client: 127.0.0.1:1, peer: 127.0.0.1:2, health: 127.0.0.1:3}
";

fn parse(text: &str) -> Result<NodeConfig, ConfigError> {
    NodeConfig::parse(text, Path::new("node.yaml"))
}

fn refused_field(text: &str) -> (&'static str, String) {
    match parse(text) {
        Err(ConfigError::Field { field, bound, .. }) => (field, bound),
        other => panic!("expected a refused field, got {other:?}"),
    }
}

fn parse_error(text: &str) -> String {
    match parse(text) {
        Err(ConfigError::Parse { source, .. }) => source.to_string(),
        other => panic!("expected a parse error, got {other:?}"),
    }
}

#[test]
fn the_smallest_file_takes_the_defaults() {
    let config = parse(SMALLEST).unwrap();
    assert_eq!(config.raft, RaftSettings::default());
    assert_eq!(config.storage.segment_max_bytes, SEGMENT_MAX_BYTES);
    assert_eq!(config.raft.timing(), RaftTiming::default());
    assert!(config.seeds.is_empty());
}

#[test]
fn what_is_written_reads_back() {
    let config = parse(SMALLEST).unwrap();
    let text = serde_yaml::to_string(&config).unwrap();
    assert_eq!(parse(&text).unwrap(), config);
}

#[test]
fn an_unknown_field_is_named_with_its_line() {
    let text = format!("{SMALLEST}storage: {{segment_bytes: 5}}\n");
    let error = parse_error(&text);
    assert!(
        error.contains("segment_bytes") && error.contains("line 6"),
        "{error}"
    );
}

/// A configuration of a newer version, which lists these fields.
fn newer(listed: &str, rest: &str) -> String {
    format!("{SMALLEST}ignore_if_unknown: [{listed}]\n{rest}")
}

#[test]
fn a_listed_unknown_field_is_ignored_at_every_depth() {
    let cases = [
        ("compaction_ms", "compaction_ms: 5\n", "compaction_ms"),
        (
            "storage.tier",
            "storage: {tier: {a: [1, {b: 2}]}, reserve_bytes: 1}\n",
            "storage.tier",
        ),
        ("tiering", "tiering: {bucket: x}\n", "tiering"),
        (
            "tiering.bucket, tiering.cache.max_bytes",
            "tiering: {bucket: x, cache: {max_bytes: 5}}\n",
            "tiering.bucket tiering.cache.max_bytes",
        ),
    ];
    for (listed, rest, ignored) in cases {
        let config = parse(&newer(listed, rest)).unwrap();
        assert_eq!(config.ignored.join(" "), ignored, "{rest}");
        let lists_none = rest.to_owned() + SMALLEST;
        assert!(parse_error(&lists_none).contains("unknown field"), "{rest}");
    }
    let config = parse(&newer(
        "storage.tier",
        "storage: {tier: 1, reserve_bytes: 7}\n",
    ))
    .unwrap();
    assert_eq!(config.storage.reserve_bytes, 7, "fields beside it are read");
}

#[test]
fn an_unlisted_field_beside_a_listed_one_is_refused_with_its_line() {
    let cases = [
        ("a", "a: 1\nb: 2\n", "`b`", "line 8"),
        ("storage.a", "storage:\n  a: 1\n  b: 2\n", "`b`", "line 9"),
        ("x.a", "x:\n  a: 1\n  b: 2\n", "`b`", "line 9"),
        ("x.a", "x: 5\n", "x: invalid type", "line 7"),
        ("storage.x", "raft:\n  x: 1\n", "`x`", "line 8"),
        ("storage.x", "x: 1\n", "`x`", "line 7"),
        ("x.ab", "x:\n  a: 1\n", "`a`", "line 8"),
    ];
    for (listed, rest, named, line) in cases {
        let error = parse_error(&newer(listed, rest));
        assert!(
            error.contains(named) && error.contains(line),
            "{rest}: {error}"
        );
    }
}

#[test]
fn a_listed_field_that_is_known_is_used_and_checked() {
    let listed = "storage.reserve_bytes, raft, raft.heartbeat_ms, nowhere";
    let config = parse(&newer(listed, "storage: {reserve_bytes: 7}\n")).unwrap();
    assert_eq!(config.storage.reserve_bytes, 7);
    assert!(config.ignored.is_empty());
    let (field, _) = refused_field(&newer(listed, "raft: {heartbeat_ms: 0}\n"));
    assert_eq!(field, "raft.heartbeat_ms");
    let error = parse_error(&newer("name.x", "zone: {x: 1}\n"));
    assert!(error.contains("zone: invalid type"), "{error}");
}

#[test]
fn the_list_has_bounds() {
    let many = vec!["a"; IGNORE_IF_UNKNOWN_MAX_COUNT + 1].join(", ");
    let long = "a".repeat(IGNORE_IF_UNKNOWN_FIELD_MAX_BYTES + 1);
    let cases = [
        (&*many, "at most 256 fields"),
        (&*long, "at most 256 bytes"),
        ("''", "at least 1 bytes"),
        ("a..b", "dots for nesting"),
        ("'.a'", "dots for nesting"),
        ("'a.'", "dots for nesting"),
        ("'a.*'", "dots for nesting"),
        ("A", "dots for nesting"),
    ];
    for (listed, bound) in cases {
        let (field, said) = refused_field(&newer(listed, ""));
        assert_eq!(field, "ignore_if_unknown");
        assert!(said.contains(bound), "{listed}: {said}");
    }
    assert!(parse_error(&format!("{SMALLEST}ignore_if_unknown: a\n")).contains("ignore_if"));
    let fits = many.rsplit_once(", ").unwrap().0;
    assert!(parse(&newer(fits, "")).is_ok());
}

/// 0.1.0 refuses the list as an unknown field.
#[test]
fn without_newer_fields_no_list_is_written() {
    let text = serde_yaml::to_string(&parse(SMALLEST).unwrap()).unwrap();
    assert!(!text.contains("ignore"), "{text}");
}

#[test]
fn a_missing_field_is_named() {
    let error = parse_error("name: a\ndata_dir: /d\n");
    assert!(error.contains("tls"), "{error}");
}

#[test]
fn bounds_of_connections_are_named() {
    let cases = [
        ("max_age_ms: 999", "connections.max_age_ms", "at least 1000"),
        (
            "max_age_ms: 2592000001",
            "connections.max_age_ms",
            "at most 2592000000",
        ),
        (
            "per_address_percent: 0",
            "connections.per_address_percent",
            "at least 1",
        ),
        (
            "per_user_percent: 101",
            "connections.per_user_percent",
            "at most 100",
        ),
    ];
    for (line, name, bound) in cases {
        let (field, said) = refused_field(&format!("{SMALLEST}connections: {{{line}}}\n"));
        assert_eq!(field, name, "{line}");
        assert!(said.contains(bound), "{line}: {said}");
    }
}

#[test]
fn bounds_are_named() {
    let cases = [
        (
            "storage: {segment_max_bytes: 5}",
            "storage.segment_max_bytes",
            "at least 1048576",
        ),
        (
            "runtime: {worker_threads_count: 0}",
            "runtime.worker_threads_count",
            "at least 1",
        ),
        (
            "runtime: {replicas_max_count: 0}",
            "runtime.replicas_max_count",
            "at least 1",
        ),
        (
            "storage: {writer_threads_count: 0}",
            "storage.writer_threads_count",
            "at least 1",
        ),
        (
            "storage: {writer_threads_count: 1000}",
            "storage.writer_threads_count",
            "at most",
        ),
        (
            "storage: {tail_cache_max_bytes: 1}",
            "storage.tail_cache_max_bytes",
            "at least",
        ),
        (
            "raft: {heartbeat_ms: 0}",
            "raft.heartbeat_ms",
            "at least 10",
        ),
        (
            "raft: {heartbeat_ms: 500}",
            "raft.election_min_ms",
            "2.5 times",
        ),
        (
            "raft: {election_max_ms: 600}",
            "raft.election_max_ms",
            "above",
        ),
        ("seeds: [here]", "seeds", "host:port"),
        ("seeds: ['a:0']", "seeds", "host:port"),
        ("seeds: ['::1:9401']", "seeds", "host:port"),
        (
            "advertise: {peer: 'http://a:1'}",
            "advertise.peer",
            "host:port",
        ),
    ];
    for (line, name, bound) in cases {
        let (field, said) = refused_field(&format!("{SMALLEST}{line}\n"));
        assert_eq!(field, name, "{line}");
        assert!(said.contains(bound), "{line}: {said}");
    }
}

#[test]
fn a_name_is_checked() {
    let (field, bound) = refused_field(&SMALLEST.replace("name: a", "name: 'a b'"));
    assert_eq!(field, "name");
    assert!(bound.contains("' '"), "{bound}");
    assert_eq!(
        refused_field(&SMALLEST.replace("name: a", "name: ''")).0,
        "name"
    );
}

#[test]
fn the_zone_of_the_environment_goes_before_the_files() {
    let config = parse(&format!("{SMALLEST}zone: a\n")).unwrap();
    let with = |zone: Option<&str>| {
        let zone = zone.map(str::to_owned);
        let variable = |name: &str| zone.clone().filter(|_| name == "LOGRAFT_ZONE");
        config.clone().with_environment(variable)
    };
    assert_eq!(with(None).unwrap(), config);
    assert_eq!(
        with(Some("")).unwrap().zone,
        "a",
        "an empty one says nothing"
    );
    assert_eq!(with(Some("eu-1b")).unwrap().zone, "eu-1b");
    for bad in ["a b", "z\u{fc}rich", &"z".repeat(254)] {
        match with(Some(bad)) {
            Err(ConfigError::Field { field, .. }) => assert_eq!(field, "LOGRAFT_ZONE"),
            other => panic!("{bad:?}: {other:?}"),
        }
    }
    assert_eq!(refused_field(&format!("{SMALLEST}zone: 'a b'\n")).0, "zone");
}

#[test]
fn an_unspecified_address_must_be_advertised() {
    let text = SMALLEST.replace("peer: 127.0.0.1:2", "peer: 0.0.0.0:2");
    assert_eq!(refused_field(&text).0, "advertise.peer");
    assert!(parse(&format!("{text}advertise: {{peer: 'node-0.x:9401'}}\n")).is_ok());
}

#[test]
fn the_documented_sample_is_valid() {
    let doc = include_str!("../../docs/config.md");
    let sample = doc
        .split("```yaml")
        .nth(1)
        .and_then(|rest| rest.split("```").next())
        .unwrap();
    let config = parse(sample).unwrap();
    assert_eq!(config.raft, RaftSettings::default());
    assert_eq!(config.storage, StorageSettings::default());
    assert_eq!(config.listen, ListenConfig::default());
    assert_eq!(config.log, LogSettings::default());
}

#[test]
fn a_file_that_is_not_there_is_named() {
    let error = NodeConfig::load(Path::new("/nowhere/node.yaml")).unwrap_err();
    assert!(error.to_string().contains("/nowhere/node.yaml"));
}

/// The file that the operator of 0.1.0 has written: an old operator with new nodes.
#[test]
fn a_file_of_level_0_is_taken() {
    let level0 = include_str!("../../../operator/desired/tests/level0/events-1.yaml");
    let config = parse(level0).unwrap();
    assert_eq!(config.name, "events-1");
    assert!(config.ignored.is_empty());
}

/// The node reads the configuration that the operator writes: the two share no code.
#[test]
fn the_operators_files_are_taken() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../operator/desired/tests/golden");
    let mut taken = Vec::new();
    // The other files there hold no objects.
    for cluster in ["development", "http", "minimal", "production"] {
        let file = folder.join(format!("{cluster}.yaml"));
        let text = std::fs::read_to_string(file).unwrap();
        for document in serde_yaml::Deserializer::from_str(&text) {
            let object = serde_yaml::Value::deserialize(document).unwrap();
            if object["kind"].as_str() != Some("ConfigMap") {
                continue;
            }
            let name = object["metadata"]["name"].as_str().unwrap();
            if !name.ends_with("-config") {
                continue;
            }
            for (key, text) in object["data"].as_mapping().unwrap() {
                let config = parse(text.as_str().unwrap()).unwrap();
                assert_eq!(format!("{}.yaml", config.name), key.as_str().unwrap());
                taken.push(config);
            }
        }
    }
    taken.sort_by(|a, b| a.name.cmp(&b.name));
    let names: Vec<&str> = taken.iter().map(|config| &*config.name).collect();
    let all = [
        "dev-0",
        "events-0",
        "events-1",
        "events-2",
        "lograft-0",
        "lograft-1",
        "lograft-2",
        "web-0",
        "web-1",
        "web-2",
    ];
    assert_eq!(names, all);
    assert_eq!(taken[0].storage.segment_max_bytes, 4 * 1024 * 1024);
    assert_eq!(taken[0].log.format, LogFormat::Text);
    assert_eq!(taken[1].seeds.len(), 2);
    assert_eq!(taken[6].listen.http, None);
    assert_eq!(taken[7].listen.http, Some(([0, 0, 0, 0], 9402).into()));
    let origins = &taken[7].http.allowed_origins;
    assert_eq!(origins, &["https://app.example.com"]);
}

/// The names of Service and namespace become parts of a URL.
#[test]
fn names_of_the_endpoints_are_dns_labels() {
    let with = |namespace: &str, service: &str| {
        let endpoints = format!("namespace: '{namespace}', service: '{service}'");
        format!("{SMALLEST}discovery: {{endpoints: {{{endpoints}}}}}\n")
    };
    let (longest, longer) = ("a".repeat(63), "a".repeat(64));
    for name in ["prod", "a-1", &longest] {
        parse(&with(name, name)).unwrap();
    }
    for name in ["", "Prod", "a/b", "a.b", "../x", "-a", "a-", "a b", &longer] {
        let (field, _) = refused_field(&with(name, "events-nodes"));
        assert_eq!(field, "discovery.endpoints.namespace", "{name}");
        let (field, _) = refused_field(&with("prod", name));
        assert_eq!(field, "discovery.endpoints.service", "{name}");
    }
    let error = parse_error(&format!(
        "{SMALLEST}discovery: {{endpoints: {{service: a}}}}\n"
    ));
    assert!(error.contains("namespace"), "{error}");
}
