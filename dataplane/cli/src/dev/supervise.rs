//! Supervises the process of one node: starts it, restarts it with backoff when it ends, and stops
//! it on request.
//!
//! The node's standard input is a pipe from this process. However this process dies, even by
//! SIGKILL, the pipe is closed and the node stops, so that no node outlives `lograft dev`.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io;
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use lograft_core::limits::{
    DEV_LOG_MAX_BYTES, DEV_RESTART_MAX, DEV_RESTART_MIN, DEV_STABLE_MIN, DEV_STOP_MAX,
};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, timeout};

use super::probe::{self, Readiness};

/// How to start a node and probe its readiness.
#[derive(Clone, Debug)]
pub(crate) struct NodeSpec {
    /// Number of the node, from 1.
    pub(crate) number: u32,
    /// Program to run.
    pub(crate) program: PathBuf,
    pub(crate) args: Vec<OsString>,
    /// File to which its output is appended.
    pub(crate) log: PathBuf,
    /// Health address, for the readiness probe.
    pub(crate) health: SocketAddr,
}

/// An event of a node's process.
#[derive(Debug)]
pub(crate) struct NodeEvent {
    pub(crate) number: u32,
    pub(crate) kind: NodeEventKind,
}

/// Kind of a [`NodeEvent`].
#[derive(Debug)]
pub(crate) enum NodeEventKind {
    /// The process has started.
    Started { pid: u32 },
    /// The node is ready, `after` its start.
    Ready { pid: u32, after: Duration },
    /// The process ended by itself. It is restarted after `retry_in`.
    Ended {
        pid: u32,
        status: ExitStatus,
        was_ready: bool,
        retry_in: Duration,
    },
    /// The process could not be started. The start is retried after `retry_in`.
    NotStarted {
        source: io::Error,
        retry_in: Duration,
    },
    /// The process did not stop in time and was killed.
    Killed { pid: u32 },
    /// The cluster has removed the node. Its process has stopped and is not restarted.
    Decommissioned,
}

/// Why a process run ended.
enum RunEnd {
    /// The process ended by itself.
    Exited(ExitStatus),
    /// A stop was requested. The process still runs.
    StopRequested,
    /// The node has been decommissioned. The process still runs.
    Decommissioned,
}

/// Phase of the whole dev cluster.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Nodes run.
    Run,
    /// Nodes are stopped with SIGTERM.
    Stop,
    /// Nodes are killed.
    Kill,
}

/// Times of one run of a process.
#[derive(Clone, Copy, Debug)]
struct RunTimes {
    started: Instant,
    /// Time at which the node became ready, if it did.
    ready: Option<Instant>,
}

impl RunTimes {
    fn new() -> Self {
        Self {
            started: Instant::now(),
            ready: None,
        }
    }

    /// Whether the run was long enough for a crash `now` to reset the restart backoff.
    fn is_steady(&self, now: Instant) -> bool {
        let was_ready_for = self.ready.map(|ready| now.duration_since(ready));
        was_ready_for.is_some_and(|ready| ready >= DEV_STABLE_MIN)
            || now.duration_since(self.started) > DEV_RESTART_MAX
    }
}

/// Runs the node until the phase changes. Its process has ended when this returns.
pub(crate) async fn supervise(
    spec: NodeSpec,
    events: mpsc::UnboundedSender<NodeEvent>,
    mut phase: watch::Receiver<Phase>,
) {
    let emit = |kind| {
        // The receiver is dropped only while all nodes are stopped.
        drop(events.send(NodeEvent {
            number: spec.number,
            kind,
        }));
    };
    let mut backoff = DEV_RESTART_MIN;
    while *phase.borrow() == Phase::Run {
        let mut times = RunTimes::new();
        match start(&spec) {
            Ok((mut child, stdin, pid)) => {
                emit(NodeEventKind::Started { pid });
                let on_ready = || {
                    times.ready = Some(Instant::now());
                    let after = times.started.elapsed();
                    emit(NodeEventKind::Ready { pid, after });
                };
                match wait_for_end(&mut child, spec.health, on_ready, &mut phase).await {
                    RunEnd::Exited(status) => {
                        if times.is_steady(Instant::now()) {
                            backoff = DEV_RESTART_MIN;
                        }
                        emit(NodeEventKind::Ended {
                            pid,
                            status,
                            was_ready: times.ready.is_some(),
                            retry_in: backoff,
                        });
                    }
                    RunEnd::StopRequested => return stop(child, pid, &emit, &mut phase).await,
                    RunEnd::Decommissioned => {
                        stop(child, pid, &emit, &mut phase).await;
                        return emit(NodeEventKind::Decommissioned);
                    }
                }
                drop(stdin);
            }
            Err(source) => emit(NodeEventKind::NotStarted {
                source,
                retry_in: backoff,
            }),
        }
        tokio::select! {
            () = sleep(backoff) => {}
            _ = phase.wait_for(|phase| *phase != Phase::Run) => return,
        }
        backoff = (backoff * 2).min(DEV_RESTART_MAX);
    }
}

