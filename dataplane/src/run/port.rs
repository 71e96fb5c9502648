//! A port of clients or peers: bound, served, stopped.

use std::time::Duration;

use axum::Router;
use lograft_core::limits::STOP_CUT_MAX;
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tonic::service::Routes;

use crate::api::{grpc, http};
use crate::listen::{self, ClientTrust, Incoming, ListenLimits};
use crate::metrics::Metrics;
use crate::net::Listener;
use crate::tls::Port;

/// A port that is bound and not served yet: connections wait until the node can answer.
pub(super) struct BoundPort {
    pub(super) port: Port,
    pub(super) listener: Box<dyn Listener>,
    pub(super) limits: ListenLimits,
}

impl BoundPort {
    /// Serves gRPC.
    pub(super) fn serve(self, trust: ClientTrust, metrics: &Metrics, routes: Routes) -> ServedPort {
        let trust = trust.answering(|accepted, revoked| {
            Box::pin(listen::serve_alone(
                accepted,
                grpc::refused::refusing(&revoked),
            ))
        });
        self.serve_with(trust, metrics, |incoming, stopped| {
            listen::serve(incoming, routes, stopped)
        })
    }

    /// Serves HTTP.
    pub(super) fn serve_http(
        self,
        trust: ClientTrust,
        metrics: &Metrics,
        routes: Router,
    ) -> ServedPort {
        let trust = trust.answering(|accepted, revoked| {
            Box::pin(listen::serve_http_alone(
                accepted,
                http::refused::refusing(revoked),
            ))
        });
        self.serve_with(trust, metrics, |incoming, stopped| {
            listen::serve_http(incoming, routes, stopped)
        })
    }

    fn serve_with<F: Future<Output = ()> + Send + 'static>(
        self,
        trust: ClientTrust,
        metrics: &Metrics,
        serve: impl FnOnce(Incoming, watch::Receiver<bool>) -> F,
    ) -> ServedPort {
        let Self {
            port,
            listener,
            limits,
        } = self;
        let (cut, is_cut) = watch::channel(false);
        let (stop, is_stopped) = watch::channel(false);
        let (incoming, accepting) =
            listen::incoming(listener, (port, limits), trust, metrics, is_cut);
        let task = tokio::spawn(serve(incoming, is_stopped));
        ServedPort {
            stop,
            cut,
            task,
            accepting,
        }
    }
}

/// A port in service.
pub(super) struct ServedPort {
    stop: watch::Sender<bool>,
    cut: watch::Sender<bool>,
    task: JoinHandle<()>,
    /// Holds the listening socket.
    accepting: JoinHandle<()>,
}

impl ServedPort {
    /// Closes the port, lets requests in progress end for at most `patience`, then closes their
    /// connections.
    pub(super) async fn stop(mut self, patience: Duration) {
        self.stop.send_replace(true);
        if tokio::time::timeout(patience, &mut self.task)
            .await
            .is_err()
        {
            self.cut.send_replace(true);
            // Whatever is left then has no connection any more.
            let _ = tokio::time::timeout(STOP_CUT_MAX, &mut self.task).await;
            self.task.abort();
        }
        // Its stream is dropped: it ends at once.
        let _ = self.accepting.await;
    }
}
