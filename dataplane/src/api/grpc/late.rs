//! A service that exists only once the node has entered its cluster. Until then calls fail with
//! NOT_BOOTSTRAPPED, or with NOT_READY if the node has data of a cluster.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::sync::{Arc, OnceLock};
use std::task::{Context, Poll};

use futures_util::future::Either;
use http::{Request, Response};
use tonic::Status;
use tonic::body::Body;
use tonic::server::NamedService;
use tower::Service;

use crate::api::caller::not_entered;
use crate::control::Control;

/// Hands calls to a service as soon as there is one.
pub(crate) struct Late<S> {
    slot: Arc<OnceLock<S>>,
    /// Shared, because the service is cloned for each call.
    control: Arc<Control>,
}

impl<S> Late<S> {
    /// The service that is put into the slot when this node enters its cluster.
    pub(crate) fn new(slot: Arc<OnceLock<S>>, control: Control) -> Self {
        let control = Arc::new(control);
        Self { slot, control }
    }
}

impl<S> Clone for Late<S> {
    fn clone(&self) -> Self {
        Self {
            slot: Arc::clone(&self.slot),
            control: Arc::clone(&self.control),
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
        let status = Status::from(not_entered(&self.control));
        Either::Right(ready(Ok(status.into_http())))
    }
}