/// Waits until the process ends, a stop is requested or the node is decommissioned.
async fn wait_for_end(
    child: &mut Child,
    health: SocketAddr,
    on_ready: impl FnOnce(),
    phase: &mut watch::Receiver<Phase>,
) -> RunEnd {
    tokio::select! {
        status = child.wait() => RunEnd::Exited(status.unwrap_or_default()),
        _ = phase.wait_for(|phase| *phase != Phase::Run) => RunEnd::StopRequested,
        () = async {
            if probe::wait_until_ready(health).await == Readiness::Ready {
                on_ready();
                probe::wait_until_decommissioned(health).await;
            }
        } => RunEnd::Decommissioned,
    }
}

/// Renames a large log file to `.log.old`, replacing the previous one.
fn rotate_log(log: &Path) {
    if std::fs::metadata(log).is_ok_and(|metadata| metadata.len() > DEV_LOG_MAX_BYTES) {
        // If it fails, the log keeps growing. The node can still start.
        drop(std::fs::rename(log, log.with_extension("log.old")));
    }
}

/// Starts the process. Returns it with its standard input, which must stay open while the node
/// runs, and its process id.
fn start(spec: &NodeSpec) -> io::Result<(Child, ChildStdin, u32)> {
    rotate_log(&spec.log);
    let log = OpenOptions::new()
        .create(true)
        .append(true)
        .open(&spec.log)?;
    let mut child = Command::new(&spec.program)
        .args(&spec.args)
        .stdin(Stdio::piped())
        .stdout(log.try_clone()?)
        .stderr(log)
        // A separate process group, because Ctrl-C signals the whole foreground group: the nodes
        // must be stopped by this process.
        .process_group(0)
        .spawn()?;
    // `Child::wait` closes a standard input that is still part of the child.
    let stdin = child
        .stdin
        .take()
        .ok_or_else(|| io::Error::other("process has no standard input"))?;
    let pid = child
        .id()
        .ok_or_else(|| io::Error::other("process ended immediately"))?;
    Ok((child, stdin, pid))
}

/// Stops the process with SIGTERM, and with SIGKILL after a timeout or in [`Phase::Kill`].
async fn stop(
    mut child: Child,
    pid: u32,
    emit: &impl Fn(NodeEventKind),
    phase: &mut watch::Receiver<Phase>,
) {
    send_term(pid);
    let ended = async {
        tokio::select! {
            _ = child.wait() => true,
            _ = phase.wait_for(|phase| *phase == Phase::Kill) => false,
        }
    };
    if !timeout(DEV_STOP_MAX, ended).await.unwrap_or(false) {
        // Fails if the process has ended in the meantime.
        drop(child.kill().await);
        emit(NodeEventKind::Killed { pid });
    }
}

fn send_term(pid: u32) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    if let Some(pid) = pid {
        // Fails if the process has already ended.
        let _ = kill_process(pid, Signal::TERM);
    }
}

/// Describes how a process ended, as a predicate: `exited with status 1`.
pub(crate) fn describe_end(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (_, Some(9)) => "was killed by signal 9".into(),
        (_, Some(signal)) => format!("was terminated by signal {signal}"),
        (Some(code), None) => format!("exited with status {code}"),
        (None, None) => "exited".into(),
    }
}

#[cfg(test)]
mod tests {
    use std::net::Ipv4Addr;

    use tokio::io::{AsyncReadExt, AsyncWriteExt};
    use tokio::net::TcpListener;

    use super::*;

    struct Fixture {
        dir: tempfile::TempDir,
        events: mpsc::UnboundedReceiver<NodeEvent>,
        phase: watch::Sender<Phase>,
        task: tokio::task::JoinHandle<()>,
    }

    fn run_shell(script: &str) -> Fixture {
        run_shell_at(script, SocketAddr::from((Ipv4Addr::LOCALHOST, 1)))
    }

    fn run_shell_at(script: &str, health: SocketAddr) -> Fixture {
        let dir = tempfile::tempdir().unwrap();
        let spec = NodeSpec {
            number: 1,
            program: "/bin/sh".into(),
            args: vec!["-c".into(), script.into()],
            log: dir.path().join("log"),
            health,
        };
        let (send, events) = mpsc::unbounded_channel();
        let (phase, receiver) = watch::channel(Phase::Run);
        let task = tokio::spawn(supervise(spec, send, receiver));
        Fixture {
            dir,
            events,
            phase,
            task,
        }
    }

