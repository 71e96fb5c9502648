//! Brings a dev cluster up, keeps it up, and takes it down.

mod files;
mod node_events;

use std::collections::BTreeMap;
use std::fs;
use std::future::Future;
use std::io;
use std::path::{Path, PathBuf};
use std::pin::pin;

use lograft_core::limits::{DEV_READY_MAX, DEV_SETTLE_MAX};
use tempfile::TempDir;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinSet;
use tokio::time::{Duration, Instant, sleep, sleep_until, timeout};

use super::DevArgs;
use super::announce::{Announcement, Calling, Standing};
use super::error::DevError;
use super::layout::{self, DevState, Layout, LayoutError};
use super::pki::Pki;
use super::ports::{self, NodePorts, node_name};
use super::prepare::{make_temporary, plan_state, write_config};
use super::signals::Signals;
use super::supervise::{NodeEvent, NodeSpec, Phase, What, supervise};
use crate::contexts_file::{Context, Contexts};
use crate::output::Paint;
use crate::connect;
use crate::units;

/// The context that `lograft dev` writes.
const CONTEXT_NAME: &str = "dev";
/// So many ends before being ready, in a row, and the start is given up.
const STARTUP_ENDS_MAX: u32 = 3;
/// Between two tries to bootstrap a node that does not listen yet.
const BOOTSTRAP_EVERY: Duration = Duration::from_millis(25);
/// How long one node may join before the next one is started beside it.
const JOIN_ALONE_MAX: Duration = Duration::from_secs(3);

/// Runs `lograft dev` until it is told to stop.
pub(crate) async fn run(args: DevArgs, config: &Path) -> Result<(), DevError> {
    let signals = Signals::listen()?;
    let mut dev = Dev::prepare(&args, config)?;
    let outcome = dev.serve_until(signals).await;
    dev.stop().await;
    outcome
}

/// One node, as far as this process knows.
#[derive(Debug)]
struct NodeView {
    name: String,
    ports: NodePorts,
    log: PathBuf,
    pid: Option<u32>,
    id: Option<u64>,
    is_ready: bool,
    /// Ends in a row without having been ready.
    early_ends: u32,
}

struct Dev {
    layout: Layout,
    temporary: Option<TempDir>,
    state: DevState,
    config: PathBuf,
    context: Context,
    /// The contexts file before this cluster stood in it.
    before: Contexts,
    exe: PathBuf,
    nodes: Vec<NodeView>,
    phase: watch::Sender<Phase>,
    tasks: JoinSet<()>,
    send: mpsc::UnboundedSender<NodeEvent>,
    events: mpsc::UnboundedReceiver<NodeEvent>,
    begun: Instant,
    is_up: bool,
    paint: Paint,
}

