//! Keeps one node's process running: starts it, notices its end, starts it again after a wait that
//! grows, and stops it when told. The process holds the read end of a pipe as its standard input;
//! when this process dies in whatever way, the pipe ends and the node stops by itself.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io;
use std::net::SocketAddr;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{ExitStatus, Stdio};
use std::time::Duration;

use lograft_core::limits::{
    DEV_LOG_MAX_BYTES, DEV_RESTART_MAX, DEV_RESTART_MIN, DEV_STEADY_MIN, DEV_STOP_MAX,
};
use rustix::process::{Pid, Signal, kill_process};
use tokio::process::{Child, ChildStdin, Command};
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, sleep, timeout};

use super::probe::{self, Condition};

/// What to run, and how to see that it is ready.
#[derive(Clone, Debug)]
pub(crate) struct NodeSpec {
    /// Its number, from 1.
    pub(crate) number: u32,
    /// The program and its arguments.
    pub(crate) program: PathBuf,
    pub(crate) args: Vec<OsString>,
    /// Where its output is appended.
    pub(crate) log: PathBuf,
    /// Where it tells whether it is ready.
    pub(crate) health: SocketAddr,
}

/// What happened to a node.
#[derive(Debug)]
pub(crate) struct NodeEvent {
    pub(crate) number: u32,
    pub(crate) what: What,
}

/// The kinds of happenings.
#[derive(Debug)]
pub(crate) enum What {
    /// Its process runs.
    Started { pid: u32 },
    /// It serves.
    Ready { pid: u32, after: Duration },
    /// Its process ended without being told to; it is started again after `retry_in`.
    Ended {
        pid: u32,
        status: ExitStatus,
        was_ready: bool,
        retry_in: Duration,
    },
    /// Its process could not even be started; tried again after `retry_in`.
    NotStarted {
        source: io::Error,
        retry_in: Duration,
    },
    /// It was told to stop and did not in time, so it was killed.
    Killed { pid: u32 },
    /// The cluster has removed it; its process is gone for good.
    Decommissioned,
}

/// Why a process is not waited for any longer.
enum End {
    /// It ended by itself.
    Ended(ExitStatus),
    /// It is to stop.
    Told,
    /// Its node has been decommissioned.
    Decommissioned,
}

/// How far the stopping is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Phase {
    /// Nodes run.
    Run,
    /// Nodes are asked to stop.
    Stop,
    /// Nodes are killed.
    Kill,
}

/// One life of a process.
#[derive(Clone, Copy, Debug)]
struct Life {
    begun: Instant,
    /// When it was ready, if ever.
    ready: Option<Instant>,
}

impl Life {
    fn new() -> Self {
        Self {
            begun: Instant::now(),
            ready: None,
        }
    }

    /// Whether a crash `now` is no reason to wait longer than after the first one.
    fn is_steady(&self, now: Instant) -> bool {
        let was_ready_for = self.ready.map(|ready| now.duration_since(ready));
        was_ready_for.is_some_and(|long| long >= DEV_STEADY_MIN)
            || now.duration_since(self.begun) > DEV_RESTART_MAX
    }
}

