//! The documents for clients in other languages, compared with the code, and the example client in
//! Python on a cluster whose leaders are killed.

use std::collections::{BTreeMap, BTreeSet};
use std::fs::{self, OpenOptions};
use std::io::{Read as _, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use lograft_core::compression::Compression;
use lograft_core::limits::{BATCH_DEFAULT_BYTES, RECORD_DEFAULT_BYTES};
use lograft_core::partitioner::partition_for_key;
use lograft_core::reason::Reason;
use lograft_core::record::{Header, Record};
use lograft_core::record_batch::{BatchBuilder, BatchError, BatchLimits, BatchView, verify_crc};
use lograft_core::{PartitionId, varint};
use serde_json::Value;

use crate::support::{DevProcess, TestHome, send_signal, wait_until};

fn dataplane() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The vectors of one kind.
fn vectors(kind: &str) -> Vec<Value> {
    let text = fs::read_to_string(dataplane().join("docs/batch-vectors.json")).unwrap();
    let mut all: Value = serde_json::from_str(&text).unwrap();
    let Value::Array(vectors) = all[kind].take() else {
        panic!("no vectors of the kind {kind}");
    };
    assert!(vectors.len() >= 10, "{kind}: {}", vectors.len());
    vectors
}

fn text(value: &Value) -> &str {
    value.as_str().unwrap()
}

fn number<N: std::str::FromStr<Err: std::fmt::Debug>>(value: &Value) -> N {
    text(value).parse().unwrap()
}

fn hex(value: &Value) -> Bytes {
    let digits = text(value).as_bytes().chunks(2);
    let byte = |pair| u8::from_str_radix(std::str::from_utf8(pair).unwrap(), 16).unwrap();
    digits.map(byte).collect()
}

fn record(vector: &Value) -> Record {
    let part = |name: &str| (!vector[name].is_null()).then(|| hex(&vector[name]));
    let header = |header: &Value| Header {
        key: text(&header[0]).to_owned(),
        value: hex(&header[1]),
    };
    Record {
        timestamp_ms: Some(number(&vector["timestamp_ms"])),
        key: part("key"),
        value: part("value"),
        headers: vector["headers"]
            .as_array()
            .unwrap()
            .iter()
            .map(header)
            .collect(),
    }
}

/// The checks of a leader.
fn validated(bytes: Bytes) -> Result<BatchView, BatchError> {
    let view = BatchView::parse(bytes)?;
    view.validate(&BatchLimits::default())?;
    Ok(view)
}

#[test]
fn batches_decode_to_their_records_and_encode_to_their_bytes() {
    let mut compressions = BTreeSet::new();
    for vector in vectors("batches") {
        let name = text(&vector["name"]);
        let bytes = hex(&vector["bytes"]);
        let crc32c = u32::from_str_radix(text(&vector["crc32c"]), 16).unwrap();
        let compression: Compression = number(&vector["compression"]);
        let records: Vec<Record> = vector["records"]
            .as_array()
            .unwrap()
            .iter()
            .map(record)
            .collect();
        compressions.insert(compression.code());

        verify_crc(&bytes, crc32c).unwrap();
        let view = validated(bytes.clone()).unwrap_or_else(|error| panic!("{name}: {error}"));
        assert_eq!(view.compression(), compression, "{name}");
        assert_eq!(
            u64::from(view.record_count()),
            vector["record_count"],
            "{name}"
        );
        let decoded: Vec<Record> = view.records().unwrap().map(Result::unwrap).collect();
        assert_eq!(decoded, records, "{name}");
        if compression == Compression::None {
            let mut builder = BatchBuilder::new(compression);
            for record in &records {
                builder.push(record, 0).unwrap();
            }
            let encoded = builder.finish().unwrap();
            assert_eq!((encoded.bytes, encoded.crc32c), (bytes, crc32c), "{name}");
        }
    }
    assert_eq!(compressions, BTreeSet::from([0, 1, 2]));
}

#[test]
fn invalid_batches_are_malformed() {
    for vector in vectors("invalid") {
        let name = text(&vector["name"]);
        let error = validated(hex(&vector["bytes"])).expect_err(name);
        assert_eq!(error.reason(), Reason::BatchMalformed, "{name}: {error}");
    }
}

#[test]
fn keys_have_their_partitions() {
    for vector in vectors("keys") {
        let key = hex(&vector["key"]);
        let hash = u64::from_str_radix(text(&vector["xxh64"]), 16).unwrap();
        let listed = vector["partitions"].as_object().unwrap();
        // Two of the counts are coprime and close to 2^32: only the right hash fits both.
        assert!(listed.len() >= 6);
        for (count, partition) in listed {
            let count: u32 = count.parse().unwrap();
            let PartitionId(found) = partition_for_key(&key, count);
            assert_eq!(u64::from(found), *partition, "{vector}");
            assert_eq!(u64::from(found), hash % u64::from(count), "{vector}");
        }
    }
}

#[test]
fn numbers_have_their_bytes() {
    for vector in vectors("varints") {
        let bytes = hex(&vector["bytes"]);
        assert_eq!(
            varint::take(&mut &bytes[..]),
            Some(number(&vector["number"]))
        );
        let mut out = Vec::new();
        varint::put(&mut out, number(&vector["number"]));
        assert_eq!(out, bytes);
    }
    for vector in vectors("zigzags") {
        let bytes = hex(&vector["bytes"]);
        let found = varint::take(&mut &bytes[..]).unwrap();
        assert_eq!(varint::unzigzag(found), number::<i64>(&vector["number"]));
        assert_eq!(varint::zigzag(number(&vector["number"])), found);
    }
}

/// The rows of the table of format.md with this head, without head and rule.
fn table(head: &str) -> Vec<Vec<String>> {
    let page = fs::read_to_string(dataplane().join("docs/format.md")).unwrap();
    let lines = page.lines().skip_while(|line| *line != head).skip(2);
    let rows = lines.take_while(|line| line.starts_with('|'));
    let cells = |row: &str| {
        let cells = row.trim_matches('|').split('|');
        cells.map(|cell| cell.trim().to_owned()).collect()
    };
    rows.map(cells).collect()
}

#[test]
fn the_table_of_reasons_is_that_of_the_code() {
    let rows = table("| reason | gRPC code | may retry | meaning |");
    let listed: Vec<String> = rows.iter().map(|row| row[..3].join(" ")).collect();
    let expected = Reason::ALL.iter().map(|reason| {
        let name = format!("{:?}", reason.status());
        let mut code = String::new();
        for letter in name.chars() {
            if letter.is_uppercase() && !code.is_empty() {
                code.push('_');
            }
            code.push(letter.to_ascii_uppercase());
        }
        let number = reason.status() as i32;
        let retry = if reason.is_retryable() { "yes" } else { "no" };
        format!("`{reason}` {number} {code} {retry}")
    });
    assert_eq!(listed, expected.collect::<Vec<_>>());
    assert!(rows.iter().all(|row| !row[3].is_empty()));
}

#[test]
fn the_reasons_of_the_table_of_replies_exist() {
    let rows = table("| reply | in the log? | do |");
    let cells = rows.iter().map(|row| row[0].split('`').skip(1).step_by(2));
    let names: Vec<&str> = cells.flatten().filter(|name| name.contains('_')).collect();
    assert!(names.len() >= 20, "{names:?}");
    for name in names {
        assert!(Reason::from_wire(name).is_some(), "{name}");
    }
}

#[test]
fn the_table_of_limits_is_that_of_the_code() {
    let limits = BatchLimits::default();
    let expected = [
        BATCH_DEFAULT_BYTES,
        limits.uncompressed_max_bytes,
        limits.records_max_count as usize,
        RECORD_DEFAULT_BYTES,
        limits.headers_max_count,
        limits.decoded_max_bytes,
    ];
    let rows = table("| limit | value | `field` |");
    let value = |row: &Vec<String>| row[1].split(',').next().unwrap().parse().unwrap();
    let listed: Vec<usize> = rows.iter().map(value).collect();
    assert_eq!(listed, expected);
    for (row, most) in [(0, limits.batch_max_bytes), (3, limits.record_max_bytes)] {
        let text = format!("up to {most}: ");
        assert!(rows[row][1].contains(&text), "{:?}", rows[row]);
    }
}

/// The program that runs Python with grpcio and grpcio-tools: `$LOGRAFT_TEST_PYTHON` or `python3`.
fn python() -> Option<String> {
    let named = std::env::var("LOGRAFT_TEST_PYTHON").ok();
    let program = named.clone().unwrap_or_else(|| "python3".to_owned());
    let probe = Command::new(&program)
        .args(["-c", "import grpc, grpc_tools"])
        .stderr(Stdio::null())
        .status();
    let is_there = probe.is_ok_and(|status| status.success());
    assert!(is_there || named.is_none(), "{program} has no grpcio-tools");
    is_there.then_some(program)
}

/// The example client in Python, for a cluster of `lograft dev`.
struct Python {
    program: String,
    arguments: [String; 4],
    /// Standard error of the programs.
    log: PathBuf,
}

impl Python {
    fn new(program: String, home: &TestHome, dev: &DevProcess) -> Self {
        let tls = home.path("tls");
        fs::create_dir(&tls).unwrap();
        for (from, to) in [
            ("ca.crt", "ca.crt"),
            ("admin.crt", "tls.crt"),
            ("admin.key", "tls.key"),
        ] {
            fs::copy(dev.data_dir.join("pki").join(from), tls.join(to)).unwrap();
        }
        let run = fs::read_to_string(dev.data_dir.join("run.yaml")).unwrap();
        let run: Value = serde_yaml::from_str(&run).unwrap();
        let nodes = run["nodes"].as_array().unwrap().iter();
        let addresses: Vec<&str> = nodes.map(|node| text(&node["client"])).collect();
        let tls = tls.to_str().unwrap().to_owned();
        Self {
            program,
            arguments: ["--at".into(), addresses.join(","), "--tls".into(), tls],
            log: home.path("python.log"),
        }
    }

    /// A member of a group, which prints to a file.
    fn start_member(&self, topic: &str, output: &Path) -> Child {
        let log = OpenOptions::new().create(true).append(true).open(&self.log);
        let [_, nodes, _, tls] = &self.arguments;
        Command::new(&self.program)
            .arg(dataplane().join("client/python/group.py"))
            .args(["readers", topic, nodes, tls])
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdout(fs::File::create(output).unwrap())
            .stderr(log.unwrap())
            .spawn()
            .unwrap()
    }

    fn start(&self, script: &str, topic: &str) -> Child {
        let log = OpenOptions::new().create(true).append(true).open(&self.log);
        Command::new(&self.program)
            .arg(dataplane().join("client/python").join(script))
            .arg(topic)
            .args(&self.arguments)
            // Tests must not write into the source tree.
            .env("PYTHONDONTWRITEBYTECODE", "1")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log.unwrap())
            .spawn()
            .unwrap()
    }

    /// Standard output of a program that succeeds, within a time limit.
    fn finish(&self, mut child: Child) -> String {
        let mut stdout = child.stdout.take().unwrap();
        let reader = std::thread::spawn(move || {
            let mut text = String::new();
            stdout.read_to_string(&mut text).unwrap();
            text
        });
        let deadline = Instant::now() + Duration::from_mins(2);
        while child.try_wait().unwrap().is_none() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(20));
        }
        // Without effect if the program has ended.
        let killed = child.kill();
        let status = child.wait().unwrap();
        let text = reader.join().unwrap();
        let log = fs::read_to_string(&self.log).unwrap();
        assert!(status.success(), "{status}, {killed:?}: {text}\n{log}");
        text
    }
}

