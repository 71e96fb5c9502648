//! Files and pipes: what `consume` writes, `produce` reads back byte for byte.

use std::fs;
use std::time::{SystemTime, UNIX_EPOCH};

use lograft_client::{ConsumerConfig, Header, PartitionId, ProducerConfig, Record, StartAt};

use crate::support::{DevProcess, TestHome, connect};

const PARTITIONS: u32 = 3;
const RECORDS: u64 = 3000;

/// A fixed sequence of random numbers (xorshift64).
struct Random(u64);

impl Random {
    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }

    fn bytes(&mut self, max_len: u64) -> Vec<u8> {
        let len = self.below(max_len + 1);
        (0..len).map(|_| self.below(256).to_le_bytes()[0]).collect()
    }

    /// Text with the characters that pipes and JSON get wrong, or any bytes.
    fn content(&mut self) -> Vec<u8> {
        const TEXTS: [&str; 8] = [
            "",
            "\0",
            "a\r\nb\r",
            "\n",
            "\"\\\u{7f}",
            "\u{1b}[31m",
            "é\u{2028}漢\u{10ffff}",
            "null",
        ];
        match self.below(3) {
            0 => TEXTS[usize::try_from(self.below(8)).unwrap()]
                .as_bytes()
                .to_vec(),
            _ => self.bytes(300),
        }
    }

    fn record(&mut self, now_ms: u64) -> Record {
        let headers = (0..self.below(4)).map(|_| {
            // One of two names, so that they repeat.
            let key = ["trace", "é \""][usize::try_from(self.below(2)).unwrap()];
            Header {
                key: key.to_owned(),
                value: self.content().into(),
            }
        });
        let headers = headers.collect();
        let is_some = |random: &mut Self| random.below(4) > 0;
        Record {
            timestamp_ms: Some(i64::try_from(self.below(now_ms)).unwrap()),
            key: is_some(self).then(|| self.content().into()),
            value: is_some(self).then(|| self.content().into()),
            headers,
        }
    }
}

async fn fill(home: &TestHome, topic: &str) {
    let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
    let now_ms = u64::try_from(now.as_millis()).unwrap();
    let client = connect(home).await;
    let producer = client.producer(ProducerConfig::default()).await.unwrap();
    let mut random = Random(0x9e37_79b9_7f4a_7c15);
    for _ in 0..RECORDS {
        let record = random.record(now_ms);
        let partition = u32::try_from(random.below(u64::from(PARTITIONS))).unwrap();
        let sent = producer.send(topic, record, Some(PartitionId(partition)));
        drop(sent.await.unwrap());
    }
    producer.close().await.unwrap();
}

/// All records by partition, in the order of their offsets.
async fn read(home: &TestHome, topic: &str) -> Vec<Vec<Record>> {
    let client = connect(home).await;
    let config = ConsumerConfig {
        follow: false,
        ..ConsumerConfig::new(topic, StartAt::Earliest)
    };
    let mut consumer = client.consumer(config).await.unwrap();
    let mut records = vec![Vec::new(); PARTITIONS as usize];
    while let Some(next) = consumer.next().await.unwrap() {
        records[next.partition.get() as usize].push(next.record);
    }
    records
}

/// The order of records with a key of their own says nothing across partitions.
fn sorted(records: Vec<Vec<Record>>) -> Vec<String> {
    let mut all: Vec<_> = records
        .into_iter()
        .flatten()
        .map(|record| format!("{record:?}"))
        .collect();
    all.sort_unstable();
    all
}

fn pipe(home: &TestHome, line: &str) {
    let program = env!("CARGO_BIN_EXE_lograft");
    let output = home.shell(&line.replace("lograft ", &format!("{program} ")));
    let stderr = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success() && stderr.is_empty(),
        "{line}: {stderr}"
    );
}

#[test]
fn topics_and_files_pass_through_pipes_byte_for_byte() {
    let home = TestHome::new();
    let dev = DevProcess::start(&home, &["--base-port", "0", "--nodes", "1"]);
    let partitions = PARTITIONS.to_string();
    for topic in ["a", "b", "c", "d"] {
        home.run(&["topic", "create", topic, "-p", &partitions])
            .ok();
    }
    copies(&home);
    files(&home);
    large_records(&home);
    separators(&home);
    templates(&home);
    refusals(&home);
    dev.stop();
}