/// Runs the node until told to stop; returns once its process is gone.
pub(crate) async fn supervise(
    spec: NodeSpec,
    events: mpsc::UnboundedSender<NodeEvent>,
    mut phase: watch::Receiver<Phase>,
) {
    let tell = |what| {
        // Nobody listens any more only when all nodes are being stopped.
        drop(events.send(NodeEvent {
            number: spec.number,
            what,
        }));
    };
    let mut wait = DEV_RESTART_MIN;
    while *phase.borrow() == Phase::Run {
        let mut life = Life::new();
        match start(&spec) {
            Ok((mut child, leash, pid)) => {
                tell(What::Started { pid });
                let on_ready = || {
                    life.ready = Some(Instant::now());
                    let after = life.begun.elapsed();
                    tell(What::Ready { pid, after });
                };
                match run(&mut child, spec.health, on_ready, &mut phase).await {
                    End::Ended(status) => {
                        if life.is_steady(Instant::now()) {
                            wait = DEV_RESTART_MIN;
                        }
                        tell(What::Ended {
                            pid,
                            status,
                            was_ready: life.ready.is_some(),
                            retry_in: wait,
                        });
                    }
                    End::Told => return stop(child, pid, &tell, &mut phase).await,
                    End::Decommissioned => {
                        stop(child, pid, &tell, &mut phase).await;
                        return tell(What::Decommissioned);
                    }
                }
                drop(leash);
            }
            Err(source) => tell(What::NotStarted {
                source,
                retry_in: wait,
            }),
        }
        tokio::select! {
            () = sleep(wait) => {}
            _ = phase.wait_for(|phase| *phase != Phase::Run) => return,
        }
        wait = (wait * 2).min(DEV_RESTART_MAX);
    }
}

/// Until the process ends by itself, or is to stop.
async fn run(
    child: &mut Child,
    health: SocketAddr,
    on_ready: impl FnOnce(),
    phase: &mut watch::Receiver<Phase>,
) -> End {
    tokio::select! {
        status = child.wait() => End::Ended(status.unwrap_or_default()),
        _ = phase.wait_for(|phase| *phase != Phase::Run) => End::Told,
        () = async {
            if probe::until_ready(health).await == Condition::Ready {
                on_ready();
                probe::until_decommissioned(health).await;
            }
        } => End::Decommissioned,
    }
}

/// Keeps one old log beside a new one, when it has grown long.
fn set_aside(log: &Path) {
    if std::fs::metadata(log).is_ok_and(|metadata| metadata.len() > DEV_LOG_MAX_BYTES) {
        // Then it grows on: no reason not to start the node.
        drop(std::fs::rename(log, log.with_extension("log.old")));
    }
}

/// The process, the pipe that keeps it alive, and its id.
fn start(spec: &NodeSpec) -> io::Result<(Child, ChildStdin, u32)> {
    set_aside(&spec.log);
    let log = OpenOptions::new()
        .create(true)
        .append(true)
        .open(&spec.log)?;
    let mut child = Command::new(&spec.program)
        .args(&spec.args)
        .stdin(Stdio::piped())
        .stdout(log.try_clone()?)
        .stderr(log)
        // Ctrl-C goes to the foreground group: the nodes stop when told, in their own order.
        .process_group(0)
        .spawn()?;
    // Taken out of `child`, which would close it as soon as it is waited for.
    let leash = child
        .stdin
        .take()
        .ok_or_else(|| io::Error::other("the process has no input"))?;
    let pid = child
        .id()
        .ok_or_else(|| io::Error::other("the process ended at once"))?;
    Ok((child, leash, pid))
}

async fn stop(
    mut child: Child,
    pid: u32,
    tell: &impl Fn(What),
    phase: &mut watch::Receiver<Phase>,
) {
    send_term(pid);
    let gently = async {
        tokio::select! {
            _ = child.wait() => true,
            _ = phase.wait_for(|phase| *phase == Phase::Kill) => false,
        }
    };
    if !timeout(DEV_STOP_MAX, gently).await.unwrap_or(false) {
        // It may have ended in this very moment; then there is nothing to kill.
        drop(child.kill().await);
        tell(What::Killed { pid });
    }
}

fn send_term(pid: u32) {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw);
    if let Some(pid) = pid {
        // Not there any more is as good.
        let _ = kill_process(pid, Signal::TERM);
    }
}

