//! A route and the origin that it depends on: what is known in the client decides before the handler runs.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use backpressure_core::Shed;
use bytes::Bytes;
use http::{Request, Response, StatusCode, Uri};
use http_body::Body;
use pin_project_lite::pin_project;
use tokio::task::coop::poll_proceed;
use tower_layer::Layer;
use tower_service::Service;

use super::breaker::{BreakerLayer, KnownBreaker};
use super::cooldown::{CooldownLayer, KnownCooldown};
use super::origin_limit::{KnownLimit, OriginLimitLayer, RunningHandler};
use crate::admission::body::ResponseBody;
use crate::admission::rejection::{Caller, Rejection};
use crate::request_info::RequestInfo;

mod unavailable;

pub use self::unavailable::Unavailable;

/// Rejects a request before its handler runs while the client would reject what the handler is going to send.
///
/// It belongs in a service in the middle of a chain, on the routes whose handlers cannot do without one origin.
/// A handler that does a part of its work, calls the origin, and is rejected has worked in vain. The layers of
/// the client know beforehand: during a cool-down of the origin, while its breaker is open, and while the queue of
/// its limit is full. The rejection says when to come back. Routes that do not call the origin are served as before.
///
/// ```
/// use axum::{Router, routing::{get, post}};
/// use tower_backpressure::{AdmissionLayer, ClientStack};
///
/// let payments = ClientStack::new("payments");
/// // The handler sends its requests through `payments.layer(client)`.
/// let origin = "http://payments.internal".parse().expect("a URI");
/// let app: Router = Router::new()
///     .route("/checkout", post(|| async { "paid" }).layer(payments.dependency(&origin)))
///     .route("/catalogue", get(|| async { "books" }))
///     .layer(AdmissionLayer::adaptive("shop"));
/// ```
///
/// # Position in the stack
///
/// On a route, inside [`AdmissionLayer`](crate::AdmissionLayer), which learns nothing from these rejections, and
/// removes the promise that the request was not begun. For what a handler answers when the origin rejects its
/// call, see [`Unavailable`].
///
/// # What is known
///
/// | state of the origin | a request |
/// |---|---|
/// | cool-down, and the cool-down layer would hold the call | runs |
/// | cool-down, longer than the layer holds calls or than the deadline of the request | is rejected, with the time that is left |
/// | breaker open | is rejected, with the time that is left |
/// | no permit of its limit is free, and the queue is full, or longer than the deadline allows | is rejected, with a time from the schedule of that limit |
/// | more calls come than the limit lets through | runs when one that runs has ended; handlers that are on the way to their call count ([`pace_handlers`](Self::pace_handlers)) |
/// | any other | runs; as calls are, that find out whether the origin is back |
///
/// Without the last but one, a handler would find the queue filled by those that started before it, and three of
/// four would work in vain at three times the capacity. Put the layer on all routes that call the origin: calls of
/// others fill the queue, and leave less of it to the handlers behind this layer.
///
/// A layer in a dry run rejects nothing here either. States by a `key` of the user's do not count.
///
/// # Metrics
///
/// A rejection counts as one of the layer whose state is the reason.
///
/// # Errors
///
/// The service's own errors pass through. A rejection is a response, never an error.
#[derive(Clone, Debug)]
pub struct DependencyLayer {
    known: Arc<Known>,
}

/// The service of [`DependencyLayer`].
#[derive(Clone, Debug)]
pub struct Dependency<S> {
    inner: S,
    known: Arc<Known>,
}

/// What layers of the client know of the origin.
#[derive(Clone, Debug)]
struct Known {
    origin: Uri,
    cooldown: Option<KnownCooldown>,
    breaker: Option<KnownBreaker>,
    limit: Option<KnownLimit>,
    paces_handlers: bool,
    rejection: Rejection,
}

pin_project! {
    /// The future of [`Dependency`].
    #[must_use = "futures do nothing unless polled"]
    pub struct DependencyFuture<F> {
        #[pin]
        state: State<F>,
    }
}

