//! The gRPC server of a port: one server for each connection. tonic closes all connections of a
//! server at one signal, and with `max_connection_age` each at the same age; with a grace it closes
//! them without a GOAWAY. So each connection gets a signal of its own.

use std::convert::Infallible;

use futures_util::{StreamExt, stream};
use tokio::sync::{oneshot, watch};
use tokio::task::JoinSet;
use tonic::service::Routes;
use tracing::warn;

use super::{Accepted, Incoming, server};
use crate::error_chain;

/// Serves the connections of a port. Once `stopped` holds true, no more are taken, and all are
/// asked to close; returns when they have ended.
pub(crate) async fn serve(incoming: Incoming, routes: Routes, stopped: watch::Receiver<bool>) {
    let routes = routes.prepare();
    serve_each(incoming, stopped, |accepted, stopped| {
        serve_one(accepted, routes.clone(), stopped)
    })
    .await;
}

/// Serves each connection of a port by a task of its own, as [`serve`] says.
pub(super) async fn serve_each<F>(
    mut incoming: Incoming,
    mut stopped: watch::Receiver<bool>,
    serve_one: impl Fn(Accepted, watch::Receiver<bool>) -> F,
) where
    F: Future<Output = ()> + Send + 'static,
{
    let mut connections = JoinSet::new();
    loop {
        let next = tokio::select! {
            // A sender that is gone stops as well.
            _ = stopped.wait_for(|stopped| *stopped) => break,
            Some(_) = connections.join_next() => continue,
            next = incoming.next() => next,
        };
        let Some(Ok(accepted)) = next else { break };
        connections.spawn(serve_one(accepted, stopped.clone()));
    }
    // Closes the port.
    drop(incoming);
    while connections.join_next().await.is_some() {}
}

async fn serve_one(mut accepted: Accepted, routes: Routes, mut stopped: watch::Receiver<bool>) {
    let closing = accepted.caller.closing.clone();
    let (lifetime, closes) = (accepted.lifetime, accepted.closes.clone());
    let ended = accepted.ended.take();
    let close = async move {
        tokio::select! {
            _ = stopped.wait_for(|stopped| *stopped) => {}
            reason = lifetime.ended() => closes.with_label_values(&[reason.name()]).inc(),
            // The connection is gone: without this its server would wait for a second one.
            () = connection_end(ended) => {}
        }
        closing.start();
    };
    let connection = stream::iter([Ok::<_, Infallible>(accepted)]).chain(stream::pending());
    // Not `add_routes`, which would copy the routes for each connection.
    let served = server().serve_with_incoming_shutdown(routes, connection, close);
    if let Err(error) = served.await {
        warn!(error = %error_chain(&error), "gRPC server failed");
    }
}

/// Serves one connection until it ends.
pub(crate) async fn serve_alone(accepted: Accepted, routes: Routes) {
    let (_running, stopped) = watch::channel(false);
    serve_one(accepted, routes.prepare(), stopped).await;
}

/// Ready once the other half is dropped, with the connection.
async fn connection_end(ended: Option<oneshot::Receiver<()>>) {
    if let Some(ended) = ended {
        let _ = ended.await;
    }
}