const KILLS: usize = 3;
const RECORDS_MAX_COUNT: u32 = 400_000;

/// The line of a record: every fifth one has no key.
fn line(n: u32) -> String {
    if n.is_multiple_of(5) {
        format!("value {n}")
    } else {
        format!("key {}\tvalue {n}", n % 37)
    }
}

/// Writes lines as fast as they are taken, so that batches are always in flight. Ends after the
/// maximum number, or when `stop` is set; returns the number.
fn feed(mut stdin: ChildStdin, stop: &AtomicBool) -> u32 {
    let mut count = 0;
    while count < RECORDS_MAX_COUNT && !stop.load(Ordering::Acquire) {
        // The program has ended: its log says why.
        if writeln!(stdin, "{}", line(count)).is_err() {
            return count;
        }
        count += 1;
    }
    count
}

/// Kills each node in turn, and moves a partition's leader in between.
fn disturb(home: &TestHome, dev: &mut DevProcess) {
    for round in 0..KILLS {
        let (name, pid) = dev.nodes().remove(round);
        send_signal(pid, "KILL");
        let line = dev.wait_for("is ready again");
        assert!(line.contains(&name), "{line}");
        for node in ["1", "2", "3"] {
            // Without effect if the node leads already.
            home.run(&["cluster", "transfer", "lines/0", "--to", node]);
        }
    }
}

