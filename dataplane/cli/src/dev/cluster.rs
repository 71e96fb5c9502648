//! Starts a dev cluster, keeps it running and stops it.

mod files;
mod node_events;

use std::collections::BTreeMap;
use std::fs;
use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::pin;

use lograft_core::limits::{DEV_HEALTHY_MAX, DEV_READY_MAX};
use lograft_proto::error_text::error_chain;
use tempfile::TempDir;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Duration, Instant, sleep, sleep_until, timeout};

use super::announce::{Announcement, Invocation, NodeSummary};
use super::args::DevArgs;
use super::error::DevError;
use super::layout::{self, DevState, Layout, LayoutError};
use super::pki::{ADMIN, Identity, Pki, PkiError};
use super::ports::{self, NodePorts, node_name};
use super::prepare::{create_temporary, plan_state, write_config};
use super::signals::Signals;
use super::supervise::{NodeEvent, NodeEventKind, NodeSpec, Phase, supervise};
use crate::connect;
use crate::contexts_file::{ClusterContext, ContextsFile};
use crate::output::{Paint, plural};
use crate::units;

/// Name of the context that `lograft dev` writes.
const CONTEXT_NAME: &str = "dev";
/// The start fails when a node ends this many times in a row before it is ready.
const STARTUP_CRASHES_MAX: u32 = 3;
/// Interval between two attempts to bootstrap a node that does not listen yet.
const BOOTSTRAP_RETRY_INTERVAL: Duration = Duration::from_millis(25);
/// Maximum time to wait for a new node to join before the next one is started.
const JOIN_WAIT_MAX: Duration = Duration::from_secs(3);

/// Runs `lograft dev` until a signal stops it.
pub(crate) async fn run(args: DevArgs, config: &Path) -> Result<(), DevError> {
    let signals = Signals::listen()?;
    let mut cluster = DevCluster::prepare(&args, config)?;
    let outcome = cluster.run_until(signals).await;
    cluster.stop().await;
    outcome
}

/// State of a node, from the events of its process.
#[derive(Debug)]
struct NodeView {
    name: String,
    ports: NodePorts,
    log: PathBuf,
    pid: Option<u32>,
    id: Option<u64>,
    is_ready: bool,
    /// Number of consecutive ends before the node was ready.
    startup_crashes: u32,
}

struct DevCluster {
    layout: Layout,
    temporary: Option<TempDir>,
    state: DevState,
    config: PathBuf,
    context: ClusterContext,
    /// Users besides the administrator, with their certificates.
    users: Vec<(String, Identity)>,
    /// The contexts before this cluster was added.
    contexts_before: ContextsFile,
    program: PathBuf,
    nodes: Vec<NodeView>,
    phase: watch::Sender<Phase>,
    tasks: JoinSet<()>,
    send: mpsc::UnboundedSender<NodeEvent>,
    events: mpsc::UnboundedReceiver<NodeEvent>,
    started: Instant,
    is_up: bool,
    paint: Paint,
}

impl DevCluster {
    /// Checks and writes everything that is needed before a process is started.
    fn prepare(args: &DevArgs, config: &Path) -> Result<Self, DevError> {
        let started = Instant::now();
        let temporary = if args.ephemeral {
            Some(create_temporary()?)
        } else {
            None
        };
        let root = match (&temporary, &args.data_dir) {
            (Some(dir), _) => dir.path().to_owned(),
            (None, Some(dir)) => dir.clone(),
            (None, None) => layout::default_dir()?,
        };
        let layout = Layout::lock(&root)?;
        let state = plan_state(&layout, args)?;
        let plan = ports::plan(state.base_port, &state.node_numbers())?;
        ports::check_free(&plan)?;
        let pki = Pki::open(&layout.pki())?;
        let admin = pki.user(ADMIN)?;
        let users = args.users.iter().map(|name| {
            let identity = pki.user(name)?;
            Ok((name.clone(), identity))
        });
        let users = users.collect::<Result<_, PkiError>>()?;
        let logs = layout.root().join("logs");
        fs::create_dir_all(&logs).map_err(|source| LayoutError::Create { path: logs, source })?;
        for ports in &plan {
            write_config(&layout, &pki, *ports, &plan)?;
        }
        layout.save_state(&state)?;
        let context = ClusterContext {
            endpoints_only: false,
            endpoints: plan.iter().map(|ports| ports.client.to_string()).collect(),
            ca: pki.ca_cert(),
            cert: admin.cert,
            key: admin.key,
            dev_data_dir: Some(layout.root().to_owned()),
        };
        let view = |ports: &NodePorts| {
            let name = node_name(ports.number);
            let log = layout.node_log(&name);
            NodeView {
                name,
                ports: *ports,
                log,
                pid: None,
                id: None,
                is_ready: false,
                startup_crashes: 0,
            }
        };
        let (send, events) = mpsc::unbounded_channel();
        Ok(Self {
            nodes: plan.iter().map(view).collect(),
            contexts_before: ContextsFile::load(config)?,
            config: config.to_owned(),
            program: std::env::current_exe().map_err(|source| DevError::ProgramPath { source })?,
            phase: watch::channel(Phase::Run).0,
            tasks: JoinSet::new(),
            paint: Paint::stdout(),
            is_up: false,
            layout,
            temporary,
            state,
            context,
            users,
            send,
            events,
            started,
        })
    }