/// How a process ended, for people.
pub(crate) fn describe_end(status: ExitStatus) -> String {
    match (status.code(), status.signal()) {
        (_, Some(9)) => "was killed (signal 9)".into(),
        (_, Some(signal)) => format!("was ended by signal {signal}"),
        (Some(code), None) => format!("ended with exit status {code}"),
        (None, None) => "ended".into(),
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
        async fn next(&mut self) -> What {
            let event = timeout(Duration::from_secs(10), self.events.recv()).await;
            event.unwrap().unwrap().what
        }

        async fn finish(self) {
            timeout(Duration::from_secs(10), self.task)
                .await
                .unwrap()
                .unwrap();
        }
    }

    #[tokio::test]
    async fn a_crashed_process_is_started_again_after_growing_waits() {
        let mut node = run_shell("echo hello; exit 7");
        let mut waits = Vec::new();
        while waits.len() < 2 {
            assert!(matches!(node.next().await, What::Started { .. }));
            let What::Ended {
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

    /// A health port that calls every process ready.
    async fn always_ready() -> SocketAddr {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).await.unwrap();
        let address = listener.local_addr().unwrap();
        tokio::spawn(async move {
            while let Ok((mut asked, _)) = listener.accept().await {
                drop(asked.read(&mut [0; 1024]).await);
                drop(asked.write_all(b"HTTP/1.1 200 OK\r\n\r\n").await);
            }
        });
        address
    }

    #[test]
    fn only_crashes_in_quick_succession_make_the_waits_grow() {
        let begun = Instant::now();
        let moment = Duration::from_millis(1);
        let ready = begun + Duration::from_secs(1);
        let life = Life {
            begun,
            ready: Some(ready),
        };
        assert!(!life.is_steady(ready + DEV_STEADY_MIN - moment));
        assert!(life.is_steady(ready + DEV_STEADY_MIN));
        let life = Life { begun, ready: None };
        assert!(!life.is_steady(begun + DEV_RESTART_MAX), "never ready");
        assert!(life.is_steady(begun + DEV_RESTART_MAX + moment));
    }

    #[tokio::test]
    async fn a_process_that_was_ready_for_a_while_is_started_again_soon() {
        let dir = tempfile::tempdir().unwrap();
        let mark = dir.path().join("mark").display().to_string();
        let long = DEV_STEADY_MIN.as_millis() + 300;
        // It crashes twice at once, and then after a while.
        let script = format!(
            "echo >> {mark}; test $(wc -l < {mark}) -le 2 || sleep {}.{:03}; kill -9 $$",
            long / 1000,
            long % 1000
        );
        let mut node = run_shell_at(&script, always_ready().await);
        let mut waits = Vec::new();
        while waits.len() < 3 {
            if let What::Ended { retry_in, .. } = node.next().await {
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
        assert!(matches!(node.next().await, What::Started { .. }));
        node.phase.send(Phase::Stop).unwrap();
        timeout(Duration::from_secs(10), node.task)
            .await
            .unwrap()
            .unwrap();
        assert!(
            node.events.try_recv().is_err(),
            "nothing but a start happened"
        );
    }

    #[tokio::test]
    async fn a_process_that_does_not_listen_is_killed() {
        let mut node = run_shell("trap '' TERM; echo up; while true; do sleep 0.01; done");
        assert!(matches!(node.next().await, What::Started { .. }));
        let log = node.dir.path().join("log");
        while !std::fs::read_to_string(&log).is_ok_and(|text| text.contains("up")) {
            sleep(Duration::from_millis(5)).await;
        }
        node.phase.send(Phase::Stop).unwrap();
        node.phase.send(Phase::Kill).unwrap();
        assert!(matches!(node.next().await, What::Killed { .. }));
        node.finish().await;
    }

    #[test]
    fn ends_are_put_into_words() {
        assert_eq!(
            describe_end(ExitStatus::from_raw(9)),
            "was killed (signal 9)"
        );
        assert_eq!(
            describe_end(ExitStatus::from_raw(11)),
            "was ended by signal 11"
        );
        assert_eq!(
            describe_end(ExitStatus::from_raw(3 << 8)),
            "ended with exit status 3"
        );
    }
}