impl Dev {
    /// Everything that can be refused before a process is started.
    fn prepare(args: &DevArgs, config: &Path) -> Result<Self, DevError> {
        let begun = Instant::now();
        let temporary = if args.ephemeral {
            Some(make_temporary()?)
        } else {
            None
        };
        let root = match (&temporary, &args.data_dir) {
            (Some(dir), _) => dir.path().to_owned(),
            (None, Some(dir)) => dir.clone(),
            (None, None) => layout::default_dir()?,
        };
        let layout = Layout::take(&root)?;
        let state = plan_state(&layout, args)?;
        let plan = ports::plan(state.base_port, &state.numbers())?;
        ports::check_free(&plan)?;
        let pki = Pki::open(&layout.pki())?;
        let admin = pki.user("admin")?;
        let logs = layout.root().join("logs");
        fs::create_dir_all(&logs).map_err(|source| LayoutError::Make { path: logs, source })?;
        for ports in &plan {
            write_config(&layout, &pki, *ports, &plan)?;
        }
        layout.save_state(&state)?;
        let context = Context {
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
                early_ends: 0,
            }
        };
        let (send, events) = mpsc::unbounded_channel();
        Ok(Self {
            nodes: plan.iter().map(view).collect(),
            before: Contexts::load(config)?,
            config: config.to_owned(),
            exe: std::env::current_exe().map_err(|source| DevError::OwnFile { source })?,
            phase: watch::channel(Phase::Run).0,
            tasks: JoinSet::new(),
            paint: Paint::stdout(),
            is_up: false,
            layout,
            temporary,
            state,
            context,
            send,
            events,
            begun,
        })
    }

    /// Up, and then until a signal comes.
    async fn serve_until(&mut self, mut signals: Signals) -> Result<(), DevError> {
        tokio::select! {
            signal = signals.next() => {
                say(format_args!("\n{signal}: stopping the nodes"));
                return Ok(());
            }
            up = self.bring_up() => up?,
        }
        loop {
            tokio::select! {
                signal = signals.next() => {
                    say(format_args!("\n{signal}: stopping {} nodes", self.nodes.len()));
                    // A second signal does not wait for the nodes.
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

    async fn bring_up(&mut self) -> Result<(), DevError> {
        let (count, root) = (self.nodes.len(), self.layout.root().display());
        let plural = if count == 1 { "" } else { "s" };
        say(format_args!(
            "lograft dev: starting {count} node{plural} in {root}"
        ));
        let deadline = self.begun + DEV_READY_MAX;
        let is_first = !self.state.bootstrapped;
        for index in 0..count {
            self.start_node(index);
            if is_first && index == 0 {
                self.bootstrap(deadline).await?;
            }
            if is_first {
                // One by one, so that node-2 becomes node 2.
                let until = deadline.min(Instant::now() + JOIN_ALONE_MAX);
                self.attend(until, move |dev| dev.nodes[index].is_ready)
                    .await?;
            }
        }
        if !self
            .attend(deadline, |dev| dev.nodes.iter().all(|node| node.is_ready))
            .await?
        {
            let missing = self.nodes.iter().filter(|node| !node.is_ready);
            return Err(DevError::NotReady {
                names: missing.map(|node| node.name.clone()).collect(),
                after: self.begun.elapsed(),
                logs: self.layout.root().join("logs"),
            });
        }
        // A node that is ready may not vote in the meta group yet. What stays unhealthy is in the
        // cluster's status, and no reason to wait on.
        let settled = deadline.min(Instant::now() + DEV_SETTLE_MAX);
        let healthy = connect::until_healthy(self.context.clone());
        self.attend_to(settled, healthy).await?;
        self.learn_ids().await;
        self.write_context()?;
        self.is_up = true;
        self.write_run_file()?;
        self.announce();
        Ok(())
    }

    /// Handles events until `done` holds, or the deadline is there; tells whether it holds.
    async fn attend(
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

    /// Handles events until the work is done, or the deadline is there.
    async fn attend_to<T>(
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
            program: self.exe.clone(),
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

    /// Makes node 1 the first node of the cluster: once, ever.
    async fn bootstrap(&mut self, deadline: Instant) -> Result<(), DevError> {
        let context = Context {
            endpoints_only: false,
            endpoints: self
                .context
                .endpoints
                .first()
                .cloned()
                .into_iter()
                .collect(),
            ..self.context.clone()
        };
        let cluster_id = self.state.cluster_id.clone();
        let work = async move {
            loop {
                match connect::bootstrap(&context, &cluster_id).await {
                    Err(error) if error.is_retryable() => sleep(BOOTSTRAP_EVERY).await,
                    done => return done,
                }
            }
        };
        match self.attend_to(deadline, work).await? {
            None => return Ok(()),
            Some(done) => done.map_err(|source| DevError::Bootstrap { source })?,
        }
        self.state.bootstrapped = true;
        self.layout.save_state(&self.state)?;
        Ok(())
    }

    /// Node ids by name; without an answer they stay unknown.
    async fn learn_ids(&mut self) {
        let asked = timeout(JOIN_ALONE_MAX, connect::node_ids(&self.context)).await;
        let ids: BTreeMap<String, u64> = asked.ok().and_then(Result::ok).unwrap_or_default();
        for node in &mut self.nodes {
            node.id = ids.get(&node.name).copied();
        }
    }

    fn announce(&self) {
        let standing = |node: &NodeView| Standing {
            name: node.name.clone(),
            id: node.id,
            pid: node.pid,
            client: node.ports.client.to_string(),
            health: node.ports.health.to_string(),
        };
        let nodes: Vec<Standing> = self.nodes.iter().map(standing).collect();
        let argv0 = std::env::args_os().next().unwrap_or_default();
        let from_env = std::env::var_os("LOGRAFT_CONFIG").is_some_and(|value| !value.is_empty());
        let calling = Calling {
            by_cargo: std::env::var_os("CARGO_MANIFEST_DIR").is_some(),
            exe: &self.exe,
            argv0: &argv0,
            config_env: from_env.then_some(self.config.as_path()),
        };
        let after = units::elapsed(self.begun.elapsed());
        let count = self.nodes.len();
        let ready = if count == 1 {
            "1 node is ready".into()
        } else {
            format!("{count} nodes are ready")
        };
        say(format_args!("{} after {after}\n", self.paint.good(ready)));
        say(format_args!(
            "{}",
            Announcement {
                data_dir: self.layout.root(),
                config: &self.config,
                nodes: &nodes,
                call: &calling.words(),
                is_ephemeral: self.temporary.is_some(),
                paint: self.paint,
            }
        ));
    }

    /// Asks all nodes to stop, and returns once their processes are gone.
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
            if matches!(event.what, What::Killed { .. }) {
                // Nothing can fail any more that would matter.
                drop(self.on_event(event));
            }
        }
        self.layout.remove_run_file();
        if self.temporary.is_some()
            && let Err(error) = self.restore_context()
        {
            say(format_args!(
                "the context {CONTEXT_NAME:?} stays behind: {error}"
            ));
        }
        if self.is_up {
            let end = if self.temporary.is_some() {
                "stopped; their data is removed"
            } else {
                "stopped"
            };
            say(format_args!("all nodes {end}"));
        }
    }
}

/// One line on standard output; that it is closed is no reason to leave the nodes alone.
fn say(text: std::fmt::Arguments<'_>) {
    use std::io::Write;
    drop(writeln!(io::stdout(), "{text}"));
}