    impl Fixture {
        async fn next(&mut self) -> NodeEventKind {
            let event = timeout(Duration::from_secs(10), self.events.recv()).await;
            event.unwrap().unwrap().kind
        }

        async fn finish(self) {
            timeout(Duration::from_secs(10), self.task)
                .await
                .unwrap()
                .unwrap();
        }
    }

    #[tokio::test]
    async fn a_crashed_process_is_restarted_with_growing_backoff() {
        let mut node = run_shell("echo hello; exit 7");
        let mut waits = Vec::new();
        while waits.len() < 2 {
            assert!(matches!(node.next().await, NodeEventKind::Started { .. }));
            let NodeEventKind::Ended {
                status,
                was_ready,
                retry_in,
                ..
            } = node.next().await
            else {
                panic!("no end")
            };
            assert_eq!((status.code(), was_ready), (Some(7), false));
            waits.push(retry_in);
        }
        assert_eq!(waits, [DEV_RESTART_MIN, DEV_RESTART_MIN * 2]);
        assert!(
            std::fs::read_to_string(node.dir.path().join("log"))
                .unwrap()
                .contains("hello")
        );
        node.phase.send(Phase::Stop).unwrap();
        node.finish().await;
    }

    /// A health port that reports ready.
    async fn always_ready() -> SocketAddr {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut stream, _)) = listener.accept().await {
                drop(stream.read(&mut [0; 1024]).await);
                drop(stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await);
            }
        });
        address
    }

    #[test]
    fn only_crashes_in_quick_succession_increase_the_backoff() {
        let started = Instant::now();
        let moment = Duration::from_millis(1);
        let ready = started + Duration::from_secs(1);
        let times = RunTimes {
            started,
            ready: Some(ready),
        };
        assert!(!times.is_steady(ready + DEV_STABLE_MIN - moment));
        assert!(times.is_steady(ready + DEV_STABLE_MIN));
        let times = RunTimes {
            started,
            ready: None,
        };
        assert!(!times.is_steady(started + DEV_RESTART_MAX), "never ready");
        assert!(times.is_steady(started + DEV_RESTART_MAX + moment));
    }

    #[tokio::test]
    async fn a_process_that_was_ready_for_a_while_restarts_with_the_first_backoff() {
        let dir = tempfile::tempdir().unwrap();
        let mark = dir.path().join("mark").display().to_string();
        let long = DEV_STABLE_MIN.as_millis() + 300;
        // Crashes twice at once, then after being ready for a while.
        let script = format!(
            "echo >> {mark}; test $(wc -l < {mark}) -le 2 || sleep {}.{:03}; kill -9 $$",
            long / 1000,
            long % 1000
        );
        let mut node = run_shell_at(&script, always_ready().await);
        let mut waits = Vec::new();
        while waits.len() < 3 {
            if let NodeEventKind::Ended { retry_in, .. } = node.next().await {
                waits.push(retry_in);
            }
        }
        let (first, second) = (DEV_RESTART_MIN, DEV_RESTART_MIN * 2);
        assert_eq!(waits, [first, second, first]);
        node.phase.send(Phase::Stop).unwrap();
        node.finish().await;
    }

    #[tokio::test]
    async fn a_process_that_ends_on_request_is_not_killed() {
        let mut node = run_shell("exec sleep 60");
        assert!(matches!(node.next().await, NodeEventKind::Started { .. }));
        node.phase.send(Phase::Stop).unwrap();
        timeout(Duration::from_secs(10), node.task)
            .await
            .unwrap()
            .unwrap();
        assert!(
            node.events.try_recv().is_err(),
            "only the start was reported"
        );
    }

    #[tokio::test]
    async fn a_process_that_ignores_sigterm_is_killed() {
        let mut node = run_shell("trap '' TERM; echo up; while true; do sleep 0.01; done");
        assert!(matches!(node.next().await, NodeEventKind::Started { .. }));
        let log = node.dir.path().join("log");
        while !std::fs::read_to_string(&log).is_ok_and(|text| text.contains("up")) {
            sleep(Duration::from_millis(5)).await;
        }
        node.phase.send(Phase::Stop).unwrap();
        node.phase.send(Phase::Kill).unwrap();
        assert!(matches!(node.next().await, NodeEventKind::Killed { .. }));
        node.finish().await;
    }

    #[test]
    fn process_ends_are_described() {
        assert_eq!(
            describe_end(ExitStatus::from_raw(9)),
            "was killed by signal 9"
        );
        assert_eq!(
            describe_end(ExitStatus::from_raw(11)),
            "was terminated by signal 11"
        );
        assert_eq!(
            describe_end(ExitStatus::from_raw(3 << 8)),
            "exited with status 3"
        );
    }
}