/// The values of each key, in the order of their partition.
fn by_key(lines: impl Iterator<Item = String>) -> BTreeMap<String, Vec<String>> {
    let mut found: BTreeMap<String, Vec<String>> = BTreeMap::new();
    for line in lines {
        let (key, value) = line.split_once('\t').unwrap_or(("", &line));
        found
            .entry(key.to_owned())
            .or_default()
            .push(value.to_owned());
    }
    // Records without a key have no order.
    found.entry(String::new()).or_default().sort();
    found
}

#[test]
fn a_producer_in_python_loses_and_doubles_nothing_while_leaders_are_killed() {
    let Some(program) = python() else {
        // Not by `eprintln!`, which the test harness hides for a test that passes.
        let text = "SKIPPED: the producer in Python: no python3 with grpcio and grpcio-tools";
        writeln!(std::io::stderr(), "{text}").unwrap();
        return;
    };
    let home = TestHome::new();
    let mut dev = DevProcess::start(&home, &["--base-port", "0"]);
    home.run(&["topic", "create", "lines", "-p", "6"]).ok();
    let python = Python::new(program, &home, &dev);
    let mut producer = python.start("produce.py", "lines");
    let stdin = producer.stdin.take().unwrap();
    let stop = AtomicBool::new(false);
    let count = std::thread::scope(|scope| {
        let feeder = scope.spawn(|| feed(stdin, &stop));
        disturb(&home, &mut dev);
        stop.store(true, Ordering::Release);
        let deadline = Instant::now() + Duration::from_mins(1);
        while !feeder.is_finished() && Instant::now() < deadline {
            std::thread::sleep(Duration::from_millis(20));
        }
        if !feeder.is_finished() {
            // It takes no more lines. Its log says why.
            send_signal(producer.id(), "KILL");
        }
        feeder.join().unwrap()
    });
    let summary = python.finish(producer);
    assert!(
        summary.starts_with(&format!("stored={count} in_doubt=0 ")),
        "{summary}"
    );
    let streams = summary.trim().rsplit_once('=').unwrap().1;
    let streams: u32 = streams.parse().unwrap();
    assert!(streams > 6, "no stream was broken: {summary}");

    home.run(&["cluster", "status", "--wait", "30s"]).ok();
    let consumed = python.finish(python.start("consume.py", "lines"));
    let stored = consumed.lines().map(|line| {
        let (_, content) = line.split_once(' ').unwrap();
        let (_, content) = content.split_once(' ').unwrap();
        content.to_owned()
    });
    let sent = (0..count).map(line);
    assert!(by_key(stored) == by_key(sent), "{summary}");
    dev.stop();
}