    /// Starts the nodes and handles their events until a signal arrives.
    async fn run_until(&mut self, mut signals: Signals) -> Result<(), DevError> {
        tokio::select! {
            signal = signals.next() => {
                print_line(format_args!("\nreceived {signal}, stopping the nodes"));
                return Ok(());
            }
            outcome = self.start() => outcome?,
        }
        loop {
            tokio::select! {
                signal = signals.next() => {
                    let nodes = plural(self.nodes.len(), "node");
                    print_line(format_args!("\nreceived {signal}, stopping {nodes}"));
                    // A second signal kills the nodes instead of waiting for them.
                    let phase = self.phase.clone();
                    tokio::spawn(async move {
                        signals.next().await;
                        phase.send_replace(Phase::Kill);
                    });
                    return Ok(());
                }
                Some(event) = self.events.recv() => self.on_event(event)?,
            }
        }
    }

    /// Starts all nodes, waits until they are ready and prints how to use the cluster.
    async fn start(&mut self) -> Result<(), DevError> {
        let (count, root) = (self.nodes.len(), self.layout.root().display());
        print_line(format_args!("starting {} in {root}", plural(count, "node")));
        let deadline = self.started + DEV_READY_MAX;
        let is_new = !self.state.bootstrapped;
        for index in 0..count {
            self.start_node(index);
            if is_new && index == 0 {
                self.bootstrap(deadline).await?;
            }
            if is_new {
                // Nodes join one by one, so that node-2 gets node id 2.
                let until = deadline.min(Instant::now() + JOIN_WAIT_MAX);
                self.handle_events_until(until, move |dev| dev.nodes[index].is_ready)
                    .await?;
            }
        }
        if !self
            .handle_events_until(deadline, |dev| dev.nodes.iter().all(|node| node.is_ready))
            .await?
        {
            let missing = self.nodes.iter().filter(|node| !node.is_ready);
            return Err(DevError::NotReady {
                names: missing.map(|node| node.name.clone()).collect(),
                after: self.started.elapsed(),
                logs: self.layout.root().join("logs"),
            });
        }
        // A ready node may not be a voter of the meta group yet, so wait a little for a healthy
        // cluster. `lograft cluster status` shows a problem that lasts longer.
        let settled = deadline.min(Instant::now() + DEV_HEALTHY_MAX);
        let healthy = connect::wait_until_healthy(self.context.clone());
        let healthy = self.handle_events_during(settled, healthy).await?;
        let healthy = healthy.and_then(Result::ok);
        if healthy.is_some_and(|cluster| connect::is_upgrade_not_finalized(&cluster)) {
            self.finalize_level().await?;
        }
        self.look_up_ids().await;
        self.write_context()?;
        self.is_up = true;
        self.write_run_file()?;
        self.announce();
        Ok(())
    }

    /// Handles events until `done` is true or the deadline passes. Returns whether `done` is true.
    async fn handle_events_until(
        &mut self,
        deadline: Instant,
        done: impl Fn(&Self) -> bool,
    ) -> Result<bool, DevError> {
        while !done(self) {
            tokio::select! {
                Some(event) = self.events.recv() => self.on_event(event)?,
                () = sleep_until(deadline) => return Ok(false),
            }
        }
        Ok(true)
    }

    /// Handles events while `work` runs. Returns its output, or `None` if the deadline passes
    /// first.
    async fn handle_events_during<T>(
        &mut self,
        deadline: Instant,
        work: impl Future<Output = T>,
    ) -> Result<Option<T>, DevError> {
        let mut work = pin!(work);
        loop {
            tokio::select! {
                out = &mut work => return Ok(Some(out)),
                Some(event) = self.events.recv() => self.on_event(event)?,
                () = sleep_until(deadline) => return Ok(None),
            }
        }
    }

    fn start_node(&mut self, index: usize) {
        let Some(node) = self.nodes.get(index) else {
            return;
        };
        let spec = NodeSpec {
            number: node.ports.number,
            program: self.program.clone(),
            args: vec![
                "node".into(),
                "--supervised".into(),
                "--config".into(),
                self.layout.node_config(&node.name).into(),
            ],
            log: node.log.clone(),
            health: node.ports.health,
        };
        self.tasks
            .spawn(supervise(spec, self.send.clone(), self.phase.subscribe()));
    }

