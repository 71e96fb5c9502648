//! Filters and ranges of `lograft consume` on a real cluster.

use crate::support::{DevProcess, TestHome};

/// A record every hour from 2026-01-01 on; the fourth one is late.
const RECORDS: &str = r#"
{"key":"ann","value":"order 17","timestamp_ms":1767225600000,"headers":[{"name":"trace","value":"1"}]}
{"key":"bob","value":"order 4","timestamp_ms":1767229200000}
{"key":"ann","value":null,"timestamp_ms":1767232800000,"headers":[{"name":"trace","value":"2"}]}
{"key":null,"value":"late","timestamp_ms":1767227400000}
{"key":"","value":"","timestamp_ms":1767236400000}
{"value_base64":"/29yZGVy","timestamp_ms":1767240000000}
"#;

#[test]
fn each_filter_and_range_selects_its_records() {
    let home = TestHome::new();
    let dev = DevProcess::start(&home, &["--base-port", "0", "--nodes", "1"]);
    home.run(&["topic", "create", "t"]).ok();
    home.feed(&["produce", "t", "-i", "json", "-q"], RECORDS.as_bytes())
        .ok();
    for (options, expected) in [
        (&[][..], "012345"),
        (&["--key", "ann"], "02"),
        (&["--key", ""], "4"),
        (&["-H", "trace"], "02"),
        (&["-H", "trace=2"], "2"),
        (&["--contains", "order"], "015"),
        (&["--regex", r"^order \d$"], "1"),
        (&["-e", r"(?-u)^\xff"], "5"),
        (&["--since", "2026-01-01T02:00:00Z"], "245"),
        (&["--until", "2026-01-01T01:00:00Z"], "03"),
        (
            &[
                "--since",
                "2026-01-01T00:30:00Z",
                "--until",
                "2026-01-01T01:00:00Z",
            ],
            "3",
        ),
        (&["--from", "1", "--to", "4"], "123"),
        (&["--from", "4", "--to", "2"], ""),
        (&["--to", "99"], "012345"),
        (&["--to", "0"], ""),
        (
            &[
                "--from",
                "2026-01-01T01:00:00Z",
                "--to",
                "2026-01-01T03:00:00Z",
            ],
            "123",
        ),
        (&["--from", "2026-01-01T03:00:00Z", "--to", "now"], "45"),
        (&["--from", "2h", "--to", "now"], ""),
        (&["--to", "2h"], "012345"),
        (&["--contains", "order", "-n", "2"], "01"),
        (&["--contains", "order", "--from", "1", "--to", "5"], "1"),
        (&["--key", "nobody"], ""),
    ] {
        let args = [&["consume", "t", "-f", "%o", "-q"], options].concat();
        assert_eq!(home.run(&args).ok(), expected, "{options:?}");
    }

    let found = home.run(&["consume", "t", "--contains", "order"]);
    assert!(
        found.stderr.starts_with("6 records scanned; 3 records, "),
        "no progress line in a pipe: {}",
        found.stderr
    );
    let error = home
        .run(&["consume", "t", "--from", "99", "--contains", "x"])
        .failed(1);
    assert!(error.contains("valid offsets are 0 to 6"), "{error}");
    for bad in [
        ["--to", "earliest"],
        ["-e", "("],
        ["--since", "12"],
        ["-H", "=x"],
    ] {
        let refused = home.run(&[&["consume", "t"], &bad[..]].concat());
        assert_eq!(refused.code, Some(2), "{bad:?}: {}", refused.stderr);
    }
    several_partitions(&home);
    dev.stop();
}

/// Each partition ends by itself, whichever is read first.
fn several_partitions(home: &TestHome) {
    home.run(&["topic", "create", "wide", "-p", "3"]).ok();
    for partition in ["0", "1", "2"] {
        let lines: Vec<String> = (0..1000).map(|n| format!("{n}\n")).collect();
        let args = ["produce", "wide", "-p", partition, "-q"];
        home.feed(&args, lines.concat().as_bytes()).ok();
    }
    let args = [
        "consume",
        "wide",
        "--from",
        "100",
        "--to",
        "350",
        "-f",
        "%p %o %v\n",
        "-q",
    ];
    let found = home.run(&args).ok();
    let mut lines: Vec<&str> = found.lines().collect();
    lines.sort_unstable();
    let expected = (0..3).flat_map(|p| (100..350).map(move |o| format!("{p} {o} {o}")));
    let mut expected: Vec<String> = expected.collect();
    expected.sort_unstable();
    assert_eq!(lines, expected);
}