#[test]
fn the_member_in_python_is_the_one_in_the_docs() {
    let program = fs::read_to_string(dataplane().join("client/python/group.py")).unwrap();
    assert!(program.lines().count() < 40);
    let page = fs::read_to_string(dataplane().join("docs/groups.md")).unwrap();
    assert!(page.contains(&format!("```python\n{program}```\n")));
}

/// The printed records of the members: partition, offset and value.
fn printed(files: &[PathBuf]) -> BTreeSet<String> {
    let texts = files.iter().map(|file| fs::read_to_string(file).unwrap());
    let lines = texts.flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>());
    lines.collect()
}

#[test]
fn members_in_python_survive_rebalances() {
    let Some(program) = python() else {
        let text = "SKIPPED: members in Python: no python3 with grpcio and grpcio-tools";
        writeln!(std::io::stderr(), "{text}").unwrap();
        return;
    };
    let home = TestHome::new();
    let dev = DevProcess::start(&home, &["--base-port", "0"]);
    home.run(&["topic", "create", "lines", "-p", "4"]).ok();
    let python = Python::new(program, &home, &dev);
    let files = [home.path("first"), home.path("second")];
    let mut first = python.start_member("lines", &files[0]);
    let produce = |numbers: std::ops::Range<u32>| {
        let lines = numbers.map(|n| format!("key {}\tvalue {n}\n", n % 37));
        let input = lines.collect::<String>();
        home.feed(&["produce", "lines", "-k", "\\t", "-q"], input.as_bytes())
            .ok_bytes();
    };
    produce(0..500);
    wait_until("the first one has printed all", || {
        printed(&files[..1]).len() == 500
    });
    let mut second = python.start_member("lines", &files[1]);
    let describe = || -> Value {
        let found = home.run(&["group", "describe", "readers", "--json"]);
        serde_json::from_str(&found.ok()).unwrap()
    };
    wait_until("both have partitions", || {
        let members = describe()["members"].clone();
        let has_two = |member: &Value| member["partition_count"] == 2;
        let members = members.as_array().unwrap();
        members.len() == 2 && members.iter().all(has_two)
    });
    produce(500..1000);
    wait_until("both have printed", || printed(&files).len() == 1000);
    assert!(!printed(&files[1..]).is_empty());
    first.kill().unwrap();
    first.wait().unwrap();
    produce(1000..1500);
    wait_until("the second one has printed the rest", || {
        printed(&files).len() == 1500
    });
    wait_until("all is committed", || describe()["lag"] == 0);
    send_signal(second.id(), "TERM");
    assert!(
        second.wait().unwrap().success(),
        "{}",
        fs::read_to_string(&python.log).unwrap()
    );
    assert_eq!(
        describe()["members"],
        Value::Array(Vec::new()),
        "it has left"
    );
    dev.stop();
}
