//! The operator's life: serve health, wait for the lease, look after clusters, give the lease back.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use anyhow::Context as _;
use kube::Client;
use lograft_crds::limits::SHUTDOWN_MAX_SECONDS;
use tokio::net::TcpListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;
use tracing::{info, warn};
use uuid::Uuid;

use crate::args::Args;
use crate::controller::{self, Context};
use crate::health::{self, Health};
use crate::lease::Place;
use crate::metrics::Metrics;

/// Runs until a signal, or until the lease is lost.
pub(crate) fn main(args: Args) -> anyhow::Result<()> {
    // Before anything uses TLS: there is one provider, and it is not chosen by chance.
    if rustls::crypto::aws_lc_rs::default_provider()
        .install_default()
        .is_err()
    {
        anyhow::bail!("another TLS provider is installed");
    }
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    runtime.context("starting the runtime")?.block_on(run(args))
}

async fn run(args: Args) -> anyhow::Result<()> {
    let stopped = stopped().context("listening for signals")?;
    let metrics = Metrics::new().context("making metrics")?;
    let health = Arc::new(Health {
        ready: AtomicBool::new(false),
        metrics: metrics.clone(),
    });
    let listener = TcpListener::bind(args.listen).await;
    let listener = listener.with_context(|| format!("listening on {}", args.listen))?;
    tokio::spawn(health::serve(listener, Arc::clone(&health)));
    let client = Client::try_default()
        .await
        .context("finding the API server")?;
    let holder = format!("{}_{}", args.pod_name, Uuid::new_v4());
    let place = Place::new(client.clone(), &args.namespace, &args.lease, holder);
    let ready = Arc::clone(&health);
    let reached = move |is_reached| ready.ready.store(is_reached, Ordering::Relaxed);
    tokio::select! {
        () = place.take(reached) => {}
        () = wait(stopped.clone()) => return Ok(()),
    }
    metrics.leads.set(1);
    let context = Arc::new(Context::new(client, &args, metrics.clone()));
    let controllers = controller::run(context, args.namespaces(), stopped.clone());
    tokio::pin!(controllers);
    let end = tokio::select! {
        () = &mut controllers => Ok(()),
        () = place.keep() => Err(anyhow::anyhow!("the lease is lost: another operator may lead")),
        () = wait(stopped) => {
            info!("told to stop");
            let most = Duration::from_secs(SHUTDOWN_MAX_SECONDS);
            // Reconciles that run may end: each is bounded, and a new leader takes up the rest. The
            // lease is kept until then, or two would act.
            tokio::select! {
                ended = tokio::time::timeout(most, &mut controllers) => {
                    if ended.is_err() {
                        warn!("reconciles not all ended in time");
                    }
                    Ok(())
                }
                () = place.keep() => Err(anyhow::anyhow!("the lease is lost while stopping")),
            }
        }
    };
    metrics.leads.set(0);
    if end.is_ok()
        && let Err(error) = place.release().await
    {
        warn!(%error, "cannot give the lease back");
    }
    end
}

/// Turns true at SIGTERM or SIGINT.
fn stopped() -> std::io::Result<watch::Receiver<bool>> {
    let (told, stopped) = watch::channel(false);
    let mut terminate = signal(SignalKind::terminate())?;
    let mut interrupt = signal(SignalKind::interrupt())?;
    tokio::spawn(async move {
        tokio::select! {
            _ = terminate.recv() => {}
            _ = interrupt.recv() => {}
        }
        told.send_replace(true);
    });
    Ok(stopped)
}

async fn wait(mut stopped: watch::Receiver<bool>) {
    // An error means that whoever tells is gone: then it ends too.
    let _ = stopped.wait_for(|is_stopped| *is_stopped).await;
}