    /// Bootstraps the cluster on node 1. Done only in the first run, see `DevState::bootstrapped`.
    async fn bootstrap(&mut self, deadline: Instant) -> Result<(), DevError> {
        let context = self.context.clone();
        let cluster_id = self.state.cluster_id.clone();
        let work = async move {
            loop {
                match connect::bootstrap(&context, &cluster_id).await {
                    Err(error) if error.is_retryable() => sleep(BOOTSTRAP_RETRY_INTERVAL).await,
                    outcome => return outcome,
                }
            }
        };
        match self.handle_events_during(deadline, work).await? {
            None => return Ok(()),
            Some(outcome) => outcome.map_err(|source| DevError::Bootstrap { source })?,
        }
        self.state.bootstrapped = true;
        self.layout.save_state(&self.state)?;
        Ok(())
    }

    /// Finalizes the feature level once all nodes run this program and are healthy: a data
    /// directory of an older version uses the new features from then on. Later versions of the
    /// program are needed for it afterwards, as the line says.
    async fn finalize_level(&mut self) -> Result<(), DevError> {
        let deadline = Instant::now() + JOIN_WAIT_MAX;
        let context = self.context.clone();
        let work = async move { connect::finalize_level(&context).await };
        match self.handle_events_during(deadline, work).await? {
            Some(Ok(Some(level))) => print_line(format_args!(
                "feature level {level} finalized: older versions cannot use this data directory"
            )),
            Some(Ok(None)) => {}
            Some(Err(_)) | None => print_line(format_args!(
                "feature level not finalized: run `lograft cluster finalize`"
            )),
        }
        Ok(())
    }

    /// Looks up the ids of the nodes. Without a reply they remain unknown.
    async fn look_up_ids(&mut self) {
        let reply = timeout(JOIN_WAIT_MAX, connect::node_ids(&self.context)).await;
        let ids: BTreeMap<String, u64> = reply.ok().and_then(Result::ok).unwrap_or_default();
        for node in &mut self.nodes {
            node.id = ids.get(&node.name).copied();
        }
    }

    fn announce(&self) {
        let summary = |node: &NodeView| NodeSummary {
            name: node.name.clone(),
            id: node.id,
            pid: node.pid,
            client: node.ports.client.to_string(),
            http: node.ports.http.to_string(),
            health: node.ports.health.to_string(),
        };
        let nodes: Vec<NodeSummary> = self.nodes.iter().map(summary).collect();
        let argv0 = std::env::args_os().next().unwrap_or_default();
        let from_env = std::env::var_os("LOGRAFT_CONFIG").is_some_and(|value| !value.is_empty());
        let invocation = Invocation {
            by_cargo: std::env::var_os("CARGO_MANIFEST_DIR").is_some(),
            exe: &self.program,
            argv0: &argv0,
            config_env: from_env.then_some(self.config.as_path()),
        };
        let after = units::elapsed(self.started.elapsed());
        let ready = format!("{} ready", plural(self.nodes.len(), "node"));
        print_line(format_args!("{} after {after}\n", self.paint.good(ready)));
        let admin = Identity {
            cert: self.context.cert.clone(),
            key: self.context.key.clone(),
        };
        print_line(format_args!(
            "{}",
            Announcement {
                data_dir: self.layout.root(),
                config: &self.config,
                nodes: &nodes,
                program: &invocation.command_prefix(),
                users: &self.users,
                admin: &admin,
                ca: &self.context.ca,
                is_ephemeral: self.temporary.is_some(),
                paint: self.paint,
            }
        ));
    }

    /// Stops all nodes and waits until their processes have ended.
    async fn stop(mut self) {
        self.phase.send_if_modified(|phase| {
            let running = *phase == Phase::Run;
            if running {
                *phase = Phase::Stop;
            }
            running
        });
        while self.tasks.join_next().await.is_some() {}
        while let Ok(event) = self.events.try_recv() {
            if matches!(event.kind, NodeEventKind::Killed { .. }) {
                // Only prints the event; a failure to update files no longer matters.
                drop(self.on_event(event));
            }
        }
        self.layout.remove_run_file();
        if self.temporary.is_some()
            && let Err(error) = self.restore_context()
        {
            print_line(format_args!(
                "cannot restore the contexts file: {}",
                error_chain(&error)
            ));
        }
        if self.is_up {
            let end = if self.temporary.is_some() {
                "stopped, data deleted"
            } else {
                "stopped"
            };
            print_line(format_args!("all nodes {end}"));
        }
    }
}

/// Prints a line. Ignores errors: a closed standard output must not stop the nodes.
fn print_line(text: std::fmt::Arguments<'_>) {
    use std::io::Write;
    drop(writeln!(io::stdout(), "{text}"));
}
