//! Lifecycle of the operator: serve health, acquire the Lease, run the controllers, release the
//! Lease.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::{Context as _, anyhow, bail};
use kube::Client;
use lograft_crds::limits::SHUTDOWN_MAX_SECONDS;
use tokio::net::TcpListener;
use tokio::runtime::Runtime;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tracing::{info, warn};
use uuid::Uuid;

use crate::args::Args;
use crate::controller::{self, Reconciler};
use crate::error_text::error_text;
use crate::health::{self, HealthState};
use crate::lease::LeaderLease;
use crate::metrics::Metrics;

/// The runtime, and whether the process should stop.
pub(crate) struct Process {
    runtime: Runtime,
    stopped: watch::Receiver<bool>,
}

impl Process {
    /// Starts the runtime. From here on a signal stops the process with success, whatever it does.
    pub(crate) fn start() -> anyhow::Result<Self> {
        let runtime = tokio::runtime::Builder::new_multi_thread()
            .enable_all()
            .build();
        let runtime = runtime.context("cannot start the async runtime")?;
        let entered = runtime.enter();
        let stopped = watch_signals().context("cannot listen for signals")?;
        drop(entered);
        Ok(Self { runtime, stopped })
    }

    /// Runs until a signal, or until the Lease is lost.
    pub(crate) fn run(self, args: Args) -> anyhow::Result<()> {
        // Before the first use of TLS: rustls panics if it cannot choose a provider.
        if rustls::crypto::aws_lc_rs::default_provider()
            .install_default()
            .is_err()
        {
            bail!("another TLS provider is already installed");
        }
        self.runtime.block_on(run(args, self.stopped))
    }
}

async fn run(args: Args, stopped: watch::Receiver<bool>) -> anyhow::Result<()> {
    let metrics = Metrics::new().context("cannot register the metrics")?;
    let health = Arc::new(HealthState {
        ready: AtomicBool::new(false),
        metrics: metrics.clone(),
    });
    let listener = TcpListener::bind(args.listen).await;
    let listener = listener.with_context(|| format!("cannot listen on {}", args.listen))?;
    tokio::spawn(health::serve(listener, Arc::clone(&health)));
    let client = Client::try_default()
        .await
        .context("cannot configure the API server client")?;
    let holder = format!("{}_{}", args.pod_name, Uuid::new_v4());
    let lease = LeaderLease::new(client.clone(), &args.namespace, &args.lease, holder);
    let report_reached = move |is_reached| health.ready.store(is_reached, Ordering::Relaxed);
    tokio::select! {
        () = lease.acquire(report_reached) => {}
        () = wait(stopped.clone()) => return Ok(()),
    }
    metrics.leads.set(1);
    let reconciler = Reconciler::new(client, &args, metrics.clone());
    let reconciler = Arc::new(reconciler.context("cannot build the template of the nodes")?);
    let controllers = controller::run(reconciler, args.namespaces(), stopped.clone());
    let result = lead(&lease, controllers, stopped).await;
    metrics.leads.set(0);
    if result.is_ok()
        && let Err(error) = lease.release().await
    {
        warn!(error = error_text(&error), "cannot release the Lease");
    }
    result
}

/// Runs the controllers until a signal. An error means that the Lease is lost: the process must end
/// at once, since another operator may act.
async fn lead(
    lease: &LeaderLease,
    controllers: impl Future<Output = ()>,
    stopped: watch::Receiver<bool>,
) -> anyhow::Result<()> {
    tokio::pin!(controllers);
    tokio::select! {
        () = &mut controllers => return Ok(()),
        () = lease.keep() => return Err(anyhow!("Lease lost: another operator may be the leader")),
        () = wait(stopped) => info!("shutdown requested"),
    }
    // Running reconciles may finish: each is bounded, and the next leader continues the rest. The
    // Lease is kept until then, or two operators would act.
    let max = Duration::from_secs(SHUTDOWN_MAX_SECONDS);
    tokio::select! {
        finished = tokio::time::timeout(max, &mut controllers) => {
            if finished.is_err() {
                warn!("reconciles did not finish before shutdown");
            }
            Ok(())
        }
        () = lease.keep() => Err(anyhow!("Lease lost during shutdown")),
    }
}

/// Becomes true at SIGTERM or SIGINT.
fn watch_signals() -> std::io::Result<watch::Receiver<bool>> {
    let (sender, stopped) = watch::channel(false);
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        sender.send_replace(true);
    });
    Ok(stopped)
}

async fn wait(mut stopped: watch::Receiver<bool>) {
    // An error means that the sender is gone, which is a stop too.
    let _ = stopped.wait_for(|is_stopped| *is_stopped).await;
}