pin_project! {
    #[project = StateProj]
    enum State<F> {
        Running { #[pin] future: F, running: Option<RunningHandler> },
        Rejected { response: Option<Response<Bytes>> },
    }
}

impl DependencyLayer {
    /// Knows nothing of the origin yet: the other methods name the layers of the client.
    /// [`ClientStack::dependency`](crate::ClientStack::dependency) does it in one call.
    #[must_use]
    pub fn new(origin: &Uri) -> Self {
        let rejection = Rejection::new(StatusCode::SERVICE_UNAVAILABLE);
        let origin = origin.clone();
        let (cooldown, breaker, limit) = (None, None, None);
        let known = Known { origin, cooldown, breaker, limit, paces_handlers: true, rejection };
        Self { known: Arc::new(known) }
    }

    /// The cool-downs of the client.
    #[must_use]
    pub fn cooldown(mut self, layer: &CooldownLayer) -> Self {
        let known = Arc::make_mut(&mut self.known);
        known.cooldown = Some(layer.know(&known.origin));
        self
    }

    /// The breakers of the client.
    #[must_use]
    pub fn breaker(mut self, layer: &BreakerLayer) -> Self {
        let known = Arc::make_mut(&mut self.known);
        known.breaker = Some(layer.know(&known.origin));
        self
    }

    /// The limits of the client. No permit is reserved: between the answer of this layer and the call, other calls may
    /// take the place. A client with [`exempt`](OriginLimitLayer::exempt) calls is not asked.
    #[must_use]
    pub fn origin_limit(mut self, layer: &OriginLimitLayer) -> Self {
        let known = Arc::make_mut(&mut self.known);
        known.limit = Some(layer.know(&known.origin));
        self
    }

    /// Whether a handler starts only when one has ended, while more calls come than the limit lets through; by default it
    /// does.
    ///
    /// It saves the work of handlers that would find the queue full. Where a handler does next to nothing before its
    /// call, or where many hang, it is better switched off: with two of ten handlers that hang for ever, .96 of the
    /// requests are served that are served without it.
    #[must_use]
    pub fn pace_handlers(mut self, on: bool) -> Self {
        Arc::make_mut(&mut self.known).paces_handlers = on;
        self
    }
}

impl Known {
    /// Starts the handler of a request. Without a lock while all is well. The limit comes last, as a call that another
    /// layer rejects never reaches it.
    ///
    /// # Errors
    /// Why a call for this request would be rejected.
    fn start(&self, info: RequestInfo) -> Result<Option<RunningHandler>, Shed> {
        let by_breaker = || self.breaker.as_ref().and_then(KnownBreaker::shed);
        let by_cooldown = || self.cooldown.as_ref().and_then(|known| known.shed(info.deadline));
        match by_breaker().or_else(by_cooldown) {
            Some(shed) => Err(shed),
            None => {
                let start = |known: &KnownLimit| known.start(info, self.paces_handlers);
                self.limit.as_ref().map_or(Ok(None), start)
            }
        }
    }
}

impl<S> Layer<S> for DependencyLayer {
    type Service = Dependency<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Dependency { inner, known: Arc::clone(&self.known) }
    }
}

impl<S> Dependency<S> {
    /// The service inside.
    pub const fn get_ref(&self) -> &S {
        &self.inner
    }

    /// The service inside, to change.
    pub const fn get_mut(&mut self) -> &mut S {
        &mut self.inner
    }

    /// The service inside, without the layer.
    pub fn into_inner(self) -> S {
        self.inner
    }
}

impl<S, ReqBody, ResBody> Service<Request<ReqBody>> for Dependency<S>
where
    S: Service<Request<ReqBody>, Response = Response<ResBody>>,
    ResBody: Body,
{
    type Response = Response<ResponseBody<ResBody>>;
    type Error = S::Error;
    type Future = DependencyFuture<S::Future>;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, request: Request<ReqBody>) -> Self::Future {
        let state = match self.known.start(RequestInfo::of(request.extensions())) {
            Ok(running) => State::Running { future: self.inner.call(request), running },
            Err(shed) => {
                let caller = Caller::of(&request);
                let response = Some(self.known.rejection.respond(shed, caller, None, None));
                State::Rejected { response }
            }
        };
        DependencyFuture { state }
    }
}

impl<F, B, E> Future for DependencyFuture<F>
where
    F: Future<Output = Result<Response<B>, E>>,
    B: Body,
{
    type Output = Result<Response<ResponseBody<B>>, E>;

    fn poll(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Self::Output> {
        match self.project().state.project() {
            StateProj::Running { future, running } => {
                let response = ready!(future.poll(cx));
                *running = None;
                Poll::Ready(response.map(ResponseBody::unguarded))
            }
            StateProj::Rejected { response } => {
                // Nothing else here waits: a caller that retries in a loop must not starve others.
                ready!(poll_proceed(cx)).made_progress();
                let response = response.take().expect("not polled after completion");
                Poll::Ready(Ok(response.map(ResponseBody::rejected)))
            }
        }
    }
}

impl<F> fmt::Debug for DependencyFuture<F> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("DependencyFuture").finish_non_exhaustive()
    }
}