fn copies(home: &TestHome) {
    let runtime = tokio::runtime::Runtime::new().unwrap();
    runtime.block_on(fill(home, "a"));
    let a = runtime.block_on(read(home, "a"));
    let count: usize = a.iter().map(Vec::len).sum();
    assert_eq!(count as u64, RECORDS);

    pipe(
        home,
        "lograft consume a -o json -q | lograft produce b -i json --keep-partitions -q",
    );
    assert!(
        a == runtime.block_on(read(home, "b")),
        "partition by partition"
    );

    pipe(
        home,
        r"lograft consume a -o json -s '\x1e' -q | lograft produce c -i json -s '\x1e' -q",
    );
    assert_eq!(sorted(a.clone()), sorted(runtime.block_on(read(home, "c"))));

    // One partition, through a file, compressed.
    pipe(
        home,
        "lograft consume a -p 1 -o json -q > a1; lograft produce d -i json -f a1 -p 2 -c zstd -q",
    );
    assert!(a[1] == runtime.block_on(read(home, "d"))[2], "a file");
}

fn files(home: &TestHome) {
    home.run(&["topic", "create", "files"]).ok();
    let mut random = Random(7);
    let largest = (0..1024 * 1024).map(|_| random.below(256).to_le_bytes()[0]);
    let contents = [
        largest.collect(),
        b"\0\r\n\r\n\n".to_vec(),
        Vec::new(),
        b"no line end".to_vec(),
    ];
    for (offset, content) in contents.iter().enumerate() {
        fs::write(home.path("file"), content).unwrap();
        home.run(&["produce", "files", "-i", "raw", "-f", "file", "-q"])
            .ok();
        let from = offset.to_string();
        let found = home.run(&[
            "consume", "files", "--from", &from, "-n", "1", "-o", "raw", "-q",
        ]);
        assert!(found.ok_bytes() == *content, "file {offset}");
    }
    let named = [
        "produce",
        "files",
        "-i",
        "raw",
        "--key",
        "a.png",
        "-H",
        "type=image/png",
        "-q",
    ];
    home.feed(&named, b"png").ok();
    let line = home
        .run(&[
            "consume",
            "files",
            "--key",
            "a.png",
            "-f",
            r"%k %v %h\n",
            "-q",
        ])
        .ok();
    assert_eq!(line, "a.png png type=image/png\n");

    let refused = |bytes: usize, bound: &str| {
        fs::write(home.path("file"), vec![0; bytes]).unwrap();
        let error = home
            .run(&["produce", "files", "-i", "raw", "-f", "file"])
            .failed(1);
        assert!(error.contains(bound), "{error}");
    };
    refused((3 << 20) + 1, "input must be at most 3145728 bytes");
    refused((1 << 20) + 1, "record bytes must be at most 1048576");
    let largest = "record.max.bytes=2MiB";
    home.run(&["topic", "alter", "files", "-c", largest]).ok();
    refused((2 << 20) + 1, "record.max.bytes must be at most 2097152");
}

/// The largest record of all, as a file, a line, JSON and compressed.
fn large_records(home: &TestHome) {
    let largest = "record.max.bytes=3MiB";
    home.run(&["topic", "create", "large", "-c", largest]).ok();
    let mut random = Random(11);
    let noise = (0..3 << 20).map(|_| random.below(256).to_le_bytes()[0]);
    // Line ends would be separators of records.
    let noise: Vec<u8> = noise.map(|byte| byte | 0x80).collect();
    fs::write(home.path("noise"), &noise).unwrap();
    let ways: [&[&str]; 4] = [
        &["-i", "raw"],
        &[],
        &["-i", "json"],
        &["-i", "raw", "-c", "zstd"],
    ];
    for (at, way) in ways.iter().enumerate() {
        let file = if way.contains(&"json") {
            "json"
        } else {
            "noise"
        };
        let produce = [&["produce", "large", "-f", file, "-q"], *way].concat();
        home.run(&produce).ok();
        let from = at.to_string();
        let consume = ["consume", "large", "--from", &from, "-n", "1", "-q", "-o"];
        let raw = home.run(&[&consume[..], &["raw"]].concat()).ok_bytes();
        assert!(raw == noise, "{way:?}");
        let json = home.run(&[&consume[..], &["json"]].concat()).ok_bytes();
        fs::write(home.path("json"), json).unwrap();
    }
    let described = home.run(&["topic", "describe", "large"]).ok();
    assert!(
        described.contains("record.max.bytes 3.0 MiB"),
        "{described}"
    );
}

