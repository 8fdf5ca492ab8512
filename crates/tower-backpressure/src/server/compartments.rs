//! One layer with several compartments: the head of a request selects the one that admits it.

use std::fmt;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::request::Parts;
use http::{Request, Response};
use http_body::Body;
use tower_layer::Layer;
use tower_service::Service;

use crate::admission::body::ResponseBody;
use crate::admission::{Policy, ResponseFuture};

/// Admits each request by the compartment that its head selects: see [`BulkheadSet::by`](crate::BulkheadSet::by) and
/// [`BulkheadLayer::per`](crate::BulkheadLayer::per).
///
/// ```
/// use axum::{Router, routing::get};
/// use http::request::Parts;
/// use tower_backpressure::BulkheadSet;
///
/// let set = BulkheadSet::total(100).compartment("api", 60).compartment("reports", 10);
/// let layer = set.by("api", |head: &Parts| {
///     head.uri.path().starts_with("/reports").then_some("reports")
/// });
/// let app: Router = Router::new().route("/", get(|| async { "hello" })).layer(layer);
/// ```
///
/// # Errors
/// The service's own errors pass through. A rejection is a response, never an error.
#[derive(Clone)]
pub struct CompartmentsLayer {
    select: Arc<Select>,
}

/// The service of [`CompartmentsLayer`].
#[derive(Clone)]
pub struct WithCompartments<S> {
    inner: S,
    select: Arc<Select>,
}

pub(crate) type Select = dyn Fn(&Parts) -> Arc<Policy> + Send + Sync;

impl CompartmentsLayer {
    pub(super) fn new(select: impl Fn(&Parts) -> Arc<Policy> + Send + Sync + 'static) -> Self {
        Self { select: Arc::new(select) }
    }

    /// The rule that selects the compartment.
    #[cfg(feature = "policy")]
    pub(crate) const fn select(&self) -> &Arc<Select> {
        &self.select
    }
}

impl<S> Layer<S> for CompartmentsLayer {
    type Service = WithCompartments<S>;

    fn layer(&self, inner: S) -> Self::Service {
        WithCompartments { inner, select: Arc::clone(&self.select) }
    }
}

impl<S> WithCompartments<S> {
    /// The service inside.
    pub const fn get_ref(&self) -> &S {
        &self.inner
    }

    /// The service inside, to change.
    pub const fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// The service inside, without the limit.
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for WithCompartments<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>> + Clone,
    ReqBody: 'static,
    ResBody: Body + Send + 'static,
{
    type Response = Response<ResponseBody<ResBody>>;
    type Error = S::Error;
    type Future = ResponseFuture<S, ReqBody>;

    /// Always ready, as [`Limited`](crate::Limited) is.
    fn poll_ready(&mut self, _cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        let (head, body) = request.into_parts();
        let policy = (self.select)(&head);
        ResponseFuture::new::<ResBody>(&mut self.inner, Request::from_parts(head, body), &policy)
    }
}

impl fmt::Debug for CompartmentsLayer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CompartmentsLayer").finish_non_exhaustive()
    }
}

impl<S: fmt::Debug> fmt::Debug for WithCompartments<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("WithCompartments").field("inner", &self.inner).finish_non_exhaustive()
    }
}
