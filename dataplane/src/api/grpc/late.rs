//! A service that exists only once the node belongs to a cluster. Until then calls fail with
//! NOT_BOOTSTRAPPED.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use futures_util::future::Either;
use http::{Request, Response};
use lograft_core::Reason;
use tonic::Status;
use tonic::body::Body;
use tonic::server::NamedService;
use tower::Service;

use crate::error::ApiError;

/// Hands calls to a service as soon as there is one.
pub(crate) struct Late<S> {
    slot: Arc<OnceLock<S>>,
}

impl<S> Late<S> {
    pub(crate) fn new(slot: Arc<OnceLock<S>>) -> Self {
        Self { slot }
    }
}

impl<S> Clone for Late<S> {
    fn clone(&self) -> Self {
        Self {
            slot: Arc::clone(&self.slot),
        }
    }
}

impl<S: NamedService> NamedService for Late<S> {
    const NAME: &'static str = S::NAME;
}

type Answer = Result<Response<Body>, Infallible>;

impl<S> Service<Request<Body>> for Late<S>
where
    S: Service<Request<Body>, Response = Response<Body>, Error = Infallible> + Clone,
{
    type Response = Response<Body>;
    type Error = Infallible;
    type Future = Either<S::Future, Ready<Answer>>;

    /// tonic's services are always ready.
    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        if let Some(service) = self.slot.get() {
            return Either::Left(service.clone().call(request));
        }
        let text = "this node does not belong to a cluster yet";
        let status = Status::from(ApiError::new(Reason::NotBootstrapped, text));
        Either::Right(ready(Ok(status.into_http())))
    }
}
