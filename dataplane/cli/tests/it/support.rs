//! Runs the program in a world of its own: its own home, contexts file and data directory.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

/// Longest wait for anything here.
pub(crate) const PATIENCE: Duration = Duration::from_mins(1);

/// A home directory with nothing in it.
pub(crate) struct World {
    home: tempfile::TempDir,
}

impl World {
    pub(crate) fn new() -> Self {
        Self {
            home: tempfile::tempdir().unwrap(),
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.home.path().join(name)
    }

    /// The program with these arguments, not yet started.
    pub(crate) fn command<S: AsRef<OsStr>>(&self, args: &[S]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lograft"));
        command.args(args);
        self.settle(&mut command);
        command
    }

    /// A command line for a POSIX shell in the same world.
    pub(crate) fn shell(&self, line: &str) -> Output {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", line]);
        self.settle(&mut command);
        command.output().unwrap()
    }

    fn settle(&self, command: &mut Command) {
        command
            .current_dir(self.home.path())
            .env("HOME", self.home.path())
            .env("LOGRAFT_CONFIG", self.path("contexts.yaml"))
            .env_remove("LOGRAFT_CONTEXT")
            .env_remove("CARGO_MANIFEST_DIR")
            .env_remove("XDG_DATA_HOME")
            .stdin(Stdio::null());
    }

    /// Runs it to its end.
    pub(crate) fn run<S: AsRef<OsStr>>(&self, args: &[S]) -> Ended {
        Ended::from(self.command(args).output().unwrap())
    }

    /// Runs it to its end with this on its standard input.
    pub(crate) fn feed<S: AsRef<OsStr>>(&self, args: &[S], input: &[u8]) -> Ended {
        let mut command = self.command(args);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let input = input.to_vec();
        // It may end before it has read all: that is its own business.
        let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
        let ended = Ended::from(child.wait_with_output().unwrap());
        writer.join().unwrap();
        ended
    }
}

/// How a run ended.
#[derive(Debug)]
pub(crate) struct Ended {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

impl From<Output> for Ended {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: output.stdout,
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Ended {
    /// Standard output of a run that went well.
    pub(crate) fn ok(self) -> String {
        String::from_utf8(self.ok_bytes()).unwrap()
    }

    pub(crate) fn ok_bytes(self) -> Vec<u8> {
        assert_eq!(self.code, Some(0), "stderr: {}", self.stderr);
        self.stdout
    }

    /// The one line on standard error of a run that failed with this code.
    pub(crate) fn failed(self, code: i32) -> String {
        assert_eq!(self.code, Some(code), "stderr: {}", self.stderr);
        assert_eq!(self.stderr.lines().count(), 1, "one line: {}", self.stderr);
        self.stderr
    }
}

/// A running `lograft dev`.
pub(crate) struct Dev {
    child: Child,
    lines: mpsc::Receiver<String>,
    /// All that it has said so far.
    pub(crate) said: Vec<String>,
    pub(crate) data_dir: PathBuf,
}

impl Dev {
    /// Starts it and waits until its nodes are ready.
    pub(crate) fn start(world: &World, args: &[&str]) -> Self {
        let mut dev = Self::spawn(world, args);
        dev.wait_for("Ctrl-C stops all nodes");
        dev
    }

    /// Starts it in the world's data directory.
    pub(crate) fn spawn(world: &World, args: &[&str]) -> Self {
        let data_dir = world.path("data");
        let mut all = vec!["--data-dir", data_dir.to_str().unwrap()];
        all.extend(args);
        Self::spawn_as(world, &all)
    }

    /// Starts it with these arguments alone.
    pub(crate) fn spawn_as(world: &World, args: &[&str]) -> Self {
        let data_dir = world.path("data");
        let all = [&["dev"], args].concat();
        let mut child = world.command(&all).stdout(Stdio::piped()).spawn().unwrap();
        let stdout = child.stdout.take().unwrap();
        let (send, lines) = mpsc::channel();
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines() {
                let Ok(line) = line else { return };
                if send.send(line).is_err() {
                    return;
                }
            }
        });
        Self {
            child,
            lines,
            said: Vec::new(),
            data_dir,
        }
    }

    /// Waits for a line that contains this.
    pub(crate) fn wait_for(&mut self, text: &str) -> String {
        let deadline = Instant::now() + PATIENCE;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => {
                    self.said.push(line.clone());
                    if line.contains(text) {
                        return line;
                    }
                }
                Err(error) => {
                    panic!("{text:?}: {error}, in {:#?}\n{}", self.said, self.logs())
                }
            }
        }
    }

    /// The nodes' processes, by name.
    pub(crate) fn nodes(&self) -> Vec<(String, u32)> {
        let text = fs::read_to_string(self.data_dir.join("run.yaml")).unwrap();
        let run: serde_yaml::Value = serde_yaml::from_str(&text).unwrap();
        let nodes = run["nodes"].as_sequence().unwrap();
        let node = |node: &serde_yaml::Value| {
            let pid = u32::try_from(node["pid"].as_u64().unwrap()).unwrap();
            (node["name"].as_str().unwrap().to_owned(), pid)
        };
        nodes.iter().map(node).collect()
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Stops it as Ctrl-C does.
    pub(crate) fn stop(mut self) -> Vec<String> {
        send_signal(self.child.id(), "INT");
        let deadline = Instant::now() + PATIENCE;
        while self.child.try_wait().unwrap().is_none() {
            assert!(
                Instant::now() < deadline,
                "dev does not stop: {:#?}",
                self.said
            );
            std::thread::sleep(Duration::from_millis(10));
        }
        assert!(self.child.wait().unwrap().success(), "{:#?}", self.said);
        self.said.extend(self.lines.try_iter());
        std::mem::take(&mut self.said)
    }

    /// The ends of the nodes' logs.
    fn logs(&self) -> String {
        let Ok(dir) = fs::read_dir(self.data_dir.join("logs")) else {
            return String::new();
        };
        let mut out = String::new();
        for file in dir.flatten() {
            let text = fs::read_to_string(file.path()).unwrap_or_default();
            let lines: Vec<&str> = text.lines().collect();
            let tail = lines[lines.len().saturating_sub(15)..].join("\n");
            writeln!(out, "--- {}\n{tail}", file.path().display()).unwrap();
        }
        out
    }
}

impl Drop for Dev {
    fn drop(&mut self) {
        // Its nodes stop when it is gone.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// Whether there is such a process.
pub(crate) fn is_alive(pid: u32) -> bool {
    Path::new(&format!("/proc/{pid}")).exists()
}

pub(crate) fn send_signal(pid: u32, name: &str) {
    let status = Command::new("kill")
        .args(["-s", name, &pid.to_string()])
        .status()
        .unwrap();
    assert!(status.success());
}

/// Waits until it holds.
pub(crate) fn wait_until(what: &str, mut holds: impl FnMut() -> bool) {
    let deadline = Instant::now() + PATIENCE;
    while !holds() {
        assert!(Instant::now() < deadline, "not in time: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
