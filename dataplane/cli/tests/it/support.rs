//! Runs the program with its own home directory, contexts file and data directory.

use std::ffi::OsStr;
use std::fmt::Write as _;
use std::fs;
use std::io::{BufRead, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use lograft_client::{Client, ClientConfig, TlsFiles};

/// Maximum time to wait for anything.
const TIMEOUT: Duration = Duration::from_mins(1);

/// An empty home directory.
pub(crate) struct TestHome {
    dir: tempfile::TempDir,
}

impl TestHome {
    pub(crate) fn new() -> Self {
        Self {
            dir: tempfile::tempdir().unwrap(),
        }
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A command that runs the program with these arguments.
    pub(crate) fn command<S: AsRef<OsStr>>(&self, args: &[S]) -> Command {
        let mut command = Command::new(env!("CARGO_BIN_EXE_lograft"));
        command.args(args);
        self.set_environment(&mut command);
        command
    }

    /// Runs a command line in a POSIX shell.
    pub(crate) fn shell(&self, line: &str) -> Output {
        self.shell_command(line).output().unwrap()
    }

    /// A command that runs a command line in a POSIX shell.
    pub(crate) fn shell_command(&self, line: &str) -> Command {
        let mut command = Command::new("/bin/sh");
        command.args(["-c", line]);
        self.set_environment(&mut command);
        command
    }

    fn set_environment(&self, command: &mut Command) {
        command
            .current_dir(self.dir.path())
            .env("HOME", self.dir.path())
            .env("LOGRAFT_CONFIG", self.path("contexts.yaml"))
            .env_remove("LOGRAFT_CONTEXT")
            .env_remove("CARGO_MANIFEST_DIR")
            .env_remove("XDG_DATA_HOME")
            .stdin(Stdio::null());
    }

    /// Runs the program and waits for its end.
    pub(crate) fn run<S: AsRef<OsStr>>(&self, args: &[S]) -> Finished {
        Finished::from(self.command(args).output().unwrap())
    }

    /// Runs the program with `input` on standard input and waits for its end.
    pub(crate) fn feed<S: AsRef<OsStr>>(&self, args: &[S], input: &[u8]) -> Finished {
        let mut command = self.command(args);
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut stdin = child.stdin.take().unwrap();
        let input = input.to_vec();
        // Fails if the program ends without reading all of its input.
        let writer = std::thread::spawn(move || drop(stdin.write_all(&input)));
        let finished = Finished::from(child.wait_with_output().unwrap());
        writer.join().unwrap();
        finished
    }
}

/// Result of a run.
#[derive(Debug)]
pub(crate) struct Finished {
    pub(crate) code: Option<i32>,
    pub(crate) stdout: Vec<u8>,
    pub(crate) stderr: String,
}

impl From<Output> for Finished {
    fn from(output: Output) -> Self {
        Self {
            code: output.status.code(),
            stdout: output.stdout,
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

impl Finished {
    /// Standard output of a successful run.
    pub(crate) fn ok(self) -> String {
        String::from_utf8(self.ok_bytes()).unwrap()
    }

    /// Standard output of a successful run, as bytes.
    pub(crate) fn ok_bytes(self) -> Vec<u8> {
        assert_eq!(self.code, Some(0), "stderr: {}", self.stderr);
        self.stdout
    }

    /// The single line on standard error of a run that failed with this exit code.
    pub(crate) fn failed(self, code: i32) -> String {
        assert_eq!(self.code, Some(code), "stderr: {}", self.stderr);
        assert_eq!(self.stderr.lines().count(), 1, "one line: {}", self.stderr);
        self.stderr
    }
}

/// A running `lograft dev`.
pub(crate) struct DevProcess {
    child: Child,
    lines: mpsc::Receiver<String>,
    /// Lines printed so far.
    pub(crate) output: Vec<String>,
    pub(crate) data_dir: PathBuf,
}

impl DevProcess {
    /// Starts `lograft dev` and waits until its nodes are ready.
    pub(crate) fn start(home: &TestHome, args: &[&str]) -> Self {
        let mut dev = Self::spawn(home, args);
        dev.wait_for("Ctrl-C stops all nodes");
        dev
    }

    /// Starts `lograft dev` with the default data directory of the test.
    pub(crate) fn spawn(home: &TestHome, args: &[&str]) -> Self {
        let data_dir = home.path("data");
        let mut all = vec!["--data-dir", data_dir.to_str().unwrap()];
        all.extend(args);
        Self::spawn_as(home, &all)
    }

    /// Starts `lograft dev` with exactly these arguments.
    pub(crate) fn spawn_as(home: &TestHome, args: &[&str]) -> Self {
        let data_dir = home.path("data");
        let all = [&["dev"], args].concat();
        let mut child = home.command(&all).stdout(Stdio::piped()).spawn().unwrap();
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
            output: Vec::new(),
            data_dir,
        }
    }

    /// Waits for a line that contains `text`.
    pub(crate) fn wait_for(&mut self, text: &str) -> String {
        let deadline = Instant::now() + TIMEOUT;
        loop {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.lines.recv_timeout(left) {
                Ok(line) => {
                    self.output.push(line.clone());
                    if line.contains(text) {
                        return line;
                    }
                }
                Err(error) => {
                    panic!("{text:?}: {error}, in {:#?}\n{}", self.output, self.logs())
                }
            }
        }
    }

    /// Names and process ids of the nodes.
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

    /// Stops `lograft dev` with SIGINT and returns all lines it printed.
    pub(crate) fn stop(mut self) -> Vec<String> {
        send_signal(self.child.id(), "INT");
        let deadline = Instant::now() + TIMEOUT;
        while self.child.try_wait().unwrap().is_none() {
            assert!(
                Instant::now() < deadline,
                "dev does not stop: {:#?}",
                self.output
            );
            std::thread::sleep(Duration::from_millis(10));
        }
        assert!(self.child.wait().unwrap().success(), "{:#?}", self.output);
        self.output.extend(self.lines.try_iter());
        std::mem::take(&mut self.output)
    }

    /// The last lines of each node's log.
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

impl Drop for DevProcess {
    fn drop(&mut self) {
        // The nodes stop when this process ends.
        drop(self.child.kill());
        drop(self.child.wait());
    }
}

/// A client of the current context's cluster.
pub(crate) async fn connect(home: &TestHome) -> Client {
    let text = fs::read_to_string(home.path("contexts.yaml")).unwrap();
    let file: serde_yaml::Value = serde_yaml::from_str(&text).unwrap();
    let context = &file["contexts"][file["current"].as_str().unwrap()];
    let path = |name: &str| context[name].as_str().unwrap().to_owned();
    let tls = TlsFiles::new(path("ca"), path("cert"), path("key"));
    let endpoints = context["endpoints"].as_sequence().unwrap();
    let endpoints = endpoints.iter().map(|endpoint| endpoint.as_str().unwrap());
    Client::connect(ClientConfig::new(endpoints, tls))
        .await
        .unwrap()
}

/// Whether the process exists.
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

/// Waits until the condition is true.
pub(crate) fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + TIMEOUT;
    while !condition() {
        assert!(Instant::now() < deadline, "timed out: {what}");
        std::thread::sleep(Duration::from_millis(20));
    }
}
