//! What a terminal gets: escaped control characters, and progress of scans.

use std::fs::File;
use std::io::{self, Read};
use std::process::Stdio;

use rustix::fs::{Mode, OFlags, open};
use rustix::pty::{OpenptFlags, grantpt, openpt, ptsname, unlockpt};

use crate::support::{DevProcess, TestHome};

/// Runs the program with a terminal as standard output and standard error, and returns what the
/// terminal received.
fn on_terminal(home: &TestHome, args: &[&str]) -> String {
    let terminal = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
    grantpt(&terminal).unwrap();
    unlockpt(&terminal).unwrap();
    let name = ptsname(&terminal, Vec::new()).unwrap();
    let flags = OFlags::RDWR | OFlags::NOCTTY;
    let side = File::from(open(name, flags, Mode::empty()).unwrap());
    let mut child = {
        let mut command = home.command(args);
        command
            .env("TERM", "xterm")
            .env_remove("NO_COLOR")
            .stdout(Stdio::from(side.try_clone().unwrap()))
            .stderr(Stdio::from(side))
            .spawn()
            .unwrap()
    };
    let mut terminal = File::from(terminal);
    let mut received = Vec::new();
    let mut block = [0; 4096];
    loop {
        match terminal.read(&mut block) {
            Ok(0) => break,
            Ok(count) => received.extend_from_slice(&block[..count]),
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            // The last process closed its side.
            Err(_) => break,
        }
    }
    assert!(child.wait().unwrap().success());
    String::from_utf8(received).unwrap()
}

#[test]
fn control_characters_are_escaped_on_a_terminal_and_never_in_a_pipe() {
    let home = TestHome::new();
    let dev = DevProcess::start(&home, &["--base-port", "0", "--nodes", "1"]);
    home.run(&["topic", "create", "t"]).ok();
    let value = b"\x1b]0;title\x07\r\xc2\x9b2J\0\xff \xe2\x80\xae\t end";
    let produce = [
        "produce",
        "t",
        "-i",
        "raw",
        "--key",
        "\u{1b}c",
        "-H",
        "h=\u{1b}[2J",
        "-q",
    ];
    home.feed(&produce, value).ok();

    let shown = r"\x1b]0;title\x07\x0d\u{9b}2J\x00\xff \u{202e}";
    for (options, expected) in [
        (&["-o", "value"][..], format!("{shown}\t end\r\n")),
        (&["-o", "raw"], format!("{shown}\t end")),
        (&["-k", " "], format!("\\x1bc {shown}\t end\r\n")),
        (&["-f", "%k %h\\n"], "\\x1bc h=\\x1b[2J\r\n".to_owned()),
        // The user's own escapes are obeyed.
        (&["-f", r"\e[1m%K\e[0m"], "\x1b[1m2\x1b[0m".to_owned()),
    ] {
        let args = [&["consume", "t", "-q"], options].concat();
        assert_eq!(on_terminal(&home, &args), expected, "{options:?}");
    }
    let json = on_terminal(&home, &["consume", "t", "-o", "json", "-q"]);
    assert!(
        json.contains(r#""key":"\u001bc""#) && !json.contains('\u{1b}'),
        "{json}"
    );

    assert_eq!(
        home.run(&["consume", "t", "-o", "raw", "-q"]).ok_bytes(),
        value
    );
    let piped = home
        .run(&["consume", "t", "-f", "%k%h{h}", "-q"])
        .ok_bytes();
    assert_eq!(piped, b"\x1bc\x1b[2J");
    long_scan(&home);
    dev.stop();
}

/// Lasts longer than the first update of the progress line, which says how far the scan is.
fn long_scan(home: &TestHome) {
    home.run(&["topic", "create", "long"]).ok();
    let lines = "0123456789abcdef\n".repeat(2_000_000);
    home.feed(&["produce", "long", "-c", "zstd", "-q"], lines.as_bytes())
        .ok();
    let received = on_terminal(home, &["consume", "long", "--contains", "nothing"]);
    let lines: Vec<&str> = received.split("\r\x1b[K").collect();
    assert!(lines.len() > 2, "{received:?}");
    assert!(
        lines[1].contains(" of 2,000,000 records scanned ("),
        "{received:?}"
    );
    let last = lines.last().unwrap();
    assert!(
        last.contains("2,000,000 records scanned; 0 records"),
        "{received:?}"
    );
}