fn separators(home: &TestHome) {
    home.run(&["topic", "create", "parts"]).ok();
    let text = b"one\n\r\n--\r\n\r\n--\r\nk\0=>two\r\n-\r\n--\r\nlast";
    home.feed(&["produce", "parts", "-s", r"\r\n--\r\n", "-q"], text)
        .ok();
    let json = home.run(&["consume", "parts", "-o", "json", "-q"]).ok();
    let values = json.lines().map(|line| {
        let record: serde_json::Value = serde_json::from_str(line).unwrap();
        record["value"].as_str().unwrap().to_owned()
    });
    let values: Vec<String> = values.collect();
    assert_eq!(values, ["one\n", "", "k\0=>two\r\n-", "last"]);
    let back = home
        .run(&["consume", "parts", "-s", r"\r\n--\r\n", "-q"])
        .ok_bytes();
    assert_eq!(back, [&text[..], b"\r\n--\r\n"].concat());

    home.run(&["topic", "create", "keyed"]).ok();
    let keyed = ["keyed", "-k", r"\0=>", "-s", r"\0", "-q"];
    home.feed(&[&["produce"], &keyed[..]].concat(), b"a\0=>1\0")
        .failed(1);
    let keyed = ["keyed", "-k", "\\x01", "-s", r"\0", "-q"];
    let text = b"a\x01\n1\0\x01\0";
    home.feed(&[&["produce"], &keyed[..]].concat(), text).ok();
    let back = home.run(&[&["consume"], &keyed[..]].concat()).ok_bytes();
    assert_eq!(back, text);
}

fn templates(home: &TestHome) {
    home.run(&["topic", "create", "golden"]).ok();
    let input = r#"{"key":"k","value":"v","timestamp_ms":1700000000250,"headers":[{"name":"a","value":"1"}]}
        {"value":null,"timestamp_ms":5}

{"key_base64":"/w==","value_base64":"AP8=","timestamp_ms":5}"#;
    home.feed(&["produce", "golden", "-i", "json", "-q"], input.as_bytes())
        .ok();
    for (template, expected) in [
        (
            r"%t %p %o %k %v\n",
            &b"golden 0 0 k v\ngolden 0 1  \ngolden 0 2 \xff \0\xff\n"[..],
        ),
        (r"%d|", b"1700000000250|5|5|"),
        (
            r"%d{rfc3339} ",
            b"2023-11-14T22:13:20.25Z 1970-01-01T00:00:00.005Z 1970-01-01T00:00:00.005Z ",
        ),
        (r"%K/%V/%H\t", b"1/1/1\t-1/-1/0\t1/2/0\t"),
        (r"%k{hex}:%v{base64}\0", b"6b:dg==\0:\0ff:AP8=\0"),
        (r"[%h %h{a}]", b"[a=1 1][ ][ ]"),
        (r"100%%\\\n", b"100%\\\n100%\\\n100%\\\n"),
    ] {
        let found = home
            .run(&["consume", "golden", "-f", template, "-q"])
            .ok_bytes();
        assert_eq!(found, expected, "{template}: {}", found.escape_ascii());
    }
    let refused = home.run(&["consume", "golden", "-f", "%s"]);
    assert_eq!(refused.code, Some(2), "{}", refused.stderr);
    assert!(
        refused.stderr.contains("placeholder must be one of"),
        "{}",
        refused.stderr
    );
    let help = home.run(&["consume", "--help"]).ok();
    assert!(help.contains("%d{rfc3339}"), "{help}");
}

fn refusals(home: &TestHome) {
    let json = |options: &[&str], input: &str| {
        let args = [&["produce", "golden", "-i", "json"], options].concat();
        home.feed(&args, input.as_bytes()).failed(1)
    };
    let error = json(&[], "{\"value\":\"x\"}\n{\"value\":1}\n");
    assert!(
        error.contains("stopped after 1 acknowledged records: cannot read line 2"),
        "{error}"
    );
    let args = ["produce", "golden", "-i", "json", "--keep-partitions"];
    let missing = home.feed(&args, b"{\"value\":\"x\",\"partition\":1}\n");
    let error = missing.failed(3);
    assert!(error.contains("partition golden/1 not found"), "{error}");
    let error = json(&["--keep-partitions"], "{\"value\":\"x\"}\n");
    assert!(
        error.contains("partition must be set with --keep-partitions"),
        "{error}"
    );
    let error = json(&["--key", "k"], "");
    assert!(
        error.contains("--key must not be used with --input json"),
        "{error}"
    );
    let error = home
        .run(&["produce", "golden", "-i", "raw", "-s", "x"])
        .failed(1);
    assert!(
        error.contains("--record-separator must not be used"),
        "{error}"
    );
}
